"""Action labels against true actions, by one plain rule: what goes on in the middle of the label is what it says.

A true action without a class (`class_name` empty) is a time in which nobody could name what goes on: labels whose
middle lies there are not judged.
"""

import numpy as np
import pandas as pd

from labels.records.tables import NO_TRACK


def action_is_right(labels: pd.DataFrame, truth: pd.DataFrame) -> np.ndarray:
    """Whether the middle of each label lies in a true action of its class, (N,) bool.

    Where both name a player it must be the same one.
    """
    same_class = (
        labels["class_name"].to_numpy(dtype=object)[:, None] == truth["class_name"].to_numpy(dtype=object)[None]
    )
    return (_in_the_middle(labels, truth) & same_class).any(axis=1)


def is_judged(labels: pd.DataFrame, truth: pd.DataFrame) -> np.ndarray:
    """Whether each label can be right or wrong, (N,) bool."""
    here, named = _in_the_middle(labels, truth), (truth["class_name"] != "").to_numpy()
    return np.logical_or(here[:, named].any(axis=1), np.logical_not(here.any(axis=1)))


def _in_the_middle(labels: pd.DataFrame, truth: pd.DataFrame) -> np.ndarray:
    """Which true actions of its player go on in the middle of each label, (N, M) bool."""
    middle = (labels["start_frame"].to_numpy() + labels["end_frame"].to_numpy()) / 2
    inside = (truth["start_frame"].to_numpy()[None] <= middle[:, None]) & (
        middle[:, None] < truth["end_frame"].to_numpy()[None]
    )
    who, truly = labels["track_id"].to_numpy()[:, None], truth["track_id"].to_numpy()[None]
    return inside & ((who == truly) | (who == NO_TRACK) | (truly == NO_TRACK))


def covered_frames(labels: pd.DataFrame, truth: pd.DataFrame) -> int:
    """In how many frames of the true actions with a class something is said of the one who does them, right or not."""
    covered = 0
    for real in truth[truth["class_name"] != ""].itertuples():
        same = labels[(labels["track_id"] == real.track_id) | (real.track_id == NO_TRACK)]
        inside = np.zeros(int(real.end_frame - real.start_frame), dtype=bool)
        for start, end in zip(
            same["start_frame"] - real.start_frame, same["end_frame"] - real.start_frame, strict=True
        ):
            inside[max(0, start) : max(0, end)] = True
        covered += int(inside.sum())
    return covered
