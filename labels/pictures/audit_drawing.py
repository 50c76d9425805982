"""An audit on disk: the sample as numbered contact sheets, and a CSV to fill in. What is filled in is never lost."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from labels.cleaning.audits import AUDIT_COLUMNS, Audit, audit_path, read_audit, read_audits
from labels.cleaning.human_verdicts import JUDGED_COLUMNS
from labels.cleaning.threshold_arguments import cleaning_command
from labels.pictures.audit_sample import draw_sample
from labels.pictures.contact_sheets import SheetPlan, SheetSection
from labels.pictures.picture_making import make_sheets, sheet_path
from labels.pictures.round_reading import CleanedRound
from labels.pictures.settings import PictureSettings
from labels.records import tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.safe_writing import write_text
from labels.records.work_folder import RoundFolder, WorkFolder

MOST_LABELS = 1000
TILES_A_SHEET = 60


def make_audit(
    work: WorkFolder,
    here: CleanedRound,
    videos: pd.DataFrame,
    count: int,
    settings: PictureSettings,
    progress: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Draw `count` kept labels of a round that nobody has judged yet, or go on with a sample that is half answered."""
    if not 1 <= count <= MOST_LABELS:
        raise InputError(f"--audit: from 1 to {MOST_LABELS} labels, not {count}")
    boxes = tables.concatenate([here.boxes(video_id) for video_id in videos["video_id"]], tables.BOXES | tables.DECIDED)
    path = audit_path(here.folder)
    old = read_audit(path, here.number) if path.is_file() else None
    lines = []
    if old is not None and _goes_on(old, boxes, count):
        asked = old.rows[["label_uid", "number", "stratum"]].merge(boxes, on="label_uid", validate="1:1")
        sample = asked.assign(number=asked["number"].astype(int)).sort_values("number", ignore_index=True)
        lines.append(f"{path}: goes on, {len(old.answered)} of {len(old.rows)} answered")
    else:
        if old is not None and len(old.answered):
            lines.append(f"the audit that was answered before is kept as {_set_aside(old, here.folder)}")
        sample = draw_sample(_unjudged(work, here, boxes), count)
        write_text(path, _as_csv(sample))
    plans = _plans(here, sample, settings)
    for stale in sorted(here.folder.pictures.glob("sheet_audit*.jpg")):
        stale.unlink()
    large = replace(settings, columns=5, tile_px=200)
    unreadable = make_sheets(work, here, videos, plans, large, progress)
    lines += [f"{video_id}: crops left empty, {reason}" for video_id, reason in unreadable.items()]
    kept = int((boxes["decision"] == "keep").sum())
    lines += [
        f"{len(sample)} of {kept:,} kept labels, from {sample['stratum'].nunique()} strata of class and quality",
        *[f"look at {sheet_path(here.folder, plan.name)}" for plan in plans],
        f"fill in y or n in the column verdict of {path}; leave it empty where you cannot tell",
    ]
    command = cleaning_command(work, here.number)
    return Summary("audit", "labels", len(sample), len(sample), {}, lines, command)


def _goes_on(old: Audit, boxes: pd.DataFrame, count: int) -> bool:
    """Whether the sample on disk is what is asked for: as many labels, some unanswered, and all still there to see."""
    open_rows = old.rows[old.rows["verdict"] == ""]
    kept = boxes.loc[boxes["decision"] == "keep", "label_uid"]
    there = open_rows["label_uid"].isin(kept).all() and old.rows["label_uid"].isin(boxes["label_uid"]).all()
    return len(old.rows) == count and len(open_rows) > 0 and bool(there)


def _set_aside(old: Audit, folder: RoundFolder) -> Path:
    number = 1
    while audit_path(folder, f"audit_{number}").exists():
        number += 1
    return old.path.rename(audit_path(folder, f"audit_{number}"))


def _unjudged(work: WorkFolder, here: CleanedRound, boxes: pd.DataFrame) -> pd.DataFrame:
    """The kept labels that stand on the machine's word alone."""
    answered = [audit.answered["label_uid"] for audit in read_audits(work)]
    judged = set(pd.concat(answered)) if answered else set()
    kept = boxes[(boxes["decision"] == "keep") & (boxes["origin"] != "human") & ~boxes["label_uid"].isin(judged)]
    if not len(kept):
        raise InputError(f"{here.folder.path}: round {here.number} has no kept label that nobody has judged yet")
    return kept


def _as_csv(sample: pd.DataFrame) -> str:
    """The file to fill in; the first columns are those of verdicts.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(AUDIT_COLUMNS)
    said = dict(zip(JUDGED_COLUMNS, tables.BOX_COLUMNS, strict=True)) | {"judged_class": "class_name"}
    for row in sample.to_dict("records"):
        row |= {"verdict": "", "time_s": f"{row['time_s']:.3f}", "quality": f"{row['quality']:.3f}"}
        writer.writerow([row[said.get(name, name)] for name in AUDIT_COLUMNS])
    return text.getvalue()


def _plans(here: CleanedRound, sample: pd.DataFrame, settings: PictureSettings) -> list[SheetPlan]:
    """A sheet for every sixty labels. It shows no scores: the eye is to judge, not the machine once more."""
    plans = []
    for page, start in enumerate(range(0, len(sample), TILES_A_SHEET), start=1):
        part = sample.iloc[start : start + TILES_A_SHEET]
        title = f"Audit of round {here.number}: is what stands in the box what the words say? Labels"
        title = f"{title} {part['number'].iloc[0]} to {part['number'].iloc[-1]} of {len(sample)}"
        name = "audit" if page == 1 else f"audit_{page}"
        plans.append(SheetPlan(name, title, [SheetSection("", part, len(part))], ""))
    return plans
