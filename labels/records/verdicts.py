"""Verdicts: what a human decided about single labels, kept in `verdicts.csv` in the work folder and only appended to.

    label_uid,verdict,class_name,x1,y1,x2,y2,video_id,frame_index,judged_class,judged_x1,judged_y1,judged_x2,judged_y2

Only the first two columns are required. `verdict` is y or n. The last line of a label counts; a line with an empty
verdict withdraws the earlier ones.

- `class_name`, `x1` to `y2`: the corrected label, where it was not right as it was (empty: unchanged). Only with y.
- `video_id`, `frame_index` and `judged_…`: the label as it was when it was judged. They identify the same object again
  after a labeller ran anew and gave it another `label_uid`.
- A line with y, a video_id, a frame_index, a class and a box but no label_uid is a box that a human drew.
"""

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from labels.records.errors import InputError
from labels.records.run_records import VERDICTS_FILE
from labels.records.safe_writing import write_bytes
from labels.records.tables import BOX_COLUMNS, box_uids
from labels.records.work_folder import WorkFolder

JUDGED_COLUMNS = [f"judged_{name}" for name in BOX_COLUMNS]
COLUMNS = [
    *("label_uid", "verdict", "class_name", *BOX_COLUMNS, "video_id", "frame_index", "judged_class"),
    *JUDGED_COLUMNS,
]
MOST_CLASS_NAME = 100

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one label. `xyxy` and `judged_xyxy` are pixels, None where nothing was said of them."""

    label_uid: str
    verdict: str  # y | n
    class_name: str = ""
    xyxy: Box | None = None
    video_id: str = ""
    frame_index: int | None = None
    judged_class: str = ""
    judged_xyxy: Box | None = None

    @property
    def right_class(self) -> str:
        return self.class_name or self.judged_class

    @property
    def right_xyxy(self) -> Box | None:
        return self.xyxy or self.judged_xyxy

    @property
    def is_placed(self) -> bool:
        """Whether the object can be found without its name."""
        placed = bool(self.video_id) and self.frame_index is not None
        return placed and bool(self.right_class) and self.right_xyxy is not None

    @property
    def is_correction(self) -> bool:
        return self.class_name != "" or self.xyxy is not None


def verdict_from(row: Mapping[str, Any]) -> Verdict:
    """A verdict from what `append_verdicts` takes. InputError when it says nothing, or nothing sound."""
    _, verdict = parse_verdict({name: as_text(row.get(name)) for name in COLUMNS}, "a new verdict")
    if verdict is None:
        raise InputError("a new verdict: a verdict is y or n, not ''")
    return verdict


def as_row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as `append_verdicts` takes it."""
    boxes = zip(
        (*BOX_COLUMNS, *JUDGED_COLUMNS), (*(verdict.xyxy or [""] * 4), *(verdict.judged_xyxy or [""] * 4)), strict=True
    )
    row = {name: getattr(verdict, name) for name in COLUMNS if hasattr(verdict, name)}
    return row | dict(boxes)


def drawn_uid(video_id: str, frame_index: int, class_name: str, xyxy: Box) -> str:
    """The name of a box that no machine drew: the same whenever the same box is given."""
    box = np.array([xyxy], dtype=np.float32)
    return box_uids(video_id, 0, np.array([frame_index]), np.array([class_name], dtype=object), box, "human")[0]


def parse_verdict(row: Mapping[str, str | None], where: str) -> tuple[str, Verdict | None]:
    """The label a line is about and what it says of it; None: nothing, or nothing any more."""
    texts = {name: (row.get(name) or "").strip() for name in COLUMNS}
    uid, word = texts["label_uid"], texts["verdict"].lower()
    if word not in ("", "y", "n"):
        raise InputError(f"{where}: a verdict is y or n, not '{word}'")
    if not word:
        return uid, None
    xyxy, judged = _box_of(texts, BOX_COLUMNS, where), _box_of(texts, JUDGED_COLUMNS, where)
    class_name, video_id, frame = texts["class_name"], texts["video_id"], texts["frame_index"]
    if frame and not (frame.isascii() and frame.isdecimal() and len(frame) <= 9):
        raise InputError(f"{where}: a frame_index is a whole number from 0, not '{frame}'")
    if len(class_name) > MOST_CLASS_NAME or not class_name.isprintable():
        raise InputError(f"{where}: '{class_name[:40]}' is no name of a class")
    if word == "n" and (class_name or xyxy):
        raise InputError(f"{where}: a label that is denied cannot be corrected; say y, or leave class and box empty")
    if not uid:
        if not (word == "y" and video_id and frame and class_name and xyxy):
            without = "it is no whole box that a human drew either" if video_id else "label_uid is empty"
            raise InputError(f"{where}: a verdict on no label; {without}")
        uid = drawn_uid(video_id, int(frame), class_name, xyxy)
    index = int(frame) if frame else None
    return uid, Verdict(uid, word, class_name, xyxy, video_id, index, texts["judged_class"], judged)


