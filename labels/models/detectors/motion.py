"""`--detector motion`: small fast balls found by how they move. Nothing to download, no torch.

`motion_blobs` finds what differs from the background. Here blobs are scored twice by how much they resemble a flying
ball, streaming, each with the frames around it in its shot:

- by appearance, with a network of one hidden layer: compact or an even streak, clear against the background, of a
  ball's size, alone rather than part of a runner or above a body, no shadow;
- then by its path too, with a logistic regression: are there blobs of its size and colour in the neighbouring frames,
  where an even flight would have them.

The weights were fitted to rendered and filmed clips (`tests/bench/motion_weights.py`). Balls at rest
and balls hidden by a player are not found: it is a teacher, not a judge.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from labels.models.detectors.motion_blobs import (
    NO_BLOBS,
    Background,
    Blobs,
    find_blobs,
    lay_over,
    reduced_copy,
    what_moves,
)
from labels.models.settings import BALL, MotionSettings
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of
from labels.tracks.camera_motion import IDENTITY, CameraMotion

USUAL_SHARE = 0.03  # of the frame's height: a ball's size around which sizes are measured
LEAST_AROUND = 0.03  # of what moves around a blob: less says no more
# Fitted by `tests/bench/motion_weights.py`: the layers of the network, weights then biases, and the logistic sum.
WEIGHTS_FILE = Path(__file__).with_name("motion_weights.json")
WEIGHTS = json.loads(WEIGHTS_FILE.read_text())


def look_of(blobs: Blobs, height: int) -> np.ndarray:
    """The log-odds of each blob being a ball by its look, (N,); `height` is that of the reduced copy."""
    return network_odds(look_features(blobs, height), WEIGHTS["look"])


def network_odds(features: np.ndarray, layers: list) -> np.ndarray:
    """The log-odds of each blob being a ball, (N,), from its `look_features` (N, 14); layers as in `WEIGHTS`."""
    (hidden, hidden_biases), (weights, biases) = layers
    return (np.tanh(features @ np.array(hidden) + hidden_biases) @ np.array(weights) + biases)[:, 0]


def look_features(blobs: Blobs, height: int) -> np.ndarray:
    """What is seen of the blobs of a frame, (N, 14): eight of their own, six of what moves around."""
    share = np.log(np.maximum(blobs.size, 1) / height / USUAL_SHARE)
    return np.column_stack(
        [
            np.log(blobs.contrast / 20),
            blobs.fill,
            np.log(blobs.aspect),
            np.minimum(blobs.bustle, 0.5),
            np.clip(share, -1, 1),
            np.minimum(share**2, 0.5),  # bounded: a ball close to the camera is a ball
            blobs.edges / (blobs.edges + blobs.contrast),
            blobs.shade,
            np.log(LEAST_AROUND + blobs.around),
        ]
    )


def link_strength(blobs: list[Blobs], centre: list[np.ndarray], settings: MotionSettings) -> np.ndarray:
    """The log-odds that three blobs of three consecutive frames are one flying thing, (N, M, K) float32.

    Args:
        blobs: those of the frame before, this frame (M of them) and the frame after.
        centre: their centres (., 2) as this frame would see them.

    A flight is even: the middle blob lies half way between the others; it moves; and it keeps size and colour.
    """
    (first, middle, last), (a, b, c) = blobs, centre
    speed = np.linalg.norm(c[None, :] - a[:, None], axis=2) / 2  # (N, K), pixels a frame
    off_x = (a[:, None, None, 0] + c[None, None, :, 0]) / 2 - b[None, :, None, 0]  # (N, M, K)
    off_y = (a[:, None, None, 1] + c[None, None, :, 1]) / 2 - b[None, :, None, 1]
    gate = 1 + 0.3 * middle.size[None, :, None] + 0.1 * speed[:, None]
    moves = np.log(0.02 + speed / (speed + 0.25 * np.sqrt(first.size[:, None] * last.size[None])))
    unlike = _dissimilarity(first, middle)[:, :, None] + _dissimilarity(middle, last)[None]
    strength = settings.link_reward - (off_x**2 + off_y**2) / gate**2 - unlike + moves[:, None]
    return np.maximum(strength, -settings.most_evidence).astype(np.float32)


def forward_evidence(before: np.ndarray | None, link: np.ndarray | None, look: list[np.ndarray]) -> np.ndarray:
    """The evidence for each pair of a blob a frame before and one of this frame being the end of a path, (N, M).

    Args:
        before: the same of the frame before, (L, N); None at the start of a shot.
        link: the link strengths (L, N, M) that join both; None with `before`.
        look: log-odds by their look of the N blobs before and of the M here.

    The evidence for a path is the sum of its blobs' looks and its links' strengths: log-odds against chance.
    """
    start = np.broadcast_to(look[0][:, None], (len(look[0]), len(look[1])))
    if before is not None and link is not None and before.size and link.size:
        start = np.maximum(start, (before[:, :, None] + link).max(axis=0))
    return start + look[1][None]


def path_evidence(
    forward: np.ndarray | None, ahead: list[tuple[np.ndarray | None, np.ndarray]], look: np.ndarray
) -> np.ndarray:
    """The evidence for the best path through each blob of a frame, (M,) log-odds; alone a blob has its look.

    Args:
        forward: `forward_evidence` of this frame (L, M); None at the start of a shot.
        ahead: for this frame and those after it, in order: the links (., M, .) with that frame in the middle (None
            where there are none), and the looks of its blobs.
        look: of the blobs of this frame.
    """
    backward: np.ndarray | None = None  # for each pair of a blob of a frame and one of the frame before, (K, M)
    for (_, look_before), (link, look_there) in zip(ahead[-2::-1], ahead[:0:-1], strict=True):
        joined = None if link is None else link.transpose(2, 1, 0)
        backward = forward_evidence(backward, joined, [look_there, look_before])
    best = look.copy()
    for evidence in (forward, backward):
        if evidence is not None and evidence.size:
            best = np.maximum(best, evidence.max(axis=0))
    link = ahead[0][0]
    if forward is not None and backward is not None and link is not None and link.size:
        through = (forward[:, :, None] + link).max(axis=0) + backward.T - look[:, None]  # (M, K)
        best = np.maximum(best, through.max(axis=1))
    return best


def score_of(look: np.ndarray, evidence: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """The score in 0-1 from look and path, (N,) each."""
    return 1 / (1 + np.exp(-(score_features(look, evidence, settings) @ np.array(WEIGHTS["score"]))))


def score_features(look: np.ndarray, evidence: np.ndarray, settings: MotionSettings) -> np.ndarray:
    """What the score is the logistic sum of, (N, 4)."""
    bounded = np.clip(evidence, -settings.most_evidence, settings.most_evidence)
    return np.column_stack([np.ones(len(look)), look, bounded, np.maximum(bounded, 0)])


def _dissimilarity(one: Blobs, other: Blobs) -> np.ndarray:
    """How much two blobs differ in size and colour, (N, M) from 0."""
    ratio = np.log(np.maximum(one.size, 1)[:, None] / np.maximum(other.size, 1)[None])
    colour = np.linalg.norm(one.colour[:, None] - other.colour[None], axis=2)
    return (ratio / 0.6) ** 2 + (colour / 80) ** 2


def best_of_each(xyxy: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Indices, best first, of the boxes left when each takes away the worse ones that share a centre with it."""
    centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    inside = ((centre[None] >= xyxy[:, None, :2]) & (centre[None] <= xyxy[:, None, 2:])).all(axis=2)
    same = inside | inside.T
    left: list[int] = []
    for candidate in np.argsort(-score, kind="stable"):
        if not same[candidate, left].any():
            left.append(int(candidate))
    return np.array(left, dtype=int)


if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame

VERSION = 3  # raise it when the same settings give other boxes
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
            seen.blobs, seen.look = blobs.where(best), np.maximum(look[best], self._settings.least_look)
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
