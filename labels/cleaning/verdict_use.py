"""Human verdicts, applied to the tables of one video before they are merged and decided on.

A verdict names a label. Where that label is in the table, it is corrected there. Where it is not, because a labeller
ran anew and found the object again under another name, the box that lies where the judged one lay takes its name. Where
there is none either, what the human said becomes a row of its own: a kept one, or a denied one, that keeps its place
empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.cleaning.features.box_pairs import overlap_with_better, same_objects
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.geometry import clip_boxes
from labels.records.verdicts import Verdict
from labels.records.video_labels import VideoFacts

EVERY_INSIDE = 2.0  # no box lies so far inside another


@dataclass(frozen=True)
class Applied:
    """The tables as a human wants them; `words` are the verdicts on their rows, label_uid -> "y" or "n"."""

    new: pd.DataFrame
    old: pd.DataFrame | None
    words: dict[str, str]
    added: int  # rows of `new` that no labeller gave
    moved_away: pd.DataFrame  # the boxes that were moved away from, or are of another class: nothing is there any more


def apply_verdicts(
    new: pd.DataFrame,
    old: pd.DataFrame | None,
    verdicts: Mapping[str, Verdict],
    round_number: int,
    settings: CleaningSettings,
    meta: VideoFacts,
) -> Applied:
    """Put `verdicts` into the labelled boxes `new` of one video and the decided ones `old`."""
    words = {uid: verdict.verdict for uid, verdict in verdicts.items()}
    placed = {uid: verdict for uid, verdict in verdicts.items() if is_here(verdict, meta)}
    if not words:
        return Applied(new, old, words, 0, new.iloc[:0])
    left = _rows(
        [verdict for verdict in placed.values() if verdict.is_correction and verdict.judged_xyxy],
        round_number, meta, as_judged=True,
    )  # fmt: skip
    if old is not None:
        old, _ = _applied(old, placed, verdicts, left, round_number, words, settings, meta)
    named_before = set(old["label_uid"]) if old is not None else set()
    unnamed = {uid: verdict for uid, verdict in placed.items() if uid not in named_before}
    result, missing = _applied(new, unnamed, verdicts, left, round_number, words, settings, meta)
    if len(missing):
        result = tables.concatenate([result, missing], tables.BOXES)
    return Applied(result, old, words, len(missing), left)


def is_here(verdict: Verdict, meta: VideoFacts) -> bool:
    """Whether a verdict names a place in this video."""
    if not verdict.is_placed or verdict.video_id != meta.video_id:
        return False
    assert verdict.frame_index is not None and verdict.right_xyxy is not None
    box = clip_boxes(np.array([verdict.right_xyxy]), meta.width, meta.height)[0]
    return verdict.frame_index < meta.frame_count and bool(box[2] > box[0] and box[3] > box[1])


def _applied(
    table: pd.DataFrame,
    placed: Mapping[str, Verdict],
    verdicts: Mapping[str, Verdict],
    left: pd.DataFrame,
    round_number: int,
    words: dict[str, str],
    settings: CleaningSettings,
    meta: VideoFacts,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table corrected and named, and the rows (of the boxes table) for what has no place in it. Adds to `words`."""
    table = table.reset_index(drop=True)
    there = set(table["label_uid"])
    table = _corrected(table, [verdicts[uid] for uid in table["label_uid"] if uid in verdicts], meta)
    free = np.flatnonzero(~table["label_uid"].isin(verdicts).to_numpy())
    absent = [verdict for uid, verdict in placed.items() if uid not in there]
    wanted = _rows([verdict for verdict in absent if verdict.verdict == "y"], round_number, meta)
    wanted = wanted[~_duplicates(wanted, table[table["label_uid"].map(words).eq("y")], settings)]
    limits = settings.match_iou, settings.match_distance_sizes
    at, ghost = same_objects(table.iloc[free], wanted, *limits)
    table = _take_over(table, free[at], wanted.iloc[ghost], human=True)
    missing = [wanted.drop(wanted.index[ghost])]

    free = np.setdiff1d(free, free[at])
    denied = _rows([verdict for verdict in absent if verdict.verdict == "n"], round_number, meta)
    at, ghost = same_objects(table.iloc[free], denied, *limits)
    table = _take_over(table, free[at], denied.iloc[ghost], human=False)
    missing.append(denied.drop(denied.index[ghost]))

    # However often something is found again where a human moved a box away, it is not there.
    free = np.setdiff1d(free, free[at])
    right = table[table["label_uid"].map(words).eq("y")]
    free = np.setdiff1d(free, free[same_objects(table.iloc[free], right, *limits)[0]])
    while len(at := same_objects(table.iloc[free], left, *limits)[0]):
        words.update(dict.fromkeys(table["label_uid"].iloc[free[at]], "n"))
        free = np.setdiff1d(free, free[at])
    return table, tables.concatenate(missing, tables.BOXES)


