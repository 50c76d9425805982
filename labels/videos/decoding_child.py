"""The process that decodes one video for `decoding.py`, under limits, so that a bad file costs one video.

    python -m labels.videos.decoding_child PATH STRIDE LIMITS_AS_JSON SHARED_FILE_DESCRIPTOR

It speaks the language of `frame_pipe.py` over standard output and input. Stride 0 decodes everything and sends only
the account at the end.
"""

import json
import os
import resource
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labels.videos.container_size import missing_bytes
from labels.videos.frame_clock import Clock
from labels.videos.frame_pipe import ALIVE, END, FAILED, FrameSender, Header, send
from labels.videos.frame_turn import Turn
from labels.videos.settings import DecodeLimits

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
            stream = pick_stream(container)
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


def pick_stream(container: "InputContainer") -> "VideoStream":
    """The first video stream that is no cover picture."""
    import av

    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise BadVideo("no video in it")


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
