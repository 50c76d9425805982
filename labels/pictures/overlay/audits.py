"""An audit on disk: a sample of labels as numbered contact sheets, and a CSV to fill in. Answers are never lost.

The sample is stratified by class and band of quality; each stratum gets a share that grows with the square root of its
size (Bankier 1988). Within a stratum, labels are taken at even steps through the videos and their time. The same labels
give the same sample.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from labels.cleaning.audits import AUDIT_COLUMNS, Audit, audit_path, read_audit, read_audits
from labels.pictures.overlay.contact_sheets import SheetPlan, SheetSection
from labels.pictures.overlay.round_pictures import make_sheets, sheet_path
from labels.pictures.report.rounds import CleanedRound
from labels.pictures.settings import PictureSettings
from labels.records import next_command, tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.safe_writing import write_text
from labels.records.verdicts import JUDGED_COLUMNS
from labels.records.work_folder import RoundFolder, WorkFolder

BAND_EDGES = (0.85, 0.95)  # of the quality of a kept label
LEAST_OF_STRATUM = 2
OTHER_CLASSES = "other classes"


def draw_sample(kept: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """At most `count` of the `kept` rows with `stratum`, `stratum_size` and `number` (from 1), by video and frame."""
    kept = kept.sort_values(["video_id", "frame_index", "label_uid"], ignore_index=True)
    stratum = strata_of(kept, count)
    sizes = stratum.value_counts().sort_index()
    generator = np.random.default_rng(seed)
    chosen = []
    for (name, size), share in zip(sizes.items(), shares_of(sizes.to_numpy(), count), strict=True):
        rows = np.flatnonzero(stratum == name)
        steps = (generator.random() + np.arange(share)) * (size / share) if share else np.zeros(0)
        chosen.append(kept.iloc[rows[steps.astype(int)]].assign(stratum=name, stratum_size=int(size)))
    sample = pd.concat(chosen).sort_index()
    return sample.reset_index(drop=True).assign(number=np.arange(1, len(sample) + 1))


def strata_of(kept: pd.DataFrame, count: int) -> pd.Series:
    """The name of each row's stratum. Where there are too many classes for the sample, the rare ones are one."""
    bands = len(BAND_EDGES) + 1
    most_classes = max(1, count // (2 * LEAST_OF_STRATUM * bands))
    by_size = kept["class_name"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index
    shown = set(by_size if len(by_size) <= most_classes else by_size[: most_classes - 1])
    class_name = kept["class_name"].where(kept["class_name"].isin(shown), OTHER_CLASSES)
    low, high = BAND_EDGES
    words = np.array([f"quality below {low}", f"quality {low} to {high}", f"quality from {high}"], dtype=object)
    band = words[np.digitize(kept["quality"].to_numpy(dtype=np.float64), BAND_EDGES)]
    return class_name.astype(object) + ", " + pd.Series(band, index=kept.index, dtype=object)


def shares_of(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many of each stratum are looked at, (S,) int: `count` in all, or all there are; two of each where it goes.

    The seats go one by one to the stratum that is furthest below its share by the square root of its size.
    """
    shares = np.minimum(sizes, LEAST_OF_STRATUM if LEAST_OF_STRATUM * len(sizes) <= count else 0)
    wanted = np.sqrt(sizes.astype(np.float64))
    for _ in range(min(count, int(sizes.sum())) - int(shares.sum())):
        need = np.where(shares < sizes, wanted / (shares + 1), -1.0)
        shares[int(np.argmax(need))] += 1
    return shares


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
    command = next_command.clean(work, here.number)
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
