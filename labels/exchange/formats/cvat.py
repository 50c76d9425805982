"""CVAT video XML 1.1, each way: one file a video, tracks of boxes, frames from 0, corners in pixels.

Read are CVAT for images too, exports of jobs and projects, and all shapes that have a box.

Every box is a key frame and every gap is closed by a box that is `outside`: CVAT would fill it otherwise. A box says
its `label_uid` in an attribute, which CVAT keeps when the label it belongs to has that attribute: `labels.json` is the
text for CVAT's label constructor (Raw). The format has no frame rate: frames are numbers, never times.
"""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.exchange.foreign_files import frame_number, hull, number_of, read_xml, text_of, upright, whole_number
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import BoxRows, FoundLabels, LabelSet, OddEntry, file_in, found_labels, tracks_of
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_json, write_text

ATTRIBUTE = "label_uid"
CORNERS = ("xtl", "ytl", "xbr", "ybr")


def write_cvat(folder: Path, labels: LabelSet) -> list[str]:
    """`<video_id>.xml` for each video, and labels.json."""
    names = labels.class_names
    attribute = {"name": ATTRIBUTE, "input_type": "text", "mutable": True, "values": [""], "default_value": ""}
    write_json(folder / "labels.json", [{"name": name, "attributes": [attribute]} for name in names])
    kept = dict(iter(labels.kept.groupby("video_id")))
    for video in labels.videos.to_dict("records"):
        boxes = kept.get(video["video_id"], labels.kept.iloc[:0])
        root = _document(video, boxes, names)
        ElementTree.indent(root, " ")
        text = '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
        write_text(folder / f"{video['video_id']}.xml", text)
    return labels.left_out_lines("CVAT", holds_ignored=False)


def _document(video: dict[str, Any], boxes: pd.DataFrame, names: tuple[str, ...]) -> ElementTree.Element:
    root = ElementTree.Element("annotations")
    _child(root, "version", "1.1")
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    frame_count = int(video["frame_count"])
    facts = {"name": video["video_id"], "size": frame_count, "mode": "interpolation", "overlap": 0, "flipped": False}
    for name, value in (facts | {"start_frame": 0, "stop_frame": frame_count - 1, "frame_filter": ""}).items():
        _child(task, name, value)
    labels = ElementTree.SubElement(task, "labels")
    for name in names:
        label = ElementTree.SubElement(labels, "label")
        _child(label, "name", name)
        attribute = ElementTree.SubElement(ElementTree.SubElement(label, "attributes"), "attribute")
        fields = {"name": ATTRIBUTE, "mutable": True, "input_type": "text", "default_value": "", "values": ""}
        for field, value in fields.items():
            _child(attribute, field, value)
    size = ElementTree.SubElement(task, "original_size")
    _child(size, "width", int(video["width"]))
    _child(size, "height", int(video["height"]))
    _child(task, "source", video["file"])
    for number, track in enumerate(tracks_of(boxes)):
        name = str(track["class_name"].iloc[0])
        element = ElementTree.SubElement(root, "track", {"id": str(number), "label": name, "source": "auto"})
        frames = track["frame_index"].to_numpy()
        for place, row in enumerate(track.to_dict("records")):
            _box(element, row, row["frame_index"], str(row["label_uid"]), outside=False)
            after = int(frames[place]) + 1
            is_gap = place + 1 == len(frames) or frames[place + 1] != after
            if is_gap and after < frame_count:
                _box(element, row, after, "", outside=True)
    return root


def _box(track: ElementTree.Element, row: dict[str, Any], frame: int, label_uid: str, outside: bool) -> None:
    corners = zip(CORNERS, (row[name] for name in tables.BOX_COLUMNS), strict=True)
    box = ElementTree.SubElement(
        track,
        "box",
        {"frame": str(frame), **{name: f"{value:.4f}" for name, value in corners}}
        | {"outside": str(int(outside)), "occluded": "0", "keyframe": "1", "z_order": "0"},
    )
    attribute = ElementTree.SubElement(box, "attribute", {"name": ATTRIBUTE})
    attribute.text = label_uid


def _child(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)


@dataclass(frozen=True)
class _Task:
    """One task of an XML: its video, and which of its frames were looked at."""

    video: dict[str, Any]
    frames: np.ndarray  # in order; what is between them was not in the task
    offset: int = 0  # of its numbers, where several tasks were numbered on

    def frame(self, value: str | None) -> int:
        """The video's frame that a number means. Raises OddEntry."""
        frame = frame_number(value) - self.offset
        if frame < 0:
            raise OddEntry("boxes of frames before their task")
        return frame


