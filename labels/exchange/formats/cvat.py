"""CVAT video XML 1.1, each way: one file a video, tracks of boxes, frames from 0, corners in pixels.

Every box is a key frame and every gap is closed by a box that is `outside`: CVAT would fill it otherwise. A box says
its `label_uid` in an attribute, which CVAT keeps when the label it belongs to has that attribute: `labels.json` is the
text for CVAT's label constructor (Raw). The format has no frame rate: frames are numbers, never times.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.exchange.foreign_files import frame_number, number_of, read_xml, text_of
from labels.exchange.label_set import (
    BoxRows,
    FoundLabels,
    KnownVideos,
    LabelSet,
    all_frames,
    file_in,
    found_actions,
    tracks_of,
)
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
    said = {"name": video["video_id"], "size": frame_count, "mode": "interpolation", "overlap": 0, "flipped": False}
    for name, value in (said | {"start_frame": 0, "stop_frame": frame_count - 1, "frame_filter": ""}).items():
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


def read_cvat(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read one XML or all of a folder. Frames between two key frames of a track are filled as CVAT shows them.

    The video is the one of the task's source file, of its name, or of the XML's own name.
    """
    rows = BoxRows()
    covered: dict[str, np.ndarray] = {}
    tracks = 0
    left: dict[str, int] = {}
    for xml_path in file_in(path, "*.xml"):
        root = read_xml(xml_path)
        if root.tag != "annotations":
            raise InputError(f"{xml_path}: not CVAT's XML: its root is <{root.tag[:40]}>, not <annotations>")
        meta = root.find("meta")
        task = meta if meta is None else meta.find("task")
        about = (meta if task is None else task) if meta is not None else root
        video = videos.find(text_of(about, "source"), text_of(about, "name"), xml_path.stem)
        if video is None:
            videos.miss(
                text_of(about, "source") or text_of(about, "name") or xml_path.stem, len(list(root.iter("box")))
            )
            continue
        if root.find("image") is not None:
            raise InputError(f"{xml_path}: CVAT for images; export it as «CVAT for video 1.1»")
        covered[str(video["video_id"])] = all_frames(video)
        for place, track in enumerate(root.iter("track")):
            where = f"{xml_path}: track {track.get('id', place)}"
            _read_track(where, track, video, tracks, rows)
            tracks += 1
            for shape in track:
                if shape.tag != "box":
                    left[shape.tag] = left.get(shape.tag, 0) + 1
    lines = [f"not used: {count} shapes of the kind {kind[:40]}" for kind, count in sorted(left.items())]
    return FoundLabels(rows.table(), found_actions([]), covered, lines=lines)


def _read_track(where: str, track: ElementTree.Element, video: dict[str, Any], number: int, rows: BoxRows) -> None:
    name = (track.get("label") or "").strip()
    shown: dict[int, tuple[np.ndarray, str] | None] = {}  # None: outside
    for box in track.iter("box"):
        frame = frame_number(where, box.get("frame"))
        if frame in shown:
            raise InputError(f"{where}: frame {frame} twice")
        corners = np.array([number_of(where, box.get(corner), corner) for corner in CORNERS])
        if box.get("rotation") not in (None, "", "0", "0.0", "0.00"):
            raise InputError(f"{where}: the box of frame {frame} is rotated; boxes stand upright here")
        uids = [(item.text or "").strip() for item in box.iter("attribute") if item.get("name") == ATTRIBUTE]
        shown[frame] = None if box.get("outside") == "1" else (corners, uids[0] if uids else "")
    last: tuple[int, np.ndarray] | None = None
    for frame in sorted(shown):
        found = shown[frame]
        if found is not None and last is not None and frame - last[0] > 1 and frame < int(video["frame_count"]):
            for between in range(last[0] + 1, frame):
                share = (between - last[0]) / (frame - last[0])
                rows.add(where, video, between, last[1] + share * (found[0] - last[1]), name, "", number)
        if found is not None:
            rows.add(where, video, frame, found[0], name, found[1], number)
        last = None if found is None else (frame, found[0])
