"""What an archive says of its clips as human labels: the class of a clip holds for the whole of it."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.safe_writing import digest_of, read_parquet_metadata, write_parquet
from labels.videos.videos_table import Row

WRITERS = 8

POSE = {"frame_index": "int64", "joint": "str", "x": "float32", "y": "float32"}  # pixels of the clip's frames


def whole_clip_actions(rows: list[Row]) -> pd.DataFrame:
    """An actions table with one human label for each row of videos.parquet that is ok."""
    used = [row for row in rows if row["status"] == "ok"]
    if not used:
        return tables.empty_table(tables.ACTIONS)
    class_name = [row["class_name"] for row in used]
    frame_count = np.array([row["frame_count"] for row in used], dtype=np.int64)
    fps = np.array([row["fps"] for row in used])
    return tables.make_table(
        tables.ACTIONS,
        {
            "label_uid": [_uid(row) for row in used],
            "video_id": [row["video_id"] for row in used],
            "track_id": tables.NO_TRACK,
            "start_frame": 0,
            "end_frame": frame_count,
            "start_s": 0.0,
            "end_s": frame_count / fps,
            "class_name": class_name,
            "score": 1.0,
            "probabilities": [json.dumps({name: 1.0}, ensure_ascii=False) for name in class_name],
            "origin": "human",
            "round_born": 0,
        },
    )


def _uid(row: Row) -> str:
    said = f"{row['video_id']}|0|{tables.NO_TRACK}|0|{row['frame_count']}|{row['class_name']}|human"
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def keep_actions(rows: list[Row], path_of: Callable[[str], Path]) -> None:
    """Write the human label of each clip, unless it is there already; `path_of` gives the file of a video_id."""
    made_from = {row["video_id"]: _made_from(row) for row in rows}
    wanted = [row for row in rows if read_parquet_metadata(path_of(row["video_id"])) != made_from[row["video_id"]]]
    actions = whole_clip_actions(wanted)

    def write(index: int) -> None:
        video_id = wanted[index]["video_id"]
        write_parquet(path_of(video_id), actions.iloc[[index]].reset_index(drop=True), made_from[video_id])

    with ThreadPoolExecutor(WRITERS) as pool:  # each waits for the disk most of the time
        for _ in pool.map(write, range(len(wanted))):
            pass


def _made_from(row: Row) -> Row:
    return {"video_id": row["video_id"], "digest": digest_of([row["class_name"], row["frame_count"], row["fps"]])}
