"""The cleaned round as a dataset to train on: a COCO file and the JPEGs of the frames it names."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from labels.cleaning.settings import CleaningSettings
from labels.exchange.formats.coco import IMAGES, write_coco
from labels.records import tables
from labels.records.safe_writing import read_json, whole_file
from labels.records.video_labels import VideoLabels
from labels.records.work_folder import RoundFolder
from labels.videos.frame_store import FrameStore

NEAR_CERTAIN_NOT = 0.1  # a dropped box of lower quality does not make its frame doubtful


def dataset_frames(labels: VideoLabels, settings: CleaningSettings) -> np.ndarray:
    """The frames (ascending) of one video that go into the dataset: those with labels, and some that surely have none.

    A frame surely has none when it and the frames around it were labelled and hold nothing plausible. They are an even
    sample of at most `max_negative_share` of the frames with kept labels; a video without kept labels gives none,
    because there nothing shows that the labeller can see the object at all.
    """
    boxes, stride = labels.boxes, labels.video.stride
    left = boxes[boxes["decision"] != "drop"]
    with_labels = np.unique(left["frame_index"].to_numpy())
    kept_frames = left["frame_index"][left["decision"] == "keep"].nunique()
    doubtful = boxes["frame_index"][(boxes["decision"] != "drop") | (boxes["quality"] >= NEAR_CERTAIN_NOT)].to_numpy()
    every = np.arange(0, labels.video.frame_count, stride)
    possible = np.isin(every, labels.video.labelled_frames)
    doubtful_steps = np.concatenate([doubtful // stride, np.flatnonzero(~possible)])
    for shift in range(-settings.sure_negative_steps, settings.sure_negative_steps + 1):
        step = doubtful_steps + shift
        possible[step[(step >= 0) & (step < len(possible))]] = False
    sure = np.flatnonzero(possible) * stride
    wanted = min(int(settings.max_negative_share * kept_frames), len(sure))
    negatives = sure[np.linspace(0, len(sure) - 1, wanted).round().astype(int)] if wanted else sure[:0]
    return np.union1d(with_labels, negatives).astype(np.int64)


def image_rows(video: pd.Series, labels: VideoLabels, frames: np.ndarray) -> pd.DataFrame:
    """The images of one video, as COCO wants them (see IMAGES)."""
    time_s = pd.Series(frames / max(labels.video.fps, 1e-6), index=frames)
    known = labels.boxes.drop_duplicates("frame_index").set_index("frame_index")["time_s"]
    time_s.update(known)
    video_id = str(video["video_id"])
    return tables.make_table(
        IMAGES,
        {
            "file_name": [f"images/{image_name(video_id, frame)}" for frame in frames],
            "width": labels.video.width,
            "height": labels.video.height,
            "video_id": video_id,
            "frame_index": frames,
            "time_s": time_s.to_numpy(),
            "split": str(video["split"]),
            "group": str(video["group"]),
        },
    )


def image_name(video_id: str, frame_index: int) -> str:
    return f"{video_id}_{frame_index:06d}.jpg"


def write_dataset(
    folder: RoundFolder, images: pd.DataFrame, boxes: pd.DataFrame, class_names: tuple[str, ...], store: FrameStore
) -> None:
    """Write `cleaned/dataset/`; the frames must be in the store. Images that are no longer in the dataset go."""
    images_folder = folder.dataset / "images"
    images_folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        image_name(video_id, frame): store.path(video_id, frame)
        for video_id, frame in zip(images["video_id"], images["frame_index"], strict=True)
    }
    for found in images_folder.iterdir():
        if found.name not in wanted:
            found.unlink()
    for name, source in wanted.items():
        _link(source, images_folder / name)
    write_coco(folder.dataset / "annotations.json", images, boxes, class_names)


def is_whole(folder: RoundFolder) -> bool:
    """Whether the dataset is there with every picture that it names."""
    annotations = folder.dataset / "annotations.json"
    if not annotations.is_file():
        return False
    return all((folder.dataset / image["file_name"]).is_file() for image in read_json(annotations)["images"])


def _link(source: Path, target: Path) -> None:
    """A hard link where the disk can, else a copy, whole or absent."""
    if target.exists():
        if target.samefile(source):
            return
        target.unlink()
    try:
        os.link(source, target)
    except OSError:
        with whole_file(target) as aside:
            shutil.copyfile(source, aside)
