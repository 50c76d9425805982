"""How like a flying ball a moving blob is: the second half of the `motion` labeller.

A blob is judged twice. By its look, with a network of one hidden layer: compact or an even streak, clear against what
is behind it, of a ball's size, alone rather than part of a runner or above a body, no shadow. Then by its path as well,
with a logistic sum: whether there are blobs of its size and colour in the frames beside it where an even flight would
have them.
"""

import json
from pathlib import Path

import numpy as np

from labels.models.motion_blobs import Blobs
from labels.models.settings import MotionSettings

USUAL_SHARE = 0.03  # of the frame's height: a ball's size around which sizes are measured
LEAST_AROUND = 0.03  # of what moves around a blob: less says no more
# Fitted by `tests/bench/motion_weights.py`: the layers of the network, weights then biases, and the logistic sum.
WEIGHTS_FILE = Path(__file__).with_name("motion_weights.json")
WEIGHTS = json.loads(WEIGHTS_FILE.read_text())


def look_of(blobs: Blobs, height: int) -> np.ndarray:
    """The log-odds of each blob being a ball by its look, (N,); `height` is that of the reduced copy."""
    return look_odds(look_features(blobs, height))


def look_odds(features: np.ndarray) -> np.ndarray:
    """The log-odds of each blob being a ball, (N,), from its `look_features` (N, 14)."""
    (hidden, hidden_biases), (weights, biases) = WEIGHTS["look"]
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
    unlike = _unlikeness(first, middle)[:, :, None] + _unlikeness(middle, last)[None]
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


def _unlikeness(one: Blobs, other: Blobs) -> np.ndarray:
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
