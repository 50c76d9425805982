"""What all formats share: the labels to export, the labels found on import, and the pictures beside them.

A writer takes a `LabelSet` and a folder and returns lines on what its format could not hold. A reader takes a path and
the `KnownVideos` and returns `FoundLabels` in Rally's own numbers: frames from 0, half-open pixel boxes. Pictures of a
dataset are hard links where the file system allows it.
"""

import os
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.frame_times import FrameTimes
from labels.records.verdicts import MOST_CLASS_NAME

FOUND_BOXES = {
    "label_uid": "str",  # empty: the file does not say
    "video_id": "str",
    "frame_index": "int64",
    **dict.fromkeys(tables.BOX_COLUMNS, "float32"),
    "class_name": "str",
    "track_id": "int64",
    "is_ignored": "bool",
}
FOUND_ACTIONS = {
    "label_uid": "str",
    "video_id": "str",
    "track_id": "int64",
    "start_frame": "int64",
    "end_frame": "int64",
    "class_name": "str",
}
MOST_ROWS = 20_000_000
MOST_PIXELS, MOST_TRACK, MOST_UID = 1e6, 2**31, 200
Row = Mapping[str, Any]  # of the videos table
NAMED = 3  # places that are named of those left out for one reason
MANY_TO_COMPARE, SAME_SHAPE = 8, 0.95
FEW_LEAVE, MANY_LEAVE = 3, 0.3  # boxes, and their share, that leave their frame by no slip of the hand any more


@dataclass(frozen=True)
class LabelSet:
    """Labels of one round on their way out; what was dropped is not among them.

    `images` are the frames of the dataset (columns of coco.IMAGES and `picture`, the path of its JPEG), `boxes` a
    decided boxes table, `actions` a decided actions table, `stride` labelled frames by video_id, `clips` the folder of
    the videos' files. `title` and `about` (Markdown) say what is known of the labels, for a format with a card.
    """

    videos: pd.DataFrame
    images: pd.DataFrame
    boxes: pd.DataFrame
    actions: pd.DataFrame
    class_names: tuple[str, ...]
    stride: dict[str, int]
    times: dict[str, FrameTimes] = field(default_factory=dict)  # of uneven videos
    clips: Path | None = None
    title: str = "Labels of sports video"
    about: tuple[str, ...] = ()
    unseen: int = 0  # frames of these videos that lie between the stretches of a sample: nothing is known of them

    def times_of(self, video: Mapping[str, Any]) -> FrameTimes:
        """When the frames of a video (a row of `videos`) are shown."""
        return self.times.get(str(video["video_id"])) or FrameTimes.even(int(video["frame_count"]), video["fps"])

    @property
    def kept(self) -> pd.DataFrame:
        return self.boxes[self.boxes["decision"] == "keep"]

    @property
    def ignored(self) -> pd.DataFrame:
        return self.boxes[self.boxes["decision"] == "ignore"]

    @property
    def kept_actions(self) -> pd.DataFrame:
        return self.actions[self.actions["decision"] == "keep"]

    def in_images(self, boxes: pd.DataFrame) -> pd.DataFrame:
        """The boxes that lie in a frame of `images`."""
        return boxes.merge(self.images[["video_id", "frame_index"]], on=["video_id", "frame_index"])

    def left_out_lines(self, format_name: str, holds_ignored: bool, of_actions: bool = False) -> list[str]:
        """What is not in the files, for the ones that hold boxes or actions only."""
        lines = []
        if self.unseen:
            why = "nobody looked at them, so that no box says nothing there"
            lines.append(f"mind: {self.unseen} frames lie outside the labelled stretches of their videos; {why}")
        if len(self.ignored) and not holds_ignored:
            lines.append(f"left out: {len(self.ignored)} ignored boxes; {format_name} knows no «ignore»")
        if len(self.actions) and not of_actions:
            lines.append(f"left out: {len(self.actions)} actions; {format_name} holds boxes only")
        return lines


