"""What people said of clips: the labels that came with archives, as the first labels of the loop."""

import hashlib

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


def is_used(split: str, group: str, share: float) -> bool:
    """Whether the human labels of a video are for training: not those of test clips, and a share of the others.

    By the group's name alone: a larger share takes what a smaller one took.
    """
    drawn = int.from_bytes(hashlib.blake2b(f"human|{group}".encode(), digest_size=6).digest()) / 2**48
    return split != TEST and drawn < share
