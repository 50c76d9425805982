"""`verdicts.csv` in the work folder, kept for ever: read whole, and only ever appended to (see `human_verdicts`)."""

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from labels.cleaning.human_verdicts import COLUMNS, Verdict, as_text, parse_verdict
from labels.records.errors import InputError
from labels.records.run_records import VERDICTS_FILE
from labels.records.safe_writing import write_text
from labels.records.work_folder import WorkFolder

LOCK_FILE = ".verdicts.lock"


def read_verdicts(work: WorkFolder) -> dict[str, Verdict]:
    """label_uid -> what was said last, the latest last; empty when there is no file. InputError names the bad line."""
    path = work.root / VERDICTS_FILE
    if not path.is_file():
        return {}
    verdicts: dict[str, Verdict] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            if not {"label_uid", "verdict"} <= set(reader.fieldnames or []):
                raise InputError(f"{path}: needs the columns label_uid and verdict")
            for number, row in enumerate(reader, start=2):
                uid, verdict = parse_verdict(row, f"{path}: line {number}")
                verdicts.pop(uid, None)
                if verdict is not None:
                    verdicts[uid] = verdict
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    return verdicts


def append_verdicts(work: WorkFolder, rows: Iterable[Mapping[str, Any]], sync: bool = True) -> int:
    """Append verdicts, each a mapping of some of `COLUMNS` (an empty verdict takes back); how many there were.

    They are in the file, all or none, when this returns, and on disk too; without `sync` the caller sees to that with
    `sync_verdicts`. May be called from many processes at once, also while a stage runs; the work folder's own lock is
    not asked for. InputError when one of them is not sound: then none is written.
    """
    path = work.root / VERDICTS_FILE
    said: list[dict[str, str]] = []
    for row in rows:
        texts = {name: as_text(row.get(name)) for name in COLUMNS}
        uid, _ = parse_verdict(texts, f"{path}: a new verdict")
        said.append(texts | {"label_uid": uid})
    if not said:
        return 0
    handle = os.open(work.root / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _append(path, said, sync)
    finally:
        os.close(handle)
    return len(said)


def sync_verdicts(work: WorkFolder) -> None:
    """Wait until all that was appended is on disk. OSError when it cannot be."""
    try:
        handle = os.open(work.root / VERDICTS_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _append(path: Path, said: list[dict[str, str]], sync: bool) -> None:
    """Whole lines at the end. A file of other columns, or one that ends within a line, is written anew first."""
    columns, before = COLUMNS, b""
    if path.is_file():
        before = path.read_bytes()
        text = before.decode("utf-8-sig", "surrogateescape")
        found = next(csv.reader(io.StringIO(text)), [])
        columns = [*found, *(name for name in COLUMNS if name not in found)]
        if columns != found or not text.endswith("\n"):
            rows = list(csv.DictReader(io.StringIO(text)))
            write_text(path, _lines(columns, rows, header=True))
    else:
        write_text(path, _lines(columns, [], header=True))
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        data = _lines(columns, said).encode("utf-8", "surrogateescape")
        size = os.fstat(handle).st_size
        if os.write(handle, data) != len(data):  # the disk is full
            os.ftruncate(handle, size)
            raise OSError(28, "No space left on device", str(path))
        if sync:
            os.fsync(handle)
    finally:
        os.close(handle)


def _lines(columns: list[str], rows: Iterable[Mapping[str, Any]], header: bool = False) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
