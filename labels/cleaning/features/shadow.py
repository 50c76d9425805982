"""The shadow of a ball: it lies flat on the ground, goes along below the ball, and rises and falls less.

A detector sees it flat, but a student that learnt the size of balls draws its box as round as theirs: then it is the
shadow where the labeller is also less sure of its path than of the ball's. And light falls one way: as the ball rises
and falls, its shadow goes away from it and comes back in one and the same direction, wherever both go.

What stands upright all along its way is told here too: a player far away, who is as small as a ball.
"""

from collections.abc import Mapping
from itertools import permutations

import numpy as np

from labels.cleaning.features.feature import Columns, Scene, feature
from labels.cleaning.settings import CleaningSettings
from labels.tracks.candidates import Candidates

SLOPES = (0.4, 2.5)  # how far a shadow goes left or right while the ball goes 1
MIN_TRAVEL_SIZES = 2.0  # a ball that hardly moves is followed by everything
SHUTTER = 0.5  # of the time between two frames in which a moving thing leaves its trace
UNSURE_PIXELS = 0.5  # of where a box is: nothing is straighter than this


@feature(
    reads=("usable", "is_player", "path", "vouched", "support", "log_odds", "xyxy"),
    writes=("flat", "upright", "shadow", "cast"),
)
def shadow(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """What tells shadows and far players, of the boxes of each path; NaN off paths, and on those that are short, of
    players known as such, or where a human drew.

    `flat`: how much wider than high they are; `upright`: how much higher than wide. `shadow`: how much less their path
    rises and falls than one above it that it goes along with; NaN where there is none. `cast`: how much more its
    distance to one above it changes than the direction of that one; NaN as well. Ways are compared in coordinates from
    which the camera's motion is taken out: under a pan all things go along.
    """
    settings = scene.settings
    result = {name: np.full(len(scene), np.nan) for name in ("flat", "upright", "shadow", "cast")}
    asked = columns["usable"] & (columns["path"] >= 0) & ~columns["is_player"] & ~columns["vouched"]
    for class_name in scene.boxes["class_name"][asked].unique():
        rows = np.flatnonzero(asked & scene.of_class(class_name))
        candidates = scene.candidates(columns["xyxy"], columns["log_odds"], rows)
        row, path = candidates.row, columns["path"][candidates.row]
        support = columns["support"][row]
        paths = [np.flatnonzero(path == number) for number in np.unique(path)]
        paths = [nodes for nodes in paths if len(nodes) >= settings.min_shadow_steps]
        frames = [scene.timeline.frame_index[candidates.step[nodes]] for nodes in paths]
        longer = [_longer_sides(candidates, frame, nodes) for frame, nodes in zip(frames, paths, strict=True)]
        flat = [wider for wider, _ in longer]
        for nodes, (wider, higher) in zip(paths, longer, strict=True):
            result["flat"][row[nodes]], result["upright"][row[nodes]] = wider, higher
        for (upper, flat_above), (lower, flat_below) in permutations(zip(paths, flat, strict=True), 2):
            below = row[lower]
            result["cast"][below] = np.fmax(result["cast"][below], _cast(candidates, upper, lower, settings))
            flatter = flat_below > settings.min_shadow_flatness * flat_above
            if flatter or support[lower].mean() < support[upper].mean():
                straighter = _straighter_below(candidates, upper, lower, settings)
                result["shadow"][below] = np.fmax(result["shadow"][below], straighter)
    return result


def _longer_sides(candidates: Candidates, frame_index: np.ndarray, nodes: np.ndarray) -> tuple[float, float]:
    """How much wider than high a path's boxes are, and how much higher than wide, more than its speed would smear a
    round thing; median ratios.
    """
    smear = SHUTTER * np.abs(np.gradient(candidates.screen[nodes], frame_index, axis=0))  # (N, 2)
    ratio = np.log(candidates.extent[nodes, 0] / candidates.extent[nodes, 1])
    round_one = candidates.size[nodes, None] + smear
    smeared = np.log(round_one[:, 0] / round_one[:, 1])
    wider, higher = ratio - np.maximum(smeared, 0), np.minimum(smeared, 0) - ratio
    return float(np.exp(np.median(wider))), float(np.exp(np.median(higher)))


def _straighter_below(
    candidates: Candidates, upper: np.ndarray, lower: np.ndarray, settings: CleaningSettings
) -> float:
    """How much less `lower` rises and falls than `upper`, below which it goes along; NaN where it does not."""
    _, above, below = np.intersect1d(
        candidates.step[upper], candidates.step[lower], assume_unique=True, return_indices=True
    )
    if len(above) < settings.min_shadow_steps:
        return np.nan
    ball, shadow = candidates.steady[upper[above]], candidates.steady[lower[below]]
    size = float(np.sqrt(np.prod(candidates.extent[upper], axis=1)).mean())
    if (shadow[:, 1] <= ball[:, 1]).mean() > 0.1 or min(_travel(ball), _travel(shadow)) < MIN_TRAVEL_SIZES * size:
        return np.nan
    correlation = float(np.corrcoef(ball[:, 0], shadow[:, 0])[0, 1])
    slope = correlation * float(shadow[:, 0].std() / ball[:, 0].std())
    if correlation < settings.min_shadow_correlation or not SLOPES[0] <= slope <= SLOPES[1]:
        return np.nan
    step = candidates.step[upper[above]]
    return _rise_and_fall(step, ball[:, 1]) / max(_rise_and_fall(step, shadow[:, 1]), UNSURE_PIXELS)


def _cast(candidates: Candidates, upper: np.ndarray, lower: np.ndarray, settings: CleaningSettings) -> float:
    """How constant the direction from `upper` down to `lower` is: the spread of their distance over what strays from
    the direction that fits best. NaN where `upper` does not rise or fall, or they neither part nor meet.
    """
    ball, below = _together(candidates, upper, lower)
    if len(ball) < settings.min_shadow_steps:
        return np.nan
    size = float(np.sqrt(np.prod(candidates.extent[upper], axis=1)).mean())
    apart = below - ball  # (N, 2)
    direction = np.linalg.svd(apart, full_matrices=False)[2][0]
    distance, stray = apart @ direction, apart @ np.array([-direction[1], direction[0]])
    rises = min(_spread(ball[:, 1]), _spread(distance)) >= MIN_TRAVEL_SIZES * size
    if not rises or (apart[:, 1] <= 0).mean() > 0.1:
        return np.nan
    return float(distance.std() / max(np.sqrt(np.mean(stray**2)), UNSURE_PIXELS))


def _together(candidates: Candidates, upper: np.ndarray, lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where two paths are in the frames in which both are seen, (N, 2) each, the camera's motion taken out."""
    both = np.intersect1d(candidates.step[upper], candidates.step[lower], assume_unique=True, return_indices=True)
    return candidates.steady[upper[both[1]]], candidates.steady[lower[both[2]]]


def _travel(points: np.ndarray) -> float:
    """How far something goes left or right, pixels."""
    return _spread(points[:, 0])


def _spread(values: np.ndarray) -> float:
    """From the least to the most, without the farthest tenths: one stray box is no way."""
    low, high = np.quantile(values, [0.1, 0.9])
    return float(high - low)


def _rise_and_fall(step: np.ndarray, height: np.ndarray) -> float:
    """How far the heights (N,) lie off the straight line over the steps that fits them best, pixels."""
    return float(np.std(height - np.polyval(np.polyfit(step, height, 1), step)))
