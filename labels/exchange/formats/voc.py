"""Pascal VOC, each way: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/`, and labelmap.txt for CVAT and Datumaro.

Corners are whole pixels counted from 1, both inside the box, as the VOC devkit means them: a box over a whole picture
100 wide has xmin 1 and xmax 100, which is 0 to 100 here. (Datumaro reads them so with coordinate_mode "voc-one-based".)
An ignored label is `difficult`, which VOC leaves out of the score; its `label_uid` and the like are `attributes`.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NamedTuple

from labels.exchange.foreign_files import number_of, read_xml, text_of, whole_number
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import (
    NO_SIZE,
    BoxRows,
    FoundLabels,
    LabelSet,
    OddEntry,
    file_in,
    found_labels,
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
    rows = BoxRows(path)
    pictures: list[tuple[Path, dict[str, Any], int, list[_Object]]] = []
    for xml_path in file_in(path, "*.xml"):
        try:
            root = read_xml(xml_path)
        except InputError as error:
            if path.is_file():
                raise
            rows.left_out.add(str(error), "files that cannot be read")
            continue
        if root.tag != "annotation":
            raise InputError(f"{xml_path}: not Pascal VOC: its root is <{root.tag[:40]}>, not <annotation>")
        objects = [_read_object(item) for item in root.findall("object")]
        beside = (text_of(root, "folder"), xml_path.parent.name)
        place = videos.find_frame(text_of(root, "filename"), *beside) or videos.find_frame(xml_path.name, *beside)
        if place is None:
            videos.miss(xml_path.stem, len(objects))
        else:
            size = [whole_number(text_of(root, f"size/{side}"), 0) for side in ("width", "height")]
            own = [int(place[0]["width"]), int(place[0]["height"])]
            if 0 not in size and size != own:
                reason = f"pictures of {size[0]} x {size[1]}, their video {own[0]} x {own[1]}"
                rows.left_out.add(str(xml_path), reason)
            else:
                pictures.append((xml_path, *place, objects))
    numbers: dict[str, set[int]] = {}
    for _, video, number, _ in pictures:
        numbers.setdefault(str(video["video_id"]), set()).add(number)
    first, lines = videos.first_frame(numbers, True, str(path))
    for xml_path, video, number, objects in pictures:
        for count, item in enumerate(objects, start=1):
            with rows.entry(f"{xml_path}: object {count}", video, number - first):
                corners = [number_of(value, name) for value, name in zip(item.corners, CORNERS, strict=True)]
                box = (corners[0] - 1, corners[1] - 1, corners[2], corners[3])
                if corners[2] < corners[0] or corners[3] < corners[1]:
                    raise OddEntry(NO_SIZE, is_nothing=True)
                rows.add(video, number - first, box, item.name, item.uid, item.track_id, item.is_ignored)
    covered = {video_id: {number - first for number in found} for video_id, found in numbers.items()}
    return found_labels(rows, videos.rows, covered, tolerance_pixels=1.0, lines=lines)


class _Object(NamedTuple):
    name: str
    corners: list[str | None]
    uid: str
    track_id: int
    is_ignored: bool


def _read_object(item: ElementTree.Element) -> _Object:
    box = item.find("bndbox")
    attributes = {text_of(each, "name"): text_of(each, "value") for each in item.iter("attribute")}
    return _Object(
        text_of(item, "name"),
        [None if box is None else box.findtext(name) for name in CORNERS],
        attributes.get("label_uid", ""),
        whole_number(attributes.get("track_id", ""), tables.NO_TRACK),
        text_of(item, "difficult") == "1",
    )
