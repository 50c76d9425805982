"""Importing a person's labels from a foreign file: compared with the export, into verdicts and `human_actions.csv`.

A label that is unchanged means nothing, since a file that was only sent and fetched back was not checked; `confirm`
states that it was. A moved or renamed label is a correction, a missing one is denied, a new one is the person's own.
What was not exported (another video, a frame without a picture) does not count as missing.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.label_export import JUDGED, match_boxes, with_sizes
from labels.exchange.foreign_files import unzipped
from labels.exchange.known_formats import FORMATS, recognise
from labels.exchange.known_videos import ImportHints, KnownVideos
from labels.exchange.label_set import FOUND_ACTIONS, FOUND_BOXES, FoundLabels
from labels.records import next_command, tables
from labels.records.class_lists import same_names
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import HUMAN_ACTIONS_FILE, VERDICTS_FILE, out_of_date, read_run_record
from labels.records.safe_writing import read_parquet, write_text
from labels.records.verdicts import append_verdicts, as_text, delimiter_of, drawn_uids, read_verdicts, verdict_from
from labels.records.work_folder import ACTIONS_LABELLED, WorkFolder

MIN_IOU = 0.5  # of a box without a name and the label it is taken for
Row = dict[str, Any]


@dataclass
class Comparison:
    """`boxes` are rows of verdicts.csv, `actions` of human_actions.csv, `counts` what became of every label.

    `drawn` are the boxes (FOUND_BOXES) that a person drew where no label was.
    """

    boxes: list[Row] = field(default_factory=list)
    drawn: pd.DataFrame = field(default_factory=lambda: tables.empty_table(FOUND_BOXES))
    actions: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def compare_boxes(
    found: FoundLabels,
    went_out: pd.DataFrame,
    ignored: pd.DataFrame,
    denies: bool,
    confirm: bool,
    comparison: Comparison,
) -> None:
    """Add what the boxes of a file say.

    Args:
        went_out: what the export said (see label_export.read_back); empty when the file is not from here.
        ignored: labels of the round that were not exported because they are doubtful.
        denies: whether a label that is missing was taken out by a person.
    """
    boxes = found.boxes.reset_index(drop=True)
    ours = went_out.reset_index(drop=True)
    seen = {name: np.setdiff1d(at, sorted(found.doubtful.get(name, ()))) for name, at in found.covered.items()}
    expected = _is_covered(ours, seen)
    match = _by_name(boxes, ours)  # of each box the row of `ours` that it is, or -1
    for min_iou, same_class in ((0.9, True), (MIN_IOU, True), (MIN_IOU, False)):
        free, others = np.flatnonzero(match < 0), np.setdiff1d(np.arange(len(ours)), match)
        here, there = match_boxes(boxes.iloc[free], ours.iloc[others], min_iou, same_class)
        match[free[here]] = others[there]
    touched = _touched(boxes, ours, match, found.tolerance_pixels)
    comparison.counts["unchanged"] += 0 if confirm else int((match >= 0).sum()) - len(touched)
    for at in np.flatnonzero(match >= 0) if confirm else touched:
        _judge(boxes.iloc[at], ours.iloc[match[at]], found.tolerance_pixels, confirm, comparison)
    for row in np.setdiff1d(np.flatnonzero(expected), match):
        if denies and ours["label_uid"].iloc[row]:
            comparison.boxes.append(_named(ours.iloc[row], "n"))
            comparison.counts["taken out"] += 1
        else:
            comparison.counts["missing, which says nothing in this format"] += 1
    is_new = (match < 0) & ~boxes["is_ignored"].to_numpy()
    comparison.counts["new, but marked to be ignored"] += int(((match < 0) & ~is_new).sum())
    free = np.flatnonzero(is_new)
    for at, row in zip(*match_boxes(boxes.iloc[free], ignored, MIN_IOU), strict=True):
        box, label = boxes.iloc[free[at]], ignored.iloc[row]
        judged = {f"judged_{name}": label[name] for name in tables.BOX_COLUMNS}
        comparison.boxes.append(_named(pd.Series(label.to_dict() | judged), "y") | _changes(box, label, 0.0))
        comparison.counts["drawn where a doubtful label was"] += 1
        is_new[free[at]] = False
    comparison.drawn = boxes[is_new]
    comparison.counts["new"] += len(comparison.drawn)


def _by_name(boxes: pd.DataFrame, ours: pd.DataFrame) -> np.ndarray:
    """Of each box the row of `ours` that has its name in its frame, else -1; of a copied box the first is meant."""
    match = np.full(len(boxes), -1, dtype=np.int64)
    names = ["label_uid", "video_id", "frame_index"]
    here = boxes.loc[boxes["label_uid"] != "", names].drop_duplicates().reset_index(names="here")
    there = ours[names].drop_duplicates(keep="last").reset_index(names="there")
    both = here.merge(there, on=names)
    match[both["here"]] = both["there"]
    return match


def _touched(boxes: pd.DataFrame, ours: pd.DataFrame, match: np.ndarray, tolerance: float) -> np.ndarray:
    """The rows of `boxes` that differ from their label in anything; of thousands, mostly few do."""
    at = np.flatnonzero(match >= 0)
    now, was = boxes.iloc[at], ours.iloc[match[at]]
    corners = now[tables.BOX_COLUMNS].to_numpy(np.float64) - was[tables.BOX_COLUMNS].to_numpy(np.float64)
    moved = (np.abs(corners) > tolerance).any(axis=1)
    for name in ("class_name", "is_ignored"):
        moved |= now[name].to_numpy() != was[name].to_numpy()
    return at[moved]


def _judge(box: pd.Series, label: pd.Series, tolerance: float, confirm: bool, comparison: Comparison) -> None:
    changes = _changes(box, label, tolerance)
    if not label["label_uid"] or (box["is_ignored"] and not changes):
        comparison.counts["unchanged"] += 1
    elif changes:
        comparison.boxes.append(_named(label, "y") | changes)
        comparison.counts["renamed" if set(changes) == {"class_name"} else "moved"] += 1
    elif confirm or (label["is_ignored"] and not box["is_ignored"]):
        comparison.boxes.append(_named(label, "y"))
        comparison.counts["confirmed"] += 1
    else:
        comparison.counts["unchanged"] += 1


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
    named = {"label_uid": label["label_uid"], "verdict": verdict, "video_id": label["video_id"]}
    return named | {"frame_index": int(label["frame_index"]), "judged_class": label["class_name"]} | judged


def _is_covered(went_out: pd.DataFrame, covered: dict[str, np.ndarray]) -> np.ndarray:
    """Which labels the file would hold if nothing had been taken out, (N,) bool."""
    inside = np.zeros(len(went_out), dtype=bool)
    for video_id, frames in covered.items():
        inside |= (went_out["video_id"] == video_id).to_numpy() & np.isin(went_out["frame_index"], frames)
    return inside


def compare_actions(
    found: FoundLabels, went_out: pd.DataFrame, denies: bool, confirm: bool, comparison: Comparison
) -> None:
    """Add what the actions of a file say: on labels that went out as verdicts, on other segments as human actions."""
    left = dict(enumerate(went_out.to_dict("records")))
    for row in found.actions.to_dict("records"):
        at = next((at for at, label in left.items() if _is_same_action(row, label, found.tolerance_frames)), None)
        label = left.pop(at) if at is not None else None
        segment = {name: row[name] for name in ("video_id", "track_id", "start_frame", "end_frame", "class_name")}
        if label is None:
            comparison.actions.append({"label_uid": ""} | segment)
            comparison.counts["new actions"] += 1
            continue
        moved = max(abs(row[name] - label[name]) for name in ("start_frame", "end_frame")) > found.tolerance_frames
        renamed = row["class_name"] != label["class_name"]
        if moved and label["label_uid"]:
            comparison.actions.append({"label_uid": label["label_uid"]} | segment)
            if renamed:  # a verdict of before may name another class
                comparison.boxes.append(
                    {"label_uid": label["label_uid"], "verdict": "y", "class_name": row["class_name"]}
                )
            comparison.counts["moved actions"] += 1
        elif label["label_uid"] and (renamed or confirm):
            answer = {"label_uid": label["label_uid"], "verdict": "y"}
            comparison.boxes.append(answer | ({"class_name": row["class_name"]} if renamed else {}))
            comparison.counts["renamed actions" if renamed else "confirmed actions"] += 1
        else:
            comparison.counts["unchanged actions"] += 1
    for label in left.values():
        if label["video_id"] not in found.covered_actions:
            continue
        if denies and label["label_uid"]:
            comparison.boxes.append({"label_uid": label["label_uid"], "verdict": "n"})
            comparison.counts["actions taken out"] += 1
        else:
            comparison.counts["missing actions, which says nothing in this format"] += 1


def _is_same_action(row: Row, label: Row, tolerance: int) -> bool:
    """By name where both have one, else by class, player and segment."""
    if row["label_uid"] and label["label_uid"]:
        return row["label_uid"] == label["label_uid"]
    near = max(abs(row[name] - label[name]) for name in ("start_frame", "end_frame")) <= tolerance
    return near and all(row[name] == label[name] for name in ("video_id", "track_id", "class_name"))


WENT_OUT = FOUND_BOXES | dict.fromkeys(JUDGED, "float32")


@dataclass
class Imported:
    """`found` labels = `used` + `skipped`; `counts` says what became of the used ones."""

    found: int
    used: int
    skipped: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    round: int | None = None  # whose export the file was
    of_boxes: bool = True  # not of actions alone

    def summary(self, work: WorkFolder) -> Summary:
        number = self.round or 0
        if work.round(number).run_record("labelled" if self.of_boxes else ACTIONS_LABELLED).is_file():
            command = next_command.clean(work, number, actions=not self.of_boxes)
        elif self.of_boxes:  # what was drawn is all there is yet
            command = next_command.stage_command("labelled", work.root, number, {"detector": ["human"]})
        else:
            command = next_command.label_actions(work, number)
        return Summary(
            "import", "labels", self.found, self.used, self.skipped, [*self.lines, *out_of_date(work)], command
        )


@dataclass(frozen=True)
class _Export:
    """One export of a round, as it was written."""

    round: int
    boxes: pd.DataFrame
    actions: pd.DataFrame


def import_stage(
    work: WorkFolder, path: Path, format_name: str | None, confirm: bool, hints: ImportHints | None = None
) -> Summary:
    """`dataset_downloader.py ROOT --import-labels PATH`."""
    work.read_videos()
    with work.writing():
        return import_labels(work, path, format_name, confirm, hints).summary(work)


def import_labels(
    work: WorkFolder,
    path: Path,
    format_name: str | None = None,
    confirm: bool = False,
    hints: ImportHints | None = None,
) -> Imported:
    """Read a file (or folder) and append what it says. InputError when it is unsound or names no known video."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    videos = KnownVideos(work.usable_videos(), work.frame_times, hints)
    earlier = read_verdicts(work)  # a file of verdicts that cannot be read is not added to
    with unzipped(path) as unpacked:
        name = format_name or recognise(unpacked)
        kind = FORMATS[name]
        found: FoundLabels = kind.read(unpacked, videos)
    unknown = sum(videos.unknown.values())
    labels = len(found.boxes) + len(found.actions)
    if videos.unknown and not labels and not found.covered:
        named, known = ", ".join(sorted(videos.unknown)[:3]), ", ".join(sorted(videos.rows)[:3])
        more = "".join(f"; {line}" for line in videos.unknown_lines()[:-1])
        ask = f"here are {known}; --video ID says which one a file of one video is of"
        raise InputError(f"{path}: names no video of this work folder, but {named}{more}; {ask}")
    if not labels and found.left_out.counts:
        raise InputError(f"{path}: holds no sound label; {found.left_out.lines()[0]}")
    if not labels and not found.covered and not found.lines:
        raise InputError(f"{path}: holds no label, and names no frame that was looked at")
    export = _export_of(work, name, found, kind.holds_uids)
    names = _in_our_names(work, found, export)
    found.boxes = with_sizes(found.boxes, export.boxes, videos.rows)
    comparison = Comparison()
    compare_boxes(found, export.boxes, _doubtful(work, export), kind.holds_uids, confirm, comparison)
    compare_actions(found, export.actions, kind.holds_uids, confirm, comparison)
    verdicts = [row for row in comparison.boxes if verdict_from(row) != earlier.get(str(row["label_uid"]))]
    drawn = comparison.drawn[np.array([uid not in earlier for uid in drawn_uids(comparison.drawn)], dtype=bool)]
    actions = _filled(work.root / HUMAN_ACTIONS_FILE, comparison.actions)
    append_verdicts(work, verdicts, drawn=drawn)
    _append_actions(work, actions)
    lines = [
        f"  {name:<30} {count:>8}" for name, count in sorted((+comparison.counts).items(), key=lambda item: -item[1])
    ]
    of = f"compared with what round {export.round} exported" if export.round >= 0 else "it is from no export of ours"
    lines = [f"{name}: {of}", *lines, *names, *found.lines, *found.left_out.lines(), *videos.unknown_lines()]
    written = len(verdicts) + len(drawn)
    repeated = len(comparison.boxes) + len(comparison.drawn) + len(comparison.actions) - written - len(actions)
    again = f" ({repeated} had been said before)" if repeated else ""
    lines.append(f"written: {written} to {VERDICTS_FILE}, {len(actions)} to {HUMAN_ACTIONS_FILE}{again}")
    skipped = ({"of videos not known here": unknown} if unknown else {}) | dict(found.left_out.counts)
    number = export.round if export.round >= 0 else None
    total = labels + sum(skipped.values())
    return Imported(total, labels, skipped, lines, number, bool(len(found.boxes)) or not len(found.actions))


