"""What people said of clips: the labels that came with archives, as the first labels of the loop."""

import hashlib
from typing import Any

import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.run_records import read_run_record
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.synthetic_settings import SOURCE

TEST = "test"


def human_actions(work: WorkFolder, video_id: str) -> pd.DataFrame | None:
    """The human ACTIONS of a video, or None where nobody labelled it."""
    path = work.truth_actions(video_id)
    if not path.is_file():
        return None
    try:
        actions = tables.check_actions(read_parquet(path), str(path))
    except ValueError as error:
        raise InputError(str(error)) from None
    named = actions[(actions["class_name"] != "") & (actions["origin"] == "human")]
    return named.reset_index(drop=True) if len(named) else None


def begins_with_actions(work: WorkFolder) -> bool:
    """Whether people labelled the actions of a clip that is not held out, and no boxes were labelled yet.

    What a renderer knows of its clips nobody said.
    """
    if read_run_record(work.round(0), "labelled") is not None:
        return False
    videos = work.usable_videos()
    videos = videos[videos["source"] != SOURCE]
    return any(human_actions(work, video_id) is not None for video_id in videos["video_id"][videos["split"] != TEST])


def groups_used(labelled: pd.DataFrame, share: float) -> set[str]:
    """The groups whose human labels are for training: a share of them, rounded, and one at least.

    By the groups' names alone: a larger share takes what a smaller one took.

    Args:
        labelled: rows of the videos table that people labelled, not those held out.
    """
    order = sorted({group_of(video) for video in labelled.itertuples()}, key=_draw)
    return set(order[: max(1, round(share * len(order)))])


def group_of(video: Any) -> str:
    """Of a row of the videos table; a clip without a group is its own."""
    return str(video.group) or str(video.video_id)


def _draw(group: str) -> str:
    return hashlib.blake2b(f"human|{group}".encode(), digest_size=6).hexdigest()
