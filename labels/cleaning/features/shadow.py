"""Shadow of a ball: flat on the ground, it moves along below the ball, and rises and falls less.

A detector sees it flat, but a student that learnt the size of balls draws its box as round as theirs. Then it is the
shadow where the labeller is also less confident of its path than of the ball's.

What is upright along its whole path is found here too: a distant player, no larger than a ball.
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
    writes=("flat", "upright", "shadow"),
)
def shadow(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Of the boxes of each path, `flat`: how much wider than high they are, `upright`: how much higher than wide, and
    `shadow`: how much less the path rises and falls than one above that it goes along with.

    NaN off paths, and on those that are short, of players, or where a human drew; `shadow` also where there is no path
    above. Paths are compared in coordinates from which the camera's motion is taken out: under a pan all things go
    along.
    """
    settings = scene.settings
    result = {name: np.full(len(scene), np.nan) for name in ("flat", "upright", "shadow")}
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
            flatter = flat_below > settings.min_shadow_flatness * flat_above
            if flatter or support[lower].mean() < support[upper].mean():
                straighter = _straighter_below(candidates, upper, lower, settings)
                result["shadow"][below] = np.fmax(result["shadow"][below], straighter)
    return result


def _longer_sides(candidates: Candidates, frame_index: np.ndarray, nodes: np.ndarray) -> tuple[float, float]:
    """Width over height of a path's boxes, and height over width, less what their speed would smear a round thing;
    medians.
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


def _travel(points: np.ndarray) -> float:
    """How far something goes left or right, pixels, without the farthest tenths: one stray box is no way."""
    low, high = np.quantile(points[:, 0], [0.1, 0.9])
    return float(high - low)


def _rise_and_fall(step: np.ndarray, height: np.ndarray) -> float:
    """How far the heights (N,) lie off the straight line over the steps that fits them best, pixels."""
    return float(np.std(height - np.polyval(np.polyfit(step, height, 1), step)))