def _in_our_names(work: WorkFolder, found: FoundLabels, export: _Export) -> list[str]:
    """Call things in `found` as the labels here do, and say which; «ball» is no renamed «sports ball»."""
    known = set(export.boxes["class_name"])
    for number in reversed(work.round_numbers()):
        record = read_run_record(work.round(number), "labelled") if not known else None
        known |= set(((record.facts.get("labeller") if record else None) or {}).get("class_names", ()))
    names = same_names(found.boxes["class_name"].unique(), known)
    if names:
        found.boxes["class_name"] = found.boxes["class_name"].replace(names)
    return [f"class: {name} is taken for {other}, as it is called here" for name, other in sorted(names.items())]


def _export_of(work: WorkFolder, format_name: str, found: FoundLabels, by_name: bool) -> _Export:
    """The export that the file was made from: the one that shares most labels with it and has fewest beside them.

    By place, where the format holds no names: the last export in it. An empty one when there is none.
    """
    named = {*found.boxes["label_uid"], *found.actions["label_uid"]} - {""}
    best, best_rank = _Export(-1, tables.empty_table(WENT_OUT), tables.empty_table(FOUND_ACTIONS)), (0.0, 0.0, 0.0)
    for number in work.round_numbers():
        history = work.round(number).path / "export" / "history"
        for path in sorted(history.glob(f"{format_name}-*.parquet")):
            if path.name.endswith(".actions.parquet"):
                continue
            boxes, actions = read_parquet(path), read_parquet(path.with_suffix(".actions.parquet"))
            shared = named & ({*boxes["label_uid"], *actions["label_uid"]} - {""})
            rank = (
                (float(len(shared)), -float(len(boxes) + len(actions)), path.stat().st_mtime)
                if by_name
                else (1.0, float(number), path.stat().st_mtime)
            )
            if rank[0] > 0 and rank > best_rank:
                best, best_rank = _Export(number, boxes, actions), rank
    return best


