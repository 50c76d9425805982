"""Labels against truth: precision, recall and F1, by one rule for every stage and every table in the README.

A label is right when it takes a truth box of its class that no better label took, where «takes» is either

- `centre`: the label's centre lies in the truth box (for a truth point: the point lies in the label's box), or
- `iou`: their intersection over union is at least 0.5 (truth points are left out).

Labels are taken in the order of their score, as COCO does. Truth that can hardly be seen (visibility below 0.25) is
neither missed when not found nor wrong when found. Only frames that the truth names count.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.geometry import centre_of, contains_matrix, iou_matrix

MIN_VISIBILITY = 0.25
IOU_NEEDED = 0.5


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
    for label in np.argsort(-score, kind="stable"):
        candidates = np.flatnonzero(allowed[label] & free)
        if len(candidates):
            best = candidates[np.argmin(distance[label, candidates])]
            taken[label], free[best] = best, False
    return taken, overlap


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
    counts = MatchCounts()
    for frame in judged_frames:
        for class_name in judged_classes:
            here = labels_at.get((frame, class_name), np.zeros(0, dtype=int))
            there = truth_rows[truth_at.get((frame, class_name), np.zeros(0, dtype=int))]
            if not len(here) and not len(there):
                continue
            taken, overlap = match_frame(label_xyxy[here], score[here], truth_xyxy[there], rule)
            seen = visibility[there] >= MIN_VISIBILITY
            matched = taken >= 0
            counted = ~matched
            counted[matched] = seen[taken[matched]]
            verdict[here[counted]] = matched[counted].astype(int)
            right = matched & counted
            is_box = right.copy()
            is_box[right] = truth_xyxy[there][taken[right], 2] > truth_xyxy[there][taken[right], 0]
            counts += MatchCounts(
                right=int(right.sum()),
                wrong=int((~matched).sum()),
                missed=int(seen.sum() - right.sum()),
                iou_sum=float(overlap[np.flatnonzero(is_box), taken[is_box]].sum()),
                boxes_matched=int(is_box.sum()),
            )
    return verdict, counts
