"""What a person changed in labels that went out and came back, as verdicts. A pure function of tables.

A label that is as it went out says nothing, since a file that was only sent and fetched was not looked at; with
`confirm` the person says that it was. A moved or renamed one is a correction, a missing one is denied, a new one is the
person's own. What did not go out (another video, a frame without a picture) is not missing.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.found_matching import match_boxes
from labels.exchange.label_set import FoundLabels
from labels.records import tables

MIN_IOU = 0.5  # of a box without a name and the label it is taken for
Row = dict[str, Any]


@dataclass
class Comparison:
    """`boxes` are rows of verdicts.csv, `actions` of human_actions.csv, `counts` what became of every label."""

    boxes: list[Row] = field(default_factory=list)
    actions: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def compare_boxes(
    found: FoundLabels, went_out: pd.DataFrame, ignored: pd.DataFrame, denies: bool, confirm: bool, told: Comparison
) -> None:
    """Add what the boxes of a file say.

    Args:
        went_out: what the export said (see label_export.read_back); empty when the file is not from here.
        ignored: labels of the round that were not exported because they are doubtful.
        denies: whether a label that is missing was taken out by a person.
    """
    boxes = found.boxes.reset_index(drop=True)
    ours = went_out.reset_index(drop=True)
    expected = _is_covered(ours, found.covered)
    place = {(row.label_uid, row.video_id, row.frame_index): at for at, row in enumerate(ours.itertuples())}
    pairs: dict[int, int] = {}
    for at, row in enumerate(boxes.itertuples()):
        match = place.pop((row.label_uid, row.video_id, row.frame_index), None) if row.label_uid else None
        if match is not None:
            pairs[at] = match
    for min_iou, same_class in ((0.9, True), (MIN_IOU, True), (MIN_IOU, False)):
        free = np.setdiff1d(np.arange(len(boxes)), list(pairs))
        others = np.setdiff1d(np.arange(len(ours)), list(pairs.values()))
        here, there = match_boxes(boxes.iloc[free], ours.iloc[others], min_iou, same_class)
        pairs |= dict(zip(free[here].tolist(), others[there].tolist(), strict=True))
    touched = _touched(boxes, ours, pairs, found.tolerance_pixels)
    told.counts["unchanged"] += 0 if confirm else len(pairs) - len(touched)
    for at in sorted(pairs) if confirm else touched:
        _judge(boxes.iloc[at], ours.iloc[pairs[at]], found.tolerance_pixels, confirm, told)
    for match in np.setdiff1d(np.flatnonzero(expected), list(pairs.values())):
        if denies and ours["label_uid"].iloc[match]:
            told.boxes.append(_named(ours.iloc[match], "n"))
            told.counts["taken out"] += 1
        else:
            told.counts["missing, which says nothing in this format"] += 1
    free = np.setdiff1d(np.arange(len(boxes)), list(pairs))
    here, there = match_boxes(boxes.iloc[free], ignored, MIN_IOU)
    doubted = dict(zip(free[here].tolist(), there.tolist(), strict=True))
    for at in free.tolist():
        box = boxes.iloc[at]
        if box["is_ignored"]:
            told.counts["new, but marked to be ignored"] += 1
        elif at in doubted:
            label = ignored.iloc[doubted[at]]
            judged = {f"judged_{name}": label[name] for name in tables.BOX_COLUMNS}
            told.boxes.append(_named(pd.Series(label.to_dict() | judged), "y") | _changes(box, label, 0.0))
            told.counts["drawn where a doubtful label was"] += 1
        else:
            corners = {name: float(box[name]) for name in tables.BOX_COLUMNS}
            said = {"label_uid": "", "verdict": "y", "class_name": box["class_name"], **corners}
            told.boxes.append(said | {"video_id": box["video_id"], "frame_index": int(box["frame_index"])})
            told.counts["new"] += 1


def _touched(boxes: pd.DataFrame, ours: pd.DataFrame, pairs: dict[int, int], tolerance: float) -> list[int]:
    """The rows of `boxes` that differ from their label in anything; of thousands, mostly few do."""
    at, match = (np.array(list(side), dtype=np.int64) for side in (pairs.keys(), pairs.values()))
    now, was = boxes.iloc[at], ours.iloc[match]
    corners = now[tables.BOX_COLUMNS].to_numpy(np.float64) - was[tables.BOX_COLUMNS].to_numpy(np.float64)
    moved = (np.abs(corners) > tolerance).any(axis=1)
    for name in ("class_name", "is_ignored"):
        moved |= now[name].to_numpy() != was[name].to_numpy()
    return sorted(at[moved].tolist())


def _judge(box: pd.Series, label: pd.Series, tolerance: float, confirm: bool, told: Comparison) -> None:
    changes = _changes(box, label, tolerance)
    if not label["label_uid"] or (box["is_ignored"] and not changes):
        told.counts["unchanged"] += 1
    elif changes:
        told.boxes.append(_named(label, "y") | changes)
        told.counts["renamed" if set(changes) == {"class_name"} else "moved"] += 1
    elif confirm or (label["is_ignored"] and not box["is_ignored"]):
        told.boxes.append(_named(label, "y"))
        told.counts["confirmed"] += 1
    else:
        told.counts["unchanged"] += 1


def _changes(box: pd.Series, label: pd.Series, tolerance: float) -> Row:
    """The columns in which a person made something else of a label."""
    changes: Row = {} if box["class_name"] == label["class_name"] else {"class_name": box["class_name"]}
    corners = {name: float(box[name]) for name in tables.BOX_COLUMNS}
    if max(abs(corners[name] - float(label[name])) for name in corners) > tolerance:
        changes |= corners
    return changes


def _named(label: pd.Series, verdict: str) -> Row:
    """A verdict on a label that has a name, with what was judged, by which it is known again under another name."""
    judged = {f"judged_{name}": float(label[f"judged_{name}"]) for name in tables.BOX_COLUMNS}
    said = {"label_uid": label["label_uid"], "verdict": verdict, "video_id": label["video_id"]}
    return said | {"frame_index": int(label["frame_index"]), "judged_class": label["class_name"]} | judged


def _is_covered(went_out: pd.DataFrame, covered: dict[str, np.ndarray]) -> np.ndarray:
    """Which labels the file would hold if nothing had been taken out, (N,) bool."""
    inside = np.zeros(len(went_out), dtype=bool)
    for video_id, frames in covered.items():
        inside |= (went_out["video_id"] == video_id).to_numpy() & np.isin(went_out["frame_index"], frames)
    return inside


def compare_actions(found: FoundLabels, went_out: pd.DataFrame, denies: bool, confirm: bool, told: Comparison) -> None:
    """Add what the actions of a file say: on labels that went out as verdicts, on other stretches as human actions."""
    left = dict(enumerate(went_out.to_dict("records")))
    for row in found.actions.to_dict("records"):
        at = next((at for at, label in left.items() if _is_same_action(row, label, found.tolerance_frames)), None)
        label = left.pop(at) if at is not None else None
        stretch = {name: row[name] for name in ("video_id", "track_id", "start_frame", "end_frame", "class_name")}
        if label is None:
            told.actions.append({"label_uid": ""} | stretch)
            told.counts["new actions"] += 1
            continue
        moved = max(abs(row[name] - label[name]) for name in ("start_frame", "end_frame")) > found.tolerance_frames
        renamed = row["class_name"] != label["class_name"]
        if moved and label["label_uid"]:
            told.actions.append({"label_uid": label["label_uid"]} | stretch)
            if renamed:  # a verdict of before may name another class
                told.boxes.append({"label_uid": label["label_uid"], "verdict": "y", "class_name": row["class_name"]})
            told.counts["moved actions"] += 1
        elif label["label_uid"] and (renamed or confirm):
            said = {"label_uid": label["label_uid"], "verdict": "y"}
            told.boxes.append(said | ({"class_name": row["class_name"]} if renamed else {}))
            told.counts["renamed actions" if renamed else "confirmed actions"] += 1
        else:
            told.counts["unchanged actions"] += 1
    for label in left.values():
        if label["video_id"] not in found.covered_actions:
            continue
        if denies and label["label_uid"]:
            told.boxes.append({"label_uid": label["label_uid"], "verdict": "n"})
            told.counts["actions taken out"] += 1
        else:
            told.counts["missing actions, which says nothing in this format"] += 1


def _is_same_action(row: Row, label: Row, tolerance: int) -> bool:
    """By name where both have one, else by class, player and stretch."""
    if row["label_uid"] and label["label_uid"]:
        return row["label_uid"] == label["label_uid"]
    near = max(abs(row[name] - label[name]) for name in ("start_frame", "end_frame")) <= tolerance
    return near and all(row[name] == label[name] for name in ("video_id", "track_id", "class_name"))
