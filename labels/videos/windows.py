"""Windows: short runs of frames, sampled by time at the rate a recogniser was made for, in one pass over a video.

Samples lie on one grid of times, `j / rate`; each is the frame that is on the screen then, so that a variable frame
rate, or one that is not a multiple of the window's, changes nothing. A window is `frames` samples in a row, the next
one begins `stride` samples later, and the last one ends where the source does. A source shorter than a window gives
one window of its frames, each as often as the others.

Windows are of the whole frame, or of a square that follows a player: cut out with what lies outside the frame padded
grey, and never stretched. While a player is out of sight there is none: each time in sight is a source of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from labels.records.tables import NO_TRACK
from labels.videos.decoding.frames import Frame
from labels.videos.settings import WindowShape

PADDING = (114, 114, 114)  # outside the frame
TIME_SLACK_S = 1e-6


class Square(Protocol):
    """What of `tracks.player_crops.CropPath` is needed here."""

    @property
    def track_id(self) -> int: ...
    @property
    def first_frame(self) -> int: ...
    @property
    def squares(self) -> np.ndarray: ...
    def sight_at(self, frame_index: int) -> tuple[int, int] | None: ...


@dataclass(frozen=True)
class Window:
    """`values` (T, h, w, 3) uint8 RGB; `frame_index` and `time_s` (T,) of the frames they were taken from."""

    track_id: int
    frame_index: np.ndarray
    time_s: np.ndarray
    values: np.ndarray


def sample_windows(
    frames: Iterable[Frame], shape: WindowShape, tracks: Sequence[Square] | None = None
) -> Iterator[Window]:
    """All windows of a video, in the order they are complete.

    Args:
        frames: every frame of the video from frame 0, in order.
        tracks: the players to follow; None: the whole frame. A track that begins after the video ends gives nothing.
    """
    subjects = [_Subject(shape, track) for track in (tracks if tracks is not None else [None])]
    before: Frame | None = None
    step_s = 1 / shape.rate
    sample = 0
    for frame in frames:
        if before is not None:
            step_s = frame.time_s - before.time_s
            shown = _samples_until(sample, frame.time_s, shape.rate)
            for subject in subjects:
                yield from subject.take(before, shown)
            sample += shown
        before = frame
    if before is not None:
        shown = _samples_until(sample, before.time_s + step_s, shape.rate)
        for subject in subjects:
            yield from subject.take(before, shown)
            yield from subject.finish()


def even_places(count: int, wanted: int) -> np.ndarray:
    """`wanted` of `count` places in order, each as often as the others give or take one: (wanted,) int."""
    return np.arange(wanted) * count // wanted


def _samples_until(first: int, time_s: float, rate: float) -> int:
    """How many samples from number `first` on are taken before this time."""
    return max(0, int(np.ceil(time_s * rate - TIME_SLACK_S * rate)) - first)


@dataclass
class _Sample:
    frame_index: int
    time_s: float
    pixels: np.ndarray


@dataclass
class _Subject:
    """The whole frame, or one player, while the video goes by."""

    shape: WindowShape
    track: Square | None
    held: list[_Sample] = field(default_factory=list)  # the latest samples, a window of them
    every: list[_Sample] = field(default_factory=list)  # all frames, until the first window is full
    count: int = 0  # samples so far
    last_end: int = 0  # of the last window, in samples
    sight: tuple[int, int] | None = None  # of the track's times in sight, the one that goes by

    def take(self, frame: Frame, shown: int) -> Iterator[Window]:
        """A frame that is on the screen for so many samples, which may be none."""
        if self.track is not None:
            here = self.track.sight_at(frame.frame_index)
            if here != self.sight:
                yield from self.finish()
                self.held, self.every, self.count, self.last_end, self.sight = [], [], 0, 0, here
            if here is None:
                return
        if not shown and self.count >= self.shape.frames:
            return
        sample = _Sample(frame.frame_index, frame.time_s, self._cut(frame))
        if self.count < self.shape.frames:
            self.every.append(sample)
        for _ in range(shown):
            self.held = [*self.held[-self.shape.frames + 1 :], sample] if self.shape.frames > 1 else [sample]
            self.count += 1
            if self.count >= self.shape.frames:
                self.every = []
                if (self.count - self.shape.frames) % self.shape.step == 0:
                    yield self._window(self.held)

    def finish(self) -> Iterator[Window]:
        """What is left when the video, or a time in sight, is over."""
        if 0 < self.count < self.shape.frames or (self.every and not self.count):
            yield self._window([self.every[at] for at in even_places(len(self.every), self.shape.frames)])
        elif self.count and self.last_end < self.count:
            yield self._window(self.held)

    def _window(self, samples: list[_Sample]) -> Window:
        self.last_end = self.count
        return Window(
            NO_TRACK if self.track is None else self.track.track_id,
            np.array([sample.frame_index for sample in samples]),
            np.array([sample.time_s for sample in samples]),
            np.stack([sample.pixels for sample in samples]),
        )

    def _cut(self, frame: Frame) -> np.ndarray:
        if self.track is None:
            return shrink(frame.rgb, self.shape.side)
        square = self.track.squares[frame.frame_index - self.track.first_frame]
        return cut_square(frame.rgb, square, self.shape.side)


def shrink(rgb: np.ndarray, side: int) -> np.ndarray:
    """A frame whose shorter side is `side` pixels, its shape kept; a smaller frame grows."""
    height, width = rgb.shape[:2]
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def cut_square(rgb: np.ndarray, square: np.ndarray, side: int, padding: Sequence[int] = PADDING) -> np.ndarray:
    """The square (centre x, centre y, side in pixels) of a frame as (side, side, 3); outside the frame it is grey.

    Of a mask (H, W) it is (side, side), with `padding` of one value.
    """
    height, width = rgb.shape[:2]
    size = max(1, round(float(square[2])))
    left, top = round(float(square[0]) - size / 2), round(float(square[1]) - size / 2)
    cut = rgb[max(0, top) : max(0, top + size), max(0, left) : max(0, left + size)]
    above, before = min(size, max(0, -top)), min(size, max(0, -left))
    below, after = min(size, max(0, top + size - height)), min(size, max(0, left + size - width))
    if not cut.size:
        return np.full((side, side, *rgb.shape[2:]), padding if rgb.ndim > 2 else padding[0], dtype=np.uint8)
    if above or before or below or after:
        cut = cv2.copyMakeBorder(cut, above, below, before, after, cv2.BORDER_CONSTANT, value=tuple(padding))
    return cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA if size > side else cv2.INTER_LINEAR)
