"""Action labels against true actions, by one plain rule: what goes on in the middle of the label is what it says."""

import numpy as np
import pandas as pd

from labels.records.tables import NO_TRACK


def action_is_right(labels: pd.DataFrame, truth: pd.DataFrame) -> np.ndarray:
    """Whether the middle of each label lies in a true action of its class, (N,) bool.

    Where both name a player it must be the same one.
    """
    middle = (labels["start_frame"].to_numpy() + labels["end_frame"].to_numpy()) / 2
    inside = (truth["start_frame"].to_numpy()[None] <= middle[:, None]) & (
        middle[:, None] < truth["end_frame"].to_numpy()[None]
    )
    same_class = (
        labels["class_name"].to_numpy(dtype=object)[:, None] == truth["class_name"].to_numpy(dtype=object)[None]
    )
    who, truly = labels["track_id"].to_numpy()[:, None], truth["track_id"].to_numpy()[None]
    same_player = (who == truly) | (who == NO_TRACK) | (truly == NO_TRACK)
    return (inside & same_class & same_player).any(axis=1)
