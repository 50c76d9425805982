"""What the formats share: the labels that go out, those that come in, and how a foreign file's names find their video.

A writer takes a `LabelSet` and a folder and gives lines on what its format could not hold. A reader takes a path and
the `KnownVideos` and gives `FoundLabels`, in Rally's own numbers: frames from 0, half-open pixel boxes.

The pictures of a dataset on their way out, linked where the disk can, and the small files beside them.
"""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.errors import InputError

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
NUMBERED = re.compile(r"(.+)[_/](\d{1,9})")  # the name of a frame's picture without its suffix: video, frame
MOST_ROWS = 20_000_000


@dataclass(frozen=True)
class LabelSet:
    """Labels of one round on their way out; what was dropped is not among them.

    `images` are the frames of the dataset (columns of coco.IMAGES and `picture`, the path of its JPEG), `boxes` a
    decided boxes table, `actions` a decided actions table, `stride` labelled frames by video_id.
    """

    videos: pd.DataFrame
    images: pd.DataFrame
    boxes: pd.DataFrame
    actions: pd.DataFrame
    class_names: tuple[str, ...]
    stride: dict[str, int]

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
        if len(self.ignored) and not holds_ignored:
            lines.append(f"left out: {len(self.ignored)} ignored boxes; {format_name} knows no «ignore»")
        if len(self.actions) and not of_actions:
            lines.append(f"left out: {len(self.actions)} actions; {format_name} holds boxes only")
        return lines


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


class KnownVideos:
    """The usable videos of a work folder, found by whatever a foreign file calls them."""

    def __init__(self, videos: pd.DataFrame):
        self.rows = {str(row["video_id"]): row for row in videos.to_dict("records")}
        self.unknown: dict[str, int] = {}  # names that are no video here -> labels under them
        self._by_name: dict[str, set[str]] = {}
        for video_id, row in self.rows.items():
            source = PurePosixPath(str(row["source"]))
            for name in {video_id, str(row["file"]), source.name, source.stem, str(row["group"])}:
                self._by_name.setdefault(name, set()).add(video_id)

    def find(self, *names: str | None) -> dict[str, Any] | None:
        """The row of the video that one of these names means: its id, its file's name, that of its source, or the
        group where the group is this video alone. None when none does."""
        for name in names:
            if not name:
                continue
            path = PurePosixPath(name.replace("\\", "/"))
            for known in (name, path.name, path.stem):
                if known in self.rows:
                    return self.rows[known]
                if len(found := self._by_name.get(known, set())) == 1:
                    return self.rows[next(iter(found))]
        return None

    def find_frame(self, picture: str) -> tuple[dict[str, Any], int] | None:
        """The video and the frame that a picture's name means: <video>_<frame>.jpg or <video>/<frame>.jpg."""
        path = PurePosixPath(picture.replace("\\", "/"))
        for name in (path.stem, str(path.with_suffix(""))):
            match = NUMBERED.fullmatch(name)
            if match is not None and (row := self.find(match[1])) is not None:
                return row, int(match[2])
        return None

    def miss(self, name: str, count: int = 1) -> None:
        self.unknown[name] = self.unknown.get(name, 0) + count

    def unknown_lines(self) -> list[str]:
        """A line on the names that no video has. InputError when nothing else was in the file is the caller's."""
        if not self.unknown:
            return []
        named = ", ".join(sorted(self.unknown)[:3]) + (" …" if len(self.unknown) > 3 else "")
        return [f"not used: {sum(self.unknown.values())} labels of {len(self.unknown)} videos not known here: {named}"]


class BoxRows:
    """Boxes as they are read, each checked; `table` makes a FOUND_BOXES of them."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in FOUND_BOXES}

    def add(
        self,
        where: str,
        video: dict[str, Any],
        frame_index: int,
        xyxy: Iterable[float],
        class_name: str,
        label_uid: str = "",
        track_id: int = tables.NO_TRACK,
        is_ignored: bool = False,
    ) -> None:
        """InputError, beginning with `where`, for a box or frame that the video cannot hold."""
        corners = [float(value) for value in xyxy]
        width, height = int(video["width"]), int(video["height"])
        if not 0 <= frame_index < int(video["frame_count"]):
            raise InputError(f"{where}: frame {frame_index} is not one of the {video['frame_count']} of its video")
        if not np.isfinite(corners).all() or corners[2] <= corners[0] or corners[3] <= corners[1]:
            raise InputError(f"{where}: the box {[round(value, 3) for value in corners]} is empty or no box")
        slack_x, slack_y = 0.5 * width, 0.5 * height
        outside = corners[0] < -slack_x or corners[1] < -slack_y
        if outside or corners[2] > width + slack_x or corners[3] > height + slack_y:
            raise InputError(f"{where}: the box {corners} lies outside its frame of {width} x {height}")
        if not class_name:
            raise InputError(f"{where}: a box without a class")
        if len(self._columns["frame_index"]) >= MOST_ROWS:
            raise InputError(f"{where}: more than {MOST_ROWS} boxes")
        values = [label_uid, str(video["video_id"]), frame_index, *corners, class_name, track_id, is_ignored]
        for name, value in zip(FOUND_BOXES, values, strict=True):
            self._columns[name].append(value)

    def table(self) -> pd.DataFrame:
        columns: dict[str, object] = {**self._columns}
        return tables.make_table(FOUND_BOXES, columns)


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
