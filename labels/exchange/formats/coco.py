"""COCO object detection, both ways: the file that pycocotools, FiftyOne, CVAT and Datumaro load unchanged.

Ids count from 1 (pycocotools takes an annotation id of 0 for "no match"), `bbox` is x, y, width, height, `score` is a
field of the annotation, and everything else is in its `attributes`, where CVAT and FiftyOne look. An ignored label has
`iscrowd` 1. A mask (column `mask_rle` of the boxes) is the annotation's `segmentation`, as compressed RLE. A file that
is read may come from anybody: everything is checked before it is used.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.masks import decode_mask, encode_mask, mask_of_runs
from labels.records.safe_writing import read_json, whole_file

IMAGES = {
    "file_name": "str",
    "width": "int64",
    "height": "int64",
    "video_id": "str",
    "frame_index": "int64",
    "time_s": "float64",
    "split": "str",
    "group": "str",
}
ATTRIBUTES = ("label_uid", "track_id", "round_born", "origin", "decision", "quality", "time_s")


@dataclass(frozen=True)
class CocoDataset:
    """`images` as in IMAGES; `boxes` is a boxes table with quality and decision, dropped labels never among them."""

    images: pd.DataFrame
    boxes: pd.DataFrame
    class_names: tuple[str, ...]

    @classmethod
    def empty(cls) -> "CocoDataset":
        return cls(tables.empty_table(IMAGES), tables.empty_table(tables.BOXES | tables.DECIDED), ())


def write_coco(path: Path, images: pd.DataFrame, boxes: pd.DataFrame, class_names: tuple[str, ...]) -> None:
    """Write images (see IMAGES) and decided boxes; every box must lie in one of the images. The same gives the same."""
    tables.check_columns(images, IMAGES, "images")
    class_names = tuple(sorted(class_names))
    category = {name: number for number, name in enumerate(class_names, start=1)}
    images = images.sort_values(["video_id", "frame_index"], ignore_index=True)
    boxes = boxes.sort_values(["video_id", "frame_index", "class_name", "x1", "y1", "label_uid"], ignore_index=True)
    number = pd.Series(np.arange(1, len(images) + 1), index=[images["video_id"], images["frame_index"]])
    image_id = number.reindex(pd.MultiIndex.from_frame(boxes[["video_id", "frame_index"]])).to_numpy(dtype=np.float64)
    if not np.isfinite(image_id).all():
        raise ValueError(f"{int((~np.isfinite(image_id)).sum())} boxes lie in no image of the dataset")
    with whole_file(path) as aside, open(aside, "w", encoding="utf-8") as opened:
        opened.write('{"info": {"description": "Rally labels", "version": "1.0"}, "licenses": [],\n"images": [')
        _write_items(opened, ({"id": place} | row for place, row in enumerate(images.to_dict("records"), start=1)))
        opened.write('],\n"annotations": [')
        sizes = images[["height", "width"]].to_numpy(dtype=np.int64)
        _write_items(opened, _annotations(boxes, image_id.astype(np.int64), category, sizes))
        opened.write('],\n"categories": [')
        _write_items(opened, ({"id": place, "name": name, "supercategory": ""} for name, place in category.items()))
        opened.write("]}\n")


def _write_items(opened: Any, items: Iterator[dict[str, Any]]) -> None:
    for place, item in enumerate(items):
        opened.write(("," if place else "") + "\n" + json.dumps(item, allow_nan=False))


def _annotations(
    boxes: pd.DataFrame, image_id: np.ndarray, category: dict[str, int], sizes: np.ndarray
) -> Iterator[dict[str, Any]]:
    """`sizes` are the images' heights and widths, (images, 2), by image id less 1."""
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    xywh = np.column_stack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]).round(4)
    columns = {name: boxes[name].to_numpy() for name in (*ATTRIBUTES, "class_name", "score")}
    masks = boxes["mask_rle"].to_numpy() if "mask_rle" in boxes else None
    for row in range(len(boxes)):
        mask = {}
        if masks is not None and masks[row]:
            size = sizes[image_id[row] - 1].tolist()
            inside = int(decode_mask(masks[row], *size).sum())
            mask = {"segmentation": {"size": size, "counts": masks[row]}, "area": inside}
        yield {
            "id": row + 1,
            "image_id": int(image_id[row]),
            "category_id": category[columns["class_name"][row]],
            "bbox": xywh[row].tolist(),
            "area": round(float(xywh[row, 2] * xywh[row, 3]), 4),
            "iscrowd": int(columns["decision"][row] == "ignore"),
            "score": round(float(columns["score"][row]), 6),
            "attributes": {
                "label_uid": str(columns["label_uid"][row]),
                "track_id": int(columns["track_id"][row]),
                "round_born": int(columns["round_born"][row]),
                "origin": str(columns["origin"][row]),
                "decision": str(columns["decision"][row]),
                "quality": round(float(columns["quality"][row]), 4),
                "time_s": round(float(columns["time_s"][row]), 6),
            },
        } | mask


