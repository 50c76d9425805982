"""AVA, each way: who does what, once a second. `video_id,timestamp,x1,y1,x2,y2,action_id,person_id`, no header.

Corners are shares of the frame, 0 to 1. A timestamp is a whole second of the clip: the box nearest to it stands for the
second around it. `ava_action_list_v2.2.pbtxt` beside it names the actions. There is no place for a `label_uid`.
"""

import csv
import io
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.exchange.foreign_files import csv_lines
from labels.exchange.label_set import BoxRows, FoundLabels, KnownVideos, LabelSet, found_actions
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

LABELS_FILE, ACTION_LIST = "ava_train_v2.2.csv", "ava_action_list_v2.2.pbtxt"
ITEM = re.compile(r"(?:label|item)\s*\{(.*?)\}", re.DOTALL)
NAME, NUMBER = re.compile(r"name:\s*\"((?:[^\"\\]|\\.)*)\""), re.compile(r"(?:label_id|id):\s*(\d{1,6})")
PERSON = "person"


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
        said = [] if track is None else _seconds_of(action, track, float(video["fps"]))
        without += not said
        for second, xyxy in said:
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


def _seconds_of(action: dict[str, Any], track: pd.DataFrame, fps: float) -> list[tuple[int, list[float]]]:
    """The whole seconds in an action's stretch, each with the track's box nearest to it, at most half a second away."""
    inside = track["frame_index"].between(action["start_frame"], action["end_frame"] - 1)
    frames, found = track["frame_index"][inside].to_numpy() / fps, []
    for second in range(int(np.ceil(action["start_frame"] / fps)), int((action["end_frame"] - 1) / fps) + 1):
        if len(frames) and abs(frames - second).min() <= 0.5:
            box = track[inside].iloc[int(abs(frames - second).argmin())]
            found.append((second, [float(box[name]) for name in tables.BOX_COLUMNS]))
    return found


def read_ava(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read AVA's CSV, the action list beside it. Each row is a person's box, and an action for the second around it.

    Seconds in a row in which the same person does the same are one action.
    """
    names = _action_names(path)
    rows, doing, lines = BoxRows(), defaultdict(set), csv_lines(path)
    boxes: dict[tuple[str, int, int], list[float]] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        video = videos.find(line[0])
        if video is None:
            videos.miss(line[0])
            continue
        second, shares, action, person = _values(where, line)
        frame = min(round(second * video["fps"]), int(video["frame_count"]) - 1)
        size = np.array([video["width"], video["height"]] * 2)
        key = (str(video["video_id"]), frame, person)
        if key not in boxes:
            boxes[key] = shares
            rows.add(where, video, frame, np.array(shares) * size, PERSON, track_id=person)
        elif np.abs(np.subtract(boxes[key], shares)).max() > 1e-4:
            raise InputError(f"{where}: person {person} has two boxes at second {second:g}")
        if action not in names:
            raise InputError(f"{where}: action {action} is not in {ACTION_LIST}")
        doing[key[0], person, names[action]].add(second)
    actions = [
        ("", video_id, person, start, end, name)
        for (video_id, person, name), seconds in sorted(doing.items())
        for start, end in _stretches(sorted(seconds), videos.rows[video_id])
    ]
    table = rows.table()
    covered = {str(name): np.unique(found["frame_index"]) for name, found in table.groupby("video_id")}
    return FoundLabels(table, found_actions(actions), covered)


def _stretches(seconds: list[float], video: dict[str, Any]) -> list[tuple[int, int]]:
    found: list[list[float]] = []
    for second in seconds:
        if found and second - found[-1][1] <= 1.0:
            found[-1][1] = second
        else:
            found.append([second, second])
    fps, count = float(video["fps"]), int(video["frame_count"])
    spans = [(max(round((low - 0.5) * fps), 0), min(round((high + 0.5) * fps), count)) for low, high in found]
    return [(start, end) for start, end in spans if start < end]


def _values(where: str, line: list[str]) -> tuple[float, list[float], int, int]:
    try:
        values = [float(value) for value in line[1:6]]
        action, person = int(line[6]), int(line[7])
    except (ValueError, IndexError):
        raise InputError(f"{where}: not video_id,timestamp,x1,y1,x2,y2,action_id,person_id") from None
    if not np.isfinite(values).all() or not 0 <= values[0] < 10**7 or min(values[1:]) < 0 or max(values[1:]) > 1:
        raise InputError(f"{where}: a time below 0, or a corner that is no share from 0 to 1")
    return values[0], values[1:], action, person


def _action_names(path: Path) -> dict[int, str]:
    lists = sorted(path.parent.glob("*.pbtxt"))
    if not lists:
        raise InputError(f"{path}: no action list (*.pbtxt) beside it")
    names: dict[int, str] = {}
    for item in ITEM.findall(lists[0].read_text("utf-8-sig", errors="replace")):
        name, number = NAME.search(item), NUMBER.search(item)
        if name is not None and number is not None:
            names[int(number[1])] = re.sub(r"\\(.)", r"\1", name[1])
    if not names:
        raise InputError(f"{lists[0]}: names no action")
    return names
