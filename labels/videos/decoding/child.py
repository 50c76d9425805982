"""The process that decodes one video for `frames.py`, under limits, so that a bad file costs one video.

    python -m labels.videos.decoding.child PATH STRIDE LIMITS_AS_JSON SHARED_FILE_DESCRIPTOR

It writes the messages of `pipe.py` to standard output and reads from standard input. Stride 0 decodes everything and
sends only the account at the end.

Times come from the frames' own timestamps. Frames are turned upright by the file's display matrix. A container that
is shorter than its own index says is reported as cut off: a demuxer takes the end of the file for the end of the video
and says nothing when the cut lies between two frames.
"""

import json
import os
import resource
import signal
import stat
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labels.videos.decoding.pipe import ALIVE, END, FAILED, FrameSender, Header, send
from labels.videos.settings import DecodeLimits

if TYPE_CHECKING:
    from av import VideoFrame

FALLBACK_RATE = 25.0


class Clock:
    """Times of frames by their timestamps, 0 at the first frame, never running backwards."""

    def __init__(self) -> None:
        self.declared_rate = FALLBACK_RATE
        self.first_s: float | None = None
        self.last_s = 0.0
        self.count = 0

    def start(self, declared_rate: float) -> None:
        if 0 < declared_rate <= 1000:
            self.declared_rate = declared_rate

    def time_of(self, frame: "VideoFrame") -> float:
        stamp = frame.time  # seconds, or None for a frame without a timestamp
        self.count += 1
        if self.first_s is None:
            self.first_s = stamp if stamp is not None else 0.0
            return 0.0
        time_s = stamp - self.first_s if stamp is not None else -1.0
        if time_s <= self.last_s:
            time_s = self.last_s + 1 / self.declared_rate
        self.last_s = time_s
        return time_s

    def rate(self) -> float:
        """Frames a second: what the header says where the timestamps agree with it, otherwise their mean."""
        if self.count < 2:
            return self.declared_rate
        measured = (self.count - 1) / self.last_s
        return self.declared_rate if abs(measured / self.declared_rate - 1) < 0.01 else measured


if TYPE_CHECKING:
    from av import VideoFrame


class Turn:
    """How a stored picture is turned and mirrored to stand upright: the display matrix, to the nearest quarter.

    With x' = a x + c y and y' = b x + d y, a and d are 0 for a quarter turn; a negative sign mirrors that axis.
    """

    def __init__(self, transposed: bool = False, x_step: int = 1, y_step: int = 1):
        self.transposed, self.x_step, self.y_step = transposed, x_step, y_step

    @classmethod
    def of(cls, frame: "VideoFrame") -> "Turn":
        entries: Any = frame.side_data  # typed as a mapping of names, in fact a sequence
        for entry in entries:
            if entry.type.name == "DISPLAYMATRIX":
                a, b, _, c, d, *_ = struct.unpack("9i", bytes(entry)[:36])
                if abs(a) < abs(b):
                    return cls(True, 1 if c >= 0 else -1, 1 if b >= 0 else -1)
                return cls(False, 1 if a >= 0 else -1, 1 if d >= 0 else -1)
        return cls()

    def size(self, width: int, height: int) -> tuple[int, int]:
        return (height, width) if self.transposed else (width, height)

    def apply(self, frame: "VideoFrame") -> tuple[int, int, memoryview, int]:
        """Width, height and the RGB rows of the upright picture, and the bytes from one row to the next."""
        plane = frame.planes[0]
        if (self.transposed, self.x_step, self.y_step) == (False, 1, 1):
            return frame.width, frame.height, memoryview(plane), plane.line_size
        import numpy as np

        padded = np.frombuffer(memoryview(plane), np.uint8)[: frame.height * plane.line_size]
        rgb = padded.reshape(frame.height, plane.line_size)[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
        if self.transposed:
            rgb = rgb.transpose(1, 0, 2)
        upright = np.ascontiguousarray(rgb[:: self.y_step, :: self.x_step])
        return upright.shape[1], upright.shape[0], upright.reshape(-1).data, upright.shape[1] * 3


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


if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Containers of video. Left out are play lists, which name other files and addresses, and still pictures.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,ogg,asf,mxf,nut,dv"
)
# What the decoders log when they fill in for data they could not read. A frame says so itself (`is_corrupt`), but not
# when the damage is in a frame before the start of the clip that others refer to.
CONCEALED = (b"concealing ", b"error while decoding MB")
LOG_BYTES = 2**20
ALIVE_EVERY_S = 1.0


class BadVideo(Exception):
    """Why this video cannot be used, in one line."""


