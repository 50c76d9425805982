"""Label Studio, each way: a video's boxes (VideoRectangle) and actions (TimelineLabels), a picture's boxes and masks.

Boxes are in percent of the frame, frames are counted from 1. A key frame that is `enabled` goes on to the next one, the
last one to the end of the video: so the last box before a gap, and the last of all, is not. Label Studio counts frames
by the rate that its <Video> tag says (24 when it says nothing): the configuration written here takes each task's own.

Our labels go out as predictions; what a person made of them comes back as annotations, in the export called JSON. Each
label's `label_uid` is in the key frame, in the region's `meta`, and is the id of a region that is one label alone.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from labels.exchange.label_set import LabelSet, tracks_of
from labels.records.masks import decode_mask, encode_brush
from labels.records.safe_writing import write_json, write_text

VIDEO_TASKS, IMAGE_TASKS = "tasks_video.json", "tasks_images.json"
LOCAL = "/data/local-files/?d="  # what Label Studio serves from LOCAL_FILES_DOCUMENT_ROOT, here the work folder
Task = dict[str, Any]


def write_label_studio(folder: Path, labels: LabelSet) -> list[str]:
    """Tasks and labelling configurations, for whole videos and for the dataset's pictures."""
    actions = dict(iter(labels.kept_actions.groupby("video_id")))
    boxes = dict(iter(labels.kept.groupby("video_id")))
    videos = labels.videos.to_dict("records")
    tasks = [_video_task(row, boxes.get(row["video_id"]), actions.get(row["video_id"])) for row in videos]
    write_json(folder / VIDEO_TASKS, tasks)
    in_frame = dict(iter(labels.kept.groupby(["video_id", "frame_index"])))
    images = labels.images.to_dict("records")
    has_masks = "mask_rle" in labels.boxes.columns
    pictures = [_image_task(row, in_frame.get((row["video_id"], row["frame_index"])), has_masks) for row in images]
    write_json(folder / IMAGE_TASKS, pictures)
    action_names = tuple(sorted(labels.actions["class_name"].unique()))
    write_text(folder / "config_video.xml", _video_config(labels.class_names, action_names))
    write_text(folder / "config_images.xml", _image_config(labels.class_names))
    lines = labels.left_out_lines("Label Studio", holds_ignored=False, of_actions=True)
    if ignored := len(labels.actions) - len(labels.kept_actions):
        lines.append(f"left out: {ignored} ignored actions; Label Studio knows no «ignore»")
    return [*lines, "Label Studio finds the files with LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the work folder"]


def _video_task(video: Task, boxes: pd.DataFrame | None, actions: pd.DataFrame | None) -> Task:
    result: list[Task] = []
    if boxes is not None:
        result += [_video_region(video, track) for track in tracks_of(boxes)]
    for row in [] if actions is None else actions.sort_values(["start_frame", "label_uid"]).to_dict("records"):
        span = {"start": int(row["start_frame"]) + 1, "end": int(row["end_frame"])}
        value = {"ranges": [span], "timelinelabels": [row["class_name"]]}
        region = _region(row["label_uid"], "action", "video", "timelinelabels", value, row["score"])
        region["meta"] = {"track_id": int(row["track_id"])}
        result.append(region)
    facts = {"video_id": video["video_id"], "fps": float(video["fps"]), "frame_count": int(video["frame_count"])}
    return {
        "data": {"video": f"{LOCAL}videos/{quote(str(video['file']))}"} | facts,
        "predictions": [_prediction(result)] if result else [],
    }


def _video_region(video: Task, track: pd.DataFrame) -> Task:
    frames, fps = track["frame_index"].to_numpy(), float(video["fps"])
    sequence = []
    for place, row in enumerate(track.to_dict("records")):
        goes_on = place + 1 < len(frames) and int(frames[place + 1]) == int(frames[place]) + 1
        number = int(frames[place]) + 1
        shape = _percent(row, video) | {"frame": number, "time": round(number / fps, 6), "enabled": goes_on}
        sequence.append(shape | {"rotation": 0, "label_uid": row["label_uid"]})
    count = int(video["frame_count"])
    names = [str(track["class_name"].iloc[0])]
    value = {"framesCount": count, "duration": round(count / fps, 6), "labels": names, "sequence": sequence}
    region = _region(track["label_uid"].iloc[0], "box", "video", "videorectangle", value, track["score"].mean())
    uids = zip(frames.tolist(), track["label_uid"].tolist(), strict=True)
    region["meta"] = {"label_uids": {str(frame): uid for frame, uid in uids}}
    return region


