"""AVA, each way: who does what, once a second. `video_id,timestamp,x1,y1,x2,y2,action_id,person_id`, no header.

Corners are shares of the frame, 0 to 1. A timestamp is a whole second of the clip: the box nearest to it stands for the
second around it. `ava_action_list_v2.2.pbtxt` beside it names the actions. There is no place for a `label_uid`.
"""

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from labels.exchange.foreign_files import csv_lines, number_of, read_text, whole_number
from labels.exchange.known_videos import KnownVideos, origin_of
from labels.exchange.label_set import BoxRows, FoundLabels, LabelSet, OddEntry, found_actions, found_labels
from labels.records import tables
from labels.records.errors import InputError
from labels.records.frame_times import FrameTimes
from labels.records.geometry import iou_matrix
from labels.records.safe_writing import write_text

LABELS_FILE, ACTION_LIST = "ava_train_v2.2.csv", "ava_action_list_v2.2.pbtxt"
ITEM = re.compile(r"(?:label|item)\s*\{(.*?)\}", re.DOTALL)
NAME, NUMBER = re.compile(r"name:\s*\"((?:[^\"\\]|\\.)*)\""), re.compile(r"(?:label_id|id):\s*(\d{1,6})")
PERSON = "person"
SAME_PERSON_IOU = 0.5