class OddEntry(Exception):
    """Why one entry among many is left out, in words that are the same for all of its kind.

    `is_nothing`: there is nothing of it in any frame, so that its frame is known all the same.
    """

    def __init__(self, reason: str, is_nothing: bool = False):
        super().__init__(reason)
        self.is_nothing = is_nothing


NUMBERS = {"int64": "q", "float32": "d", "bool": "b"}
NO_SIZE, OUTSIDE = "boxes of no size", "boxes outside their frame"


class LeftOut:
    """What is not taken: counted by reason, the first few with their place."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}

    def add(self, where: str, reason: str) -> None:
        self.counts[reason] += 1
        places = self._places.setdefault(reason, [])
        if len(places) < NAMED:
            places.append(where)

    def lines(self) -> list[str]:
        return [
            f"left out: {count} {reason}: {'; '.join(self._places[reason])}{' …' if count > NAMED else ''}"
            for reason, count in sorted(self.counts.items(), key=lambda item: -item[1])
        ]


@dataclass
class FoundLabels:
    """What a foreign file says.

    `covered` names the frames of each video of whose boxes the file knows all, also those that have none;
    `covered_actions` the videos of whose actions it does.
    """

    boxes: pd.DataFrame
    actions: pd.DataFrame
    covered: dict[str, np.ndarray] = field(default_factory=dict)
    covered_actions: set[str] = field(default_factory=set)
    tolerance_pixels: float = 0.05  # how far a box moves by being written in this format and read again
    tolerance_frames: int = 0  # the same for the ends of an action
    lines: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    doubtful: dict[str, set[int]] = field(default_factory=dict)  # frames in which an entry was left out: none is denied


class BoxRows:
    """Boxes as they are read from `path`, each checked; `table` makes a FOUND_BOXES of them.

    What is said of an entry stands in a `with rows.entry(...)`, so that an odd one costs that entry and not the file.
    """

    def __init__(self, path: Path, has_sizes: bool = False):
        self.path, self.has_sizes = path, has_sizes  # whether the format says widths and heights, not corners
        self.left_out = LeftOut()
        self.doubtful: dict[str, set[int]] = {}  # frames of which something was left out
        self.unknown: dict[str, set[int]] = {}  # those of them in which it may have been anywhere
        self.doubtful_videos: set[str] = set()
        self._columns: dict[str, Any] = {  # numbers take a third of the memory that objects do
            name: array(NUMBERS[kind]) if kind in NUMBERS else [] for name, kind in FOUND_BOXES.items()
        }
        self._outside: list[tuple[float, ...]] = []

    @contextmanager
    def entry(
        self, where: str, video: Mapping[str, Any] | None = None, frame_index: int | None = None
    ) -> Iterator[None]:
        """Whatever in the block raises OddEntry is left out; `where` says which entry it was, video and frame whose."""
        try:
            yield
        except OddEntry as odd:
            self.left_out.add(where, str(odd))
            if video is None:
                return
            doubtful = self.doubtful.setdefault(str(video["video_id"]), set())
            if frame_index is not None:
                doubtful.add(frame_index)
                if not odd.is_nothing:
                    self.unknown.setdefault(str(video["video_id"]), set()).add(frame_index)
            elif not odd.is_nothing:  # it may have been of any frame, or of any action
                doubtful.update(range(int(video["frame_count"])))
                self.doubtful_videos.add(str(video["video_id"]))

    def add(
        self,
        video: Mapping[str, Any],
        frame_index: int,
        xyxy: Iterable[float],
        class_name: str,
        label_uid: str = "",
        track_id: int = tables.NO_TRACK,
        is_ignored: bool = False,
        is_point: bool = False,
    ) -> None:
        """Raises OddEntry for a box or frame that the video cannot hold, InputError for what is no name of a class."""
        x1, y1, x2, y2 = corners = tuple(float(value) for value in xyxy)
        width, height = int(video["width"]), int(video["height"])
        if not 0 <= frame_index < int(video["frame_count"]):
            raise OddEntry(f"of a frame that is not one of the {video['frame_count']} of its video", is_nothing=True)
        if not all(-MOST_PIXELS < value < MOST_PIXELS for value in corners):  # NaN neither
            raise OddEntry("boxes that are no four numbers in pixels")
        if not is_point and (x2 <= x1 or y2 <= y1):
            raise OddEntry(NO_SIZE, is_nothing=True)
        if x1 < -0.5 * width or y1 < -0.5 * height or x2 > 1.5 * width or y2 > 1.5 * height:
            self._outside.append((*corners, float(width), float(height)))
            raise OddEntry(OUTSIDE, is_nothing=True)
        if is_point and not (0 <= x1 <= width and 0 <= y1 <= height):
            raise OddEntry("points outside their frame", is_nothing=True)
        if not class_name:
            raise OddEntry("boxes without a class")
        if not class_name.isprintable():  # a blank that only looks like one, from a web page
            class_name = " ".join(class_name.split())
        check_class_name(self.path, class_name)
        if len(self._columns["frame_index"]) >= MOST_ROWS:
            raise InputError(f"{self.path}: more than {MOST_ROWS} boxes")
        track_id = track_id if -1 <= track_id < MOST_TRACK else tables.NO_TRACK
        uid = label_uid if len(label_uid) <= MOST_UID and label_uid.isprintable() else ""
        values = [uid, str(video["video_id"]), frame_index, *corners, class_name, track_id, is_ignored]
        for name, value in zip(FOUND_BOXES, values, strict=True):
            self._columns[name].append(value)

    def table(self, sizes: Mapping[str, Mapping[str, Any]] | None = None) -> pd.DataFrame:
        """InputError when the boxes are in another convention than the format's; `sizes` are the rows of videos."""
        columns: dict[str, object] = {
            name: values if isinstance(values, list) else np.array(values) for name, values in self._columns.items()
        }
        found = tables.make_table(FOUND_BOXES, columns)
        self._check_convention(found, sizes or {})
        return found

    def _check_convention(self, found: pd.DataFrame, sizes: Mapping[str, Mapping[str, Any]]) -> None:
        """Corners taken for sizes, and shares taken for pixels, would be wrong in silence."""
        xyxy = found[tables.BOX_COLUMNS].to_numpy(np.float64)
        is_box = xyxy[:, 2] > xyxy[:, 0]
        count = int(is_box.sum()) + len(self._outside)
        if not count:
            return
        if is_box.any() and not self._outside and (np.abs(xyxy[is_box]) <= 2.0).all() and _sub_pixel(xyxy[is_box]):
            raise InputError(
                f"{self.path}: all {count} boxes lie within a pixel or two; they look like shares from 0 to 1"
            )
        videos, place = np.unique(found["video_id"].to_numpy(dtype=object), return_inverse=True)
        if not set(videos) <= set(sizes):
            return
        side = np.array([(float(sizes[name]["width"]), float(sizes[name]["height"])) for name in videos])
        inside = np.column_stack([xyxy, side.reshape(-1, 2)[place]])[is_box]
        boxes = np.concatenate([inside, np.array(self._outside).reshape(-1, 6)])
        if self.has_sizes and not found["label_uid"].any():
            self._check_sizes(boxes)
        leaves = (boxes[:, 2] > boxes[:, 4] + 2) | (boxes[:, 3] > boxes[:, 5] + 2)
        far, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]  # where they would end if these were corners
        as_corners = (far > boxes[:, 0]) & (high > boxes[:, 1]) & (far <= boxes[:, 4] + 2) & (high <= boxes[:, 5] + 2)
        if (leaves.sum() >= FEW_LEAVE and leaves.mean() >= MANY_LEAVE) or (leaves.any() and as_corners.all()):
            guess = "two corners where sizes are wanted" if as_corners.all() else "in another size or convention"
            raise InputError(
                f"{self.path}: {int(leaves.sum())} of {count} boxes leave their frame; they look like {guess}"
            )

    def _check_sizes(self, boxes: np.ndarray) -> None:
        """Corners taken for sizes also where no box leaves its frame: each box ends where it begins, and so is wider
        the further to the right it lies, and higher the further down. `boxes` is (N, 6): corners, frame's size."""
        size = boxes[:, 2:4] - boxes[:, :2]
        for start in (boxes[:, :2], boxes[:, :2] + size / 2):  # as x, y, width, height; as the centre with them
            if len(boxes) < MANY_TO_COMPARE or not (size > start).all() or (start.std(axis=0) < 1.0).any():
                continue
            if all(np.corrcoef(start[:, axis], size[:, axis])[0, 1] > SAME_SHAPE for axis in (0, 1)):
                raise InputError(
                    f"{self.path}: its boxes grow with their distance from the left and the top; they look like two "
                    "corners where sizes are wanted"
                )


