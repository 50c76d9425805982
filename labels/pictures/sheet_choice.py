"""Which labels go on the contact sheets: spread over videos, classes and time, near-duplicates folded."""

import numpy as np
import pandas as pd

from labels.pictures.contact_sheets import SheetPlan, SheetSection
from labels.pictures.round_changes import changes_between
from labels.pictures.round_reading import CleanedRound, labelled_frames
from labels.pictures.rule_words import rule_name, rule_of
from labels.pictures.settings import PictureSettings
from labels.records import tables

APART_FRAMES = 8  # labels of one class nearer than this in one video look alike
SHEET_NAMES = ("kept", "doubtful", "added", "lost", "ignored", "dropped")


def plan_sheets(
    videos: pd.DataFrame, here: CleanedRound, before: CleanedRound | None, settings: PictureSettings
) -> list[SheetPlan]:
    """The six sheets of a round; none where it has no boxes."""
    if not here.has_boxes:
        return []
    decided = tables.BOXES | tables.DECIDED
    all_boxes, added, lost = [], [], []
    for video in videos.itertuples():
        if not here.has(video.video_id):
            continue
        boxes = here.boxes(video.video_id)
        all_boxes.append(boxes)
        if before is not None and before.has(video.video_id):
            kept, old = boxes[boxes["decision"] == "keep"], before.boxes(video.video_id)
            frames = np.intersect1d(labelled_frames(boxes, video.frame_count), labelled_frames(old, video.frame_count))
            changes = changes_between(kept, old[old["decision"] == "keep"], frames)
            added.append(changes.added)
            lost.append(changes.lost)
    boxes = tables.concatenate(all_boxes, decided)
    new, gone = tables.concatenate(added, decided), tables.concatenate(lost, decided)
    kept = boxes[boxes["decision"] == "keep"]
    what = f"Round {here.number}"
    no_round = f"{what} has no cleaned round before it to compare with."
    doubtful = doubtful_labels(kept, settings.tiles)
    since = f"since round {before.number}" if before else "since the round before"
    return [
        SheetPlan("kept", f"{what}: labels kept", _one("", kept, settings.tiles), "No label was kept."),
        SheetPlan(
            "doubtful",
            f"{what}: the most doubtful labels kept (lowest quality first)",
            [SheetSection("", doubtful, len(kept))],
            "No label was kept.",
        ),
        SheetPlan(
            "added",
            f"{what}: labels added {since}",
            _one("", new, settings.tiles),
            no_round if before is None else f"No label was added {since}.",
        ),
        SheetPlan(
            "lost",
            f"{what}: labels lost {since} (as round {before.number if before else '–'} had them)",
            _one("", gone, settings.tiles),
            no_round if before is None else f"No label was lost {since}.",
        ),
        SheetPlan(
            "ignored",
            f"{what}: boxes ignored (neither object nor background in training)",
            _by_rule(boxes[boxes["decision"] == "ignore"], settings),
            "No box was ignored.",
        ),
        SheetPlan(
            "dropped",
            f"{what}: boxes dropped, by rule",
            _by_rule(boxes[boxes["decision"] == "drop"], settings),
            "No box was dropped.",
        ),
    ]


def _one(heading: str, boxes: pd.DataFrame, count: int) -> list[SheetSection]:
    return [SheetSection(heading, spread_sample(boxes, count), len(boxes))]


def _by_rule(boxes: pd.DataFrame, settings: PictureSettings) -> list[SheetSection]:
    """A section for each rule, most boxes first; at least one line of tiles each."""
    rules = pd.Series([rule_of(reason) for reason in boxes["reason"]], index=boxes.index, dtype="str")
    order = rules.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    lines = max(1, settings.tiles // settings.columns // max(1, len(order)))
    return [
        SheetSection(rule_name(rule), spread_sample(boxes[rules == rule], lines * settings.columns), int(count))
        for rule, count in order.items()
    ]


def spread_sample(boxes: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, the same number of each class as far as it goes, evenly over videos and time."""
    if len(boxes) <= count:
        return boxes.sort_values(["class_name", "video_id", "frame_index", "label_uid"], ignore_index=True)
    groups = sorted(boxes.groupby("class_name"), key=lambda pair: (len(pair[1]), pair[0]))
    chosen, left = [], count
    for position, (_, group) in enumerate(groups):
        share = min(len(group), left // (len(groups) - position))
        ordered = group.sort_values(["video_id", "frame_index", "label_uid"])
        chosen.append(ordered.iloc[np.linspace(0, len(group) - 1, share).round().astype(int)])
        left -= share
    return pd.concat(chosen, ignore_index=True)


def doubtful_labels(kept: pd.DataFrame, count: int) -> pd.DataFrame:
    """The `count` kept rows of the lowest quality, of neighbours in time only the worst."""
    chosen: list[int] = []
    taken: dict[tuple[str, str], list[int]] = {}
    ordered = kept.sort_values(["quality", "video_id", "frame_index", "label_uid"]).reset_index(drop=True)
    for row in ordered.itertuples():
        frames = taken.setdefault((row.video_id, row.class_name), [])
        if all(abs(row.frame_index - frame) >= APART_FRAMES for frame in frames):
            frames.append(row.frame_index)
            chosen.append(row.Index)
        if len(chosen) == count:
            break
    return ordered.iloc[chosen].reset_index(drop=True)