def _image_task(image: Task, boxes: pd.DataFrame | None, has_masks: bool) -> Task:
    result: list[Task] = []
    size = {"original_width": int(image["width"]), "original_height": int(image["height"]), "image_rotation": 0}
    order = ["class_name", "x1", "y1", "label_uid"]
    for row in [] if boxes is None else boxes.sort_values(order).to_dict("records"):
        value = _percent(row, image) | {"rotation": 0, "rectanglelabels": [row["class_name"]]}
        region = _region(row["label_uid"], "box", "image", "rectanglelabels", value, row["score"]) | size
        result.append(region | {"meta": {"label_uid": row["label_uid"]}})
        if has_masks and row["mask_rle"]:
            mask = decode_mask(row["mask_rle"], size["original_height"], size["original_width"])
            value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [row["class_name"]]}
            uid = f"{row['label_uid']}-mask"
            result.append(_region(uid, "brush", "image", "brushlabels", value, row["score"]) | size)
    place = f"frames/{image['video_id']}/{int(image['frame_index']):06d}.jpg"
    return {
        "data": {
            "image": LOCAL + quote(place),
            "video_id": image["video_id"],
            "frame_index": int(image["frame_index"]),
        },
        "predictions": [_prediction(result)] if result else [],
    }


def _percent(row: Task, size: Task) -> dict[str, float]:
    """x, y, width and height in percent, cut at the frame's edge: Label Studio has nothing outside."""
    width, height = float(size["width"]), float(size["height"])
    x1, x2 = (min(max(row[name], 0.0), width) for name in ("x1", "x2"))
    y1, y2 = (min(max(row[name], 0.0), height) for name in ("y1", "y2"))
    shares = {"x": x1 / width, "y": y1 / height, "width": (x2 - x1) / width, "height": (y2 - y1) / height}
    return {name: round(100 * share, 6) for name, share in shares.items()}


def _region(uid: str, from_name: str, to_name: str, kind: str, value: Task, score: float) -> Task:
    names = {"id": str(uid), "from_name": from_name, "to_name": to_name, "type": kind}
    return names | {"origin": "prediction", "score": round(float(score), 6), "value": value}


def _prediction(result: list[Task]) -> Task:
    mean = sum(region["score"] for region in result) / len(result)
    return {"model_version": "rally", "score": round(mean, 6), "result": result}


def _video_config(names: tuple[str, ...], actions: tuple[str, ...]) -> str:
    view = ElementTree.Element("View")
    if names:
        _choices(view, "Labels", "videoLabels", "video", names)
        ElementTree.SubElement(view, "VideoRectangle", {"name": "box", "toName": "video"})
    if actions:
        _choices(view, "TimelineLabels", "action", "video", actions)
    ElementTree.SubElement(view, "Video", {"name": "video", "value": "$video", "frameRate": "$fps"})
    return _indented(view)


def _image_config(names: tuple[str, ...]) -> str:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
    _choices(view, "RectangleLabels", "box", "image", names)
    _choices(view, "BrushLabels", "brush", "image", names)
    return _indented(view)


def _choices(view: ElementTree.Element, tag: str, name: str, to_name: str, names: tuple[str, ...]) -> None:
    control = ElementTree.SubElement(view, tag, {"name": name, "toName": to_name})
    for value in names:
        ElementTree.SubElement(control, "Label", {"value": value})


def _indented(view: ElementTree.Element) -> str:
    ElementTree.indent(view, "  ")
    return ElementTree.tostring(view, encoding="unicode") + "\n"
