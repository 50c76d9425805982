"""What one round has that another has not: labels added, lost and moved, and decisions that changed, label by label."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from labels.pictures.overlay.contact_sheets import SheetPlan, SheetSection, spread_sample
from labels.pictures.overlay.round_pictures import make_sheets, sheet_path
from labels.pictures.report.rounds import CleanedRound
from labels.pictures.report.rounds_table import text_table
from labels.pictures.report.survey import changes_between
from labels.pictures.settings import PictureSettings
from labels.records import tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.geometry import iou_matrix
from labels.records.safe_writing import write_text
from labels.records.work_folder import WorkFolder

MOVED_BELOW_IOU = 0.7  # a label kept in both rounds whose boxes overlap less has moved
LINES_SHOWN = 20
ABSENT = "not there"
OLD_BOX = [f"old_{name}" for name in tables.BOX_COLUMNS]
CHANGES = tables.BOXES | tables.DECIDED | {"change": "str", "before": "str", "after": "str"}


def show_difference(
    work: WorkFolder,
    old: CleanedRound,
    new: CleanedRound,
    videos: pd.DataFrame,
    settings: PictureSettings,
    progress: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Write the changes from `old` to `new` as a CSV and a contact sheet; the summary holds the table by video."""
    if old.number == new.number:
        raise InputError(f"--diff {old.number} {new.number}: two different rounds, please")
    changes, counts, skipped = [], [], 0
    for video in videos.itertuples():
        if not (old.has(video.video_id) and new.has(video.video_id)):
            skipped += 1
            continue
        before, after = old.boxes(video.video_id), new.boxes(video.video_id)
        old_frames, new_frames = (each.labelled_frames(video.video_id, video.frame_count) for each in (old, new))
        found = video_changes(before, after, np.intersect1d(old_frames, new_frames))
        changes.append(found)
        counts.append(_counts(video.video_id, before, after, found))
    everything = tables.concatenate(changes, CHANGES)
    name = f"diff_{old.number:02d}_{new.number:02d}"
    csv = new.folder.pictures / f"{name}.csv"
    columns = ["label_uid", "video_id", "frame_index", "time_s", "class_name", "change", "before", "after", "reason"]
    shown = everything[[*columns, *tables.BOX_COLUMNS]].sort_values(["video_id", "frame_index", "label_uid"])
    write_text(csv, shown.to_csv(index=False, lineterminator="\n"))
    plan = _plan(name, old.number, new.number, everything, settings)
    unreadable = make_sheets(work, new, videos, [plan], settings, progress)
    lines = _table(old.number, new.number, counts)
    lines += [f"{video_id}: crops left empty, {reason}" for video_id, reason in unreadable.items()]
    lines += [
        f"moved: the same label kept in both rounds, its boxes overlapping less than {MOVED_BELOW_IOU} (IoU)",
        f"label by label: {csv}",
        f"pictures: {sheet_path(new.folder, name)}",
    ]
    reasons = {"not in both rounds": skipped} if skipped else {}
    return Summary(f"rounds {old.number} to {new.number}", "videos", len(videos), len(videos) - skipped, reasons, lines)


