"""What a detector may learn from: frames of the cleaned labels, with what is sure, what is not, and what is neither.

- kept boxes are positives, weighted by their quality;
- ignored boxes, and kept ones that were interpolated, are regions that teach nothing: neither object nor background;
- dropped boxes are background, and worth looking at, because someone once took them for the object.

A frame is used when it has a kept box. A frame without one may merely have been missed: it is used as background only
when the labelled frames around it are as empty, and only so many are.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from labels.records.geometry import as_xyxy
from labels.records.safe_writing import digest_of, read_parquet
from labels.records.tables import BOX_COLUMNS, check_boxes
from labels.records.work_folder import RoundFolder
from labels.training.settings import FrameChoice


@dataclass(frozen=True)
class LabelledFrame:
    """One frame and what its labels say. Boxes are `xyxy` in pixels of the frame as decoded."""

    video_id: str
    frame_index: int
    frame_count: int  # of the video
    xyxy: np.ndarray  # (N, 4), kept
    class_ids: np.ndarray  # (N,), from 0 in the order of the class names
    weight: np.ndarray  # (N,), 0-1
    ignored: np.ndarray  # (M, 4)
    ignored_ids: np.ndarray  # (M,)
    dropped: np.ndarray  # (D, 4)
    by_human: bool  # a human said so of every kept box

    @property
    def neighbours(self) -> tuple[int, int, int]:
        """The indices of the frame before, this one and the one after; at the ends this one again."""
        return max(self.frame_index - 1, 0), self.frame_index, min(self.frame_index + 1, self.frame_count - 1)


@dataclass
class FrameCounts:
    """Where the labelled frames of some videos went."""

    with_kept: int = 0
    empty_used: int = 0
    empty_unsure: int = 0  # without a kept box, but not surely without the object
    empty_left: int = 0  # surely empty, more than are needed
    boxes: dict[str, int] = field(default_factory=dict)  # kept, ignored, dropped, interpolated

    def __add__(self, other: "FrameCounts") -> "FrameCounts":
        names = sorted(set(self.boxes) | set(other.boxes))
        return FrameCounts(
            self.with_kept + other.with_kept,
            self.empty_used + other.empty_used,
            self.empty_unsure + other.empty_unsure,
            self.empty_left + other.empty_left,
            {name: self.boxes.get(name, 0) + other.boxes.get(name, 0) for name in names},
        )


def read_cleaned(folder: RoundFolder, video_id: str) -> pd.DataFrame:
    """The cleaned boxes of a video; `attrs` holds frame_count and stride."""
    path = folder.boxes("cleaned", video_id)
    return check_boxes(read_parquet(path), str(path), decided=True)


def choose_frames(
    boxes: pd.DataFrame, class_names: tuple[str, ...], choice: FrameChoice
) -> tuple[list[LabelledFrame], FrameCounts]:
    """The frames of one video to train or validate on, in order, and where the others went.

    Args:
        boxes: cleaned boxes of the video, `attrs` with video_id, frame_count and stride. Boxes of classes that are not
            among `class_names` are left out.
    """
    attrs = boxes.attrs
    boxes = boxes[boxes["class_name"].isin(class_names)]
    kept = (boxes["decision"] == "keep") & (boxes["origin"] != "interpolated")
    unsure = (boxes["decision"] == "ignore") | ((boxes["decision"] == "keep") & (boxes["origin"] == "interpolated"))
    dropped = boxes["decision"] == "drop"
    labelled = np.arange(0, attrs["frame_count"], attrs["stride"])
    has_kept = np.isin(labelled, boxes["frame_index"][kept])
    occupied = np.isin(labelled, boxes["frame_index"][kept | unsure])
    reach = np.ones(2 * choice.sure_distance + 1)
    padded = np.pad(occupied, choice.sure_distance)  # beyond the ends nothing is seen
    sure_empty = np.convolve(padded, reach, mode="valid") < 0.5
    wanted = int(np.ceil(choice.negative_share * has_kept.sum()))
    drawn = sorted(labelled[sure_empty], key=lambda frame: digest_of([attrs["video_id"], int(frame)]))
    used = np.union1d(labelled[has_kept], np.array(drawn[:wanted], dtype=labelled.dtype))
    counts = FrameCounts(
        with_kept=int(has_kept.sum()),
        empty_used=len(used) - int(has_kept.sum()),
        empty_unsure=int((~has_kept & ~sure_empty).sum()),
        empty_left=int(sure_empty.sum()) - (len(used) - int(has_kept.sum())),
        boxes={
            "kept": int(kept.sum()),
            "ignored": int((boxes["decision"] == "ignore").sum()),
            "interpolated": int(unsure.sum() - (boxes["decision"] == "ignore").sum()),
            "dropped": int(dropped.sum()),
        },
    )
    rows_at = boxes.groupby("frame_index").indices
    xyxy = as_xyxy(boxes[BOX_COLUMNS].to_numpy())
    class_ids = boxes["class_name"].map({name: at for at, name in enumerate(class_names)}).to_numpy(dtype=np.int64)
    quality = boxes["quality"].to_numpy()
    human = (boxes["origin"] == "human").to_numpy()
    masks = kept.to_numpy(), unsure.to_numpy(), dropped.to_numpy()
    frames = []
    for frame_index in used.tolist():
        rows = rows_at.get(frame_index, np.zeros(0, dtype=int))
        keep, ignore, drop = (rows[mask[rows]] for mask in masks)
        frames.append(
            LabelledFrame(
                attrs["video_id"], frame_index, int(attrs["frame_count"]), xyxy[keep], class_ids[keep], quality[keep],
                xyxy[ignore], class_ids[ignore], xyxy[drop], bool(len(keep) and human[keep].all()),
            )
        )  # fmt: skip
    return frames, counts


def empty_frame(video_id: str, frame_index: int, frame_count: int) -> LabelledFrame:
    """A frame of which no label says anything."""
    boxes, ids = np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64)
    return LabelledFrame(video_id, frame_index, frame_count, boxes, ids, np.zeros(0), boxes, ids, boxes, False)


def labels_of(frame: LabelledFrame, class_names: tuple[str, ...]) -> pd.DataFrame:
    """The labels of a frame in the shape of a truth table: what is unsure can hardly be seen, so it is not judged."""
    xyxy = np.concatenate([frame.xyxy, frame.ignored])
    names = [class_names[at] for at in np.concatenate([frame.class_ids, frame.ignored_ids]).astype(int)]
    visibility = np.concatenate([np.ones(len(frame.xyxy)), np.zeros(len(frame.ignored))])
    if not len(xyxy):  # the frame counts as one without the objects
        xyxy, names, visibility = np.full((1, 4), np.nan, dtype=np.float32), [""], np.zeros(1)
    return pd.DataFrame(
        {
            "frame_index": frame.frame_index,
            **dict(zip(BOX_COLUMNS, xyxy.T, strict=True)),
            "class_name": names,
            "track_id": -1,
            "visibility": visibility.astype(np.float32),
        }
    )
