"""The process that decodes one video for `frames.py`, under limits, so that a bad file costs one video.

    python -m labels.videos.decoding.child PATH STRIDE LIMITS_AS_JSON UNTIL_DAMAGE SHARED_FILE LIFELINE

The last two are file descriptors. It writes the messages of `pipe.py` to standard output and reads from standard
input. Stride 0 decodes everything and sends only the account at the end.

Times come from the frames' own timestamps. Frames are turned upright by the file's display matrix. A container that
is shorter than its own index says is cut off: a demuxer takes the end of the file for the end of the video and says
nothing when the cut lies between two frames.

A damaged video ends before the damage (UNTIL_DAMAGE 1), or is refused (0). Where it ends must not depend on the number
of threads, so it is decoded once more with one thread: what several threads hold is lost at the damage.
"""

import json
import os
import signal
import stat
import struct
import sys
import time
from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from labels.videos.decoding.pictures import Deinterlacer, Repeats, Turn
from labels.videos.decoding.pipe import ALIVE, END, FAILED, FrameSender, Header, end_with_lifeline, send
from labels.videos.settings import DecodeLimits

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

FALLBACK_RATE, MOST_RATE = 25.0, 1000.0
UNEVEN_FRAMES = 0.5  # how far from its even place, in frames, a stamp must lie for a video's stamps to be told
JUMP_S, JUMP_STEPS = 10.0, 20  # a step in time is a jump that is longer than so much, and than so many usual steps


