"""What people made of tasks in Label Studio: the annotations of an export called JSON or JSON_MIN.

Predictions are not read. Where Label Studio counted frames at another rate than the video's, they are laid over the
video by time. The other way: label_studio.py.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from labels.exchange.foreign_files import frame_number, hull, number_of, read_foreign_json, text_value, whole_number
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import (
    BoxRows,
    FoundLabels,
    OddEntry,
    check_class_name,
    found_actions,
    found_labels,
)
from labels.records import tables
from labels.records.errors import InputError
from labels.records.frame_times import FrameTimes
from labels.records.masks import decode_brush, encode_mask

IS_PICTURE = re.compile(r"\.(?:jpe?g|png|bmp|webp|tiff?)$", re.IGNORECASE)
IS_VIDEO = re.compile(r"\.(?:mp4|mov|avi|mkv|webm|m4v|mpe?g|wmv|ts|flv|ogv)$", re.IGNORECASE)
Task = dict[str, Any]
SIDES = ("x", "y", "width", "height")
READ = {"videorectangle", "timelinelabels", "rectanglelabels", "brushlabels", "labels", "choices", "keypointlabels"}
READ |= {"ellipselabels", "polygonlabels", "rectangle", "ellipse", "polygon"}
KINDS = {"sequence": "videorectangle", "ranges": "timelinelabels", "rle": "brushlabels", "points": "polygonlabels"}
COUNT_SLACK = 0.01  # Label Studio counts frames by duration and rate, and may be a frame or two off


def read_label_studio(path: Path, videos: KnownVideos, of_predictions: bool = False) -> FoundLabels:
    """Read annotations (to check what was written: the predictions). InputError for what is no JSON export.

    A task without an annotation says nothing. Of several annotations the last counts.
    """
    content = read_foreign_json(path)
    if not isinstance(content, list) or (content and not any(isinstance(task, dict) for task in content)):
        raise InputError(f"{path}: no export of Label Studio: not a list of tasks")
    reading = _Reading(path, videos)
    for number, task in enumerate(content, start=1):
        if not isinstance(task, dict):
            reading.rows.left_out.add(f"task {number}", "tasks that are no objects")
            continue
        full = task if isinstance(task.get("data"), dict) else _of_json_min(task)
        reading.task(f"task {str(task.get('id', number))[:20]}", full, of_predictions)
    return reading.found()


def _of_json_min(task: Task) -> Task:
    """A task of JSON_MIN, whose data and results lie side by side, as one of JSON."""
    data = {name: value for name, value in task.items() if isinstance(value, str | int | float)}
    result: list[Task] = []
    for name, values in task.items():
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, dict):
                continue
            kind = next((kind for key, kind in KINDS.items() if key in value), "")
            kind = kind or next((key for key in value if key.endswith("labels")), "choices")
            result.append({"id": f"{name} {len(result)}", "type": kind, "value": value})
    for name in ("choice", "choices"):
        if isinstance(task.get(name), str):
            result.append({"id": name, "type": "choices", "value": {"choices": [task[name]]}})
    return {"data": data, "annotations": [{"result": result}] if "annotation_id" in task or result else []}


class _Reading:
    """One export while it is read."""

    def __init__(self, path: Path, videos: KnownVideos):
        self.path, self.videos = path, videos
        self.rows = BoxRows(path)
        self.actions: list[tuple[Any, ...]] = []
        self.masks: dict[tuple[str, int, str], str] = {}
        self.whole: set[str] = set()  # videos of which a whole task was read
        self.frames: dict[str, set[int]] = {}  # frames that were tasks of their own
        self.tracks = self.turned = 0
        self.unread: Counter[str] = Counter()
        self.rates: dict[str, float] = {}  # of videos whose frames were counted at another rate
        self.several = self.untouched = 0

    def task(self, where: str, task: Task, of_predictions: bool) -> None:
        annotations = task.get("predictions" if of_predictions else "annotations")
        annotations = [each for each in annotations if isinstance(each, dict)] if isinstance(annotations, list) else []
        annotations = [each for each in annotations if not each.get("was_cancelled")]
        if not annotations:
            self.untouched += 1
            return
        self.several += len(annotations) > 1
        result = max(enumerate(annotations), key=lambda item: (str(item[1].get("updated_at", "")), item[0]))[1].get(
            "result"
        )
        result = [each for each in result if isinstance(each, dict)] if isinstance(result, list) else []
        data = task.get("data")
        data = data if isinstance(data, dict) else {}
        self.unread.update(str(each.get("type"))[:40] for each in result if _kind(each) not in READ)
        values = [data[name] for name in ("video", "image") if name in data] + list(data.values())
        names = [name for name in map(_file_name, values) if name]
        name = next((name for name in names if IS_PICTURE.search(name) or IS_VIDEO.search(name)), "")
        name = name or next(iter(names), "")
        if "image" in data or IS_PICTURE.search(name):
            self._image(where, data, name, result)
        else:
            self._video(where, data, name, result)

    def _video(self, where: str, data: Task, name: str, result: list[Task]) -> None:
        video = self.videos.find(_text(data.get("video_id")), name)
        if video is None:
            self.videos.miss(name[:80] or "a task without a video", len(result))
            return
        self.whole.add(str(video["video_id"]))
        names = {_uid(each): _labels(each, "labels") for each in regions_of(result, "labels")}
        clock = self._clock(where, data, result, video)
        for region in regions_of(result, "videorectangle"):
            with self.rows.entry(at := f"{where}, region {_uid(region)}", video):
                self._sequence(at, region, video, clock, names)
        for region in regions_of(result, "timelinelabels"):
            with self.rows.entry(at := f"{where}, region {_uid(region)}", video):
                self._ranges(at, region, video, clock)
        for region in regions_of(result, "choices"):
            with self.rows.entry(f"{where}, region {_uid(region)}", video):
                label = self._class(_labels(region, "choices"))
                self.actions.append((_uid(region), str(video["video_id"]), tables.NO_TRACK, 0, clock.count, label))

    def _clock(self, where: str, data: Task, result: list[Task], video: Task) -> "_Clock":
        """How the task counts frames: those of the video, or by a rate of its own. InputError where nothing tells."""
        count, times = int(video["frame_count"]), self.videos.times(video)
        if not any(_kind(region) in ("videorectangle", "timelinelabels") for region in result):
            return _Clock(times, None)
        rate = self.videos.hints.fps
        if rate is None and not _is_ours(data, video):
            rate = next(filter(None, map(_rate_of, result)), None)
            counts = [whole_number(region["value"].get("framesCount"), 0) for region in result if _has_value(region)]
            near = max((each for each in counts if each), default=0)
            if rate is None and near:
                is_near = times.is_even and abs(near - count) <= max(2, COUNT_SLACK * count)
                rate = video["fps"] if is_near else near / times.end_s
            if rate is None and _last_frame(result) == count:
                return _Clock(times, None)
            if rate is None:
                raise InputError(
                    f"{self.path}: {where}: it counts frames by the frameRate of its <Video> tag (24 where that says "
                    f"nothing), which the file does not say; its video has {video['fps']:g}: say --set fps=RATE"
                )
        if rate is None or (times.is_even and abs(rate / video["fps"] - 1) <= COUNT_SLACK):
            return _Clock(times, None)
        self.rates[str(video["video_id"])] = rate
        return _Clock(times, rate)

    def _sequence(self, where: str, region: Task, video: Task, clock: "_Clock", names: dict[str, str]) -> None:
        value = _value(region)
        class_name = _labels(region, "labels") or names.get(_uid(region), "")
        sequence = value.get("sequence")
        uids = _meta(region).get("label_uids")
        uids = uids if isinstance(uids, dict) else {}
        keys: dict[int, _Key] = {}
        for key in sequence if isinstance(sequence, list) else []:
            with self.rows.entry(where, video):
                key = key if isinstance(key, dict) else {}
                number = frame_number(key.get("frame"))
                if number < 1:
                    raise OddEntry("key frames that are no whole number from 1")
                frame = clock.frame(number)
                with self.rows.entry(f"{where}, frame {number}", video, frame):
                    xyxy = self._pixels(key, int(video["width"]), int(video["height"]))
                    uid = _text(key.get("label_uid")) if not key.get("auto") else ""
                    keys[frame] = _Key(clock.second(number), xyxy, bool(key.get("enabled", True)), uid)
        frames = sorted(keys)
        self.tracks += 1
        for place, frame in enumerate(frames):
            key, is_last = keys[frame], place + 1 == len(frames)
            self._box(where, video, frame, key.xyxy, class_name, key.uid or _text(uids.get(str(frame))))
            if not key.goes_on:
                continue
            end = clock.count if is_last else frames[place + 1]
            after = key if is_last else keys[end]
            for between in range(frame + 1, min(end, clock.count)):
                share = 0.0 if is_last else clock.share(between, frame, end, key.second, after.second)
                moved = key.xyxy + share * (after.xyxy - key.xyxy)
                self._box(where, video, between, moved, class_name, _text(uids.get(str(between))))

    def _box(self, where: str, video: Task, frame: int, xyxy: np.ndarray, class_name: str, uid: str) -> None:
        if frame < int(video["frame_count"]) + 2:  # Label Studio may count a frame or two more than there are
            frame = min(frame, int(video["frame_count"]) - 1)
        with self.rows.entry(f"{where}, frame {frame}", video, frame):
            self.rows.add(video, frame, xyxy, class_name, uid, self.tracks)

    def _class(self, name: str) -> str:
        if not name:
            raise OddEntry("regions without a label")
        check_class_name(self.path, name)
        return name

    def _ranges(self, where: str, region: Task, video: Task, clock: "_Clock") -> None:
        ranges = _value(region).get("ranges")
        track_id = whole_number(_meta(region).get("track_id"), tables.NO_TRACK)
        for place, span in enumerate(ranges if isinstance(ranges, list) else []):
            with self.rows.entry(where, video):
                label = self._class(_labels(region, "timelinelabels"))
                start, end = (
                    frame_number(span.get(name) if isinstance(span, dict) else None) for name in ("start", "end")
                )
                if not 1 <= start <= end:
                    raise OddEntry("segments that are not frames counted from 1")
                first, last = clock.edge(start - 1), clock.edge(end)
                if first >= last:
                    raise OddEntry("segments of which nothing lies in their clip")
                uid = _uid(region) if place == 0 else ""
                self.actions.append((uid, str(video["video_id"]), track_id, first, last, label))

    def _image(self, where: str, data: Task, name: str, result: list[Task]) -> None:
        frame = whole_number(data.get("frame_index"), -1)
        video = self.videos.find(_text(data.get("video_id"))) if frame >= 0 else None
        if video is None:
            found = self.videos.find_frame(name, _text(data.get("video_id")))
            if found is None:
                self.videos.miss(name[:80] or "a task without an image", len(result))
                return
            video, frame = found
        self.frames.setdefault(str(video["video_id"]), set()).add(frame)
        size = int(video["width"]), int(video["height"])
        for region in result:
            kind = _kind(region)
            with self.rows.entry(f"{where}, region {_uid(region)}", video, frame):
                value = _value(region)
                if kind == "brushlabels":
                    try:
                        mask = decode_brush(value.get("rle") or [], size[1], size[0])
                    except (ValueError, TypeError):
                        raise OddEntry("brushes that are no mask of their picture") from None
                    uid = _uid(region).removesuffix("-mask")
                    self.masks[str(video["video_id"]), frame, uid] = encode_mask(mask)
                elif kind in READ - {"labels", "choices"}:
                    uid = _text(_meta(region).get("label_uid")) or _uid(region)
                    box, is_point = self._outline(kind, value, *size)
                    label = _labels(region, kind)
                    self.rows.add(video, frame, box, label, uid, is_point=is_point)

    def _outline(self, kind: str, value: Task, width: int, height: int) -> tuple[np.ndarray, bool]:
        """The box of what was drawn on a picture, and whether it is a point. Raises OddEntry."""
        if kind.startswith("polygon"):
            points = value.get("points")
            flat = [each for point in points or [] for each in point] if _is_pairs(points) else []
            xyxy = np.array(hull(number_of(each, "points") for each in flat))
            return xyxy * np.array([width, height] * 2) / 100, False
        if kind.startswith("keypoint"):
            x, y = (number_of(value.get(name), name) / 100 for name in ("x", "y"))
            return np.array([x * width, y * height] * 2), True
        if kind.startswith("ellipse"):
            x, y, half_x, half_y = (number_of(value.get(name), name) for name in ("x", "y", "radiusX", "radiusY"))
            value = {"x": x - half_x, "y": y - half_y, "width": 2 * half_x, "height": 2 * half_y}
        return self._pixels(value, width, height), False

    def _pixels(self, value: Task, width: int, height: int) -> np.ndarray:
        """x1, y1, x2, y2 of percents; a turned box turns about its upper left corner. Raises OddEntry."""
        x, y, w, h = (number_of(value.get(name), name) / 100 for name in SIDES)
        box = np.array([x * width, y * height, (x + w) * width, (y + h) * height])
        turn = number_of(value.get("rotation") or 0, "rotation") % 360
        if not turn:
            return box
        self.turned += 1
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        corners = [(0.0, 0.0), (w * width, 0.0), (0.0, h * height), (w * width, h * height)]
        turned = [(box[0] + dx * cos - dy * sin, box[1] + dx * sin + dy * cos) for dx, dy in corners]
        return np.array(hull(each for point in turned for each in point))

    def found(self) -> FoundLabels:
        covered: dict[str, Iterable[int]] = dict(self.frames)
        covered |= {video_id: range(int(self.videos.rows[video_id]["frame_count"])) for video_id in self.whole}
        lines = [f"not used: {count} regions of the type {kind}" for kind, count in sorted(self.unread.items())]
        lines += [
            f"by time: {video_id} was counted at {rate:g} a second, but has {self.videos.rows[video_id]['fps']:g}"
            for video_id, rate in sorted(self.rates.items())
        ]
        if self.turned:
            lines.append(f"turned: {self.turned} boxes; the upright box around each is taken")
        if self.several:
            lines.append(f"{self.several} tasks have several annotations; the last of each counts")
        if self.untouched:
            lines.append(f"{self.untouched} tasks without an annotation say nothing")
        labels = found_labels(
            self.rows,
            self.videos.rows,
            covered,
            actions=found_actions(self.actions),
            covered_actions=set(self.whole),
            lines=lines,
            tolerance_frames=1 if self.rates else 0,
        )
        boxes = labels.boxes
        keys = zip(boxes["video_id"], boxes["frame_index"], boxes["label_uid"], strict=True)
        boxes["mask_rle"] = [self.masks.get(key, "") for key in keys]
        return labels


class _Key(NamedTuple):
    second: float
    xyxy: np.ndarray
    goes_on: bool
    uid: str


@dataclass(frozen=True)
class _Clock:
    """How Label Studio's frames, from 1, lie over the video's: one for one, or by time at `rate` frames a second."""

    times: FrameTimes
    rate: float | None

    @property
    def count(self) -> int:
        return self.times.frame_count

    def frame(self, number: int) -> int:
        """The video's frame that was on the screen."""
        if self.rate is None or self.second(number) >= self.times.end_s:
            return number - 1 if self.rate is None else self.count + int(self.second(number) - self.times.end_s)
        return self.times.shown_at(self.second(number))

    def second(self, number: int) -> float:
        return (number - 1) / self.rate if self.rate is not None else float(number - 1)

    def edge(self, count: int) -> int:
        """Where a segment begins or ends before or after which so many frames were counted."""
        if self.rate is None:
            return min(count, self.count)
        return self.times.edge_at(count / self.rate)

    def share(self, between: int, start: int, end: int, start_s: float, end_s: float) -> float:
        """How far a frame lies from one key frame to the next, 0 to 1."""
        if self.rate is None or end_s <= start_s:
            return (between - start) / (end - start)
        return float(np.clip((self.times.edges_s[between] - start_s) / (end_s - start_s), 0.0, 1.0))


