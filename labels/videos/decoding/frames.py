"""Frames of a video, in order, decoded in a limited process of its own.

A video comes from outside, and a decoder is a million lines of C: a crash, a hang or a file that unpacks to more than
memory holds must cost one video, not the run. So `child.py` decodes and hands the frames over through shared memory;
this module starts that process, reads from it, watches it and ends it.

    for frame in decode_frames(path, stride=10):
        look_at(frame.rgb)

    for video_id, frames in decode_ahead([(video_id, path, 10), ...]):
        for frame in frames:  # the next video is decoded meanwhile
            look_at(frame.rgb)
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labels.records.command_line import DECODER_DIED
from labels.videos.decoding.pipe import (
    END,
    FAILED,
    FRAME,
    FREE,
    HEADER,
    SIZE,
    Header,
    make_shared_file,
    map_shared_file,
    slot_count,
)
from labels.videos.settings import AheadSettings, DecodeLimits

REPOSITORY = Path(__file__).resolve().parents[3]
STARTUP_S = 30.0  # what the process may take on a busy machine before its first sign of life, beside the limit
POLL_S = 0.2  # how soon a reader notices that nobody wants its frames any more


class DecodeError(Exception):
    """Why a video cannot be decoded, or not to its end, in one line."""

    kind = "cannot be decoded"


class DecoderDied(DecodeError):
    """The decoding process was killed, crashed or hung: the video may be sound, and another run may have it."""

    kind = DECODER_DIED


class Stopped(Exception):
    """Nobody wants the frames any more."""


class DecoderProcess:
    """A decoding process and the reading end of its pipe."""

    def __init__(
        self, path: Path, stride: int, limits: DecodeLimits, stop: threading.Event | None, until_damage: bool = True
    ):
        self.limits, self.stop = limits, stop
        self.account: dict[str, Any] | None = None  # set when all was decoded
        self._slots: np.ndarray | None = None  # (slots, H, W, 3), shared with the process
        self._taken = 0
        self._shared = make_shared_file()
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115, closed in __exit__
        search = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "labels.videos.decoding.child"]
        held, self._lifeline = os.pipe()  # closed when this process ends, which ends the decoder
        arguments = [os.fspath(path), str(stride), json.dumps(asdict(limits)), str(int(until_damage))]
        self._process = subprocess.Popen(
            [*command, *arguments, str(self._shared), str(held)],
            pass_fds=(self._shared, held),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_words,
            env={**os.environ, "PYTHONPATH": search},
            bufsize=0,
        )
        os.close(held)
        assert self._process.stdout is not None
        self._fd = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._header = bytearray(HEADER.size)
        self._patience = Patience(limits.stall_s, STARTUP_S)

    def __enter__(self) -> "DecoderProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None and self._process.stdin is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._last_words.close()
        self._slots = None
        os.close(self._lifeline)
        os.close(self._shared)

    def read_header(self) -> Header | None:
        """The next message's header, or None after the last one (or when stopped). Raises DecodeError."""
        try:
            self._read_into(memoryview(self._header))
            header = Header(*HEADER.unpack(self._header))
            if header.kind == SIZE:
                self._share(header.width, header.height)
                return self.read_header()
            if header.kind not in (END, FAILED):
                return header
            payload = bytearray(header.payload_bytes)
            self._read_into(memoryview(payload))
        except Stopped:
            return None
        if header.kind == FAILED:
            raise DecodeError(payload.decode())
        self.account = json.loads(payload)
        return None

    def _share(self, width: int, height: int) -> None:
        frame_bytes = width * height * 3
        mapped = map_shared_file(self._shared, frame_bytes)
        self._slots = np.frombuffer(mapped, dtype=np.uint8).reshape(slot_count(frame_bytes), height, width, 3)
        self._free(len(self._slots))

    def take_frame(self) -> np.ndarray:
        """The pixels that the last FRAME header announced, (H, W, 3) uint8, as an array of their own."""
        assert self._slots is not None
        rgb = self._slots[self._taken % len(self._slots)].copy()
        self._taken += 1
        self._free(1)
        return rgb

    def _free(self, count: int) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has decoded all, or died, which its pipe will tell
            self._process.stdin.write(FREE * count)

    def _read_into(self, rest: memoryview) -> None:
        """Fill `rest` from the pipe. Raises DecodeError when the process dies or gives no sign of life."""
        while rest:
            if self.stop is not None and self.stop.is_set():
                raise Stopped
            if not self._poll.poll(POLL_S * 1000):
                if self._patience.is_over(time.monotonic(), cpu_seconds(self._process.pid)):
                    raise DecoderDied(f"the decoder gave no sign of life for {self._patience.seconds:g} s")
                continue
            count = os.readv(self._fd, [rest])
            if not count:
                raise self._why_it_died()
            rest = rest[count:]
            self._patience = Patience(self.limits.stall_s)

    def _why_it_died(self) -> DecodeError:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return DecodeError(f"decoding it took more than {self.limits.cpu_s} s of processor time")
        if code < 0:
            with suppress(ValueError):
                return DecoderDied(f"the decoder crashed ({signal.Signals(-code).name})")
        self._last_words.seek(0)
        last_words = self._last_words.read(2**20).decode("utf-8", "replace").strip().splitlines()
        return DecoderDied(f"the decoder ended with code {code}: {last_words[-1][:200] if last_words else 'no word'}")