def _sub_pixel(xyxy: np.ndarray) -> bool:
    return bool(((xyxy[:, 2:] - xyxy[:, :2]) <= 1.0).all())


def check_class_name(path: Path, class_name: str) -> None:
    """InputError for a name that verdicts.csv cannot hold, or that nobody could see."""
    if not class_name.isprintable() or len(class_name) > MOST_CLASS_NAME:
        raise InputError(f"{path}: the class {class_name[:40]!a} has letters that cannot be seen, or too many")


def known_frames(covered: Mapping[str, np.ndarray], rows: BoxRows) -> dict[str, np.ndarray]:
    """The covered frames without those in which an entry that was left out may have been anywhere."""
    return {
        video_id: np.setdiff1d(frames, sorted(rows.unknown.get(video_id, ()))) for video_id, frames in covered.items()
    }


def found_labels(
    rows: BoxRows, videos: Mapping[str, Mapping[str, Any]], covered: Mapping[str, Iterable[int]], **more: Any
) -> FoundLabels:
    """What was read, as a whole. `videos` are the rows of the known ones by video_id."""
    frames = {video_id: np.unique(np.array(list(found), dtype=np.int64)) for video_id, found in covered.items()}
    if "covered_actions" in more:
        more["covered_actions"] = more["covered_actions"] - rows.doubtful_videos
    return FoundLabels(
        rows.table(videos),
        covered=known_frames(frames, rows),
        left_out=rows.left_out,
        doubtful=rows.doubtful,
        **{"actions": found_actions([])} | more,
    )


