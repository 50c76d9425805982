"""Actions of two rounds, and of humans, laid over one another: who speaks of the same time of the same player."""

import numpy as np
import pandas as pd

from labels.cleaning.action_settings import ActionSettings
from labels.cleaning.scores import log_odds, probability


def merge_rounds(
    found: pd.DataFrame, machine: pd.DataFrame, settings: ActionSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """This round's labels with what the round before said of the same actions; and what only that one said.

    An action of the same track at the same time and of the same class is the same label: it keeps its name, and its
    quality is between the two rounds'. Where the round before kept another class, the quality falls.
    """
    place, overlap = best_overlaps(found, machine)
    matched = overlap >= settings.match_overlap
    same = np.zeros(len(found), dtype=bool)
    odds = log_odds(found["score"].to_numpy(np.float64))
    before = machine.iloc[np.where(matched, place, 0)] if len(machine) else None
    if before is not None:
        same = matched & (found["class_name"].to_numpy() == before["class_name"].to_numpy())
        first = ~pd.Series(np.where(same, place, -1 - np.arange(len(place)))).duplicated().to_numpy()
        same &= first  # one label has one heir
        old_odds = log_odds(before["quality"].to_numpy(np.float64))
        other = matched & ~same & (before["decision"].to_numpy() == "keep")
        odds = np.where(same, odds + settings.old_share * (old_odds - odds), odds)
        odds = np.where(other, odds - settings.old_share * np.maximum(old_odds, 0), odds)
    merged = found.assign(quality=probability(odds).astype(np.float32))
    if before is not None:
        for column in ("label_uid", "round_born"):
            merged[column] = np.where(same, before[column].to_numpy(), found[column].to_numpy())
    heirs = set(place[same].tolist())
    return merged, machine.iloc[[at for at in range(len(machine)) if at not in heirs]]


def best_overlaps(actions: pd.DataFrame, others: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """For each action the place of the other of its video and track that it shares most time with, and the IoU."""
    place, best = np.full(len(actions), -1), np.zeros(len(actions))
    by_subject = others.groupby(["video_id", "track_id"]).indices
    start, end = others["start_frame"].to_numpy(), others["end_frame"].to_numpy()
    for at, (video_id, track_id, first, last) in enumerate(
        zip(*(actions[name] for name in ("video_id", "track_id", "start_frame", "end_frame")), strict=True)
    ):
        own = by_subject.get((video_id, track_id))
        if own is None:
            continue
        shared = np.clip(np.minimum(end[own], last) - np.maximum(start[own], first), 0, None)
        overlap = shared / (np.maximum(end[own], last) - np.minimum(start[own], first))
        place[at], best[at] = own[overlap.argmax()], overlap.max()
    return place, best


def said_again(found: pd.DataFrame, denied: pd.DataFrame, settings: ActionSettings) -> np.ndarray:
    """Which labels (N,) say the class of a denied one, of the same track at the same time."""
    again = np.zeros(len(found), dtype=bool)
    for name, own in denied.groupby("class_name"):
        rows = np.flatnonzero(found["class_name"] == name)
        again[rows] = best_overlaps(found.iloc[rows], own)[1] >= settings.match_overlap
    return again


def said_by_human(
    found: pd.DataFrame, human: pd.DataFrame, settings: ActionSettings
) -> tuple[np.ndarray, pd.DataFrame]:
    """Which labels are of a time that a human labelled (N,), and the human labels that a sure student contradicts."""
    place, overlap = best_overlaps(found, human)
    covered = overlap > 0
    said = human.iloc[np.where(covered, place, 0)] if len(human) else human
    if not covered.any():
        return covered, human.iloc[:0].assign(student_class="", student_score=0.0)
    differs = covered & (found["class_name"].to_numpy() != said["class_name"].to_numpy())
    doubted = differs & (found["score"].to_numpy() >= settings.doubt_quality)
    doubts = said[doubted].assign(
        student_class=found["class_name"].to_numpy()[doubted], student_score=found["score"].to_numpy()[doubted]
    )
    return covered, doubts.drop_duplicates("label_uid").reset_index(drop=True)
