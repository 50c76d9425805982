"""COCO to and from people and their tools: COCO's own folders out, anybody's file in. The file itself: coco.py."""

from pathlib import Path
from typing import Any

import numpy as np

from labels.exchange.formats.coco import read_coco, write_coco
from labels.exchange.label_set import BoxRows, FoundLabels, KnownVideos, LabelSet, found_actions, link_pictures
from labels.records import tables
from labels.records.errors import InputError

INSTANCES = "annotations/instances_default.json"


def export_coco(folder: Path, labels: LabelSet) -> list[str]:
    """A round's labels in COCO's own folders, for tools; what stage 4 reads lies in dataset/."""
    inside = labels.in_images(labels.boxes)
    write_coco(folder / INSTANCES, labels.images.drop(columns="picture"), inside, labels.class_names)
    link_pictures(folder / "images", labels.images)
    return labels.left_out_lines("COCO", holds_ignored=True)


def find_coco(path: Path, videos: KnownVideos) -> FoundLabels:
    """What a COCO file says of the known videos: by Rally's own fields, or by the names of its pictures."""
    if path.is_dir():
        path = path / INSTANCES if (path / INSTANCES).is_file() else path / "annotations.json"
    dataset = read_coco(path)
    rows = BoxRows()
    covered: dict[str, list[int]] = {}
    places: dict[tuple[str, int], tuple[dict[str, Any], int]] = {}
    for image in dataset.images.to_dict("records"):
        video = videos.find(image["video_id"])
        named = (video, int(image["frame_index"])) if video is not None else videos.find_frame(image["file_name"])
        key = (image["video_id"], image["frame_index"])
        if named is None:
            videos.miss(image["file_name"], 0)
            continue
        size = (named[0]["width"], named[0]["height"])
        if (image["width"], image["height"]) != size:
            raise InputError(
                f"{path}: {image['file_name']} is {image['width']} x {image['height']}, its video {size[0]} x {size[1]}"
            )
        places[key] = named
        covered.setdefault(str(named[0]["video_id"]), []).append(named[1])
    masks = []
    for box in dataset.boxes.to_dict("records"):
        place = places.get((box["video_id"], box["frame_index"]))
        if place is None:
            videos.miss(box["video_id"])
            continue
        corners = [box[name] for name in tables.BOX_COLUMNS]
        is_ignored = box["decision"] == "ignore"
        rows.add(str(path), *place, corners, box["class_name"], box["label_uid"], int(box["track_id"]), is_ignored)
        masks.append(box["mask_rle"])
    frames = {name: np.unique(np.array(found, dtype=np.int64)) for name, found in covered.items()}
    return FoundLabels(rows.table().assign(mask_rle=masks), found_actions([]), frames)
