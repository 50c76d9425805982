"""What the decoding process says to the process that asked, through a pipe: messages of a small header and a payload.

`FRAME` carries rows of RGB bytes, `ALIVE` nothing, `END` a JSON object with what was decoded, `FAILED` a reason.
"""

import os
import struct
from typing import NamedTuple

FRAME, ALIVE, END, FAILED = b"F", b"A", b"E", b"X"
HEADER = struct.Struct("<cqdiiq")
PIPE_BYTES = 2**20  # what Linux lets anyone ask for; the default of 64 KiB costs a switch of process each


class Header(NamedTuple):
    kind: bytes
    frame_index: int = 0
    time_s: float = 0.0
    width: int = 0
    height: int = 0
    payload_bytes: int = 0


def send(fd: int, header: Header, payload: bytes | memoryview = b"") -> None:
    """Write one message whole. Raises BrokenPipeError when nobody reads any more."""
    rest = memoryview(HEADER.pack(*header))
    while rest:
        rest = rest[os.write(fd, rest) :]
    rest = memoryview(payload).cast("B") if len(payload) else memoryview(b"")
    while rest:
        rest = rest[os.write(fd, rest) :]
