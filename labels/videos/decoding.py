"""Frames of a video, in order, decoded in a limited process of its own.

A video comes from outside, and a decoder is a million lines of C: a crash, a hang or a file that unpacks to more than
the machine holds must cost one video, not the run. So `decoding_child.py` decodes, and hands the frames over through
shared memory.

    for frame in decode_frames(path, stride=10):
        look_at(frame.rgb)

    for video_id, frames in decode_ahead([(video_id, path, 10), ...]):
        for frame in frames:  # while these are looked at, the next video is being decoded
            look_at(frame.rgb)
"""

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labels.videos.decoder_process import DecodeError, DecoderProcess, Stopped
from labels.videos.frame_pipe import FRAME
from labels.videos.settings import AheadSettings, DecodeLimits

__all__ = ["DecodeError", "Frame", "VideoInfo", "decode_ahead", "decode_frames", "probe_video"]


class Frame(NamedTuple):
    """One decoded frame; `rgb` belongs to whoever receives it."""

    frame_index: int  # counts decoded frames from 0
    time_s: float  # by the frame's own timestamp, 0 at the first frame
    rgb: np.ndarray  # (H, W, 3) uint8, upright


@dataclass(frozen=True)
class VideoInfo:
    """What is in a video, by decoding all of it."""

    width: int  # of the upright frame
    height: int
    fps: float
    frame_count: int
    duration_s: float  # from the first frame's start to the last one's end
    codec: str


def decode_frames(
    path: Path, stride: int = 1, limits: DecodeLimits | None = None, stop: threading.Event | None = None
) -> Generator[Frame, None, None]:
    """Every `stride`th frame of a video from frame 0, in order of display.

    Closing the generator ends the decoding process. `stop` ends the generator early from another thread.

    Raises:
        DecodeError: the file is no video, or frames of it are lost (they are never made up), or decoding it
            takes more than `limits` allow. Frames before the damage have been given by then.
    """
    if stride < 1:
        raise ValueError(f"a stride is 1 or more, not {stride}")
    with suppress(Stopped), DecoderProcess(path, stride, limits or DecodeLimits(), stop) as child:
        while (header := child.read_header()) is not None:
            if header.kind == FRAME:
                yield Frame(header.frame_index, header.time_s, child.take_frame())


def probe_video(path: Path, limits: DecodeLimits | None = None, stop: threading.Event | None = None) -> VideoInfo:
    """What is in a video, counted by decoding all of it; headers lie. Raises DecodeError as `decode_frames` does."""
    with DecoderProcess(path, 0, limits or DecodeLimits(), stop) as child:
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
