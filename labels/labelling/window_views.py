"""What a recogniser says of the windows of a video: by frame of each subject, and how its views of an action agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from labels.labelling.action_intervals import FrameProbabilities, average_by_frame
from labels.labelling.window_store import VideoWindows
from labels.models.recogniser import Recogniser
from labels.models.window_features import recognise_with_features
from labels.records.features import as_text

RECOGNISED_TOGETHER = 32  # windows
PRIOR_GAIN = 4.0  # how much more likely the class is that the clip's own list names, where a recogniser knows it


def look_at(windows: VideoWindows, recogniser: Recogniser) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) of each window, and its features (N, F) in 0-1."""
    parts = [
        recognise_with_features(recogniser, np.asarray(windows.values[first : first + RECOGNISED_TOGETHER]))
        for first in range(0, len(windows), RECOGNISED_TOGETHER)
    ]
    if not parts:
        return np.zeros((0, len(recogniser.class_names))), np.zeros((0, 0))
    probabilities, seen = (np.concatenate(each) for each in zip(*parts, strict=True))
    return probabilities, seen


def subjects_of(
    windows: VideoWindows, probabilities: np.ndarray, class_names: Sequence[str], listed_class: str = ""
) -> list[FrameProbabilities]:
    """Probabilities by frame of each subject (a player, for as long as in sight), from those of its windows.

    Args:
        listed_class: what the clip's own list says of it; a prior, where it is one of several classes.
    """
    if listed_class in class_names:
        gain = np.ones(len(class_names))
        gain[list(class_names).index(listed_class)] = PRIOR_GAIN
        rest = np.clip(1 - probabilities.sum(axis=1, keepdims=True), 0, 1)  # none of the classes
        probabilities = probabilities * gain
        probabilities /= probabilities.sum(axis=1, keepdims=True) + rest
    spans = windows.spans()
    subjects = []
    for track_id, end in np.unique(np.column_stack([windows.track_id, windows.subject_end]), axis=0):
        own = np.flatnonzero((windows.track_id == track_id) & (windows.subject_end == end))
        subjects.append(average_by_frame(int(track_id), [spans[at] for at in own], probabilities[own], int(end)))
    return subjects


def agreement_of(
    actions: pd.DataFrame, windows: VideoWindows, probabilities: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Of the views of each action, the windows whose middle lies in it, the share that say its class, (N,) float32.

    1 for an action between the middles of two windows: nothing speaks against it.
    """
    best = np.array(class_names, dtype=object)[probabilities.argmax(axis=1)]
    shares = np.ones(len(actions), dtype=np.float32)
    for at, action in enumerate(actions.itertuples()):
        views = _windows_of(action, windows)
        if views.any():
            shares[at] = np.mean(best[views] == action.class_name)
    return shares


def _windows_of(action: Any, windows: VideoWindows) -> np.ndarray:
    """The windows of the action's subject whose middle lies in it, (N,) bool."""
    inside = (windows.centre >= action.start_frame) & (windows.centre < action.end_frame)
    return (windows.track_id == action.track_id) & inside


def appearance_of(actions: pd.DataFrame, windows: VideoWindows, seen: np.ndarray) -> pd.Series:
    """The features of each action as a column: the mean of those of its windows; empty where it has none."""
    texts = np.full(len(actions), "", dtype=object)
    for at, action in enumerate(actions.itertuples() if seen.shape[1:] != (0,) else []):
        own = _windows_of(action, windows)
        if own.any():
            texts[at] = as_text(seen[own].mean(axis=0, keepdims=True))[0]
    return pd.Series(texts, index=actions.index, dtype="str")
