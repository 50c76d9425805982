"""COCO object detection, each way: the file that pycocotools, FiftyOne, CVAT and Datumaro load unchanged.

Ids count from 1 (pycocotools takes an annotation id of 0 for «no match»), `bbox` is x, y, width, height, `score` stands
at the top of an annotation and all else in its `attributes`, where CVAT and FiftyOne look. A label that is to be
ignored has `iscrowd` 1. A mask (column `mask_rle` of the boxes) is the annotation's `segmentation`, COCO's compressed
run lengths. `coco_reading.py` reads it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.mask_rle import decode_mask
from labels.records.safe_writing import whole_file

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
