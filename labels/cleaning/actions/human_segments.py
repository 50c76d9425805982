"""Human labels of actions: verdicts on labels, and whole segments in `human_actions.csv` (written by label_import).

    label_uid,video_id,track_id,start_frame,end_frame,class_name

A line with a label_uid replaces that label; the last line of a label counts. A line without one is a segment that a
human added. Frames are half-open.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.exchange.label_set import FOUND_ACTIONS, found_actions
from labels.exchange.labelled_clips import human_action_uid, human_actions
from labels.records import tables
from labels.records.errors import InputError
from labels.records.frame_times import read_frame_times
from labels.records.run_records import HUMAN_ACTIONS_FILE
from labels.records.verdicts import Verdict
from labels.records.work_folder import WorkFolder

NUMBERS = ("track_id", "start_frame", "end_frame")


@dataclass(frozen=True)
class HumanSegments:
    """`actions` is an ACTIONS table; `elsewhere` counts the lines of videos that are not usable here."""

    actions: pd.DataFrame
    elsewhere: int


def read_segments(work: WorkFolder) -> HumanSegments:
    """What the file says of usable videos; empty when there is no file. InputError names the bad line."""
    path = work.root / HUMAN_ACTIONS_FILE
    videos = work.usable_videos().set_index("video_id")
    last: dict[str, tuple[str, str, int, int, int, str]] = {}  # label_uid -> the last word
    elsewhere = 0
    if path.is_file():
        try:
            with open(path, newline="", encoding="utf-8-sig") as opened:
                reader = csv.DictReader(opened)
                if missing := set(FOUND_ACTIONS) - set(reader.fieldnames or []):
                    raise InputError(f"{path}: columns missing: {', '.join(sorted(missing))}")
                for number, row in enumerate(reader, start=2):
                    video_id = (row["video_id"] or "").strip()
                    if video_id not in videos.index:
                        elsewhere += 1
                        continue
                    frame_count = int(videos.at[video_id, "frame_count"])
                    segment = _segment_of(row, frame_count, f"{path}: line {number}")
                    last[segment[0]] = segment
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    parts = []
    for video_id, own in found_actions(list(last.values())).groupby("video_id"):
        own = own.sort_values(["start_frame", "track_id", "class_name"], ignore_index=True)
        times = read_frame_times(work.frame_times, videos.loc[video_id].to_dict() | {"video_id": video_id})
        parts.append(human_actions(own, times).assign(label_uid=own["label_uid"]))
    return HumanSegments(tables.concatenate(parts, tables.ACTIONS), elsewhere)


def with_verdicts_applied(
    actions: pd.DataFrame, segments: pd.DataFrame, verdicts: Mapping[str, Verdict]
) -> pd.DataFrame:
    """Actions (of any kind) without those that a segment replaces; what was confirmed is a human's, in its right class.

    Done before anything is decided, so that what a student says in the same place counts for less.
    """
    actions = actions[~actions["label_uid"].isin(segments["label_uid"])].reset_index(drop=True)
    found = [verdicts.get(uid) for uid in actions["label_uid"]]
    right = np.array([verdict is not None and verdict.verdict == "y" for verdict in found], dtype=bool)
    names = [
        verdict.class_name if verdict is not None and verdict.class_name else name
        for verdict, name in zip(found, actions["class_name"], strict=True)
    ]
    return actions.assign(
        class_name=pd.Series(names, dtype="str"),
        origin=pd.Series(np.where(right, "human", actions["origin"].to_numpy(dtype=object)), dtype="str"),
    )


def _segment_of(row: Mapping[str, str | None], frame_count: int, where: str) -> tuple[str, str, int, int, int, str]:
    """A line in the order of FOUND_ACTIONS; a person's own segment is given its name."""
    texts = {name: (row.get(name) or "").strip() for name in FOUND_ACTIONS}
    try:
        track_id, start, end = (int(texts[name]) for name in NUMBERS)
    except ValueError:
        raise InputError(f"{where}: {', '.join(NUMBERS)} are whole numbers") from None
    if not (0 <= start < end <= frame_count and tables.NO_TRACK <= track_id < 2**62):
        raise InputError(f"{where}: frames {start} to {end} of player {track_id}, but the video has {frame_count}")
    if not texts["class_name"] or not texts["class_name"].isprintable():
        raise InputError(f"{where}: '{texts['class_name'][:40]}' is no name of a class")
    segment = (texts["video_id"], track_id, start, end, texts["class_name"])
    return texts["label_uid"] or human_action_uid(*segment), *segment
