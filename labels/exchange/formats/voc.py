"""Pascal VOC, each way: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/`, and labelmap.txt for CVAT and Datumaro.

Corners are whole pixels counted from 1, both inside the box, as the VOC devkit means them: a box over a whole picture
100 wide has xmin 1 and xmax 100, which is 0 to 100 here. (Datumaro reads them so with coordinate_mode "voc-one-based".)
An ignored label is `difficult`, which VOC leaves out of the score; its `label_uid` and the like are `attributes`.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

from labels.exchange.foreign_files import number_of, read_xml, text_of
from labels.exchange.label_set import (
    BoxRows,
    FoundLabels,
    KnownVideos,
    LabelSet,
    file_in,
    found_actions,
    link_pictures,
    small_file,
    split_of,
)
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

CORNERS = ("xmin", "ymin", "xmax", "ymax")
ATTRIBUTES = ("label_uid", "track_id", "score", "origin", "round_born")


def write_voc(folder: Path, labels: LabelSet) -> list[str]:
    """One XML a picture; boxes are rounded to whole pixels and grow to one pixel where they vanish."""
    link_pictures(folder / "JPEGImages", labels.images)
    boxes = dict(iter(labels.boxes.groupby(["video_id", "frame_index"])))
    sets: dict[str, list[str]] = {}
    for image in labels.images.to_dict("records"):
        name = Path(image["file_name"]).stem
        sets.setdefault(split_of(image), []).append(name)
        root = ElementTree.Element("annotation")
        _children(root, {"folder": "JPEGImages", "filename": f"{name}.jpg"})
        size = ElementTree.SubElement(root, "size")
        _children(size, {"width": image["width"], "height": image["height"], "depth": 3})
        _children(root, {"segmented": 0})
        rows = boxes.get((image["video_id"], image["frame_index"]))
        for row in [] if rows is None else rows.to_dict("records"):
            _object(root, row)
        ElementTree.indent(root, " ")
        small_file(folder / "Annotations" / f"{name}.xml", ElementTree.tostring(root, encoding="unicode") + "\n")
    for name, pictures in sets.items():
        write_text(folder / "ImageSets" / "Main" / f"{name}.txt", "".join(f"{picture}\n" for picture in pictures))
    lines = ["# label:color_rgb:parts:actions", "background:::", *(f"{name}:::" for name in labels.class_names)]
    write_text(folder / "labelmap.txt", "\n".join(lines) + "\n")
    return ["rounded: VOC's corners are whole pixels", *labels.left_out_lines("VOC", holds_ignored=True)]


def _object(root: ElementTree.Element, row: dict[str, Any]) -> None:
    item = ElementTree.SubElement(root, "object")
    _children(item, {"name": row["class_name"], "pose": "Unspecified", "truncated": 0})
    _children(item, {"difficult": int(row["decision"] == "ignore")})
    low = [round(row[name]) for name in ("x1", "y1")]
    high = [max(round(row[name]), start + 1) for name, start in zip(("x2", "y2"), low, strict=True)]
    corners = [low[0] + 1, low[1] + 1, *high]
    _children(ElementTree.SubElement(item, "bndbox"), dict(zip(CORNERS, corners, strict=True)))
    attributes = ElementTree.SubElement(item, "attributes")
    for name in ATTRIBUTES:
        value = f"{row[name]:.6f}" if name == "score" else row[name]
        _children(ElementTree.SubElement(attributes, "attribute"), {"name": name, "value": value})


def _children(parent: ElementTree.Element, values: dict[str, Any]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)


def read_voc(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read a folder of annotations, or one XML; the picture's name tells video and frame."""
    rows = BoxRows()
    covered: dict[str, list[int]] = {}
    for xml_path in file_in(path, "*.xml"):
        root = read_xml(xml_path)
        if root.tag != "annotation":
            raise InputError(f"{xml_path}: not Pascal VOC: its root is <{root.tag[:40]}>, not <annotation>")
        objects = root.findall("object")
        place = videos.find_frame(text_of(root, "filename")) or videos.find_frame(xml_path.name)
        if place is None:
            videos.miss(xml_path.stem, len(objects))
            continue
        video, frame_index = place
        covered.setdefault(str(video["video_id"]), []).append(frame_index)
        for number, item in enumerate(objects, start=1):
            where = f"{xml_path}: object {number}"
            box = item.find("bndbox")
            if box is None:
                raise InputError(f"{where}: has no bndbox")
            corners = [number_of(where, box.findtext(name), name) for name in CORNERS]
            said = {text_of(each, "name"): text_of(each, "value") for each in item.iter("attribute")}
            rows.add(
                where,
                video,
                frame_index,
                (corners[0] - 1, corners[1] - 1, corners[2], corners[3]),
                text_of(item, "name"),
                said.get("label_uid", ""),
                _whole(said.get("track_id", "")),
                text_of(item, "difficult") == "1",
            )
    return FoundLabels(
        rows.table(),
        found_actions([]),
        {video_id: np.unique(np.array(frames, dtype=np.int64)) for video_id, frames in covered.items()},
        tolerance_pixels=1.0,
    )


def _whole(text: str) -> int:
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 10 else tables.NO_TRACK
