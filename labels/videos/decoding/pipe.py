"""How frames come from the decoding process: messages through a pipe, pixels through shared memory.

The pipe carries small headers. Pixels lie in the slots of a shared file in memory: through the pipe the system would
copy and clear each page twice, which costs a third of the speed. The process that asked makes the file and holds its
size fixed, so that nothing the decoder does can take the ground from under it. A byte comes back through standard
input for each slot that is free; without one the decoder waits.

`SIZE` says how large frames are, once, before the first; `FRAME` that the next slot holds one; `ALIVE` nothing more
than that; `END` brings a JSON object with what was decoded; `FAILED` a reason. All but the first three have a payload.

Nothing else in this project asks for `fcntl`, which Windows has not.
"""

import mmap
import os
import struct
import tempfile
import threading
from contextlib import suppress
from typing import NamedTuple

SIZE, FRAME, ALIVE, END, FAILED = b"S", b"F", b"A", b"E", b"X"
HEADER = struct.Struct("<cqdiiq?")
SLOTS_BYTES, MOST_SLOTS, FEWEST_SLOTS = 32 * 2**20, 16, 2
FREE = b"."


Picture = tuple[int, int, memoryview, int]  # width, height, RGB rows, bytes from one row to the next


class Header(NamedTuple):
    kind: bytes
    frame_index: int = 0
    time_s: float = 0.0
    width: int = 0
    height: int = 0
    payload_bytes: int = 0
    is_repeated: bool = False


def send(fd: int, header: Header, payload: bytes = b"") -> None:
    """Write one message whole. Raises BrokenPipeError when nobody reads any more."""
    rest = memoryview(HEADER.pack(*header) + payload)
    while rest:
        rest = rest[os.write(fd, rest) :]


def slot_count(frame_bytes: int) -> int:
    """How many frames of this size the shared file holds; both ends ask here."""
    return max(FEWEST_SLOTS, min(MOST_SLOTS, SLOTS_BYTES // frame_bytes))


def make_shared_file() -> int:
    """A descriptor of an empty nameless file, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as opened:
        return os.dup(opened.fileno())


def map_shared_file(fd: int, frame_bytes: int) -> mmap.mmap:
    """Give the file its size for good, and map it."""
    os.ftruncate(fd, slot_count(frame_bytes) * frame_bytes)
    if hasattr(os, "memfd_create"):
        import fcntl  # where there are such files, there is this

        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return mmap.mmap(fd, slot_count(frame_bytes) * frame_bytes)


def end_with_lifeline(fd: int) -> None:
    """End this process when the other end of a pipe is closed, as it is when the asking process dies, however it does.

    The system sends SIGIO, which ends whoever does not catch it: also a decoder that hangs and never looks. Where there
    is no such signal a thread waits instead, which ends all but a decoder that hangs without letting threads run.
    """
    try:
        import fcntl
    except ImportError:
        threading.Thread(target=_end_with, args=(fd,), daemon=True).start()
        return
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    with suppress(BlockingIOError):
        _end_with(fd)


def _end_with(fd: int) -> None:
    os.read(fd, 1)  # nothing is ever written: this is its end
    os._exit(1)


class FrameSender:
    """The decoding process's end."""

    def __init__(self, pipe: int, shared: int, free: int):
        self._pipe, self._shared, self._free = pipe, shared, free
        self._slots: mmap.mmap | None = None
        self._count = 0

    def send(self, frame_index: int, time_s: float, picture: Picture, is_repeated: bool) -> None:
        """Hand over one frame; of the bytes from one of its rows to the next the first 3 * width count."""
        width, height, rows, row_bytes = picture
        used, frame_bytes = width * 3, width * height * 3
        if self._slots is None:
            send(self._pipe, Header(SIZE, width=width, height=height))
        if not os.read(self._free, 1):
            raise BrokenPipeError
        if self._slots is None:  # the file has its size by now
            self._slots = mmap.mmap(self._shared, slot_count(frame_bytes) * frame_bytes)
        start = self._count % slot_count(frame_bytes) * frame_bytes
        if row_bytes == used:
            self._slots[start : start + frame_bytes] = rows[:frame_bytes]
        else:
            for row in range(height):
                at = start + row * used
                self._slots[at : at + used] = rows[row * row_bytes : row * row_bytes + used]
        self._count += 1
        send(self._pipe, Header(FRAME, frame_index, time_s, width, height, is_repeated=is_repeated))