def _is_ours(data: Task, video: Task) -> bool:
    """Whether the task was written here, so that its frames are the video's."""
    return data.get("frame_count") == int(video["frame_count"]) and data.get("fps") == float(video["fps"])


def _rate_of(region: Task) -> float | None:
    """Frames a second by which a region counts: what it says of its length, else of its key frames."""
    value = region.get("value")
    value = value if isinstance(value, dict) else {}
    try:
        rate = number_of(value.get("framesCount"), "count") / max(number_of(value.get("duration"), "duration"), 1e-9)
        return rate if 0 < rate <= 1000 else None
    except OddEntry:
        pass
    keys = value.get("sequence")
    known: list[tuple[float, float]] = []
    for key in keys if isinstance(keys, list) else []:
        try:
            known.append((number_of(key.get("frame"), "frame"), number_of(key.get("time"), "time")))
        except (OddEntry, AttributeError):
            continue
    if len(known) < 2 or max(known)[1] <= min(known)[1]:
        return None
    rate = (max(known)[0] - min(known)[0]) / (max(known)[1] - min(known)[1])
    return rate if 0 < rate <= 1000 else None


def _last_frame(result: list[Task]) -> int:
    """The highest number of a frame in a task's segments; where it is that of the video's last, so are the others."""
    last = 0
    for region in result:
        ranges = region["value"].get("ranges") if _has_value(region) else None
        spans = [span for span in ranges if isinstance(span, dict)] if isinstance(ranges, list) else []
        last = max([last, *(whole_number(span.get("end"), 0) for span in spans)])
    return last


