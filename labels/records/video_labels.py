"""The boxes of one video together with the facts they are read by: its frames, its rate, its size."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet_and_metadata, write_parquet
from labels.records.tables import check_boxes

Stretches = Sequence[Sequence[int]]  # (first frame, frame after the last) of each, ascending, none touching another


def in_stretches(frame_index: np.ndarray, stretches: Stretches) -> np.ndarray:
    """Which frames (N,) lie in one of the stretches, (N,) bool."""
    firsts, ends = np.array(stretches, dtype=np.int64).reshape(-1, 2).T
    begun = np.searchsorted(firsts, frame_index, side="right")
    return (begun > 0) & (frame_index < np.append(ends, 0)[begun - 1])


@dataclass(frozen=True)
class VideoFacts:
    """What the labels of a video are read by."""

    video_id: str
    frame_count: int  # as decoded
    stride: int  # every how many frames were labelled, from frame 0
    fps: float
    width: int  # pixels of the upright decoded frame
    height: int
    described_by: str | None = None  # which network saw what is in the boxes; None: an older shard, which has it not
    repeated_frames: Sequence[int] = ()  # labelled frames that show what the labelled frame before shows
    stretches: Stretches | None = None  # in which frames were labelled; None: in all of it. Of others nothing is known
    asked: Stretches | None = None  # in which a teacher looked beside the student; None: nobody was asked so
    shard: Mapping[str, Any] = field(default_factory=dict)  # what else its file says: the key it was made by, counts

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], where: str) -> "VideoFacts":
        """The facts in a shard's metadata. InputError when some are missing."""
        missing = [name for name in _NEEDED if name not in metadata]
        if missing:
            raise InputError(f"{where}: its metadata lacks {', '.join(missing)}")
        own = {name: metadata[name] for name in _NAMED if name in metadata}
        return cls(**own, shard={name: value for name, value in metadata.items() if name not in own})

    @property
    def labelled_frames(self) -> np.ndarray:
        """The frames that a labeller looked at, ascending."""
        frames = np.arange(0, self.frame_count, self.stride)
        return frames if self.stretches is None else frames[in_stretches(frames, self.stretches)]

    def as_metadata(self) -> dict[str, Any]:
        """For a shard."""
        named = {name: value for name in _NAMED if (value := getattr(self, name)) is not None}
        named["repeated_frames"] = list(self.repeated_frames)
        return named | dict(self.shard)


_NAMED = tuple(each.name for each in fields(VideoFacts) if each.name != "shard")
_NEEDED = tuple(each.name for each in fields(VideoFacts) if each.default is MISSING and each.default_factory is MISSING)


@dataclass(frozen=True)
class VideoLabels:
    """One video's labels.

    Attributes:
        boxes: a row for every box, columns as `labels.records.tables.BOXES` (after stage 3 also DECIDED).
        video: what they are read by.
        camera: how the camera moved, as `tables.CAMERA`; None where that is not known here.
        score_scales: how its labeller's scores are read, by source: `working_threshold` and `score_slope` by class.
        round_number: of the labelling.
    """

    boxes: pd.DataFrame
    video: VideoFacts
    camera: pd.DataFrame | None = None
    score_scales: Mapping[str, Any] = field(default_factory=dict)
    round_number: int = 0

    def with_boxes(self, boxes: pd.DataFrame) -> "VideoLabels":
        """Other boxes of the same video."""
        return replace(self, boxes=boxes)


def read_video_labels(path: Path, decided: bool = False) -> VideoLabels:
    """The shard of one video, checked. InputError, in one line, when it is missing, unsound or lacks a fact."""
    boxes, metadata = read_parquet_and_metadata(path)
    try:
        check_boxes(boxes, str(path), decided)
    except ValueError as error:
        raise InputError(str(error)) from None
    return VideoLabels(boxes, VideoFacts.from_metadata(metadata, str(path)))


def write_video_labels(path: Path, labels: VideoLabels) -> None:
    write_parquet(path, labels.boxes, labels.video.as_metadata())