def video_changes(old: pd.DataFrame, new: pd.DataFrame, frames: np.ndarray) -> pd.DataFrame:
    """What changed in the frames of one video that both rounds looked at.

    Boxes rows with `change` (added | lost | moved | decision), `before` and `after`.

    Added and lost are kept labels without a kept counterpart in the other round, by the rule of the report; a label
    that bears the same name in both is moved instead. What is left and is decided otherwise is a decision: ignored to
    dropped, say. Rows are the new round's, of lost ones the old round's with the reason of the new one.
    """
    old, new = (table[table["frame_index"].isin(frames)].reset_index(drop=True) for table in (old, new))
    old_kept, new_kept = old[old["decision"] == "keep"], new[new["decision"] == "keep"]
    moved = _moved(old_kept, new_kept)
    matched = changes_between(new_kept, old_kept, frames)
    added = matched.added[~matched.added["label_uid"].isin(moved["label_uid"])]
    lost = matched.lost[~matched.lost["label_uid"].isin(moved["label_uid"])]
    decision_of = [table.set_index("label_uid")["decision"] for table in (old, new)]
    told = pd.concat([added["label_uid"], lost["label_uid"], moved["label_uid"]])
    before = decision_of[0].reindex(new["label_uid"]).to_numpy(dtype=object)
    differs = ~pd.isna(before) & (before != new["decision"].to_numpy(dtype=object))
    others = new[differs & ~new["label_uid"].isin(told).to_numpy()]
    reason_now = new.set_index("label_uid")["reason"]
    lost = lost.assign(reason=reason_now.reindex(lost["label_uid"]).fillna("").to_numpy())
    parts = {"added": added, "lost": lost, "moved": moved, "decision": others}
    named = []
    for change, rows in parts.items():
        was, now = (
            decisions.reindex(rows["label_uid"]).fillna(ABSENT).to_numpy(dtype=object) for decisions in decision_of
        )
        named.append(rows.assign(change=change, before=was, after=now))
    return tables.concatenate(named, CHANGES)


def _moved(old_kept: pd.DataFrame, new_kept: pd.DataFrame) -> pd.DataFrame:
    """Labels kept in both rounds under one name whose box is elsewhere now, with `OLD_BOX` columns."""
    was = old_kept[["label_uid", *tables.BOX_COLUMNS]].rename(
        columns=dict(zip(tables.BOX_COLUMNS, OLD_BOX, strict=True))
    )
    both = new_kept.merge(was, on="label_uid")
    pairs = zip(both[tables.BOX_COLUMNS].to_numpy(), both[OLD_BOX].to_numpy(), strict=True)
    overlap = np.array([iou_matrix(now[None], before[None])[0, 0] for now, before in pairs])
    return both[overlap < MOVED_BELOW_IOU]


def _counts(video_id: str, old: pd.DataFrame, new: pd.DataFrame, changes: pd.DataFrame) -> list:
    kept = [int((table["decision"] == "keep").sum()) for table in (old, new)]
    found = changes["change"].value_counts()
    by_name = (changes["change"] != "moved") & (changes["before"] != ABSENT) & (changes["after"] != ABSENT)
    changed = int((by_name & (changes["before"] != changes["after"])).sum())
    return [video_id, *kept, *(int(found.get(change, 0)) for change in ("added", "lost", "moved")), changed]


def _table(old: int, new: int, counts: list[list]) -> list[str]:
    """The videos with the most changes first, and the sum of all."""
    heading = ["video", f"kept {old}", f"kept {new}", "added", "lost", "moved", "decided otherwise"]
    ordered = sorted(counts, key=lambda row: (-sum(row[3:]), row[0]))
    total = ["all videos", *(sum(row[column] for row in counts) for column in range(1, len(heading)))]
    lines = text_table(heading, [*ordered[:LINES_SHOWN], total])
    rest = len(ordered) - LINES_SHOWN
    return [*lines[:-1], *([f"and {rest} videos with fewer changes"] if rest > 0 else []), lines[-1]]


def _plan(name: str, old: int, new: int, changes: pd.DataFrame, settings: PictureSettings) -> SheetPlan:
    was_there = changes["before"] != ABSENT
    is_there = changes["after"] != ABSENT
    added, lost = changes["change"] == "added", changes["change"] == "lost"
    changes = changes.assign(decision=changes["after"].where(lost & is_there, changes["decision"]))
    parts = {
        "added: seen for the first time": added & ~was_there,
        f"added: ignored or dropped in round {old}": added & was_there,
        f"lost: ignored or dropped in round {new}, with its reason there": lost & is_there,
        f"lost: not there any more in round {new}": lost & ~is_there,
        f"moved: thin white as in round {old}": changes["change"] == "moved",
        "decided otherwise, and kept in neither": changes["change"] == "decision",
    }
    sections = [
        SheetSection(heading, spread_sample(changes[rows], 2 * settings.columns), int(rows.sum()))
        for heading, rows in parts.items()
        if rows.any()
    ]
    return SheetPlan(name, f"From round {old} to round {new}", sections, "Nothing changed.")
