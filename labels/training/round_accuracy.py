"""How good a detector is where more is known than labels: against truth, or against what a human said."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from labels.records.tables import BOX_COLUMNS
from labels.records.work_folder import WorkFolder
from labels.training.box_datasets import LabelledFrame, empty_frame
from labels.training.box_metrics import measure
from labels.training.detector_tasks import DetectorTask, detection_tables, spread

TRUTH_FRAMES = 600  # of a video, evenly spread: more of one clip say little more


def measure_accuracy(
    work: WorkFolder,
    task: DetectorTask,
    network: nn.Module,
    frames: Sequence[LabelledFrame],
    thresholds: dict[str, float],
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The metrics on validation frames whose truth is known, else on those a human judged, else None.

    Against truth all its frames count, also those that the labels were too unsure of.

    Returns the metrics, and the reason for each video whose truth could not be used.
    """
    truths: dict[str, pd.DataFrame] = {}
    judged: list[LabelledFrame] = []
    unused: dict[str, str] = {}
    videos = work.usable_videos()
    files = dict(zip(videos["video_id"], videos["file"], strict=True))
    counts = {frame.video_id: frame.frame_count for frame in frames}
    for video_id in sorted(counts):
        truth = work.read_truth(video_id)
        if truth is None or not len(truth):
            continue
        own = truth_frames(video_id, counts[video_id], truth)
        if not own:
            unused[video_id] = f"it names no frame below {counts[video_id]}"
        elif reason := task.working.ensure(own, work.videos / files[video_id]):
            unused[video_id] = f"its frames cannot be decoded: {reason}"
        else:
            judged += own
            looked_at = truth[truth["frame_index"].isin([frame.frame_index for frame in own])]
            truths[video_id] = truth_of(looked_at, task.class_names)
    against = "truth"
    if not judged:
        against, judged = "human verdicts", [frame for frame in frames if frame.by_human]
    if not judged:
        return None, unused
    found, labels = detection_tables(task, network, judged)
    tables = truths or labels
    metrics = measure(found, tables, thresholds)
    return {"against": against, "videos": len(tables), "frames": len(judged), **metrics.as_dict()}, unused


def truth_frames(video_id: str, frame_count: int, truth: pd.DataFrame, most: int = TRUTH_FRAMES) -> list[LabelledFrame]:
    """Frames, without labels, that the truth of a video names: at most so many, evenly spread."""
    named = np.unique(truth["frame_index"])
    named = named[(named >= 0) & (named < frame_count)]
    return spread([empty_frame(video_id, int(frame_index), frame_count) for frame_index in named], most)


def truth_of(truth: pd.DataFrame, class_names: tuple[str, ...]) -> pd.DataFrame:
    """The truth of some classes; a frame that holds none of them is one without an object."""
    rows = truth[truth["class_name"].isin(class_names)]
    bare = truth[~truth["frame_index"].isin(rows["frame_index"])].drop_duplicates("frame_index")
    bare = bare.assign(class_name="", visibility=np.float32(0), **dict.fromkeys(BOX_COLUMNS, np.float32("nan")))
    return pd.concat([rows, bare], ignore_index=True) if len(bare) else rows.reset_index(drop=True)
