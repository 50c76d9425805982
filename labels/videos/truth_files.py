"""The truth of a clip, from a CSV beside it: checked before use, because every figure in the report hangs on it.

    frame_index,x1,y1,x2,y2[,class_name]      boxes in pixels of the upright frame
    frame_index,x,y[,class_name]              only the centres are known

    Frame,Visibility,X,Y                      TrackNet's; also file name,visibility,x-coordinate,y-coordinate[,status]

Only the frames it names count. A row without coordinates is a frame without the object.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import file_digest, read_parquet_metadata, write_parquet
from labels.records.verdicts import delimiter_of
from labels.videos.download.list_reading import open_list

DEFAULT_CLASS = "sports ball"
BALL_SUFFIX = "_ball"  # of TrackNet's CSV beside a clip
TRACKNET = (("Frame", "Visibility", "X", "Y"), ("file name", "visibility", "x-coordinate", "y-coordinate"))
HIDDEN_BALL, HARD_BALL = 3, 2  # values of TrackNet's visibility
MOST_FRAMES = 10**9
COORDINATES = (("x1", "y1", "x2", "y2"), ("x", "y"))


class TruthError(Exception):
    """Why a truth file is not used, in one line."""


def keep_truth(csv_path: Path, target: Path, frame_count: int, width: int, height: int, is_cut: bool = False) -> None:
    """Write the truth table of a clip to `target`, unless it was made from the same CSV. Raises TruthError.

    Of a clip that is used until its damage (`is_cut`) the rows past it are left out: nobody can find what they name.
    """
    try:
        made_from = {"csv_sha256": file_digest(csv_path), "size": [frame_count, width, height]}
    except OSError as error:
        raise TruthError(f"cannot be read: {error.strerror}") from None
    if read_parquet_metadata(target) != made_from:
        write_parquet(target, read_truth_csv(csv_path, frame_count, width, height, is_cut), made_from)


def read_truth_csv(csv_path: Path, frame_count: int, width: int, height: int, is_cut: bool = False) -> pd.DataFrame:
    """The TRUTH table of a video of this many frames of this size. Raises TruthError.

    Rows of later frames are an error, but where the video `is_cut` at its damage.
    """
    last = MOST_FRAMES if is_cut else frame_count
    try:
        with open_list(csv_path, errors="strict") as opened:
            delimiter = delimiter_of(opened.readline())
            opened.seek(0)
            reader = csv.DictReader(opened, strict=True, skipinitialspace=True, delimiter=delimiter)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            if (ball := tracknet_columns(list(reader.fieldnames))) is not None:
                rows_of = (_ball_row(row, ball, f"line {reader.line_num}", last, width, height) for row in reader)
                found = [row for row in rows_of if row is not None]
                if not found:
                    raise TruthError("no row in it")
                return _until(frame_count, _as_table([row[:3] for row in found], [row[3] for row in found]))
            columns = _coordinate_columns(list(reader.fieldnames))
            rows = [_checked(row, columns, f"line {reader.line_num}", last, width, height) for row in reader]
    except OSError as error:
        raise TruthError(f"cannot be read: {error.strerror}") from None
    except InputError as error:
        raise TruthError(str(error).removeprefix(f"{csv_path}: ")) from None
    except (UnicodeError, csv.Error) as error:
        raise TruthError(f"not a CSV in UTF-8: {error}") from None
    if not rows:
        raise TruthError("no row in it")
    return _until(frame_count, _as_table(rows))


def _until(frame_count: int, truth: pd.DataFrame) -> pd.DataFrame:
    before = truth[truth["frame_index"] < frame_count].reset_index(drop=True)
    if before.empty:
        raise TruthError(f"names none of the {frame_count} frames before the clip's damage")
    return before


def tracknet_columns(found: list[str]) -> tuple[str, str, str, str] | None:
    """The columns of frame, visibility, x and y as a TrackNet file spells them; None for another file."""
    spelt = {name.strip().lower(): name for name in found}
    for columns in TRACKNET:
        if all(name.lower() in spelt for name in columns):
            frame, visibility, x, y = (spelt[name.lower()] for name in columns)
            return frame, visibility, x, y
    return None


def _ball_row(
    row: dict[str, str], columns: tuple[str, str, str, str], where: str, frame_count: int, width: int, height: int
) -> tuple[int, str, tuple[float, ...], float] | None:
    """A row of TrackNet's as `_checked` gives one, and how well the ball is seen, 0 to 1; None for a hidden one."""
    frame, visibility, *centre = ((row.get(name) or "").strip() for name in columns)
    seen = _number(visibility, "visibility", where)
    if seen == HIDDEN_BALL and not any(_number(text or "0", "centre", where) for text in centre):
        return None
    values = {"frame_index": PurePosixPath(frame).stem, "x": centre[0] if seen else "", "y": centre[1] if seen else ""}
    share = {HIDDEN_BALL: 0.0, HARD_BALL: 0.5}.get(int(seen), 1.0)
    return (*_checked(values, ("x", "y"), where, frame_count, width, height), share)