def _has_value(region: Task) -> bool:
    return isinstance(region.get("value"), dict)


def _is_pairs(points: Any) -> bool:
    return isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)


def _kind(region: Task) -> str:
    return str(region.get("type", "")).lower()


def _uid(region: Task) -> str:
    return _text(region.get("id"))[:100]


def _value(region: Task) -> Task:
    """Raises OddEntry."""
    value = region.get("value")
    if not isinstance(value, dict):
        raise OddEntry("regions without a value")
    return value


def _labels(region: Task, name: str) -> str:
    value = region.get("value")
    found = (value.get(name) or value.get("labels")) if isinstance(value, dict) else None
    found = [found] if isinstance(found, str) else found
    return str(found[0]).strip() if isinstance(found, list) and found else ""


def _meta(region: Task) -> Task:
    meta = region.get("meta")
    return meta if isinstance(meta, dict) else {}


def _text(value: Any) -> str:
    return text_value(value)


def _file_name(url: Any) -> str:
    """The path that a task's address means: of a local file what stands after ?d=."""
    if not isinstance(url, str):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parse_qs(parts.query).get("d", [unquote(parts.path)])[0] or PurePosixPath(parts.path).name


def regions_of(result: list[Task], kind: str) -> Iterator[Task]:
    """The regions of one kind, as Label Studio spells it."""
    return (region for region in result if str(region.get("type", "")).lower() == kind)
