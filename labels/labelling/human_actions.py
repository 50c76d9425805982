"""Human action labels as the first labels of the loop: those that came with an archive's clips."""

import hashlib
from collections.abc import Iterable

import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.run_records import read_run_record
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.synthetic.settings import SOURCE

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


def videos_taught(work: WorkFolder, videos: pd.DataFrame, share: float) -> set[str]:
    """The video_ids whose human labels are for training: not those held out, and of the others a share of the groups.

    A clip without a group is its own.
    """
    own = videos[videos["split"] != TEST]
    if share < 1:
        own = own[own["video_id"].isin([name for name in own["video_id"] if human_actions(work, name) is not None])]
    groups = own["group"].where(own["group"] != "", own["video_id"])
    return set(own["video_id"][groups.isin(share_of(groups, share))])


def share_of(groups: Iterable[str], share: float) -> set[str]:
    """A share of the different names, rounded and one at least: a larger share takes what a smaller one took.

    The draw depends on the names alone; where more names come, they may take another's place.
    """
    order = sorted(set(groups), key=lambda group: hashlib.blake2b(f"human|{group}".encode(), digest_size=6).digest())
    return set(order[: max(1, round(share * len(order)))])