class Clock:
    """Times of frames by their timestamps, 0 at the first frame, never running backwards."""

    def __init__(self) -> None:
        self.declared_rate = FALLBACK_RATE
        self.first_s: float | None = None
        self.last_s = 0.0
        self.times_s = array("d")

    def start(self, declared_rate: float) -> None:
        if 0 < declared_rate <= MOST_RATE:
            self.declared_rate = declared_rate

    def time_of(self, frame: "VideoFrame") -> float:
        """A stamp that stands twice, or runs back, is the time of the frame before: what comes after does not shift."""
        stamp = frame.time  # seconds, or None for a frame without a timestamp
        if self.first_s is None:
            self.first_s = stamp if stamp is not None else 0.0
        elif stamp is not None:
            self.last_s = max(self.last_s, stamp - self.first_s)
        else:
            self.last_s += 1 / self.declared_rate
        self.times_s.append(self.last_s)
        return self.last_s

    def rate(self) -> float:
        """Frames a second: what the header says where the timestamps agree with it, otherwise their mean.

        A jump, as where a camera's clock was set, is no time in which frames were taken.
        """
        steps = sorted(later - earlier for earlier, later in pairwise(self.times_s))
        usual = max(JUMP_S, JUMP_STEPS * steps[len(steps) // 2]) if steps else 0.0
        taken = [step for step in steps if step <= usual]
        if not sum(taken):
            return self.declared_rate
        measured = len(taken) / sum(taken)
        if not 0 < measured <= MOST_RATE:
            return self.declared_rate
        return self.declared_rate if abs(measured / self.declared_rate - 1) < 0.01 else measured


# Containers of video. Left out are play lists, which name other files and addresses, and still pictures.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,ogg,asf,mxf,nut,dv,"
    "gif"
)
# What the decoders log when they fill in for data they could not read. A frame says so itself (`is_corrupt`), but not
# when the damage is in a frame before the start of the clip that others refer to.
CONCEALED = (b"concealing ", b"error while decoding MB")
LOG_BYTES = 2**20
ALIVE_EVERY_S = 1.0


class BadVideo(Exception):
    """Why this video cannot be used, in one line."""


class Damage(BadVideo):
    """Why a video cannot be used from here on; what was decoded of it is good."""


def main() -> None:
    end_with_lifeline(int(sys.argv[6]))
    path, stride, limits = os.fsencode(sys.argv[1]), int(sys.argv[2]), DecodeLimits(**json.loads(sys.argv[3]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process decides when to stop
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # and nobody misses this one when that process is gone
    pipe = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not get between the frames
    limit_process(limits)
    try:
        decoding = Decoding(path, stride, limits, pipe, FrameSender(pipe, int(sys.argv[5]), free=0))
        send_text(pipe, END, json.dumps(decoding.run(until_damage=sys.argv[4] == "1")))
    except BadVideo as bad:
        send_text(pipe, FAILED, str(bad))
    except MemoryError:
        send_text(pipe, FAILED, f"decoding it needs more than {limits.memory_bytes >> 20} MiB of memory")


def send_text(pipe: int, kind: bytes, text: str) -> None:
    payload = text.encode("utf-8", "replace")
    send(pipe, Header(kind, payload_bytes=len(payload)), payload)


def limit_process(limits: DecodeLimits) -> None:
    if os.name == "nt":
        return  # Windows has no such limits
    import resource

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


class Decoding:
    """One video on its way: every `stride`th frame is sent, and an account of all at the end."""

    def __init__(self, path: bytes, stride: int, limits: DecodeLimits, pipe: int, sender: FrameSender):
        self.fd, self.stride, self.limits = open_regular(path), stride, limits
        self.pipe, self.sender = pipe, sender
        self.lost = missing_bytes(self.fd)
        self.sent = 0  # frames that have been passed by, sent or not
        self.is_fresh = True  # something that was not a repeat came since the last frame that was sent
        self.sent_s = time.monotonic()

    def run(self, until_damage: bool) -> dict[str, Any]:
        """The account of what was decoded. Raises BadVideo; also for damage, unless it is to end there."""
        import av

        # Libav's own words go to standard error, which is a file, past Python: from its threads that would be slow.
        av.logging.set_level(av.logging.WARNING)
        av.logging.restore_default_callback()
        threads = self.limits.threads or min(os.cpu_count() or 1, 8)
        try:
            try:
                return self.decode(threads)
            except Damage:
                if not until_damage or threads == 1:
                    raise
            return self.decode(1)
        except Damage as damage:
            if not until_damage or not self.count:
                raise
            return self.account() | {"damage": str(damage)}

    def decode(self, threads: int) -> dict[str, Any]:
        """Decode the file from its start; frames that were sent before are not sent again. Raises BadVideo."""
        import av

        self.clock, self.turn, self.count, self.size = Clock(), Turn(), 0, (0, 0)
        self.repeats, self.deinterlacer = Repeats(), Deinterlacer()
        self.repeated: list[int] = []
        self.converter = av.video.reformatter.VideoReformatter()
        os.lseek(self.fd, 0, os.SEEK_SET)
        try:
            # By descriptor: the file is the one just looked at, and its name need not be UTF-8.
            options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
            with av.open(f"/dev/fd/{self.fd}", options=options, metadata_errors="replace") as container:
                stream, note = pick_stream(container)
                stream.thread_type = "AUTO"
                stream.codec_context.thread_count = threads
                self.codec, self.notes = stream.codec_context.name, [note] if note else []
                self.clock.start(float(stream.average_rate or stream.guessed_rate or 0))
                for frame in self.deinterlacer.frames(self.frames_of(container, stream), stream):
                    self.take(frame)
        except av.error.MemoryError:
            raise MemoryError from None
        except (av.error.FFmpegError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            where = f"after frame {self.count - 1}" if self.count else "before the first frame"
            raise Damage(self.cut_off() or f"{reason[:1].lower()}{reason[1:]}, {where}") from None
        if not self.count:
            raise BadVideo(self.cut_off() or "no frame in it")
        if self.codec == "gif" and self.count == 1:
            raise BadVideo("a still picture, not a video")
        return self.account()

    def cut_off(self) -> str:
        return f"the file breaks off: its last {self.lost} bytes are missing" if self.lost else ""

    def take(self, frame: "VideoFrame") -> None:
        time_s, is_repeat = self.clock.time_of(frame), self.repeats.is_repeat(frame)
        if is_repeat:
            self.repeated.append(self.count)
        if self.count >= self.sent:
            self.sent += 1
            self.is_fresh |= not is_repeat
            if self.stride and self.count % self.stride == 0:
                rgb = self.converter.reformat(frame, format="rgb24")
                self.sender.send(self.count, time_s, self.turn.apply(rgb), not self.is_fresh)
                self.is_fresh = False
                self.sent_s = time.monotonic()
        if time.monotonic() - self.sent_s > ALIVE_EVERY_S:
            send(self.pipe, Header(ALIVE))
            self.sent_s = time.monotonic()
        self.count += 1
        if self.count > self.limits.max_frames:
            raise BadVideo(f"it has more than {self.limits.max_frames} frames")

    def frames_of(self, container: "InputContainer", stream: "VideoStream") -> "Iterator[VideoFrame]":
        """Every frame in the order of display. Damage as soon as the file is known to have lost one.

        Frames that the decoder still holds then are lost too: of those between them some may be missing.
        """
        count, logged = 0, os.fstat(2).st_size
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise Damage(
                    self.cut_off() or f"the file is damaged after frame {count - 1}: a packet is corrupt or cut short"
                )
            frames = packet.decode()
            if os.fstat(2).st_size > logged and any(words in os.pread(2, LOG_BYTES, logged) for words in CONCEALED):
                raise Damage(
                    f"the file is damaged after frame {count - 1}: the decoder had to make up parts of the picture"
                )
            is_last = packet.dts is None and not packet.size
            if is_last and self.lost and count + len(frames) < (stream.frames or self.limits.max_frames):
                raise Damage(self.cut_off())
            for frame in frames:
                if frame.is_corrupt:
                    raise Damage(f"the file is damaged: frame {count} cannot be decoded whole")
                self.check_size(frame, count)
                count += 1
                yield frame

    def check_size(self, frame: "VideoFrame", count: int) -> None:
        size = (frame.width, frame.height)
        if not count:
            self.size, self.turn = size, Turn.of(frame)
            if size[0] * size[1] > self.limits.max_pixels:
                raise BadVideo(f"its frames are {size[0]} x {size[1]}, more than {self.limits.max_pixels} pixels")
        elif size != self.size:
            before = f"{self.size[0]} x {self.size[1]}"
            raise Damage(f"its size changes from {before} to {size[0]} x {size[1]} at frame {count}")

    def account(self) -> dict[str, Any]:
        width, height = self.turn.size(*self.size)
        fps, times_s = self.clock.rate(), self.clock.times_s
        is_even = all(abs(time_s * fps - at) <= UNEVEN_FRAMES for at, time_s in enumerate(times_s))
        return {
            "width": width,
            "height": height,
            "frame_count": self.count,
            "fps": fps,
            "duration_s": self.clock.last_s + 1 / fps,
            "codec": self.codec,
            "notes": [*self.notes, *(["deinterlaced"] if self.deinterlacer.is_used else [])],
            "repeated_frames": self.repeated,
            "times_s": None if is_even else [round(time_s, 6) for time_s in times_s],
        }


def open_regular(path: bytes) -> int:
    """A descriptor of a regular file. O_NONBLOCK: opening a FIFO would wait for someone who writes to it."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
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


if __name__ == "__main__":
    main()
