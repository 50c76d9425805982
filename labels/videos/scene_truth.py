"""The truth of a synthetic clip as tables, from what was seen while it was drawn."""

import hashlib
import json
import math
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pandas as pd

from labels.records import tables
from labels.videos import scene_poses as body
from labels.videos.archive_labels import POSE
from labels.videos.pose_tables import JOINTS
from labels.videos.scene_layers import Seen

BALL, PERSON = "sports ball", "person"
GAITS = ("stand", "run")
ACTION_CLASSES = (*GAITS, "jump", "throw", "kick", "swing")
# Of the 17 joints of a body, those that recognisers of poses see, in the order of JOINTS.
SEEN_JOINTS = [
    body.HEAD, body.L_SHOULDER, body.R_SHOULDER, body.L_ELBOW, body.R_ELBOW, body.L_HAND, body.R_HAND, body.L_HIP,
    body.R_HIP, body.L_KNEE, body.R_KNEE, body.L_ANKLE, body.R_ANKLE,
]  # fmt: skip
SHORTEST_S = 0.3  # of an action: what is over sooner, or so little in sight, no person could name


@dataclass(frozen=True)
class RenderedTruth:
    """What a rendered clip shows: a TRUTH and an ACTIONS table, and where the players' joints are."""

    boxes: pd.DataFrame
    actions: pd.DataFrame
    poses: pd.DataFrame


@dataclass(frozen=True)
class FrameTruth:
    """What one frame shows."""

    seen: list[Seen]
    doing: dict[int, str]  # track_id of a player in sight -> what they do
    joints: dict[int, np.ndarray] = field(default_factory=dict)  # track_id of a player in sight -> (17, 2) pixels


def truth_table(frames: list[FrameTruth]) -> pd.DataFrame:
    """The TRUTH rows of all frames."""
    rows: list[tuple] = []
    for frame_index, frame in enumerate(frames):
        rows += [
            (frame_index, *seen.xyxy, seen.class_name, seen.track_id, seen.visibility())
            for seen in sorted(frame.seen, key=lambda seen: seen.track_id)
        ]
        if not any(seen.class_name == BALL for seen in frame.seen):
            rows.append((frame_index, *[np.nan] * 4, BALL, tables.NO_TRACK, 0.0))
    columns = list(zip(*rows, strict=True))
    return tables.make_table(tables.TRUTH, dict(zip(tables.TRUTH, map(list, columns), strict=True)))


def actions_table(frames: list[FrameTruth], video_id: str, fps: float) -> pd.DataFrame:
    """The ACTIONS rows: what each player does, from when to when, while in sight.

    What is too short to be marked has no class: nobody could name it.
    """
    rows = []
    for track_id in sorted({track for frame in frames for track in frame.doing}):
        names = [frame.doing.get(track_id) for frame in frames]
        rows += [(track_id, *stretch) for stretch in _stretches(names, math.ceil(SHORTEST_S * fps))]
    return tables.make_table(
        tables.ACTIONS,
        {
            "label_uid": [hashlib.blake2b(f"{video_id}|{row}".encode(), digest_size=8).hexdigest() for row in rows],
            "video_id": [video_id] * len(rows),
            "track_id": [row[0] for row in rows],
            "start_frame": [row[1] for row in rows],
            "end_frame": [row[2] for row in rows],
            "start_s": [row[1] / fps for row in rows],
            "end_s": [row[2] / fps for row in rows],
            "class_name": [row[3] for row in rows],
            "score": 1.0,
            "probabilities": [json.dumps({row[3]: 1.0} if row[3] else {}) for row in rows],
            "origin": "human",
            "round_born": 0,
        },
    )


def poses_table(frames: list[FrameTruth], width: int, height: int) -> pd.DataFrame:
    """The joints of all players in sight that lie in the frame, hidden or not: as a motion capture gives them."""
    rows = [
        (frame_index, JOINTS[place], x, y, track_id)
        for frame_index, frame in enumerate(frames)
        for track_id, joints in sorted(frame.joints.items())
        for place, (x, y) in enumerate(joints[SEEN_JOINTS].tolist())
        if 0 <= x < width and 0 <= y < height
    ]
    kinds = POSE | {"track_id": "int64"}
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)


def _stretches(names: list[str | None], shortest: int) -> list[tuple[int, int, str]]:
    """(start, end, name) of what is done while in sight; name is empty where it is for fewer frames than `shortest`.

    Fewer of the other gait between do not end a gait.
    """
    found: list[tuple[int, int, str | None]] = []
    start = 0
    for name, run in groupby(names):
        end = start + len(list(run))
        found.append((start, end, name))
        start = end
    joined: list[tuple[int, int, str | None]] = []
    for start, end, name in found:
        if len(joined) > 1:
            (first, _, before), (*_, between) = joined[-2:]
            if before == name and name in GAITS and between in GAITS and start - joined[-1][0] < shortest:
                joined[-2:] = [(first, end, name)]
                continue
        joined.append((start, end, name))
    return [(start, end, name if end - start >= shortest else "") for start, end, name in joined if name]
