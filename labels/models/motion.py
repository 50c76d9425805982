"""`--detector motion`: small fast balls found by how they move. No weights, no network, no torch.

`motion_blobs` finds what differs from the background. Here each blob is scored by how much it is like a ball: compact
or an even streak, clear against what is behind it, of a ball's size, alone rather than part of a runner, and on a path:
there are blobs of its size and colour in the frames beside it at the places where an even flight would have them. The
score is a logistic sum of these; its weights were fitted on rendered clips and checked on filmed ones.

Balls that lie still, and balls hidden by a player, are not found: it is a teacher, not a judge.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from labels.models.motion_blobs import Blobs, difference_from, find_blobs, lay_over, reduced_copy
from labels.models.settings import BALL, MotionSettings
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of
from labels.tracks.camera_motion import IDENTITY, CameraMotion

if TYPE_CHECKING:
    from labels.videos.decoding import Frame

VERSION = 1  # raise it when the same settings give other boxes
PATH_REACH = 2  # frames before and after that a path is looked for in
Item = TypeVar("Item")


@dataclass
class _Seen:
    """A frame with what is needed of it while its neighbours are looked at."""

    frame: "Frame"
    small: np.ndarray
    scale: float
    to_before: np.ndarray  # (2, 3) on the reduced copy's pixel indices
    shot_index: int
    blobs: Blobs | None = None


class MotionDetector:
    """The `motion` labeller; see `models/detector.py` for what its attributes mean."""

    name = "motion"
    class_names = (BALL,)
    every_frame = True

    def __init__(self, class_names: tuple[str, ...] | None = None, settings: MotionSettings | None = None) -> None:
        settings = settings or MotionSettings()
        if class_names is not None and tuple(class_names) != (BALL,):
            raise InputError(f"--detector motion finds balls only: leave --classes out or say --classes '{BALL}'")
        self._settings = settings
        self.working_threshold = {BALL: settings.working_threshold}
        self.digest = digest_of(["motion", VERSION, asdict(settings)])

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        for window, here in _surroundings(self._with_blobs(frames), PATH_REACH):
            seen = window[here]
            blobs = seen.blobs
            assert blobs is not None
            if not len(blobs):
                yield seen.frame, Detections.none()
                continue
            score = self._score(blobs, path_support(*_same_shot(window, here)), seen.small.shape[0])
            keep = score >= self._settings.score_floor
            xyxy = blobs.xyxy[keep] / seen.scale
            yield seen.frame, Detections(xyxy, score[keep], np.full(int(keep.sum()), BALL, dtype=object))

    def _with_blobs(self, frames: "Iterable[Frame]") -> Iterator[_Seen]:
        gaps = self._settings.gaps
        for window, here in _surroundings(self._with_camera(frames), max(gaps)):
            seen = window[here]
            others = [here + side * gap for gap in gaps for side in (-1, 1)]
            others = [at for at in others if 0 <= at < len(window) and window[at].shot_index == seen.shot_index]
            if len(others) >= 2:
                laid = [lay_over(window[at].small, seen.small, _transform(window, here, at)) for at in others]
                difference = difference_from(seen.small, laid)
            else:
                difference = np.zeros(seen.small.shape[:2], dtype=np.uint8)
            seen.blobs = find_blobs(seen.small, difference, self._settings)
            yield seen

    def _with_camera(self, frames: "Iterable[Frame]") -> Iterator[_Seen]:
        camera, shot_index = CameraMotion(), 0
        for frame in frames:
            small, scale = reduced_copy(frame.rgb, self._settings.long_side)
            step = camera.update(frame.rgb)
            shot_index += step.is_cut
            yield _Seen(frame, small, scale, _to_indices(step.matrix, scale), shot_index)

    def _score(self, blobs: Blobs, support: np.ndarray, height: int) -> np.ndarray:
        """How much each blob is like a ball, (N,) in 0-1."""
        return 1 / (1 + np.exp(-(features_of(blobs, support, height) @ np.array(self._settings.weights))))


def features_of(blobs: Blobs, support: np.ndarray, height: int) -> np.ndarray:
    """What the score is the weighted sum of, (N, 8) float64; `height` is that of the reduced copy."""
    share = np.log(np.maximum(blobs.size, 1) / height / 0.03)  # 0 for a ball of 3 % of the frame's height
    return np.column_stack(
        [
            np.ones(len(blobs)),
            np.log(blobs.contrast / 20),
            blobs.fill,
            np.log(blobs.aspect),
            np.minimum(blobs.bustle, 0.5),
            share,
            share**2,
            support,
        ]
    ).astype(np.float64)


def path_support(blobs: list[Blobs], moved: list[np.ndarray], here: int) -> np.ndarray:
    """How well the blobs of one frame lie on an even flight through its neighbours, (N,) in 0-1.

    `blobs` are those of consecutive frames, `moved` their centres in the pixels of frame `here`. An even flight is
    three blobs of consecutive frames, alike in size and colour, the middle one half way; the three that hold a blob
    count together.
    """
    doubt = np.ones(len(blobs[here]))
    for place, start in enumerate((here - 2, here - 1, here)):
        if start < 0 or start + 2 >= len(blobs):
            continue
        evenness = _evenness(blobs[start : start + 3], moved[start : start + 3])
        if evenness.size:
            best = evenness.max(axis=tuple(axis for axis in range(3) if axis != 2 - place))
            doubt *= 1 - 0.75 * best
    return 1 - doubt


def _evenness(blobs: list[Blobs], centre: list[np.ndarray]) -> np.ndarray:
    """For each triple of blobs of three frames how even a flight it is, (N, M, K) in 0-1."""
    (first, middle, last), (a, b, c) = blobs, centre
    step = c[None, :] - a[:, None]  # (N, K, 2)
    speed = np.linalg.norm(step, axis=2) / 2
    off = np.linalg.norm((a[:, None, None] + c[None, None]) / 2 - b[None, :, None], axis=3)  # (N, M, K)
    gate = 1 + 0.3 * middle.size[None, :, None] + 0.12 * speed[:, None]
    moves = speed / (speed + 0.25 * np.sqrt(first.size[:, None] * last.size[None]))
    alike = _likeness(first, middle)[:, :, None] * _likeness(middle, last)[None]
    return np.exp(-((off / gate) ** 2)) * moves[:, None] * alike


def _likeness(one: Blobs, other: Blobs) -> np.ndarray:
    """How alike in size and colour, (N, M) in 0-1."""
    ratio = np.log(np.maximum(one.size, 1)[:, None] / np.maximum(other.size, 1)[None])
    colour = np.linalg.norm(one.colour[:, None] - other.colour[None], axis=2)
    return np.exp(-((ratio / 0.6) ** 2) - (colour / 80) ** 2)


def _same_shot(window: list[_Seen], here: int) -> tuple[list[Blobs], list[np.ndarray], int]:
    """The blobs of the frames around `here` within its shot, and their centres as frame `here` would see them."""
    places = [at for at in range(len(window)) if window[at].shot_index == window[here].shot_index]
    blobs, moved = [], []
    for at in places:
        found = window[at].blobs
        assert found is not None
        to_here = _transform(window, at, here)
        blobs.append(found)
        moved.append(found.centre @ to_here[:, :2].T + to_here[:, 2])
    return blobs, moved, places.index(here)


def _transform(window: list[_Seen], start: int, end: int) -> np.ndarray:
    """The transform (2, 3) from the pixels of one frame of the window to those of another of the same shot."""
    total = np.eye(3)
    for at in range(max(start, end), min(start, end), -1):
        total = np.vstack([window[at].to_before, [0, 0, 1]]) @ total
    return (total if end <= start else np.linalg.inv(total))[:2]


def _to_indices(matrix: np.ndarray, scale: float) -> np.ndarray:
    """From half-open full-resolution coordinates to pixel indices of the reduced copy."""
    if np.array_equal(matrix, IDENTITY):
        return matrix
    half = np.array([0.5, 0.5])
    return np.column_stack([matrix[:, :2], matrix[:, 2] * scale + matrix[:, :2] @ half - half])


def _surroundings(stream: Iterable[Item], reach: int) -> Iterator[tuple[list[Item], int]]:
    """Each item of a stream, as the items up to `reach` before and after it and its place among them."""
    held: deque[Item] = deque(maxlen=2 * reach + 1)
    waiting = 0
    for item in stream:
        held.append(item)
        waiting += 1
        if waiting > reach:
            yield list(held), len(held) - waiting
            waiting -= 1
    while waiting:
        if len(held) > reach + waiting:
            held.popleft()
        yield list(held), len(held) - waiting
        waiting -= 1
