"""A cleaned round as the review page holds it: its labels in one table, its items, the facts of its videos.

Items come in the order of the change that a verdict is expected to make:

    expected change = how near the quality is to a threshold, summed over the labels that one verdict decides

A track is one item: a verdict on one of its boxes holds for the others. So are boxes on no track that lie in the same
place in frames close by. A box that was dropped for a better one belongs to the better one's item.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.features.box_pairs import pair_iou, pairs_between
from labels.cleaning.rules import rule_of
from labels.cleaning.settings import CleaningSettings
from labels.labelling.action_intervals import TEST
from labels.pictures.palette import style_names
from labels.pictures.report.rounds import CleanedRound, require_cleaned_round
from labels.pictures.settings import REVIEW, ReviewSettings
from labels.records import tables
from labels.records.errors import InputError
from labels.records.tables import BOX_COLUMNS, NO_TRACK
from labels.records.work_folder import ACTIONS_CLEANED, WorkFolder


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


SORTS = ("frame", "quality", "score")


@dataclass(frozen=True)
class ReviewVideo:
    """What the page must know of a video to show a label in it."""

    video_id: str
    file: str
    sha256: str
    fps: float
    stride: int
    frame_count: int
    width: int
    height: int
    held_out: bool


@dataclass
class ReviewRound:
    """`labels`: the decided boxes of all videos, with `step` (place among the labelled frames), `rule`, `style`."""

    number: int
    outputs: tuple[str | None, str | None]  # see outputs_of: others mean that it was cleaned anew
    labels: pd.DataFrame
    videos: dict[str, ReviewVideo]
    thresholds: tuple[float, float]  # of quality: ignored from, kept from
    class_names: list[str]
    unreadable: dict[str, str] = field(default_factory=dict)  # video_id -> why its labels are not shown
    settings: ReviewSettings = REVIEW

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """The table's columns as arrays, from which single values are had quickly."""
        return {name: self.labels[name].to_numpy(dtype=object) for name in self.labels.columns}

    @cached_property
    def items(self) -> list[ReviewItem]:
        return choose_items(self.labels, self.thresholds, self.settings)

    @cached_property
    def item_named(self) -> dict[str, ReviewItem]:
        """By the label_uid of the row that stands for the item."""
        uid = self.labels["label_uid"].to_numpy()
        return {uid[item.shown]: item for item in self.items}

    @cached_property
    def item_of_row(self) -> np.ndarray:
        """Which item each label is in, by its place in `items`. (N,)"""
        place = np.full(len(self.labels), -1, dtype=np.int64)
        for number, item in enumerate(self.items):
            place[item.rows] = number
            place[item.duplicates] = number
        return place

    @cached_property
    def place_of(self) -> dict[str, int]:
        return {uid: row for row, uid in enumerate(self.labels["label_uid"])}

    def in_frames(self, video_id: str, first: int, last: int) -> np.ndarray:
        """Rows of a video's labels in frames from `first` to `last`, both included."""
        rows = self._rows_of_video.get(video_id)
        if rows is None:
            return np.zeros(0, dtype=np.int64)
        frames = self.labels["frame_index"].to_numpy()[rows]  # sorted
        return rows[np.searchsorted(frames, first) : np.searchsorted(frames, last, side="right")]

    @cached_property
    def _rows_of_video(self) -> dict[str, np.ndarray]:
        return dict(self.labels.groupby("video_id", sort=False).indices)


def load_round(work: WorkFolder, number: int) -> ReviewRound:
    """All boxes of a cleaned round, none where it has actions alone; its videos.

    InputError when it is not cleaned; unreadable shards are named, not fatal.
    """
    found: CleanedRound = require_cleaned_round(work, number)
    record = found.records["cleaned"]
    parts, videos, unreadable = [], {}, {}
    for row in work.usable_videos().itertuples():
        video_id = str(row.video_id)
        if not found.has(video_id):
            continue
        try:
            boxes = found.boxes(video_id)
        except InputError as error:
            unreadable[video_id] = str(error)
            continue
        stride = found.stride(video_id)
        videos[video_id] = ReviewVideo(
            video_id, str(row.file), str(row.sha256), float(row.fps), stride,
            int(row.frame_count), int(row.width), int(row.height), str(row.split) == TEST,
        )  # fmt: skip
        parts.append(boxes.assign(step=boxes["frame_index"] // stride).sort_values("frame_index", kind="stable"))
    columns = tables.BOXES | tables.DECIDED | {"step": "int64"}
    labels = tables.concatenate([part[list(columns)] for part in parts], columns).reset_index(drop=True)
    rules = {reason: rule_of(reason) for reason in labels["reason"].unique()}
    labels = labels.assign(rule=labels["reason"].map(rules).astype("str"), style=style_names(labels))
    arguments, usual = record.arguments if record else {}, CleaningSettings()
    thresholds = (
        float(arguments.get("ignore_quality", usual.ignore_quality)),
        float(arguments.get("keep_quality", usual.keep_quality)),
    )
    asked = record.facts.get("class_names", ()) if record else ()
    names = sorted({*asked, *labels["class_name"].unique()} - {""})
    return ReviewRound(number, outputs_of(found), labels, videos, thresholds, names, unreadable)


def outputs_of(found: CleanedRound) -> tuple[str | None, str | None]:
    """Digests of what a round's boxes, and its actions, were cleaned to; None where it has none."""
    boxes, actions = found.records["cleaned"], found.records[ACTIONS_CLEANED]
    return boxes.output if boxes else None, actions.output if actions else None


def browse(labels: pd.DataFrame, wanted: dict[str, Any]) -> tuple[np.ndarray, dict[str, dict[str, int]]]:
    """Rows of `labels` that fit a filter, in the order asked for, and how many labels each choice would leave.

    Args:
        wanted: `class_name`, `decision`, `rule`, `origin`, `video_id` (exact, or absent for any), `low` and `high`
            (of the score), `sort` (one of SORTS).
    """
    named = ("class_name", "decision", "rule", "origin", "video_id")
    score = labels["score"].to_numpy()
    in_range = (score >= np.float32(wanted.get("low", 0.0))) & (score <= np.float32(wanted.get("high", 1.0)))
    fits = {name: (labels[name] == wanted[name]).to_numpy() for name in named if wanted.get(name)}
    counts = {}
    for name in named:
        others = [fit for other, fit in fits.items() if other != name]
        there = np.logical_and.reduce([in_range, *others])
        counts[name] = {str(word): int(count) for word, count in labels[name][there].value_counts().items() if word}
    rows = np.flatnonzero(np.logical_and.reduce([in_range, *fits.values()]))
    sort = wanted.get("sort", SORTS[0])
    if sort in ("quality", "score"):
        rows = rows[np.argsort(labels[sort].to_numpy()[rows], kind="stable")]
    return rows, counts