def _corrected(table: pd.DataFrame, verdicts: list[Verdict], meta: VideoFacts) -> pd.DataFrame:
    """The rows that a human confirmed, with the box and the class that were confirmed."""
    right = [verdict for verdict in verdicts if verdict.verdict == "y"]
    if not right:
        return table
    place = pd.Series(np.arange(len(table)), index=table["label_uid"])
    table = table.copy()
    rows = place[[verdict.label_uid for verdict in right]].to_numpy()
    _set(table, "origin", rows, ["human"] * len(rows))
    named = [(row, verdict.right_class) for row, verdict in zip(rows, right, strict=True) if verdict.right_class]
    _set(table, "class_name", np.array([row for row, _ in named], dtype=np.int64), [name for _, name in named])
    boxed = [(row, verdict.right_xyxy) for row, verdict in zip(rows, right, strict=True) if verdict.right_xyxy]
    xyxy = np.array([box for _, box in boxed], dtype=np.float64).reshape(-1, 4)
    clipped = clip_boxes(xyxy, meta.width, meta.height)
    sound = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    at = np.array([row for row, _ in boxed], dtype=np.int64)[sound]
    for column, name in enumerate(tables.BOX_COLUMNS):
        _set(table, name, at, clipped[sound, column])
    return table


def _rows(verdicts: list[Verdict], round_number: int, meta: VideoFacts, as_judged: bool = False) -> pd.DataFrame:
    """What was said as rows of the boxes table, named by the judged labels: as they should be, or as they were."""
    boxes = [verdict.judged_xyxy if as_judged else verdict.right_xyxy for verdict in verdicts]
    xyxy = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    frames = np.array([verdict.frame_index for verdict in verdicts], dtype=np.int64)
    names = [
        (verdict.judged_class if as_judged else verdict.right_class) or verdict.right_class for verdict in verdicts
    ]
    is_right = np.array([verdict.verdict == "y" for verdict in verdicts], dtype=bool)
    return tables.make_boxes(
        str(meta.video_id),
        round_number,
        frames,
        frames / max(float(meta.fps), 1e-6),
        clip_boxes(xyxy, meta.width, meta.height),
        np.array(names, dtype=object),
        np.where(is_right, 1.0, 0.0),
    ).assign(
        label_uid=pd.Series([verdict.label_uid for verdict in verdicts], dtype="str"),
        origin=pd.Series(np.where(is_right, "human", "detected"), dtype="str"),
    )


def _duplicates(wanted: pd.DataFrame, standing: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Which of `wanted` (the latest last) mean what a human said already under another name. (N,) bool"""
    both = tables.concatenate([wanted, standing[list(tables.BOXES)]], tables.BOXES)
    preference = np.arange(len(both), dtype=np.float64)  # what stands is last of all
    every = np.ones(len(both), dtype=bool)
    covered = overlap_with_better(both, preference, every, settings.match_iou, EVERY_INSIDE)
    return covered[: len(wanted)] > settings.match_iou


def _take_over(table: pd.DataFrame, rows: np.ndarray, verdicts: pd.DataFrame, human: bool) -> pd.DataFrame:
    """Rows take the names of what was said of them, and where it was right also its boxes."""
    if not len(rows):
        return table
    table = table.copy()
    names = ["label_uid", *((*tables.BOX_COLUMNS, "origin") if human else ())]
    for name in names:
        _set(table, name, rows, verdicts[name].to_numpy())
    return table


def _set(table: pd.DataFrame, name: str, rows: np.ndarray, values: object) -> None:
    column = table[name].to_numpy(copy=True)
    column[rows] = values
    table[name] = pd.Series(column, index=table.index).astype(table[name].dtype)
