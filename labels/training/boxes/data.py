"""What a round's detector is trained and validated on: frames of the cleaned labels, divided by `split.csv`.

- kept boxes are positives, weighted by their quality;
- ignored boxes, and kept ones that were interpolated or are less sure than `taught_from`, are ignore regions: neither
  object nor background;
- dropped boxes are hard negatives: background that a labeller once took for the object.

A frame is used when it has a kept box. A frame without one may merely have been missed: it is used as background only
when the frames around it were labelled and are empty too, and only up to a limit. Frames are cached at their working
size, in memory as far as the memory limit allows. `DetectorTask` is what the training loop needs from each kind of
detector.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from labels.models.checkpoints import BALLNET
from labels.models.detectors.ballnet import FrameFollower, SmallFrame, align, to_working
from labels.records import next_command
from labels.records.errors import InputError
from labels.records.geometry import as_xyxy
from labels.records.safe_writing import digest_of, file_digest
from labels.records.tables import BOX_COLUMNS
from labels.records.video_labels import VideoLabels, read_video_labels
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.tracks.trajectories import PLAYER_CLASSES
from labels.training.settings import FrameChoice, SplitSettings, TrainingSettings
from labels.training.splits import TEST, TRAIN, VAL, linked_groups, split_videos
from labels.videos.decoding.frames import DecodeError
from labels.videos.frame_store import FrameStore


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
    boxes: dict[str, int] = field(default_factory=dict)  # kept, less sure, ignored, dropped, interpolated

    def __add__(self, other: "FrameCounts") -> "FrameCounts":
        names = sorted(set(self.boxes) | set(other.boxes))
        return FrameCounts(
            self.with_kept + other.with_kept,
            self.empty_used + other.empty_used,
            self.empty_unsure + other.empty_unsure,
            self.empty_left + other.empty_left,
            {name: self.boxes.get(name, 0) + other.boxes.get(name, 0) for name in names},
        )


def read_cleaned(folder: RoundFolder, video_id: str) -> VideoLabels:
    """The cleaned boxes of a video."""
    return read_video_labels(folder.boxes("cleaned", video_id), decided=True)


def taught_from(kept: Iterable[pd.DataFrame], choice: FrameChoice) -> dict[str, float]:
    """The quality from which the kept boxes of each class teach; the better half of them always does."""
    boxes = pd.concat([table.loc[table["origin"] != "interpolated", ["class_name", "quality"]] for table in kept])
    middle = boxes.groupby("class_name")["quality"].median()
    return {str(name): min(choice.taught_quality, float(value)) for name, value in middle.items()}


def choose_frames(
    labels: VideoLabels,
    class_names: tuple[str, ...],
    choice: FrameChoice,
    least_quality: Mapping[str, float] | None = None,
) -> tuple[list[LabelledFrame], FrameCounts]:
    """The frames of one video to train or validate on, in order, and where the others went.

    Args:
        labels: cleaned boxes of the video. Boxes of classes that are not among `class_names` are left out.
        least_quality: of each class, from which quality a kept box teaches; see `taught_from`. None: from any.
    """
    video = labels.video
    boxes = labels.boxes[labels.boxes["class_name"].isin(class_names)]
    found = (boxes["decision"] == "keep") & (boxes["origin"] != "interpolated")
    kept = found & (boxes["quality"] >= boxes["class_name"].map(least_quality or {}).astype(float).fillna(0.0))
    unsure = (boxes["decision"] == "ignore") | ((boxes["decision"] == "keep") & ~kept)
    dropped = boxes["decision"] == "drop"
    labelled = np.arange(0, video.frame_count, video.stride)
    looked_at = np.isin(labelled, video.labelled_frames)
    has_kept = np.isin(labelled, boxes["frame_index"][kept])
    occupied = np.isin(labelled, boxes["frame_index"][kept | unsure]) | ~looked_at
    reach = np.ones(2 * choice.sure_distance + 1)
    padded = np.pad(occupied, choice.sure_distance)  # beyond the ends nothing is seen
    sure_empty = np.convolve(padded, reach, mode="valid") < 0.5
    wanted = int(np.ceil(choice.negative_share * has_kept.sum()))
    drawn = sorted(labelled[sure_empty], key=lambda frame: digest_of([video.video_id, int(frame)]))
    used = np.union1d(labelled[has_kept], np.array(drawn[:wanted], dtype=labelled.dtype))
    counts = FrameCounts(
        with_kept=int(has_kept.sum()),
        empty_used=len(used) - int(has_kept.sum()),
        empty_unsure=int((looked_at & ~has_kept & ~sure_empty).sum()),
        empty_left=int(sure_empty.sum()) - (len(used) - int(has_kept.sum())),
        boxes={
            "kept": int(kept.sum()),
            "ignored": int((boxes["decision"] == "ignore").sum()),
            "less sure": int((found & ~kept).sum()),
            "interpolated": int(((boxes["decision"] == "keep") & ~found).sum()),
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
                video.video_id, frame_index, video.frame_count, xyxy[keep], class_ids[keep], quality[keep],
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


class WorkingFrames:
    """Frames as tensors uint8, their long side at most `long_side`: (5, h, w) with neighbours, (3, h, w) without.

    The first that fit into `memory_bytes` stay; the others are made from their JPEGs each time.
    """

    def __init__(self, store: FrameStore, long_side: int, memory_bytes: int, with_neighbours: bool) -> None:
        self.store, self.long_side, self.memory_left = store, long_side, memory_bytes
        self.with_neighbours = with_neighbours
        self._is_full = False
        self._held: dict[tuple[str, int], Tensor] = {}
        self._follower = FrameFollower()
        self._row: list[tuple[str, int, SmallFrame]] = []  # the frames looked at last: consecutive ones of one video

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which reads the frames that it needs itself."""
        held = sum(frame.nbytes for frame in self._held.values())
        return vars(self) | {"_held": {}, "_row": [], "_is_full": False, "memory_left": self.memory_left + held}

    def ensure(self, frames: Sequence[LabelledFrame], video_path: Path) -> str:
        """See that the frames of one video can be read. Returns the reason why they cannot, or nothing."""
        needed = {
            index for frame in frames for index in (frame.neighbours if self.with_neighbours else [frame.frame_index])
        }
        try:
            self.store.ensure(frames[0].video_id, video_path, sorted(needed))
        except DecodeError as error:
            return str(error)
        return ""

    def hold(self, frames: Sequence[LabelledFrame]) -> None:
        """Read frames into memory in the order that is fastest, until it is full."""
        for frame in tqdm(sorted(frames, key=lambda one: (one.video_id, one.frame_index)), "read", unit="frame"):
            if self._is_full:
                break
            self.read(frame)

    def read(self, frame: LabelledFrame) -> Tensor:
        """The frame; not to be written to. Going through frames in order is the fastest the first time."""
        key = (frame.video_id, frame.frame_index)
        if key not in self._held:
            made = self._with_neighbours(frame) if self.with_neighbours else self._alone(*key)
            if made.nbytes > self.memory_left:
                self._is_full = True
                return made
            self.memory_left -= made.nbytes
            self._held[key] = made
        return self._held[key]

    def _alone(self, video_id: str, frame_index: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(self._small(video_id, frame_index), 2, 0)))

    def _small(self, video_id: str, frame_index: int) -> np.ndarray:
        return to_working(self.store.read(video_id, frame_index), self.long_side)

    def _with_neighbours(self, frame: LabelledFrame) -> Tensor:
        first, now, last = frame.neighbours
        at = {index: small for video_id, index, small in self._row if video_id == frame.video_id and index >= first}
        # What was looked at last serves again when the frames are gone through in order.
        if list(at) != list(range(first, first + len(at))):
            at = {}
        follower = self._follower if at else FrameFollower()
        for index in range(first + len(at), last + 1):
            at[index] = follower.follow(self._small(frame.video_id, index))
        self._follower = follower
        self._row = [(frame.video_id, index, small) for index, small in at.items()]
        return align(at.get(now - 1), at[now], at.get(now + 1))