def write_ava(folder: Path, labels: LabelSet) -> list[str]:
    """`annotations/` in AVA's own names; the actions of players that have a kept box near a whole second."""
    actions = labels.kept_actions
    of_players = actions[actions["track_id"] != tables.NO_TRACK]
    if not len(of_players):
        raise InputError("AVA holds what players do, and here is no action of a player; kinetics holds those of a clip")
    names = sorted(of_players["class_name"].unique())
    numbers = {name: place for place, name in enumerate(names, start=1)}
    videos = {str(row["video_id"]): row for row in labels.videos.to_dict("records")}
    boxes = dict(iter(labels.kept.groupby(["video_id", "track_id"])))
    rows: list[list[Any]] = []
    without = 0
    for action in of_players.sort_values(["video_id", "start_frame", "track_id", "class_name"]).to_dict("records"):
        video = videos[action["video_id"]]
        track = boxes.get((action["video_id"], action["track_id"]))
        seconds = [] if track is None else _seconds_of(action, track, labels.times_of(video))
        without += not seconds
        for second, xyxy in seconds:
            shares = np.asarray(xyxy, dtype=np.float64) / ([video["width"], video["height"]] * 2)
            corners = [f"{value:.6f}" for value in np.clip(shares, 0, 1)]
            rows.append(
                [video["video_id"], f"{second:04d}", *corners, numbers[action["class_name"]], action["track_id"]]
            )
    rows.sort(key=lambda row: (row[0], row[1], row[7], row[6]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(folder / "annotations" / LABELS_FILE, text.getvalue())
    quoted = {name: name.replace("\\", "\\\\").replace('"', '\\"') for name in names}
    items = (f'label {{\n  name: "{quoted[name]}"\n  label_id: {numbers[name]}\n}}\n' for name in names)
    write_text(folder / "annotations" / ACTION_LIST, "".join(items))
    lines = ["sampled: AVA holds a label a second"]
    if without:
        lines.append(f"left out: {without} actions without a kept box of their player within half a second of a second")
    if len(actions) > len(of_players):
        lines.append(f"left out: {len(actions) - len(of_players)} actions of the whole frame; use Kinetics for them")
    if ignored := len(labels.actions) - len(actions):
        lines.append(f"left out: {ignored} ignored actions; AVA knows no «ignore»")
    return [*lines, "left out: boxes of what does no action; AVA holds none"]


def _seconds_of(action: dict[str, Any], track: pd.DataFrame, times: FrameTimes) -> list[tuple[int, list[float]]]:
    """The whole seconds in an action's segment, each with the track's box nearest to it, at most half a second away."""
    inside = track["frame_index"].between(action["start_frame"], action["end_frame"] - 1)
    shown, found = times.seconds(track["frame_index"][inside].to_numpy()), []
    first, last = times.seconds([action["start_frame"], action["end_frame"] - 1])
    for second in range(math.ceil(first), math.floor(last) + 1):
        if len(shown) and abs(shown - second).min() <= 0.5:
            box = track[inside].iloc[int(abs(shown - second).argmin())]
            found.append((second, [float(box[name]) for name in tables.BOX_COLUMNS]))
    return found


class _Row(NamedTuple):
    where: str
    video: dict[str, Any]
    second: float  # of the clip
    shares: tuple[float, ...]  # of its box
    action: int
    person: int | None


def read_ava(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read AVA's CSV, the action list beside it. Each row is a person's box, and an action for the second around it.

    Seconds in a row in which the same person does the same are one action. Where the file does not say who it is (AVA
    v1, or person -1), boxes of following seconds that overlap by half are one person.
    """
    names = _action_names(path)
    rows, read = BoxRows(path), []
    for number, line in enumerate(csv_lines(path), start=1):
        video = videos.find(line[0])
        if video is None:
            videos.miss(line[0])
            continue
        with rows.entry(f"line {number}"):
            row = _read_line(f"line {number}", line, video)
            if row.action not in names:
                raise OddEntry(f"rows whose action is not in {ACTION_LIST}")
            if row.second >= videos.times(video).end_s:
                raise OddEntry("rows of a second past the end of their clip")
            read.append(row)
    doing: defaultdict[tuple[str, int, str], set[float]] = defaultdict(set)
    boxes: dict[tuple[str, float, int], tuple[float, ...]] = {}
    for row in _with_persons(read):
        video_id, person = str(row.video["video_id"]), int(row.person or 0)
        frame = videos.times(row.video).frame_at(row.second)
        key = (video_id, row.second, person)
        with rows.entry(row.where, row.video, frame):
            if key not in boxes:
                size = (float(row.video["width"]), float(row.video["height"])) * 2
                xyxy = [share * side for share, side in zip(row.shares, size, strict=True)]
                rows.add(row.video, frame, xyxy, PERSON, track_id=person)
                boxes[key] = row.shares
            elif np.abs(np.subtract(boxes[key], row.shares)).max() > 1e-4:
                raise OddEntry("rows whose person has another box at the same second")
            doing[video_id, person, names[row.action]].add(row.second)
    actions = [
        ("", video_id, person, start, end, name)
        for (video_id, person, name), seconds in sorted(doing.items())
        for start, end in _segments(sorted(seconds), videos.times(videos.rows[video_id]))
    ]
    table = rows.table(videos.rows)
    covered = {str(name): np.unique(found["frame_index"]) for name, found in table.groupby("video_id")}
    return found_labels(rows, videos.rows, covered, actions=found_actions(actions))


def _with_persons(rows: list[_Row]) -> Iterator[_Row]:
    """The rows, those first that say who it is; a nobody is who stood there a second before, or somebody new."""
    yield from (row for row in rows if row.person is not None)
    nobody = max((row.person for row in rows if row.person is not None), default=-1) + 1
    last: dict[str, tuple[float, dict[tuple[float, ...], int]]] = {}
    loose = sorted((row for row in rows if row.person is None), key=_when)
    for (video_id, second), group in groupby(loose, key=_when):
        before_s, before = last.get(video_id, (-math.inf, {}))
        here: dict[tuple[float, ...], int] = {}
        free = dict(before) if second - before_s <= 1.0 else {}
        for row in group:
            if row.shares not in here:
                overlap = iou_matrix(np.array([row.shares]), np.array(list(free)).reshape(-1, 4))[0]
                if len(overlap) and overlap.max() >= SAME_PERSON_IOU:
                    here[row.shares] = free.pop(list(free)[int(overlap.argmax())])
                else:
                    here[row.shares], nobody = nobody, nobody + 1
            yield row._replace(person=here[row.shares])
        last[video_id] = (second, here)


def _when(row: _Row) -> tuple[str, float]:
    return str(row.video["video_id"]), row.second


def _segments(seconds: list[float], times: FrameTimes) -> list[tuple[int, int]]:
    found: list[list[float]] = []
    for second in seconds:
        if found and second - found[-1][1] <= 1.0:
            found[-1][1] = second
        else:
            found.append([second, second])
    spans = [(times.edge_at(low - 0.5), times.edge_at(high + 0.5)) for low, high in found]
    return [(start, end) for start, end in spans if start < end]


def _read_line(where: str, line: list[str], video: dict[str, Any]) -> _Row:
    """Raises OddEntry."""
    if len(line) < 7:
        raise OddEntry("rows that are not video_id,timestamp,x1,y1,x2,y2,action_id,person_id")
    if not any(line[2:6]):
        raise OddEntry("rows without a box")
    second, *shares = (number_of(value, "time or corner") for value in line[1:6])
    name, offset_s = origin_of(video)
    second -= offset_s if line[0] == name else 0.0
    if not 0 <= second < 10**7 or min(shares) < -0.01 or max(shares) > 1.01:
        raise OddEntry("rows with a time before their clip, or with a corner that is no share from 0 to 1")
    person = whole_number(line[7], -1) if len(line) > 7 else -1
    return _Row(where, video, second, tuple(shares), whole_number(line[6], -1), person if person >= 0 else None)


def _action_names(path: Path) -> dict[int, str]:
    lists = sorted(path.parent.glob("*.pbtxt"))
    if not lists:
        raise InputError(f"{path}: no action list (*.pbtxt) beside it")
    names: dict[int, str] = {}
    for item in ITEM.findall(read_text(lists[0])):
        name, number = NAME.search(item), NUMBER.search(item)
        if name is not None and number is not None:
            names[int(number[1])] = re.sub(r"\\(.)", r"\1", name[1])
    if not names:
        raise InputError(f"{lists[0]}: names no action")
    return names