def found_actions(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows in the order of FOUND_ACTIONS as a table."""
    columns: dict[str, object] = {name: [row[place] for row in rows] for place, name in enumerate(FOUND_ACTIONS)}
    return tables.make_table(FOUND_ACTIONS, columns)


def all_frames(video: dict[str, Any]) -> np.ndarray:
    return np.arange(int(video["frame_count"]), dtype=np.int64)


def tracks_of(boxes: pd.DataFrame) -> list[pd.DataFrame]:
    """The boxes of one video as tracks, each with one box a frame at most and one class, sorted by frame.

    A box without a track, or a second one in its frame, is a track of its own.
    """
    boxes = boxes.sort_values(["frame_index", "class_name", "x1", "y1", "label_uid"], ignore_index=True)
    loose = (boxes["track_id"] == tables.NO_TRACK) | boxes.duplicated(["track_id", "class_name", "frame_index"])
    tracks = [track for _, track in boxes[~loose].groupby(["class_name", "track_id"], sort=True)]
    return [*tracks, *(boxes[place : place + 1] for place in np.flatnonzero(loose.to_numpy()))]


def file_in(folder: Path, pattern: str) -> list[Path]:
    """Plain files below a folder, sorted; a file is itself."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob(pattern) if path.is_file() and not path.name.startswith("."))


DEFAULT_SPLIT = "train"


def split_of(image: Mapping[str, Any]) -> str:
    """train, val or test; what has no split is trained on."""
    return str(image["split"]) or DEFAULT_SPLIT


def small_file(path: Path, text: str) -> None:
    """One of thousands of files in a folder that is put in place as a whole: not flushed to disk one by one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def link_pictures(folder: Path, images: pd.DataFrame, by_set: bool = False) -> None:
    """Each image's JPEG under its own name; with `by_set` below a folder for each split."""
    for row in images.to_dict("records"):
        target = (folder / split_of(row) if by_set else folder) / Path(row["file_name"]).name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(row["picture"], target)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(row["picture"], target)