def spread(frames: Sequence[LabelledFrame], most: int) -> list[LabelledFrame]:
    """At most so many frames, evenly spread."""
    if len(frames) <= most:
        return list(frames)
    return [frames[at * len(frames) // most] for at in range(most)]


@dataclass
class RoundData:
    """What a round is trained and validated on."""

    class_names: tuple[str, ...]
    frames: dict[str, list[LabelledFrame]]  # train, val -> frames
    counts: dict[str, FrameCounts]
    video_sizes: dict[str, tuple[int, int]]
    skipped: dict[str, int]  # reason -> videos
    splits: dict[str, str]  # train, val or test for each usable video_id
    groups: dict[str, str]  # of each usable video_id; those that share a file are one
    working: WorkingFrames
    validates_on_training: bool = False  # no box was kept in clips of another group, that could validate


def gather_data(work: WorkFolder, folder: RoundFolder, settings: TrainingSettings) -> RoundData:
    """Read the cleaned labels, divide the videos, choose the frames. InputError when there is too little."""
    videos = work.usable_videos()
    present = [video for video in videos["video_id"] if folder.boxes("cleaned", video).is_file()]
    cleaned = {video_id: read_cleaned(folder, video_id) for video_id in present}
    kept = {video_id: each.boxes[each.boxes["decision"] == "keep"] for video_id, each in cleaned.items()}
    labelled = {video_id for video_id, table in kept.items() if len(table)}
    if not labelled:
        raise InputError(
            f"{folder.path / 'cleaned'}: no box was kept, so there is nothing to learn; look at the reasons with: "
            f"{next_command.look(work, folder.number)}"
        )
    splits = split_videos(work.split_table, videos, labelled, folder.number, SplitSettings())
    # What only validation or held-out clips show cannot be learnt, and a held-out clip must not decide anything.
    taught = [table["class_name"].unique() for video_id, table in kept.items() if splits[video_id] == TRAIN]
    class_names = classes_for(settings.architecture, {name for names in taught for name in names})
    working = WorkingFrames(
        FrameStore(work.frames), settings.long_side, settings.memory_bytes, settings.architecture == BALLNET
    )
    data = RoundData(
        class_names,
        frames={TRAIN: [], VAL: []},
        counts={TRAIN: FrameCounts(), VAL: FrameCounts()},
        video_sizes={},
        skipped={},
        splits=splits,
        groups=linked_groups(videos),
        working=working,
    )
    choice = FrameChoice()
    least = taught_from((table for video_id, table in kept.items() if splits[video_id] != TEST), choice)
    for row in videos.itertuples():
        video_id = str(row.video_id)
        data.video_sizes[video_id] = (int(row.width), int(row.height))
        reason = ""
        if splits[video_id] == TEST:
            reason = "held-out clips, never trained nor validated on"
        elif video_id not in cleaned:
            reason = "without cleaned labels"
        else:
            frames, counted = choose_frames(cleaned[video_id], class_names, choice, least)
            if not frames:
                reason = "without a frame that is sure enough"
            elif why := working.ensure(frames, work.videos / row.file):
                reason = f"that could not be decoded ({video_id}: {why})"
            else:
                data.frames[splits[video_id]] += frames
                data.counts[splits[video_id]] += counted
        if reason:
            data.skipped[reason] = data.skipped.get(reason, 0) + 1
    if not data.counts[TRAIN].with_kept:
        raise InputError(
            f"{folder.path / 'cleaned'}: no kept box in the clips to train on (see {work.split_table}); "
            "keep more in dataset_cleaner.py, or add clips with dataset_downloader.py"
        )
    # One group alone may hold labels, and of few clips those that validate may lose all theirs in a later round.
    data.validates_on_training = not data.counts[VAL].with_kept
    if data.validates_on_training:
        data.frames[VAL] = spread(data.frames[TRAIN], settings.validation_frames)
    return data


def classes_for(architecture: str, taught: set[str]) -> tuple[str, ...]:
    """What of the classes there are labels of a network learns: ballnet is made for small fast things, not for players.

    Kept people outnumber balls many times over; taught both, it finds neither. People alone are learnt all the same.
    """
    small = taught - PLAYER_CLASSES if architecture == BALLNET else taught
    return tuple(sorted(small or taught))


def digests_of(work: WorkFolder, data: RoundData) -> dict[str, str]:
    """What training depends on beside the cleaned labels and the settings, as inputs of its run record."""
    validated = sorted(video_id for video_id, split in data.splits.items() if split == VAL)
    truths = [work.truth_boxes(video_id) for video_id in validated]
    return {
        "split": digest_of(data.splits),
        "validation truth": digest_of([(path.stem, file_digest(path)) for path in truths if path.is_file()]),
    }
