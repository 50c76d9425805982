"""The shadow of a ball: it goes along below the ball on as smooth a path, and is flat, for it lies on the ground."""

from itertools import permutations

import numpy as np
import pandas as pd

from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.tracks.candidates import Timeline, make_candidates

SLOPES = (0.5, 2.0)  # how far a shadow goes left or right while the ball goes 1
MIN_TRAVEL_SIZES = 2.0  # a ball that hardly moves is followed by everything


def add_shadow(
    evidence: pd.DataFrame, boxes: pd.DataFrame, usable: np.ndarray, timeline: Timeline, settings: CleaningSettings
) -> None:
    """Adds `shadow`: for each box of a path that goes along below another one, how much flatter it is; NaN for others.

    Ways are compared in coordinates from which the camera's motion is taken out: under a pan all things go along.
    """
    evidence["shadow"] = np.nan
    on_path = usable & (evidence["path"] >= 0).to_numpy() & ~evidence["is_player"].to_numpy()
    for class_name in boxes["class_name"][on_path].unique():
        rows = np.flatnonzero(on_path & (boxes["class_name"] == class_name).to_numpy())
        candidates = make_candidates(boxes, evidence["log_odds"].to_numpy(), rows, timeline)
        path = evidence["path"].to_numpy()[candidates.row]
        xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)[candidates.row]
        flatness = (xyxy[:, 2] - xyxy[:, 0]) / (xyxy[:, 3] - xyxy[:, 1])
        paths = [np.flatnonzero(path == number) for number in np.unique(path)]
        for upper, lower in permutations([nodes for nodes in paths if len(nodes) >= settings.min_shadow_steps], 2):
            if _goes_along_below(candidates.steady, candidates.step, candidates.extent, upper, lower, settings):
                flatter = float(np.median(flatness[lower]) / np.median(flatness[upper]))
                before = evidence["shadow"].to_numpy()[candidates.row[lower]]
                evidence.loc[candidates.row[lower], "shadow"] = np.fmax(before, flatter)


def _goes_along_below(
    steady: np.ndarray,
    step: np.ndarray,
    extent: np.ndarray,
    upper: np.ndarray,
    lower: np.ndarray,
    settings: CleaningSettings,
) -> bool:
    _, above, below = np.intersect1d(step[upper], step[lower], assume_unique=True, return_indices=True)
    if len(above) < settings.min_shadow_steps:
        return False
    ball, shadow = steady[upper[above]], steady[lower[below]]
    size = float(np.sqrt(np.prod(extent[upper], axis=1)).mean())
    if (shadow[:, 1] <= ball[:, 1]).mean() > 0.1 or _travel(ball) < MIN_TRAVEL_SIZES * size:
        return False
    if _travel(shadow) < MIN_TRAVEL_SIZES * size:
        return False
    likeness = float(np.corrcoef(ball[:, 0], shadow[:, 0])[0, 1])
    slope = likeness * float(shadow[:, 0].std() / ball[:, 0].std())
    return likeness >= settings.min_shadow_likeness and SLOPES[0] <= slope <= SLOPES[1]


def _travel(points: np.ndarray) -> float:
    """How far something goes left or right, pixels, without its farthest tenths: one stray box is no way."""
    low, high = np.quantile(points[:, 0], [0.1, 0.9])
    return float(high - low)
