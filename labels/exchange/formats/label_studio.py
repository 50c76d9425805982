"""Label Studio, each way: a video's boxes (VideoRectangle) and actions (TimelineLabels), a picture's boxes and masks.

Boxes are in percent of the frame, frames are counted from 1. A key frame that is `enabled` goes on to the next one, the
last one to the end of the video: so the last box before a gap, and the last of all, is not. Label Studio counts frames
by the rate that its <Video> tag says (24 when it says nothing): the configuration written here takes each task's own.

Our labels go out as predictions; what a person made of them comes back as annotations, in the export called JSON. Each
label's `label_uid` is in the key frame, in the region's `meta`, and is the id of a region that is one label alone.

What people made of tasks in Label Studio: the annotations of an export called JSON. Predictions are not read.
"""

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np
import pandas as pd

from labels.exchange.formats.brush_rle import decode_brush, encode_brush
from labels.exchange.label_set import BoxRows, FoundLabels, KnownVideos, LabelSet, all_frames, found_actions, tracks_of
from labels.records import tables
from labels.records.errors import InputError
from labels.records.masks import decode_mask, encode_mask
from labels.records.safe_writing import read_json, write_json, write_text

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
    said = {"video_id": video["video_id"], "fps": float(video["fps"]), "frame_count": int(video["frame_count"])}
    return {
        "data": {"video": f"{LOCAL}videos/{quote(str(video['file']))}"} | said,
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


def regions_of(result: list[Task], kind: str) -> Iterator[Task]:
    """The regions of one kind, as Label Studio spells it."""
    return (region for region in result if str(region.get("type", "")).lower() == kind)


SIDES = ("x", "y", "width", "height")
READ = {"videorectangle", "timelinelabels", "rectanglelabels", "brushlabels", "labels"}
COUNT_SLACK = 0.01  # Label Studio counts frames by duration and rate, and may be a frame or two off


def read_label_studio(path: Path, videos: KnownVideos, of_predictions: bool = False) -> FoundLabels:
    """Read annotations (to check what was written: the predictions). InputError for what is no JSON export.

    A task without an annotation says nothing. Of several annotations the last counts.
    """
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise InputError(f"{path}: no export of Label Studio: not a list of tasks")
    if content and not any(isinstance(task.get("data"), dict) for task in content):
        raise InputError(f"{path}: tasks without 'data'; export as JSON, not as JSON_MIN or CSV")
    reading = _Reading(path, videos)
    for number, task in enumerate(content, start=1):
        reading.task(f"{path}: task {task.get('id', number)}", task, of_predictions)
    return reading.found()


class _Reading:
    """One export while it is read."""

    def __init__(self, path: Path, videos: KnownVideos):
        self.path, self.videos = path, videos
        self.rows = BoxRows()
        self.actions: list[tuple[Any, ...]] = []
        self.masks: dict[tuple[str, int, str], str] = {}
        self.whole: set[str] = set()  # videos of which a whole task was read
        self.frames: dict[str, set[int]] = {}  # frames that were tasks of their own
        self.tracks = 0
        self.unread: Counter[str] = Counter()
        self.several = self.untouched = 0

    def task(self, where: str, task: Task, of_predictions: bool) -> None:
        said = task.get("predictions" if of_predictions else "annotations") or []
        if not isinstance(said, list) or not all(isinstance(each, dict) for each in said):
            raise InputError(f"{where}: its annotations are no list")
        said = [each for each in said if not each.get("was_cancelled")]
        if not said:
            self.untouched += 1
            return
        self.several += len(said) > 1
        result = max(enumerate(said), key=lambda item: (str(item[1].get("updated_at", "")), item[0]))[1].get("result")
        data = task.get("data")
        if not isinstance(result, list) or not all(isinstance(each, dict) for each in result):
            raise InputError(f"{where}: its result is no list of regions")
        data = data if isinstance(data, dict) else {}
        self.unread.update(str(each.get("type"))[:40] for each in result if str(each.get("type")).lower() not in READ)
        if "image" in data:
            self._image(where, data, result)
        else:
            self._video(where, data, result)

    def _video(self, where: str, data: Task, result: list[Task]) -> None:
        name = _file_name(data.get("video"))
        video = self.videos.find(_text(data.get("video_id")), name)
        if video is None:
            self.videos.miss(name or "a task without a video", len(result))
            return
        self.whole.add(str(video["video_id"]))
        names = {str(each.get("id")): _labels(each, "labels") for each in regions_of(result, "labels")}
        for region in regions_of(result, "videorectangle"):
            at = f"{where}: region {region.get('id')}"
            label = _labels(region, "labels") or names.get(str(region.get("id")), "")
            self._sequence(at, region, video, label)
        for region in regions_of(result, "timelinelabels"):
            at = f"{where}: region {region.get('id')}"
            self._ranges(at, region, video)

    def _sequence(self, where: str, region: Task, video: Task, class_name: str) -> None:
        value = _value(where, region)
        count, frame_count = value.get("framesCount"), int(video["frame_count"])
        if isinstance(count, int | float) and abs(count - frame_count) > max(2, COUNT_SLACK * frame_count):
            raise InputError(
                f"{where}: Label Studio counted {count} frames, the video has {frame_count}: its <Video> tag had "
                f"another frameRate than {video['fps']:g}, so its frames are not the video's"
            )
        sequence = value.get("sequence")
        if not isinstance(sequence, list) or not all(isinstance(key, dict) for key in sequence):
            raise InputError(f"{where}: has no sequence of key frames")
        uids = _meta(region).get("label_uids")
        uids = uids if isinstance(uids, dict) else {}
        keys: dict[int, tuple[np.ndarray, bool, str]] = {}
        for key in sequence:
            number = key.get("frame")
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise InputError(f"{where}: frame {number!r} is not a whole number from 1")
            uid = key.get("label_uid") if not key.get("auto") else None
            xyxy = _pixels(where, key, int(video["width"]), int(video["height"]))
            keys[number - 1] = (xyxy, bool(key.get("enabled", True)), _text(uid))
        frames = sorted(keys)
        self.tracks += 1
        for place, frame in enumerate(frames):
            xyxy, goes_on, uid = keys[frame]
            self._box(where, video, frame, xyxy, class_name, uid or _text(uids.get(str(frame))))
            if not goes_on:
                continue
            end = frames[place + 1] if place + 1 < len(frames) else frame_count
            after = keys[frames[place + 1]][0] if place + 1 < len(frames) else xyxy
            for between in range(frame + 1, min(end, frame_count)):
                moved = xyxy + (between - frame) / (end - frame) * (after - xyxy)
                self._box(where, video, between, moved, class_name, _text(uids.get(str(between))))

    def _box(self, where: str, video: Task, frame: int, xyxy: np.ndarray, class_name: str, uid: str) -> None:
        if frame < int(video["frame_count"]) + 2:  # Label Studio may count a frame or two more than there are
            frame = min(frame, int(video["frame_count"]) - 1)
        self.rows.add(where, video, frame, xyxy, class_name, uid, self.tracks)

    def _ranges(self, where: str, region: Task, video: Task) -> None:
        value, label = _value(where, region), _labels(region, "timelinelabels")
        ranges = value.get("ranges")
        if not isinstance(ranges, list) or not label:
            raise InputError(f"{where}: a timeline label without ranges or without a label")
        track_id = _meta(region).get("track_id", tables.NO_TRACK)
        for place, span in enumerate(ranges):
            start, end = (span.get(name) if isinstance(span, dict) else None for name in ("start", "end"))
            if (
                not isinstance(start, int | float)
                or not isinstance(end, int | float)
                or not 1 <= start <= end < math.inf
            ):
                raise InputError(f"{where}: a range from {start!r} to {end!r}, not frames counted from 1")
            first, last = int(start) - 1, min(int(end), int(video["frame_count"]))
            if first >= last:
                raise InputError(f"{where}: a range from frame {start} on, but there are {video['frame_count']}")
            uid = _text(region.get("id")) if place == 0 else ""
            track = track_id if isinstance(track_id, int) else tables.NO_TRACK
            self.actions.append((uid, str(video["video_id"]), track, first, last, label))

    def _image(self, where: str, data: Task, result: list[Task]) -> None:
        name, frame = _file_name(data.get("image")), data.get("frame_index")
        video = self.videos.find(_text(data.get("video_id")))
        if video is None or not isinstance(frame, int):
            found = self.videos.find_frame(name)
            if found is None:
                self.videos.miss(name or "a task without an image", len(result))
                return
            video, frame = found
        self.frames.setdefault(str(video["video_id"]), set()).add(frame)
        size = int(video["width"]), int(video["height"])
        for region in regions_of(result, "rectanglelabels"):
            at = f"{where}: region {region.get('id')}"
            value = _value(at, region)
            uid = _text(_meta(region).get("label_uid")) or _text(region.get("id"))
            self.rows.add(at, video, frame, _pixels(at, value, *size), _labels(region, "rectanglelabels"), uid)
        for region in regions_of(result, "brushlabels"):
            at = f"{where}: region {region.get('id')}"
            value = _value(at, region)
            try:
                mask = decode_brush(value.get("rle") or [], size[1], size[0])
            except ValueError as error:
                raise InputError(f"{at}: {error}") from None
            uid = _text(region.get("id")).removesuffix("-mask")
            self.masks[str(video["video_id"]), frame, uid] = encode_mask(mask)

    def found(self) -> FoundLabels:
        covered = {video_id: all_frames(self.videos.rows[video_id]) for video_id in self.whole}
        for video_id, frames in self.frames.items():
            covered.setdefault(video_id, np.array(sorted(frames), dtype=np.int64))
        lines = [f"not used: {count} regions of the type {kind}" for kind, count in sorted(self.unread.items())]
        if self.several:
            lines.append(f"{self.several} tasks have several annotations; the last of each counts")
        if self.untouched:
            lines.append(f"{self.untouched} tasks without an annotation say nothing")
        boxes = self.rows.table()
        keys = zip(boxes["video_id"], boxes["frame_index"], boxes["label_uid"], strict=True)
        boxes["mask_rle"] = [self.masks.get(key, "") for key in keys]
        return FoundLabels(boxes, found_actions(self.actions), covered, set(self.whole), lines=lines)


def _pixels(where: str, value: Task, width: int, height: int) -> np.ndarray:
    numbers = [value.get(name) for name in SIDES]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
        raise InputError(f"{where}: x, y, width and height must be numbers in percent")
    if value.get("rotation"):
        raise InputError(f"{where}: the box is rotated by {value['rotation']}°; boxes stand upright here")
    x, y, w, h = (float(each) / 100 for each in numbers if isinstance(each, int | float))
    return np.array([x * width, y * height, (x + w) * width, (y + h) * height])


def _value(where: str, region: Task) -> Task:
    value = region.get("value")
    if not isinstance(value, dict):
        raise InputError(f"{where}: has no value")
    return value


def _labels(region: Task, name: str) -> str:
    value = region.get("value")
    found = (value.get(name) or value.get("labels")) if isinstance(value, dict) else None
    return str(found[0]) if isinstance(found, list) and found else ""


def _meta(region: Task) -> Task:
    meta = region.get("meta")
    return meta if isinstance(meta, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _file_name(url: Any) -> str:
    """The path that a task's address means: of a local file what stands after ?d=."""
    if not isinstance(url, str):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0] or PurePosixPath(parts.path).name
