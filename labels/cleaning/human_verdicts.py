"""What a human said of single labels: `verdicts.csv` in the work folder, `label_uid,verdict`, y or n, kept for ever."""

import csv
import os
from collections.abc import Iterable, Mapping
from typing import Any

from labels.records.errors import InputError
from labels.records.run_records import VERDICTS_FILE
from labels.records.work_folder import WorkFolder

MOST_NAMED = 5
BOX = ("x1", "y1", "x2", "y2")
COLUMNS = [
    *("label_uid", "verdict", "class_name", *BOX, "video_id", "frame_index", "judged_class"),
    *(f"judged_{name}" for name in BOX),
]


def append_verdicts(work: WorkFolder, rows: Iterable[Mapping[str, Any]]) -> int:
    """Append verdicts, each a mapping of some of COLUMNS; how many there were."""
    said = [{name: _as_text(row.get(name)) for name in COLUMNS} for row in rows]
    path = work.root / VERDICTS_FILE
    if not said:
        return 0
    is_new = not path.is_file()
    with open(path, "a", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(said)
        opened.flush()
        os.fsync(opened.fileno())
    return len(said)


def _as_text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def read_verdicts(work: WorkFolder) -> dict[str, str]:
    """label_uid -> "y" or "n"; the last word counts. Empty when there is no file; rows not filled in say nothing."""
    path = work.root / VERDICTS_FILE
    if not path.is_file():
        return {}
    verdicts = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            if not {"label_uid", "verdict"} <= set(reader.fieldnames or []):
                raise InputError(f"{path}: needs the columns label_uid and verdict")
            for number, row in enumerate(reader, start=2):
                uid, verdict = (row["label_uid"] or "").strip(), (row["verdict"] or "").strip().lower()
                if verdict not in ("", "y", "n"):
                    raise InputError(f"{path}: line {number}: a verdict is y or n, not '{verdict}'")
                if verdict and not uid and not row.get("video_id"):
                    raise InputError(f"{path}: line {number}: a verdict on no label; label_uid is empty")
                if verdict and uid:
                    verdicts[uid] = verdict
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    return verdicts


def verdict_lines(counts: dict[str, Any]) -> list[str]:
    """A line on the verdicts that name no label of a cleaned round, from the counts of its run record."""
    unheard = counts["verdicts_without_label"]
    if not unheard:
        return []
    more = f" and {len(unheard) - MOST_NAMED} more" if len(unheard) > MOST_NAMED else ""
    named = ", ".join(unheard[:MOST_NAMED])
    return [
        f"{VERDICTS_FILE}: {len(unheard)} of {counts['verdicts']} verdicts name no label of this round: {named}{more}"
    ]
