"""Joints of a clip, those that came with it or that were found in it, as arrays: frames x 13 joints x (x, y)."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from labels.records.safe_writing import read_parquet
from labels.records.tables import NO_TRACK, concatenate, make_table
from labels.videos.archives.rows import POSE

JOINTS = (
    "nose", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
OTHER_NAMES = {"hand": "wrist", "foot": "ankle", "head": "nose", "feet": "ankle"}


def joint_number(name: str) -> int | None:
    """Which of the 13 joints a data set means: `LShoulder`, `left shoulder`, `l_hand`, …; None: none of them."""
    words = re.sub(r"[^a-z]+", " ", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()).split()
    text = "".join(words)
    for side, full in sorted(SIDES.items(), key=lambda item: -len(item[0])):
        part = text.removeprefix(side) if text.startswith(side) else text.removesuffix(side)
        part = OTHER_NAMES.get(part, part)
        if part != text and f"{full}_{part}" in JOINTS:
            return JOINTS.index(f"{full}_{part}")
    return 0 if OTHER_NAMES.get(text, text) == "nose" else None


def read_joints(path: Path, frame_count: int) -> dict[int, np.ndarray] | None:
    """track_id -> (frame_count, 13, 2) pixels, NaN where a joint was not seen; None where there is no such table.

    A table without tracks is of the clip's one player.
    """
    if not path.is_file():
        return None
    table = read_parquet(path)
    numbers = table["joint"].map({name: joint_number(name) for name in table["joint"].unique()})
    table = table.assign(number=numbers)[numbers.notna().to_numpy() & (table["frame_index"] < frame_count).to_numpy()]
    track = table["track_id"] if "track_id" in table else np.full(len(table), NO_TRACK)
    found = {NO_TRACK: np.full((frame_count, len(JOINTS), 2), np.nan, dtype=np.float32)}
    for track_id, own in table.groupby(np.asarray(track)):
        joints = np.full((frame_count, len(JOINTS), 2), np.nan, dtype=np.float32)
        joints[own["frame_index"].to_numpy(), own["number"].to_numpy(int)] = own[["x", "y"]].to_numpy(np.float32)
        found[int(str(track_id))] = joints
    return found


def pose_table(joints: dict[int, np.ndarray]) -> pd.DataFrame:
    """What `read_joints` reads: a row for each joint of `joints`, track_id -> (F, 13, 2), that was seen."""
    tables = []
    for track_id, own in sorted(joints.items()):
        frame, number = np.nonzero(np.isfinite(own).all(axis=2))
        columns = {"frame_index": frame, "joint": [JOINTS[at] for at in number]}
        x, y = own[frame, number].T
        tables.append(make_table(POSE | {"track_id": "int64"}, columns | {"x": x, "y": y, "track_id": track_id}))
    return concatenate(tables, POSE | {"track_id": "int64"})
