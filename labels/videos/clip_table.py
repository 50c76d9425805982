"""The rows of `videos.parquet` for the clips of a list: made from the plan, merged with what was there."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.work_folder import WorkFolder
from labels.videos.download_outcomes import OK
from labels.videos.list_drawing import SPLIT_RANKS
from labels.videos.list_planning import ROW_COLUMNS, DownloadPlan
from labels.videos.videos_table import DEFAULTS, KINDS

CHUNK = 50_000
WAITING_REASON = "not fetched yet; run the same command again"
SPLIT_NAMES = np.array(list(SPLIT_RANKS), dtype=object)


def write_clip_rows(work: WorkFolder, plan: DownloadPlan, source: str) -> list[str]:
    """Put a row for every clip of the plan into the videos table, in the place of older ones of the same clips.

    Returns lines worth telling: videos that earlier runs had put into another split.
    """
    new = tables.concatenate(list(_new_rows(plan, source)), KINDS)
    groups = set(new["group"])
    if work.videos_table.is_file():
        old = work.read_videos()
        old = old[~old["video_id"].isin(new["video_id"])]
        new = _with_columns_of(new, old)
        old = _with_columns_of(old, new)
        new = tables.concatenate([old, new], KINDS)
    moved = _hold_out(new, groups)
    if len(new) or work.videos_table.is_file():
        work.write_videos(new)
    return [f"{moved} clips moved to the split in which an earlier list has their video"] if moved else []


def _new_rows(plan: DownloadPlan, source: str) -> Iterator[pd.DataFrame]:
    rows = plan.rows()
    while chunk := list(islice(rows, CHUNK)):
        columns = dict(zip(ROW_COLUMNS, zip(*chunk, strict=True), strict=True))
        described = [_status(fault, outcome, message) for fault, outcome, message in zip(
            columns["fault"], columns["outcome"], columns["message"], strict=True)]  # fmt: skip
        good = np.array([status == "ok" for status, _ in described])
        values: dict[str, object] = {
            "video_id": columns["video_id"],
            "status": [status for status, _ in described],
            "reason": [reason for _, reason in described],
            "file": np.where(good, np.array([name or "" for name in columns["file"]], dtype=object), ""),
            "source": [source] * len(chunk),
            "url": columns["url"],
            "group": columns["source_key"],
            "class_name": columns["class_name"],
            "split": SPLIT_NAMES[np.array(columns["split"])],
            "sha256": np.where(good, np.array([digest or "" for digest in columns["sha256"]], dtype=object), ""),
        }
        for name in ("start_s", "end_s"):
            values[name] = np.array(columns[name], dtype=np.float64)
        for name in ("fps", "frame_count", "width", "height"):
            missing = float(str(DEFAULTS[KINDS[name]]))
            found = np.array([missing if value is None else value for value in columns[name]], dtype=np.float64)
            values[name] = np.where(good, found, missing)
        values |= {name: [DEFAULTS[kind]] * len(chunk) for name, kind in KINDS.items() if name not in values}
        yield tables.make_table(KINDS, values)


def _status(fault: str, outcome: str | None, message: str | None) -> tuple[str, str]:
    if fault:
        return "skipped", f"refused: {fault}"
    if outcome is None:
        return "skipped", WAITING_REASON
    return ("ok", "") if outcome == OK else ("failed", f"{outcome}: {message}")


def _with_columns_of(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The table with every column of the other one, filled with what stands for nothing."""
    table = table.copy()
    for name, dtype in other.dtypes.items():
        if name not in table.columns:
            empty: Any = -1 if dtype.kind in "iu" else float("nan") if dtype.kind == "f" else ""
            table[name] = pd.Series([empty] * len(table), index=table.index).astype(dtype)
    return table


def _hold_out(videos: pd.DataFrame, groups: set[str]) -> int:
    """Put all clips of each of the groups into its most held-out split, in place; how many moved."""
    rank = videos["split"].map(SPLIT_RANKS).fillna(0).astype(int)
    highest = rank.groupby(videos["group"]).transform("max")
    moved = (rank > 0) & (rank < highest) & videos["group"].isin(groups)
    videos.loc[moved, "split"] = SPLIT_NAMES[highest[moved].to_numpy()]
    return int(moved.sum())
