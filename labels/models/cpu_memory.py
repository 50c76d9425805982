"""How the C library hands out memory to networks on a CPU."""

import ctypes
import sys

# Numbers of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_HELD = 32 << 20  # bytes of a block; glibc takes no larger limit
NEVER = -1


def keep_freed_memory() -> None:
    """Tell glibc to keep what a network frees for the next step, instead of giving each large block back to the system.

    A block that comes anew from the system is zeroed page by page when it is first written to: that was a quarter of a
    training step of BallNet. Costs nothing but that the process stays as large as it once was. No other C library is
    told anything.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_HELD)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
