"""Whether a file is as long as its own index says."""

import os
import struct

EBML_MAGIC = b"\x1a\x45\xdf\xa3"
MATROSKA_SEGMENT = b"\x18\x53\x80\x67"


def missing_bytes(fd: int) -> int:
    """How many bytes an MP4/MOV, AVI or Matroska file lacks, 0 when it is whole or of a kind that does not tell."""
    size = os.fstat(fd).st_size
    head = os.pread(fd, 12, 0)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return max(0, _end_of_riff(head) - size)
    if head[:4] == EBML_MAGIC:
        return max(0, _end_of_segment(fd) - size)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return max(0, _end_of_boxes(fd, size) - size)
    return 0


def _end_of_riff(head: bytes) -> int:
    declared = struct.unpack("<I", head[4:8])[0]
    return 0 if declared == 0xFFFFFFFF else 8 + declared


def _end_of_boxes(fd: int, size: int) -> int:
    """Where the last of the boxes that matter ends; whatever follows the boxes (padding, junk) is not looked at."""
    offset = end = 0
    while offset + 8 <= size:
        length, kind = struct.unpack(">I4s", os.pread(fd, 8, offset))
        if length == 1:
            wide = os.pread(fd, 8, offset + 8)
            length = struct.unpack(">Q", wide)[0] if len(wide) == 8 else 0
        if length < 8:  # 0: up to the end of the file; anything else is junk
            break
        offset += length
        if kind in (b"mdat", b"moov", b"moof"):
            end = offset
    return end


def _end_of_segment(fd: int) -> int:
    head = os.pread(fd, 4096, 0)
    at = head.find(MATROSKA_SEGMENT)
    if at < 0:
        return 0
    length, used = _ebml_number(head[at + 4 : at + 12])
    return 0 if length is None else at + 4 + used + length


def _ebml_number(data: bytes) -> tuple[int | None, int]:
    """The number at the start of `data` and its length in bytes; None when it says «unknown», as a live stream does."""
    if not data or data[0] == 0:
        return None, 0
    used = 9 - data[0].bit_length()
    value = int.from_bytes(data[:used], "big") & ((1 << 7 * used) - 1)
    return (None if value == (1 << 7 * used) - 1 else value), used
