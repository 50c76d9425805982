"""What a person should look at first: the labels whose verdicts are expected to change the most.

    expected change = how near the quality is to a threshold, summed over the labels that one verdict decides

A track is one item: what is right of one of its boxes is right of the others. So are boxes on no track that lie in the
same place in frames close by, and a box that was dropped for a better one is part of the better one's item.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from labels.cleaning.box_pairs import pair_iou, pairs_between
from labels.pictures.review_settings import REVIEW, ReviewSettings
from labels.records.tables import BOX_COLUMNS, NO_TRACK


@dataclass
class ReviewItem:
    """Labels that one verdict decides. Rows are places in the table of labels, in the order of their frames."""

    rows: np.ndarray
    shown: int  # the row that stands for them: the one nearest to a threshold
    change: float
    duplicates: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # denied with it, not confirmed


def nearness(quality: np.ndarray, thresholds: tuple[float, float], settings: ReviewSettings = REVIEW) -> np.ndarray:
    """1 at a threshold, falling evenly to `least_change` at `reach` from the nearest one. (N,)"""
    distance = np.abs(np.asarray(quality, dtype=np.float64)[:, None] - np.array(thresholds)).min(axis=1)
    return np.maximum(1 - distance / settings.reach, settings.least_change)


def choose_items(
    labels: pd.DataFrame, thresholds: tuple[float, float], settings: ReviewSettings = REVIEW
) -> list[ReviewItem]:
    """Every label of a decided boxes table (of any number of videos) in one item each, the most worth a look first.

    `labels` has, beside the columns of the table, `step`: the place of its frame among the labelled ones.
    """
    if not len(labels):
        return []
    change = nearness(labels["quality"].to_numpy(), thresholds, settings)
    group = _groups(labels, settings)
    owner = _owners(labels, settings)
    own = owner < 0
    items = {}
    order = np.lexsort([labels["frame_index"].to_numpy(), group])
    order = order[own[order]]
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        items[group[rows[0]]] = ReviewItem(rows, int(rows[np.argmax(change[rows])]), float(change[rows].sum()))
    for row in np.flatnonzero(~own):
        item = items[group[owner[row]]]
        item.duplicates = np.append(item.duplicates, row)
        item.change += float(settings.least_change)
    uid = labels["label_uid"].to_numpy()
    return sorted(items.values(), key=lambda item: (-item.change, uid[item.shown]))


def _groups(labels: pd.DataFrame, settings: ReviewSettings) -> np.ndarray:
    """A number for each label, the same for those that one verdict decides. (N,)"""
    dropped = (labels["decision"] == "drop").to_numpy()
    tracked = (labels["track_id"] != NO_TRACK).to_numpy()
    same = [labels["video_id"], labels["class_name"], pd.Series(dropped, index=labels.index)]
    kind = labels.groupby(same, sort=False).ngroup().to_numpy()
    group = np.arange(len(labels), dtype=np.int64)
    on_tracks = pd.MultiIndex.from_arrays([kind[tracked], labels["track_id"].to_numpy()[tracked]])
    codes = pd.factorize(on_tracks)[0]
    first = np.flatnonzero(tracked)[np.unique(codes, return_index=True)[1]] if tracked.any() else group[:0]
    group[tracked] = first[codes]
    alone = np.flatnonzero(~tracked)
    if not len(alone):
        return group
    step, xyxy = labels["step"].to_numpy(), labels[BOX_COLUMNS].to_numpy(dtype=np.float64)
    span = int(step.max()) + settings.duplicate_steps + 2
    key = kind[alone] * span + step[alone]
    for shift in range(1, settings.duplicate_steps + 1):
        for one, two in pairs_between(key + shift, key):
            one, two = alone[one], alone[two]
            alike = pair_iou(xyxy[one], xyxy[two]) >= settings.duplicate_iou
            for first_row, second_row in zip(one[alike], two[alike], strict=True):
                _join(group, int(first_row), int(second_row))
    for row in alone:
        group[row] = _root(group, int(row))
    return group


def _owners(labels: pd.DataFrame, settings: ReviewSettings) -> np.ndarray:
    """For a box that was dropped for a better one: the row of that one; -1 for all others. (N,)"""
    owner = np.full(len(labels), -1, dtype=np.int64)
    is_spare = labels["reason"].str.startswith("overlap").to_numpy() & (labels["decision"] == "drop").to_numpy()
    spare, others = np.flatnonzero(is_spare), np.flatnonzero(~is_spare)
    if not len(spare) or not len(others):
        return owner
    key = labels.groupby(["video_id", "class_name", "frame_index"], sort=False).ngroup().to_numpy()
    xyxy = labels[BOX_COLUMNS].to_numpy(dtype=np.float64)
    best = np.zeros(len(labels))
    for one, two in pairs_between(key[spare], key[others]):
        one, two = spare[one], others[two]
        overlap = pair_iou(xyxy[one], xyxy[two])
        for row, other, value in zip(one, two, overlap, strict=True):
            if value > best[row]:
                best[row], owner[row] = value, other
    return owner


def _root(group: np.ndarray, row: int) -> int:
    while group[row] != row:
        group[row] = group[group[row]]
        row = int(group[row])
    return row


def _join(group: np.ndarray, one: int, two: int) -> None:
    one, two = _root(group, one), _root(group, two)
    group[max(one, two)] = min(one, two)