def main() -> None:
    path, stride, limits = os.fsencode(sys.argv[1]), int(sys.argv[2]), DecodeLimits(**json.loads(sys.argv[3]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process decides when to stop
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # and nobody misses this one when that process is gone
    pipe = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not get between the frames
    limit_process(limits)
    threading.Thread(target=die_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        account = decode(path, stride, limits, pipe, FrameSender(pipe, int(sys.argv[4]), free=0))
        send_text(pipe, END, json.dumps(account))
    except BadVideo as bad:
        send_text(pipe, FAILED, str(bad))
    except MemoryError:
        send_text(pipe, FAILED, f"decoding it needs more than {limits.memory_bytes >> 20} MiB of memory")


def send_text(pipe: int, kind: bytes, text: str) -> None:
    payload = text.encode("utf-8", "replace")
    send(pipe, Header(kind, payload_bytes=len(payload)), payload)


def limit_process(limits: DecodeLimits) -> None:
    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: LOG_BYTES,  # it writes nothing but what libraries log, and the last words of a crash
    }
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError):
            continue  # macOS knows no limit of the address space


def die_with_parent(parent: int) -> None:
    """A decoder that hangs writes nothing, so a broken pipe alone would not end it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def decode(path: bytes, stride: int, limits: DecodeLimits, pipe: int, sender: FrameSender) -> dict[str, Any]:
    """Decode the whole file, send every `stride`th frame, return the account of what was decoded."""
    fd = open_regular(path)
    lost = missing_bytes(fd)
    if lost:
        raise BadVideo(f"the file breaks off: its last {lost} bytes are missing")
    import av
    from av.video.reformatter import VideoReformatter

    # Libav's own words go to standard error, which is a file, past Python: from its threads that would be slow.
    av.logging.set_level(av.logging.WARNING)
    av.logging.restore_default_callback()
    converter = VideoReformatter()
    turn = Turn()
    clock = Clock()
    sent_s = time.monotonic()
    count, size = 0, (0, 0)
    try:
        # By descriptor: the file is the one just looked at, and its name need not be UTF-8.
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        with av.open(f"/dev/fd/{fd}", options=options, metadata_errors="replace") as container:
            stream, note = pick_stream(container)
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = limits.threads or min(os.cpu_count() or 1, 8)
            declared_rate = float(stream.average_rate or stream.guessed_rate or 0)
            clock.start(declared_rate)
            for frame in frames_of(container, stream):
                if count == 0:
                    size, turn = (frame.width, frame.height), Turn.of(frame)
                    if size[0] * size[1] > limits.max_pixels:
                        raise BadVideo(f"its frames are {size[0]} x {size[1]}, more than {limits.max_pixels} pixels")
                elif size != (frame.width, frame.height):
                    found = f"{frame.width} x {frame.height}"
                    raise BadVideo(f"its size changes from {size[0]} x {size[1]} to {found} at frame {count}")
                time_s = clock.time_of(frame)
                if stride and count % stride == 0:
                    sender.send(count, time_s, *turn.apply(converter.reformat(frame, format="rgb24")))
                    sent_s = time.monotonic()
                elif time.monotonic() - sent_s > ALIVE_EVERY_S:
                    send(pipe, Header(ALIVE))
                    sent_s = time.monotonic()
                count += 1
                if count > limits.max_frames:
                    raise BadVideo(f"it has more than {limits.max_frames} frames")
            codec = stream.codec_context.name
    except av.error.MemoryError:
        raise MemoryError from None
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = f"after frame {count - 1}" if count else "before the first frame"
        raise BadVideo(f"{reason[:1].lower()}{reason[1:]}, {where}") from None
    if not count:
        raise BadVideo("no frame in it")
    if any(words in os.pread(2, LOG_BYTES, 0) for words in CONCEALED):
        raise BadVideo("the file is damaged: the decoder had to make up parts of the picture")
    width, height = turn.size(*size)
    return {
        "width": width,
        "height": height,
        "frame_count": count,
        "fps": clock.rate(),
        "duration_s": clock.last_s + 1 / clock.rate(),
        "codec": codec,
        "notes": [note] if note else [],
    }


def open_regular(path: bytes) -> int:
    """A descriptor of a regular file. O_NONBLOCK: opening a FIFO would wait for someone who writes to it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise BadVideo(f"cannot be opened: {error.strerror}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise BadVideo("not a regular file")
    if not status.st_size:
        raise BadVideo("the file is empty")
    return fd


def pick_stream(container: "InputContainer") -> "tuple[VideoStream, str]":
    """The video stream that players show: the one marked default, else the largest; and a note where there are more.

    Cover pictures and thumbnails are none. MP4 marks every track as default: among several the largest is taken.
    """
    import av

    marks = av.stream.Disposition
    pictures = marks.attached_pic | marks.timed_thumbnails | marks.still_image
    films = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not films:
        raise BadVideo("no video in it")
    marked = [stream for stream in films if stream.disposition & marks.default]
    taken = max(marked or films, key=lambda stream: stream.width * stream.height)
    if len(films) == 1:
        return taken, ""
    why = "the default one" if len(marked) == 1 else "the largest"
    return taken, f"{len(films)} video streams, of which {why} is taken ({taken.width} x {taken.height})"


def frames_of(container: "InputContainer", stream: "VideoStream") -> "Iterator[VideoFrame]":
    """Every frame in the order of display. BadVideo as soon as the file is known to have lost one."""
    count = 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise BadVideo(f"the file is damaged after frame {count - 1}: a packet is corrupt or cut short")
        for frame in packet.decode():
            if frame.is_corrupt:
                raise BadVideo(f"the file is damaged: frame {count} cannot be decoded whole")
            count += 1
            yield frame


if __name__ == "__main__":
    main()
