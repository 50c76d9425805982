"""Kinetics CSV, each way: `label,youtube_id,time_start,time_end,split`, an action over a stretch of a whole video.

Times are seconds of the video the clip was cut from: where that is on YouTube, its id is written and the clip's own
start is added; otherwise the clip stands for itself. Whole seconds are written without decimals, as Kinetics has them.
There is no place for a `label_uid`, for who acts, or for «ignore».
"""

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

from labels.exchange.label_set import BoxRows, FoundLabels, KnownVideos, LabelSet, found_actions, split_of
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
YOUTUBE = re.compile(r"https?://(?:www\.)?youtube\.com/watch\?v=([A-Za-z0-9_-]{11})")


def write_kinetics(folder: Path, labels: LabelSet) -> list[str]:
    """`kinetics.csv`, the kept actions of whole frames."""
    actions = labels.kept_actions
    whole = actions[actions["track_id"] == tables.NO_TRACK]
    videos = {str(row["video_id"]): row for row in labels.videos.to_dict("records")}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in whole.sort_values(["video_id", "start_frame", "class_name"]).to_dict("records"):
        video = videos[row["video_id"]]
        name, offset_s = _outside(video)
        times = [_seconds(offset_s + frame / video["fps"]) for frame in (row["start_frame"], row["end_frame"])]
        writer.writerow([row["class_name"], name, *times, split_of(video)])
    write_text(folder / "kinetics.csv", text.getvalue())
    lines = []
    if len(actions) > len(whole):
        lines.append(f"left out: {len(actions) - len(whole)} actions of single players; use AVA for them")
    if ignored := len(labels.actions) - len(actions):
        lines.append(f"left out: {ignored} ignored actions; Kinetics knows no «ignore»")
    if len(labels.boxes):
        lines.append(f"left out: {len(labels.boxes)} boxes; Kinetics holds actions only")
    return lines


def _outside(video: dict[str, Any]) -> tuple[str, float]:
    """What the video is called outside, and where in it the clip begins."""
    match = YOUTUBE.match(str(video["url"]))
    if match is None:
        return str(video["video_id"]), 0.0
    return match[1], video["start_s"] if math.isfinite(video["start_s"]) else 0.0


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def read_kinetics(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read the CSV. A row means the clip of that id whose own stretch it lies in."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            missing = set(COLUMNS[:4]) - set(reader.fieldnames or [])
            if missing:
                raise InputError(f"{path}: no Kinetics CSV: lacks {', '.join(sorted(missing))}")
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    clips: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for row in videos.rows.values():
        name, offset_s = _outside(row)
        clips.setdefault(name, []).append((offset_s, row))
    rows, covered = [], set()
    for number, line in enumerate(lines, start=2):
        where = f"{path}: line {number}"
        name = (line["youtube_id"] or "").strip()
        start_s, end_s = (_time(where, line[key]) for key in ("time_start", "time_end"))
        found = [(offset, row) for offset, row in clips.get(name, []) if _lies_in(start_s, offset, row)]
        if not found and not clips.get(name) and (row := videos.find(name)) is not None:
            found = [(0.0, row)]
        if not found:
            videos.miss(name)
            continue
        offset_s, video = found[0]
        fps, frame_count = float(video["fps"]), int(video["frame_count"])
        start = max(round((start_s - offset_s) * fps), 0)
        end = min(round((end_s - offset_s) * fps), frame_count)
        if end <= start or not (line["label"] or "").strip():
            raise InputError(f"{where}: no label, or nothing of {start_s:g} s to {end_s:g} s lies in the clip")
        rows.append(("", str(video["video_id"]), tables.NO_TRACK, start, end, line["label"].strip()))
        covered.add(str(video["video_id"]))
    return FoundLabels(BoxRows().table(), found_actions(rows), covered_actions=covered, tolerance_frames=1)


def _lies_in(start_s: float, offset_s: float, video: dict[str, Any]) -> bool:
    return offset_s - 0.5 <= start_s < offset_s + video["frame_count"] / video["fps"]


def _time(where: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value < 10**7:
        raise InputError(f"{where}: {(text or '')[:30]!r} is no time in seconds")
    return value