def _box_of(texts: Mapping[str, str], columns: list[str], where: str) -> Box | None:
    given = [texts[name] for name in columns]
    if not any(given):
        return None
    try:
        x1, y1, x2, y2 = (float(text.replace(",", ".")) for text in given)  # 1,5 between semicolons
    except ValueError:
        raise InputError(f"{where}: a box is four numbers, not '{' '.join(given)}'") from None
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in (x1, y1, x2, y2)) or x2 <= x1 or y2 <= y1:
        raise InputError(f"{where}: the box {x1:g} {y1:g} {x2:g} {y2:g} is empty or not finite")
    return x1, y1, x2, y2


def as_text(value: Any) -> str:
    """A value as it stands in verdicts.csv: float32 is told apart in nine digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float | np.floating):
        return f"{float(value):.9g}"
    return str(value)


LOCK_FILE = ".verdicts.lock"
DRAWN = ("class_name", *BOX_COLUMNS, "video_id", "frame_index")  # of a box that a human drew
LINES_AT_ONCE = 100_000


def delimiter_of(header: str) -> str:
    """What stands between the values of a CSV, by its first line: spreadsheets of many countries write semicolons."""
    return max(",;\t", key=header.count)


def _rows_of(path: Path, opened: IO[str]) -> csv.DictReader:
    """The rows of verdicts.csv. InputError where its columns cannot be told: what is not read is not rewritten."""
    delimiter = delimiter_of(opened.readline())
    opened.seek(0)
    reader = csv.DictReader(opened, delimiter=delimiter)
    reader.fieldnames = [str(name).strip() for name in reader.fieldnames or []]
    if not {"label_uid", "verdict"} <= set(reader.fieldnames):
        raise InputError(f"{path}: needs the columns label_uid and verdict")
    return reader


def _texts(row: Mapping[Any, Any]) -> dict[str, str]:
    """The named values of a row; what stands behind the last column is none."""
    return {name: value for name, value in row.items() if isinstance(name, str)}


def read_verdicts(work: WorkFolder) -> dict[str, Verdict]:
    """label_uid -> what was said last, the latest last; empty when there is no file. InputError names the bad line."""
    path = work.root / VERDICTS_FILE
    if not path.is_file():
        return {}
    verdicts: dict[str, Verdict] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            for number, row in enumerate(_rows_of(path, opened), start=2):
                uid, verdict = parse_verdict(_texts(row), f"{path}: line {number}")
                verdicts.pop(uid, None)
                if verdict is not None:
                    verdicts[uid] = verdict
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    return verdicts


def append_verdicts(
    work: WorkFolder, rows: Iterable[Mapping[str, Any]], sync: bool = True, drawn: pd.DataFrame | None = None
) -> int:
    """Append verdicts, each a mapping of some of `COLUMNS` (an empty verdict takes back); how many there were.

    `drawn` are boxes that a human drew, a row each: class_name, x1 to y2, video_id, frame_index.

    They are in the file, all or none, when this returns, and on disk too; without `sync` the caller sees to that with
    `sync_verdicts`. May be called from many processes at once, also while a stage runs; the work folder's own lock is
    not asked for. InputError when one of them is not sound: then none is written.
    """
    path = work.root / VERDICTS_FILE
    new: list[dict[str, str]] = []
    for row in rows:
        texts = {name: as_text(row.get(name)) for name in COLUMNS}
        uid, _ = parse_verdict(texts, f"{path}: a new verdict")
        new.append(texts | {"label_uid": uid})
    count = len(new) + (0 if drawn is None else len(drawn))
    if not count:
        return 0
    from filelock import FileLock

    more = [] if drawn is None else _drawn_rows(drawn, f"{path}: a new verdict")
    with FileLock(work.root / LOCK_FILE):
        _append(path, chain(new, more), sync)
    return count


def drawn_uids(boxes: pd.DataFrame) -> list[str]:
    """The names of many boxes that no machine drew, as `drawn_uid` gives them."""
    uids = np.empty(len(boxes), dtype=object)
    xyxy = boxes[BOX_COLUMNS].to_numpy(dtype=np.float32)
    frames, names = boxes["frame_index"].to_numpy(), boxes["class_name"].to_numpy(dtype=object)
    for video_id, at in boxes.groupby("video_id", sort=False).indices.items():
        uids[at] = box_uids(str(video_id), 0, frames[at], names[at], xyxy[at], "human")
    return uids.tolist()


def _drawn_rows(boxes: pd.DataFrame, where: str) -> Iterator[dict[str, str]]:
    """Lines of boxes that were drawn, checked as `parse_verdict` does. There may be a million of them."""
    boxes = boxes.reset_index(drop=True)
    xyxy = boxes[BOX_COLUMNS].to_numpy(dtype=np.float32)
    sound = np.isfinite(xyxy).all(1) & (np.abs(xyxy) < 1e6).all(1) & (xyxy[:, :2] < xyxy[:, 2:]).all(1)
    sound &= boxes["frame_index"].between(0, 10**9 - 1).to_numpy()
    names, videos = boxes["class_name"].drop_duplicates(), boxes["video_id"].drop_duplicates()
    doubtful = [*np.flatnonzero(~sound)[:1], *names.index, *videos.index]
    for row in doubtful:  # of each name one: which says what is wrong
        common = {
            name: as_text(boxes[name].iloc[row]) for name in ("class_name", *BOX_COLUMNS, "video_id", "frame_index")
        }
        parse_verdict(common | {"label_uid": "", "verdict": "y"}, where)
    columns = (drawn_uids(boxes), boxes["class_name"], *xyxy.T.tolist(), boxes["video_id"], boxes["frame_index"])
    return (
        {
            "label_uid": uid,
            "verdict": "y",
            "class_name": class_name,
            "x1": f"{x1:.9g}",
            "y1": f"{y1:.9g}",
            "x2": f"{x2:.9g}",
            "y2": f"{y2:.9g}",
            "video_id": video_id,
            "frame_index": str(frame),
        }
        for uid, class_name, x1, y1, x2, y2, video_id, frame in zip(*columns, strict=True)
    )


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


def _append(path: Path, rows: Iterable[Mapping[str, str]], sync: bool) -> None:
    """Whole lines at the end. A file of other columns, or one that ends within a line, is written anew first."""
    columns = COLUMNS
    if path.is_file():
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as opened:
            reader = _rows_of(path, opened)
            found = list(reader.fieldnames or [])
            columns = [*found, *(name for name in COLUMNS if name not in found)]
            if columns != found or not _ends_a_line(path) or reader.reader.dialect.delimiter != ",":
                write_bytes(path, b"".join(_lines(columns, map(_texts, reader), header=True)))
    else:
        write_bytes(path, b"".join(_lines(columns, [], header=True)))
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        size = os.fstat(handle).st_size
        try:
            for data in _lines(columns, rows):
                if os.write(handle, data) != len(data):
                    raise OSError(28, "No space left on device", str(path))
        except OSError:
            os.ftruncate(handle, size)
            raise
        if sync:
            os.fsync(handle)
    finally:
        os.close(handle)


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) == b"\n"


def _lines(columns: list[str], rows: Iterable[Mapping[str, Any]], header: bool = False) -> Iterator[bytes]:
    """CSV in pieces of many lines."""
    rows, is_first = iter(rows), header
    while (piece := list(islice(rows, LINES_AT_ONCE))) or is_first:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
        if is_first:
            writer.writeheader()
        writer.writerows(piece)
        yield text.getvalue().encode("utf-8", "surrogateescape")
        is_first = False