class Patience:
    """How long to wait for a sign of life: by what the decoder does; the clock runs on a busy machine too.

    It is over once the process has worked for `seconds`, by its processor time, since the last sign, or has not worked
    at all for so long. Asked from time to time; a new one after each sign.
    """

    def __init__(self, seconds: float, starting_s: float = 0.0):
        self.seconds = seconds + starting_s
        self._worked_s: float | None = None  # at the first question
        self._seen_s, self._seen_at_s = 0.0, 0.0  # processor time when it was last seen to grow, and when that was

    def is_over(self, now_s: float, worked_s: float | None) -> bool:
        """`worked_s`: processor time of the process so far; None where the system does not tell."""
        if self._worked_s is None:
            self._worked_s, self._seen_s, self._seen_at_s = worked_s or 0.0, worked_s or 0.0, now_s
        if worked_s is not None and worked_s > self._seen_s:
            self._seen_s, self._seen_at_s = worked_s, now_s
        return self._seen_s - self._worked_s > self.seconds or now_s - self._seen_at_s > self.seconds


def cpu_seconds(pid: int) -> float | None:
    """Processor time of a process with all its threads; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


__all__ = ["DecodeError", "DecoderDied", "Frame", "VideoInfo", "decode_ahead", "decode_frames", "probe_video"]


class Frame(NamedTuple):
    """One decoded frame; `rgb` belongs to whoever receives it."""

    frame_index: int  # counts decoded frames from 0
    time_s: float  # by the frame's own timestamp, 0 at the first frame
    rgb: np.ndarray  # (H, W, 3) uint8, upright
    is_repeated: bool = False  # it shows what the frame given before it shows, but for what compression changed


@dataclass(frozen=True)
class VideoInfo:
    """What is in a video, by decoding all of it."""

    width: int  # of the upright frame
    height: int
    fps: float
    frame_count: int
    duration_s: float  # from the first frame's start to the last one's end
    codec: str
    times_s: Sequence[float] | None = None  # when each frame begins; None: evenly, frame_index / fps
    damage: str = ""  # why it ends before its end: all frames counted here are good; empty: it is whole
    repeated_frames: Sequence[int] = ()  # indices of those that show what the frame before them shows
    notes: Sequence[str] = ()  # what was chosen or done to it while decoding, a phrase each


def decode_frames(
    path: Path,
    stride: int = 1,
    limits: DecodeLimits | None = None,
    stop: threading.Event | None = None,
    until_damage: bool = True,
) -> Generator[Frame, None, None]:
    """Every `stride`th frame of a video from frame 0, in order of display.

    A damaged video ends before the first frame that is lost or cannot be decoded whole; nothing is made up, and it
    ends at the same frame each time. `until_damage=False`: it is a DecodeError, after the frames before the damage.
    Closing the generator ends the decoding process. `stop` ends the generator early from another thread.

    Raises:
        DecodeError: the file is no video, or no frame of it is good, or decoding it takes more than `limits` allow.
        DecoderDied: the process that decodes was killed, crashed or hung.
    """
    if stride < 1:
        raise ValueError(f"a stride is 1 or more, not {stride}")
    with suppress(Stopped), DecoderProcess(path, stride, limits or DecodeLimits(), stop, until_damage) as child:
        while (header := child.read_header()) is not None:
            if header.kind == FRAME:
                yield Frame(header.frame_index, header.time_s, child.take_frame(), header.is_repeated)


def probe_video(
    path: Path,
    limits: DecodeLimits | None = None,
    stop: threading.Event | None = None,
    until_damage: bool = True,
) -> VideoInfo:
    """What is in a video, counted by decoding all of it; headers lie. Raises DecodeError as `decode_frames` does."""
    with DecoderProcess(path, 0, limits or DecodeLimits(), stop, until_damage) as child:
        while child.read_header() is not None:
            pass
        if child.account is None:
            raise DecodeError("stopped")
        return VideoInfo(**child.account)


def decode_ahead(
    requests: Sequence[tuple[str, Path, int]],
    streams: int = AheadSettings.streams,
    limits: DecodeLimits | None = None,
    settings: AheadSettings | None = None,
) -> Iterator[tuple[str, Iterator[Frame]]]:
    """For each request (key, path, stride), in order: the key and the frames that `decode_frames` would give.

    While one video is consumed, the next `streams - 1` are decoded already, as far as `settings.bytes_ahead` lets
    them. Frames not taken when the next video is asked for are lost. A DecodeError comes out of the video's own
    iterator; the videos after it are not touched by it. Closing the generator ends all decoding processes.
    """
    if streams < 1:
        raise ValueError(f"at least one video is decoded at a time, not {streams}")
    started: deque[_Stream] = deque()
    waiting = deque(requests)
    try:
        while waiting or started:
            while waiting and len(started) < streams:
                key, path, stride = waiting.popleft()
                started.append(_Stream(key, path, stride, limits, settings or AheadSettings()))
            yield started[0].key, started[0].frames()
            started.popleft().close()
    finally:
        for stream in started:
            stream.stop()
        for stream in started:
            stream.close()


class _Stream:
    """One video decoded by a thread into a buffer of bounded size."""

    def __init__(self, key: str, path: Path, stride: int, limits: DecodeLimits | None, settings: AheadSettings):
        self.key = key
        self._bytes_ahead = settings.bytes_ahead
        self._buffer: deque[Frame] = deque()
        self._buffered_bytes = 0
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._fill, args=(path, stride, limits), name=f"decode {key}", daemon=True
        )
        self._thread.start()

    def _fill(self, path: Path, stride: int, limits: DecodeLimits | None) -> None:
        frames = decode_frames(path, stride, limits, self._stopped)
        try:
            for frame in frames:
                if not self._put(frame):
                    break
        except BaseException as error:  # whatever it is, it belongs to the one who takes the frames
            self._error = error
        finally:
            frames.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped.is_set() or not self._is_full(frame.rgb.nbytes))
            if self._stopped.is_set():
                return False
            self._buffer.append(frame)
            self._buffered_bytes += frame.rgb.nbytes
            self._changed.notify_all()
            return True

    def _is_full(self, more_bytes: int) -> bool:
        return bool(self._buffer) and self._buffered_bytes + more_bytes > self._bytes_ahead

    def frames(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._buffer or self._ended)
                if not self._buffer:
                    break
                frame = self._buffer.popleft()
                self._buffered_bytes -= frame.rgb.nbytes
                self._changed.notify_all()
            yield frame
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        self.stop()
        self._thread.join()
        self._buffer.clear()
