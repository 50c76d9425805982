"""Matching labels with truth: precision, recall and F1, by one rule in every stage and every table.

A box is right when it takes a truth box of its class that no better label took. It takes one by

- `centre`: the label's centre lies in the truth box (for a truth point: the point lies in the label's box), or
- `iou`: their intersection over union is at least 0.5 (truth points are left out).

Labels are matched in descending order of score, as in COCO. Truth that can hardly be seen (visibility below 0.25)
counts neither as missed nor as a false positive. Only frames that the truth names count.

An action label is right when the true action at its middle frame has its class. A true action without a class is time
that nobody could name: labels whose middle lies there are not judged.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.class_lists import same_names
from labels.records.geometry import centre_of, contains_matrix, iou_matrix
from labels.records.tables import NO_TRACK

MIN_VISIBILITY = 0.25
IOU_NEEDED = 0.5
NONE = np.zeros(0, dtype=int)


@dataclass(frozen=True)
class MatchCounts:
    """How many labels are right, wrong and missing; counts of several videos add up."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    iou_sum: float = 0.0  # over the right labels whose truth is a box
    boxes_matched: int = 0

    def __add__(self, other: "MatchCounts") -> "MatchCounts":
        return MatchCounts(
            self.right + other.right,
            self.wrong + other.wrong,
            self.missed + other.missed,
            self.iou_sum + other.iou_sum,
            self.boxes_matched + other.boxes_matched,
        )

    @property
    def precision(self) -> float:
        """1 when nothing was labelled: nothing said is nothing said wrongly."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    @property
    def f1(self) -> float:
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 1.0

    @property
    def mean_iou(self) -> float:
        return self.iou_sum / self.boxes_matched if self.boxes_matched else float("nan")


def match_frame(
    label_xyxy: np.ndarray, score: np.ndarray, truth_xyxy: np.ndarray, rule: str = "centre"
) -> tuple[np.ndarray, np.ndarray]:
    """Match the labels (N, 4) of one frame and class to its truth (M, 4), best score first.

    Returns for each label the index of its truth or -1, (N,), and the IoU matrix (N, M).
    """
    overlap = iou_matrix(label_xyxy, truth_xyxy)
    if rule == "centre":
        point = (truth_xyxy[:, 0] == truth_xyxy[:, 2]) & (truth_xyxy[:, 1] == truth_xyxy[:, 3])
        centre_in_truth = contains_matrix(truth_xyxy, centre_of(label_xyxy)).T  # (N, M)
        point_in_label = contains_matrix(label_xyxy, centre_of(truth_xyxy))  # (N, M)
        allowed = np.where(point[None], point_in_label, centre_in_truth)
    elif rule == "iou":
        allowed = overlap >= IOU_NEEDED
    else:
        raise ValueError(f"a matching rule is centre or iou, not {rule}")
    distance = np.linalg.norm(centre_of(label_xyxy)[:, None] - centre_of(truth_xyxy)[None], axis=2)
    taken = np.full(len(label_xyxy), -1)
    free = np.ones(len(truth_xyxy), dtype=bool)
    best_first = np.argsort(-score, kind="stable")
    for label in best_first[np.any(allowed[best_first], axis=1)]:
        candidates = np.flatnonzero(allowed[label] & free)
        if len(candidates):
            best = candidates[np.argmin(distance[label, candidates])]
            taken[label], free[best] = best, False
    return taken, overlap


def in_names_of(truth: pd.DataFrame, class_names: Collection[str]) -> pd.DataFrame:
    """Truth that calls a thing as the labels do, where both have a name for it."""
    names = same_names(truth["class_name"].unique(), class_names)
    return truth.assign(class_name=truth["class_name"].replace(names)) if names else truth


def match_video(labels: pd.DataFrame, truth: pd.DataFrame, rule: str = "centre") -> np.ndarray:
    """For each label of one video: 1 right, 0 wrong, -1 does not count. (N,) int.

    `labels` needs frame_index, the box, class_name and score.
    """
    verdict, _ = _match(labels, truth, rule)
    return verdict


def count_matches(
    labels: pd.DataFrame, truth: pd.DataFrame, rule: str = "centre", class_names: Collection[str] | None = None
) -> MatchCounts:
    """Counts over one video.

    Judged are the classes that the truth holds and, where `class_names` is given, that are named there: a labeller of
    balls does not miss the players.
    """
    _, counts = _match(labels, truth, rule, class_names)
    return counts


def _match(
    labels: pd.DataFrame, truth: pd.DataFrame, rule: str, class_names: Collection[str] | None = None
) -> tuple[np.ndarray, MatchCounts]:
    verdict = np.full(len(labels), -1)
    truth = in_names_of(truth, {*labels["class_name"].unique(), *(class_names or ())})
    judged_frames = np.unique(truth["frame_index"].to_numpy())
    empty = tables.is_empty_frame(truth)
    if rule == "iou":
        empty = empty | tables.is_point(truth)
        judged_frames = np.setdiff1d(judged_frames, truth["frame_index"][tables.is_point(truth)].to_numpy())
    judged_classes = set(truth["class_name"][truth["class_name"] != ""].unique())
    if class_names is not None:
        judged_classes &= set(class_names)
    label_xyxy = labels[tables.BOX_COLUMNS].to_numpy(dtype=np.float32)
    truth_xyxy = truth[tables.BOX_COLUMNS].to_numpy(dtype=np.float32)
    score, visibility = labels["score"].to_numpy(), truth["visibility"].to_numpy()
    labels_at = labels.groupby(["frame_index", "class_name"]).indices
    truth_at = truth[~empty].groupby(["frame_index", "class_name"]).indices
    truth_rows = np.flatnonzero(~empty)
    seen = visibility >= MIN_VISIBILITY
    judged = set(judged_frames.tolist())
    right, wrong, missed, overlaps = 0, 0, 0, []
    for place in sorted({*labels_at, *truth_at}):
        frame, class_name = place
        if frame not in judged or class_name not in judged_classes:
            continue
        here = labels_at.get(place, NONE)
        there = truth_rows[truth_at.get(place, NONE)]
        if not len(here) or not len(there):
            verdict[here] = 0
            wrong, missed = wrong + len(here), missed + int(seen[there].sum())
            continue
        taken, overlap = match_frame(label_xyxy[here], score[here], truth_xyxy[there], rule)
        matched = taken >= 0
        hit = np.zeros(len(here), dtype=bool)
        hit[matched] = seen[there[taken[matched]]]
        verdict[here[~matched]], verdict[here[hit]] = 0, 1
        right, wrong = right + int(hit.sum()), wrong + int((~matched).sum())
        missed += int(seen[there].sum() - hit.sum())
        rows = np.flatnonzero(hit)
        is_box = truth_xyxy[there[taken[rows]], 2] > truth_xyxy[there[taken[rows]], 0]
        overlaps += overlap[rows, taken[rows]][is_box].tolist()
    return verdict, MatchCounts(right, wrong, missed, float(np.sum(overlaps)), len(overlaps))


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
