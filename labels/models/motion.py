"""`--detector motion`: small fast balls found by how they move. Nothing to download, no torch.

`motion_blobs` finds what differs from the background, `motion_scoring` says how like a flying ball it is. Here is what
holds them together: frames stream through, each is judged by those around it in its shot. The weights of the scores
were fitted on rendered clips (`tests/bench/motion_weights.py`) and checked on filmed ones.

Balls that lie still, and balls hidden by a player, are not found: it is a teacher, not a judge.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from labels.models.motion_blobs import NO_BLOBS, Background, Blobs, find_blobs, lay_over, reduced_copy, what_moves
from labels.models.motion_scoring import (
    WEIGHTS,
    best_of_each,
    forward_evidence,
    link_strength,
    look_of,
    path_evidence,
    score_of,
)
from labels.models.settings import BALL, MotionSettings
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of
from labels.tracks.camera_motion import IDENTITY, CameraMotion

if TYPE_CHECKING:
    from labels.videos.decoding import Frame

VERSION = 2  # raise it when the same settings give other boxes
PATH_REACH = 3  # frames ahead that a path is followed; it remembers those behind
Item = TypeVar("Item")


@dataclass(frozen=True)
class _Copy:
    """A frame at a smaller scale."""

    pixels: np.ndarray  # (h, w, 3)
    scale: float  # against the frame
    to_before: np.ndarray  # (2, 3) from its pixel indices to those of the frame before


@dataclass
class Seen:
    """A frame with what is needed of it while its neighbours are looked at."""

    frame: "Frame"
    small: _Copy
    smaller: _Copy  # for what moves in the long run
    shot_index: int
    blobs: Blobs = NO_BLOBS
    look: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (N,) log-odds of a blob being a ball by its look
    link: np.ndarray | None = None  # `link_strength` with the blobs before and after; None at the ends of a shot


class MotionDetector:
    """The `motion` labeller; see `models/detector.py` for what its attributes mean."""

    name: str = "motion"
    class_names: tuple[str, ...] = (BALL,)
    every_frame: bool = True
    describes: bool = False

    def __init__(self, class_names: tuple[str, ...] | None = None, settings: MotionSettings | None = None) -> None:
        settings = settings or MotionSettings()
        if class_names is not None and tuple(class_names) != (BALL,):
            raise InputError(f"--detector motion finds balls only: leave --classes out or say --classes '{BALL}'")
        self._settings = settings
        self.working_threshold = {BALL: settings.working_threshold}
        self.score_slope: dict[str, float] = {}
        self.digest = digest_of(["motion", VERSION, WEIGHTS, asdict(settings)])

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        for seen, evidence in self.judged(frames):
            score = score_of(seen.look, evidence, self._settings)
            keep = best_of_each(seen.blobs.xyxy, score)
            keep = keep[score[keep] >= self._settings.score_floor]
            xyxy = seen.blobs.xyxy[keep] / seen.small.scale
            yield seen.frame, Detections(xyxy, score[keep], np.full(len(keep), BALL, dtype=object))

    def judged(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Seen, np.ndarray]]":
        """Each frame with its clearest blobs, and the log-odds (N,) of the best path through each of them."""
        forward: np.ndarray | None = None
        for window, here in _surroundings(self._with_links(frames), PATH_REACH):
            seen = window[here]
            ahead = [(one.link, one.look) for one in window[here:] if one.shot_index == seen.shot_index]
            if here == 0 or window[here - 1].shot_index != seen.shot_index:
                forward = None
            else:
                before = window[here - 1]
                forward = forward_evidence(forward, before.link, [before.look, seen.look])
                forward = np.minimum(forward, self._settings.most_evidence)
            yield seen, path_evidence(forward, ahead, seen.look)

    def _with_links(self, frames: "Iterable[Frame]") -> Iterator[Seen]:
        for window, here in _surroundings(self._with_blobs(frames), 1):
            seen = window[here]
            if len(window) == 3 and all(one.shot_index == seen.shot_index for one in window):
                centre = []
                for at, one in enumerate(window):
                    to_here = _transform([one.small for one in window], at, here)
                    centre.append(one.blobs.centre @ to_here[:, :2].T + to_here[:, 2])
                seen.link = link_strength([one.blobs for one in window], centre, self._settings)
            yield seen

    def _with_blobs(self, frames: "Iterable[Frame]") -> Iterator[Seen]:
        for seen, blobs in self.blobs_of(frames):
            look = look_of(blobs, seen.small.pixels.shape[0])
            best = np.argsort(-look, kind="stable")[: self._settings.max_blobs]
            seen.blobs, seen.look = blobs.where(best), look[best]
            yield seen

    def blobs_of(self, frames: "Iterable[Frame]") -> Iterator[tuple[Seen, Blobs]]:
        """Each frame with all that moves in it."""
        settings = self._settings
        for window, here in _surroundings(self._with_camera(frames), max(settings.gaps + settings.long_gaps)):
            seen = window[here]
            shot = [one for one in window if one.shot_index == seen.shot_index]
            here -= sum(one.shot_index < seen.shot_index for one in window)
            background = _background([one.small for one in shot], here, settings.gaps)
            in_long_run = _background([one.smaller for one in shot], here, settings.long_gaps)
            moves = None if in_long_run is None else what_moves(seen.smaller.pixels, in_long_run, settings)
            yield seen, find_blobs(seen.small.pixels, background, settings, moves)

    def _with_camera(self, frames: "Iterable[Frame]") -> Iterator[Seen]:
        camera, shot_index = CameraMotion(), 0
        for frame in frames:
            step = camera.update(frame.rgb)
            shot_index += step.is_cut
            small, scale = reduced_copy(frame.rgb, self._settings.long_side)
            smaller, by = reduced_copy(small, self._settings.long_run_side)
            yield Seen(
                frame,
                _Copy(small, scale, _to_indices(step.matrix, scale)),
                _Copy(smaller, scale * by, _to_indices(step.matrix, scale * by)),
                shot_index,
            )


def _background(copies: list[_Copy], here: int, gaps: tuple[int, ...]) -> Background | None:
    """What the frames of a shot at these gaps before and after show of one; None where fewer than two are there."""
    others = [here + side * gap for gap in gaps for side in (-1, 1)]
    laid = [
        lay_over(copies[at].pixels, copies[here].pixels, _transform(copies, here, at))
        for at in others
        if 0 <= at < len(copies)
    ]
    return Background.of(laid) if len(laid) >= 2 else None


def _transform(copies: list[_Copy], start: int, end: int) -> np.ndarray:
    """The transform (2, 3) from the pixels of one of the copies to those of another of the same shot."""
    total = np.eye(3)
    for at in range(max(start, end), min(start, end), -1):
        total = np.vstack([copies[at].to_before, [0, 0, 1]]) @ total
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