def read_coco(path: Path) -> CocoDataset:
    """Read and check a COCO file, ours or anybody's. Raises InputError with the first thing that is unsound.

    Where Rally's own attributes are absent: the video is the image's file name without its suffix, the frame is 0, and
    the boxes are a human's, kept.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: no COCO file: it holds no JSON object")
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list) or not all(isinstance(item, dict) for item in content[name]):
            raise InputError(f"{path}: no COCO file: '{name}' is not a list of objects")
    categories = _by_id(path, content["categories"], "category")
    names = {number: item.get("name") for number, item in categories.items()}
    if not all(isinstance(name, str) and name for name in names.values()) or len(set(names.values())) < len(names):
        raise InputError(f"{path}: each category needs a name of its own")
    images = _by_id(path, content["images"], "image")
    rows = {number: _image_row(path, number, item) for number, item in images.items()}
    places = [(row["video_id"], row["frame_index"]) for row in rows.values()]
    if len(set(places)) < len(places):
        raise InputError(f"{path}: two images are the same frame of the same video")
    annotations = _by_id(path, content["annotations"], "annotation").values()
    boxes = _with_own_names([_box_row(path, item, rows, names) for item in annotations])
    return CocoDataset(
        images=_table(IMAGES, list(rows.values())),
        boxes=_check_table(path, _table(tables.BOXES | tables.DECIDED | {"mask_rle": "str"}, boxes)),
        class_names=tuple(sorted(str(name) for name in names.values())),
    )


def _by_id(path: Path, items: list[dict[str, Any]], kind: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for item in items:
        number = item.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise InputError(f"{path}: an {kind} has no whole number as its id, but {number!r}")
        if number in found:
            raise InputError(f"{path}: {kind} id {number} twice")
        found[number] = item
    return found


def _image_row(path: Path, number: int, item: dict[str, Any]) -> dict[str, Any]:
    name = item.get("file_name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: image {number} has no file_name")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
        raise InputError(f"{path}: image {number}: file_name {name!r} leads out of the dataset's folder")
    sides = [item.get("width"), item.get("height")]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"{path}: image {number} needs a width and a height, not {sides}")
    frame_index = item.get("frame_index", 0)
    time_s = item.get("time_s", 0.0)
    if not isinstance(frame_index, int) or frame_index < 0 or not _is_number(time_s):
        raise InputError(f"{path}: image {number}: frame_index {frame_index!r} at {time_s!r} s")
    return {
        "file_name": name,
        "width": sides[0],
        "height": sides[1],
        "video_id": str(item.get("video_id", PurePosixPath(name).stem)),
        "frame_index": frame_index,
        "time_s": float(time_s),
        "split": str(item.get("split", "")),
        "group": str(item.get("group", "")),
    }


def _box_row(
    path: Path, item: dict[str, Any], images: dict[int, dict[str, Any]], names: dict[int, Any]
) -> dict[str, Any]:
    where = f"{path}: annotation {item['id']}"
    image = images.get(item.get("image_id", -1))
    name = names.get(item.get("category_id", -1))
    if image is None or name is None:
        missing = "image_id" if image is None else "category_id"
        raise InputError(f"{where}: {missing} {item.get(missing)!r} is not in the file")
    xywh = item.get("bbox")
    if not isinstance(xywh, list) or len(xywh) != 4 or not all(_is_number(side) for side in xywh):
        raise InputError(f"{where}: bbox must be four finite numbers, not {xywh!r}")
    x1, y1, x2, y2 = xywh[0], xywh[1], xywh[0] + xywh[2], xywh[1] + xywh[3]
    if xywh[2] <= 0 or xywh[3] <= 0:
        raise InputError(f"{where}: bbox {xywh} has no area; it must be x, y, width, height")
    slack_x, slack_y = 0.5 * image["width"], 0.5 * image["height"]
    if x1 < -slack_x or y1 < -slack_y or x2 > image["width"] + slack_x or y2 > image["height"] + slack_y:
        raise InputError(
            f"{where}: bbox {xywh} lies outside its image of {image['width']} x {image['height']}; "
            "COCO wants x, y, width, height, not two corners"
        )
    score = item.get("score", 1.0)
    if not _is_number(score) or not 0 <= score <= 1:
        raise InputError(f"{where}: score {score!r} is not within 0 and 1")
    attributes = item.get("attributes", {})
    if not isinstance(attributes, dict):
        raise InputError(f"{where}: attributes are no object")
    ignored = bool(item.get("iscrowd", 0)) or attributes.get("decision") == "ignore"
    box = np.array([[x1, y1, x2, y2]], dtype=np.float32)
    origin = str(attributes.get("origin", "human"))
    made_name = tables.box_uids(
        image["video_id"], 0, np.array([image["frame_index"]]), np.array([name], object), box, f"coco {item['id']}"
    )[0]
    try:
        numbers = {
            "track_id": int(attributes.get("track_id", tables.NO_TRACK)),
            "round_born": int(attributes.get("round_born", 0)),
            "quality": float(attributes.get("quality", 0.5 if ignored else 1.0)),
            "time_s": float(attributes.get("time_s", image["time_s"])),
        }
    except (TypeError, ValueError):
        raise InputError(f"{where}: an attribute that must be a number is none") from None
    return numbers | {
        "made_name": made_name,
        "mask_rle": _mask(where, item.get("segmentation"), image["height"], image["width"]),
        "label_uid": str(attributes.get("label_uid") or made_name),
        "video_id": image["video_id"],
        "frame_index": image["frame_index"],
        **{column: float(box[0, place]) for place, column in enumerate(tables.BOX_COLUMNS)},
        "class_name": name,
        "score": float(score),
        "origin": origin,
        "decision": "ignore" if ignored else "keep",
        "reason": "in the file: ignore" if ignored else "",
    }


def _with_own_names(boxes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A label_uid that stands twice, as where a person copied a box, is the first one's; the other gets a name."""
    seen: set[str] = set()
    for box in boxes:
        if box["label_uid"] in seen:
            box["label_uid"] = box["made_name"]
        seen.add(box["label_uid"])
    return boxes


def _mask(where: str, segmentation: Any, height: int, width: int) -> str:
    """The mask of run lengths, compressed or not; polygons are not taken for masks."""
    if not isinstance(segmentation, dict):
        return ""
    counts = segmentation.get("counts")
    try:
        if segmentation.get("size") != [height, width]:
            raise ValueError(f"a mask of the size {segmentation.get('size')!r} in an image of {[height, width]}")
        if isinstance(counts, str):
            return encode_mask(decode_mask(counts, height, width))
        if isinstance(counts, list) and all(isinstance(run, int) for run in counts):
            return encode_mask(mask_of_runs(counts, height, width))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    raise InputError(f"{where}: a mask whose counts are neither text nor whole numbers")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _table(columns: dict[str, str], rows: list[dict[str, Any]]) -> pd.DataFrame:
    if not rows:
        return tables.empty_table(columns)
    return tables.make_table(columns, {name: [row[name] for row in rows] for name in columns})


def _check_table(path: Path, boxes: pd.DataFrame) -> pd.DataFrame:
    try:
        return tables.check_boxes(boxes, str(path), decided=True)
    except ValueError as error:
        raise InputError(str(error)) from None