def read_cvat(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read one XML or all of a folder. Frames between two key frames of a track are filled as CVAT shows them.

    The video is the one of the task's source file, of its name, or of the XML's own name. A frame that was not in the
    task (`start_frame`, `stop_frame`, `frame_filter`) is unknown.
    """
    reading = _Reading(path, videos)
    for xml_path in file_in(path, "*.xml"):
        root = read_xml(xml_path)
        if root.tag != "annotations":
            raise InputError(f"{xml_path}: not CVAT's XML: its root is <{root.tag[:40]}>, not <annotations>")
        reading.document(xml_path, root)
    return reading.found()


class _Reading:
    """XML files of CVAT while they are read."""

    def __init__(self, path: Path, videos: KnownVideos):
        self.videos = videos
        self.rows = BoxRows(path)
        self.covered: dict[str, set[int]] = {}
        self.tracks = self.turned = 0

    def document(self, xml_path: Path, root: ElementTree.Element) -> None:
        tasks = self._tasks(xml_path, root)
        for place, track in enumerate(root.iter("track")):
            task = tasks.get(track.get("task_id", ""), tasks.get(""))
            if task is not None:
                self._track(f"{xml_path}: track {track.get('id', place)}", track, task)
                self.tracks += 1
        task = tasks.get("")
        for place, image in enumerate(root.iter("image")):
            self._image(f"{xml_path}: image {image.get('id', place)}", xml_path, image, task)

    def _tasks(self, xml_path: Path, root: ElementTree.Element) -> dict[str, _Task]:
        """By task id; the one of what names none under «»."""
        meta = root.find("meta")
        about = [] if meta is None else [*meta.iter("task"), *meta.findall("job")]
        is_of_images = root.find("image") is not None
        found: dict[str, _Task] = {}
        offset = 0
        for each in about or [root]:
            size = whole_number(text_of(each, "size"), 0)
            names = [text_of(each, "source"), text_of(each, "name")]
            beside = xml_path.stem if len(about) < 2 else ""
            video = self.videos.find(*names, beside) or (None if any(names) else self.videos.only())
            if video is None:
                if not is_of_images:
                    here = root if len(about) < 2 else _own(root, text_of(each, "id"))
                    self.videos.miss(next(filter(None, [*names, beside])), sum(1 for _ in here.iter("box")))
            else:
                _check_size(xml_path, each, video)
                task = _Task(video, _frames_of(each, video, size, meta), offset)
                found[text_of(each, "id") if len(about) > 1 else ""] = task
                if not is_of_images:
                    self.covered.setdefault(str(video["video_id"]), set()).update(task.frames.tolist())
            offset += size if len(about) > 1 else 0
        if len(about) > 1 and not self._is_numbered_on(root, found):
            found = {name: _Task(task.video, task.frames) for name, task in found.items()}
        return found

    def _is_numbered_on(self, root: ElementTree.Element, tasks: dict[str, _Task]) -> bool:
        """Whether the frames of later tasks go on after those of earlier ones: some versions count each from 0."""
        for track in root.iter("track"):
            task = tasks.get(track.get("task_id", ""))
            frames = [whole_number(shape.get("frame"), -1) for shape in track]
            if task is not None and frames and min(frames) < task.offset:
                return False
        return True

    def _track(self, where: str, track: ElementTree.Element, task: _Task) -> None:
        name = (track.get("label") or "").strip()
        shown: dict[int, _Shape | None] = {}  # None: outside
        for shape in track:
            with self.rows.entry(f"{where}, frame {shape.get('frame', '?')[:12]}", task.video):
                frame = task.frame(shape.get("frame"))
                outside = shape.get("outside") == "1"
                with self.rows.entry(f"{where}, frame {frame}", task.video, frame):
                    found = None if outside else self._shape(shape)
                    if shown.get(frame) is not None:  # said twice: what is seen counts, the first of it
                        continue
                    shown[frame] = found
        last: tuple[int, _Shape] | None = None
        for frame in sorted(shown):
            found = shown[frame]
            if found is not None and last is not None:
                start, before = last
                for inner in task.frames[(task.frames > start) & (task.frames < frame)].tolist():
                    between = before.between(found, (inner - start) / (frame - start))
                    self._add(where, task, inner, between, name)
            if found is not None:
                self._add(where, task, frame, found, name)
            last = None if found is None else (frame, found)

    def _add(self, where: str, task: _Task, frame: int, shape: "_Shape", name: str) -> None:
        with self.rows.entry(f"{where}, frame {frame}", task.video, frame):
            self.rows.add(task.video, frame, shape.xyxy, name, shape.label_uid, self.tracks, is_point=shape.is_point)

    def _image(self, where: str, xml_path: Path, image: ElementTree.Element, task: _Task | None) -> None:
        """CVAT for images: the picture's name says video and frame, else the task and the picture's number."""
        name = image.get("name") or ""
        place = self.videos.find_frame(name, *([str(task.video["video_id"])] if task else []), xml_path.stem)
        if place is None:
            self.videos.miss(name[:80] or where, len(image))
            return
        video, frame = place
        self.covered.setdefault(str(video["video_id"]), set()).add(frame)
        for shape in image:
            with self.rows.entry(where, video, frame):
                found = self._shape(shape)
                label = (shape.get("label") or "").strip()
                self.rows.add(video, frame, found.xyxy, label, found.label_uid, is_point=found.is_point)

    def _shape(self, shape: ElementTree.Element) -> "_Shape":
        """Its upright box, or point. Raises OddEntry."""
        uids = [(item.text or "").strip() for item in shape.iter("attribute") if item.get("name") == ATTRIBUTE]
        uid, is_point = uids[0] if uids else "", False
        if shape.tag == "box":
            xyxy = [number_of(shape.get(corner), corner) for corner in CORNERS]
        elif shape.tag == "ellipse":
            x, y, half_x, half_y = (number_of(shape.get(side), side) for side in ("cx", "cy", "rx", "ry"))
            xyxy = [x - half_x, y - half_y, x + half_x, y + half_y]
        elif shape.tag in ("points", "polygon", "polyline"):
            pairs = (shape.get("points") or "").replace(";", ",").split(",")
            xyxy = list(hull(number_of(value, "points") for value in pairs))
            is_point = len(pairs) == 2
        else:
            raise OddEntry(f"shapes of the kind {shape.tag[:40]}", is_nothing=True)
        turn = number_of(shape.get("rotation") or "0", "rotation") % 360
        if turn and not is_point:
            self.turned += 1
            xyxy = list(upright(xyxy, turn))
        return _Shape(np.array(xyxy), uid, is_point)

    def found(self) -> FoundLabels:
        lines = [f"turned: {self.turned} boxes; the upright box around each is taken"] if self.turned else []
        for video_id, frames in self.covered.items():
            if (unseen := int(self.videos.rows[video_id]["frame_count"]) - len(frames)) > 0:
                lines.append(f"unknown: {unseen} frames of {video_id}, which were not in the task")
        return found_labels(self.rows, self.videos.rows, self.covered, lines=lines)


@dataclass(frozen=True)
class _Shape:
    xyxy: np.ndarray
    label_uid: str
    is_point: bool

    def between(self, other: "_Shape", share: float) -> "_Shape":
        return _Shape(self.xyxy + share * (other.xyxy - self.xyxy), "", self.is_point and other.is_point)


def _check_size(xml_path: Path, task: ElementTree.Element, video: dict[str, Any]) -> None:
    """InputError for a task whose video was of another size: all its boxes would lie elsewhere."""
    size = [whole_number(text_of(task, f"original_size/{side}"), 0) for side in ("width", "height")]
    own = [int(video["width"]), int(video["height"])]
    if 0 not in size and size != own:
        raise InputError(
            f"{xml_path}: is of a video of {size[0]} x {size[1]}, but {video['video_id']} has {own[0]} x {own[1]}"
        )


def _own(root: ElementTree.Element, task_id: str) -> ElementTree.Element:
    """The tracks of one task of several."""
    own = ElementTree.Element("tracks")
    own.extend(track for track in root.iter("track") if track.get("task_id") == task_id)
    return own


def _frames_of(
    task: ElementTree.Element, video: dict[str, Any], size: int, meta: ElementTree.Element | None
) -> np.ndarray:
    """The frames of the video that were in the task, sorted; of a job, those of its segment."""
    count = int(video["frame_count"])
    step = re.search(r"step\s*=\s*(\d{1,6})", text_of(task, "frame_filter"))
    first = whole_number(text_of(task, "start_frame"), 0)
    last = whole_number(text_of(task, "stop_frame"), -1)
    frames = np.arange(max(first, 0), count, max(int(step[1]) if step else 1, 1))
    if last >= 0:
        frames = frames[frames <= last]
    elif size:
        frames = frames[:size]
    segments = task.findall("segments/segment") if meta is not None and meta.find("job") is task else []
    if segments:
        spans = [[whole_number(text_of(each, name), -1) for name in ("start", "stop")] for each in segments]
        inside = np.zeros(len(frames), dtype=bool)
        for start, stop in spans:
            inside[max(start, 0) : stop + 1] = True
        frames = frames[inside] if inside.any() else frames
    deleted = [whole_number(each.text, -1) for each in task.findall("deleted_frames/frame")]
    return np.setdiff1d(frames, deleted).astype(np.int64)
