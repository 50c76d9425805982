"""Labels of a person from a foreign file, compared with what went out, into `verdicts.csv` and `human_actions.csv`."""

import csv
import io
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from labels.cleaning.human_verdicts import as_text
from labels.cleaning.import_comparison import Comparison, compare_actions, compare_boxes
from labels.cleaning.label_export import JUDGED
from labels.cleaning.threshold_arguments import cleaning_command
from labels.cleaning.verdict_file import append_verdicts
from labels.exchange.formats import FORMATS, recognise
from labels.exchange.label_set import FOUND_ACTIONS, FOUND_BOXES, FoundLabels, KnownVideos
from labels.exchange.zipped import unzipped
from labels.labelling.action_settings import recognising_command
from labels.records import tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import HUMAN_ACTIONS_FILE, VERDICTS_FILE, out_of_date
from labels.records.safe_writing import read_parquet, write_text
from labels.records.work_folder import ACTIONS_LABELLED, WorkFolder

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
            command = cleaning_command(work, number, actions=not self.of_boxes)
        elif self.of_boxes:  # what was drawn is all there is yet
            command = f"python dataset_processor.py {shlex.quote(str(work.root))} --round {number} --detector human"
        else:
            command = recognising_command(work, number)
        return Summary(
            "import", "labels", self.found, self.used, self.skipped, [*self.lines, *out_of_date(work)], command
        )


@dataclass(frozen=True)
class _Export:
    """One export of a round, as it was written."""

    round: int
    boxes: pd.DataFrame
    actions: pd.DataFrame


def import_stage(work: WorkFolder, path: Path, format_name: str | None, confirm: bool) -> Summary:
    """`dataset_downloader.py ROOT --import-labels PATH`."""
    work.read_videos()
    with work.writing():
        return import_labels(work, path, format_name, confirm).summary(work)


def import_labels(work: WorkFolder, path: Path, format_name: str | None = None, confirm: bool = False) -> Imported:
    """Read a file (or folder) and append what it says. InputError when it is unsound or names no known video."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    videos = KnownVideos(work.usable_videos())
    with unzipped(path) as unpacked:
        name = format_name or recognise(unpacked)
        kind = FORMATS[name]
        found: FoundLabels = kind.read(unpacked, videos)
    unknown = sum(videos.unknown.values())
    labels = len(found.boxes) + len(found.actions)
    if videos.unknown and not labels and not found.covered:
        named, known = ", ".join(sorted(videos.unknown)[:3]), ", ".join(sorted(videos.rows)[:3])
        raise InputError(f"{path}: names no video of this work folder, but {named}; here are {known}")
    export = _export_of(work, name, found, kind.holds_uids)
    told = Comparison()
    compare_boxes(found, export.boxes, _doubtful(work, export), kind.holds_uids, confirm, told)
    compare_actions(found, export.actions, kind.holds_uids, confirm, told)
    verdicts = _unsaid(work.root / VERDICTS_FILE, told.boxes)
    actions = _unsaid(work.root / HUMAN_ACTIONS_FILE, told.actions)
    append_verdicts(work, verdicts)
    _append_actions(work, actions)
    lines = [f"  {name:<30} {count:>8}" for name, count in sorted((+told.counts).items(), key=lambda item: -item[1])]
    of = f"compared with what round {export.round} exported" if export.round >= 0 else "it is from no export of ours"
    lines = [f"{name}: {of}", *lines, *found.lines, *videos.unknown_lines()]
    repeated = len(told.boxes) + len(told.actions) - len(verdicts) - len(actions)
    again = f" ({repeated} had been said before)" if repeated else ""
    lines.append(f"written: {len(verdicts)} to {VERDICTS_FILE}, {len(actions)} to {HUMAN_ACTIONS_FILE}{again}")
    skipped = {"of videos not known here": unknown} if unknown else {}
    number = export.round if export.round >= 0 else None
    return Imported(labels + unknown, labels, skipped, lines, number, bool(len(found.boxes)) or not len(found.actions))


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
            boxes.attrs = {}
            found.append(boxes[(boxes["decision"] == "ignore") & ~boxes["label_uid"].isin(export.boxes["label_uid"])])
    return tables.concatenate(found, columns).reset_index(drop=True)


def _unsaid(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that the file does not say already as its last word on that label."""
    last: dict[tuple[str, ...], dict[str, str]] = {}
    if path.is_file():
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as opened:
            for row in csv.DictReader(opened):
                last[_key(row)] = {name: text for name, text in row.items() if isinstance(name, str) and text}
    said = [{name: as_text(value) for name, value in row.items() if as_text(value)} for row in rows]
    return [row for row, texts in zip(rows, said, strict=True) if _without_name(last.get(_key(texts), {})) != texts]


def _key(row: Mapping[str, str | None]) -> tuple[str, ...]:
    """A label's name; of a person's own label, which may have been given one when it was written, all else."""
    if row.get("label_uid") and not _is_own(row):
        return (str(row["label_uid"]),)
    return tuple(str(row[name]) for name in sorted(map(str, row)) if row[name] and name != "label_uid")


def _without_name(row: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in row.items() if name != "label_uid"} if _is_own(row) else row


def _is_own(row: Mapping[str, str | None]) -> bool:
    """Whether a line of verdicts.csv is a box that no machine drew: it says where it is, and of nothing how it was."""
    return row.get("verdict") == "y" and bool(row.get("frame_index")) and not row.get("judged_class")


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