def _coordinate_columns(found: list[str]) -> tuple[str, ...]:
    for columns in COORDINATES:
        if set(found) - {"class_name"} == {"frame_index", *columns} and len(found) == len(set(found)):
            return columns
    raise TruthError(
        f"its columns are {','.join(found)[:80]}, not frame_index,x1,y1,x2,y2[,class_name] or frame_index,x,y"
    )


def _checked(
    row: dict[str, str], columns: tuple[str, ...], where: str, frame_count: int, width: int, height: int
) -> tuple[int, str, tuple[float, ...]]:
    """Frame, class and (x1, y1, x2, y2) of one row; NaN for a frame without the object."""
    if None in row or None in row.values():
        raise TruthError(f"{where}: not as many values as the first line has names")
    frame = _number(row["frame_index"], "frame_index", where)
    if frame != int(frame) or not 0 <= frame < frame_count:
        raise TruthError(f"{where}: frame_index {row['frame_index']} is not one of the video's {frame_count} frames")
    class_name = (row.get("class_name") or "").strip() or DEFAULT_CLASS
    texts = [row[name].strip() for name in columns]
    if not any(texts):
        return int(frame), class_name, (math.nan,) * 4
    values = [_number(text, name, where) for text, name in zip(texts, columns, strict=True)]
    x1, y1, x2, y2 = values * (4 // len(values))  # a centre is a box that is one point
    if len(values) == 4 and (x2 <= x1 or y2 <= y1):
        raise TruthError(f"{where}: the box {x1:g},{y1:g},{x2:g},{y2:g} is empty or inverted")
    if x1 > width or y1 > height or x2 < 0 or y2 < 0:
        raise TruthError(f"{where}: the box lies outside the video's {width} x {height} pixels")
    return int(frame), class_name, (x1, y1, x2, y2)


def _number(text: str, name: str, where: str) -> float:
    try:
        number = float(text.replace(",", "."))  # 1,5 between semicolons
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TruthError(f"{where}: {name} is '{text[:20]}', not a number")
    return number


def _as_table(
    rows: Sequence[tuple[int, str, tuple[float, ...]]], visibility: Sequence[float] | float = 1.0
) -> pd.DataFrame:
    frames, classes, boxes = (list(column) for column in zip(*rows, strict=True))
    xyxy = np.array(boxes, dtype=np.float32)
    truth = tables.make_table(
        tables.TRUTH,
        {
            "frame_index": frames,
            **{name: xyxy[:, column] for column, name in enumerate(tables.BOX_COLUMNS)},
            "class_name": classes,
            "track_id": tables.NO_TRACK,
            "visibility": visibility,
        },
    )
    if truth.duplicated().any():
        raise TruthError(f"frame {truth['frame_index'][truth.duplicated()].iloc[0]} holds the same row twice")
    empty = tables.is_empty_frame(truth)
    both = truth[empty].merge(truth[~empty], on=["frame_index", "class_name"])
    if len(both):
        raise TruthError(f"frame {both['frame_index'].iloc[0]} has a box and a row that says it has none")
    return truth.sort_values(["frame_index", "class_name", "x1", "y1"], ignore_index=True)