def _doubtful(work: WorkFolder, export: _Export) -> pd.DataFrame:
    """The ignored labels of the round that the export did not hold."""
    columns = tables.BOXES | tables.DECIDED
    if export.round < 0:
        return tables.empty_table(columns)
    folder = work.round(export.round)
    shards = [folder.boxes("cleaned", video_id) for video_id in work.usable_videos()["video_id"]]
    found = []
    for path in shards:
        if path.is_file():
            boxes = read_parquet(path)
            found.append(boxes[(boxes["decision"] == "ignore") & ~boxes["label_uid"].isin(export.boxes["label_uid"])])
    return tables.concatenate(found, columns).reset_index(drop=True)


def _filled(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The actions that the file does not say already as its last word on that label."""
    last: dict[tuple[str, ...], dict[str, str]] = {}
    if path.is_file():
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as opened:
            text = opened.read()
            for row in csv.DictReader(io.StringIO(text), delimiter=delimiter_of(text.partition("\n")[0])):
                last[_key(row)] = {name: text for name, text in row.items() if isinstance(name, str) and text}
    filled = [{name: as_text(value) for name, value in row.items() if as_text(value)} for row in rows]
    return [row for row, texts in zip(rows, filled, strict=True) if last.get(_key(texts), {}) != texts]


def _key(row: Mapping[str, str | None]) -> tuple[str, ...]:
    """A label's name; of a person's own label all else."""
    if row.get("label_uid"):
        return (str(row["label_uid"]),)
    return tuple(str(row[name]) for name in sorted(map(str, row)) if row[name])


def _append_actions(work: WorkFolder, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    path = work.root / HUMAN_ACTIONS_FILE
    text = io.StringIO()
    writer = csv.DictWriter(text, list(FOUND_ACTIONS), lineterminator="\n")
    if path.is_file():
        before = path.read_text("utf-8-sig")
        text.write(before if before.endswith("\n") else before + "\n")
    else:
        writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
