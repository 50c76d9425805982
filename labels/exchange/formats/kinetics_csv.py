"""Kinetics CSV, each way: `label,youtube_id,time_start,time_end,split`, an action over a segment of a whole video.

Times are seconds of the video the clip was cut from: where that is on YouTube, its id is written and the clip's own
start is added; otherwise the clip stands for itself. Whole seconds are written without decimals, as Kinetics has them.
There is no place for a `label_uid`, for who acts, or for «ignore».
"""

import csv
import io
from pathlib import Path

from labels.exchange.foreign_files import csv_rows, number_of
from labels.exchange.known_videos import KnownVideos, origin_of
from labels.exchange.label_set import (
    BoxRows,
    FoundLabels,
    LabelSet,
    OddEntry,
    Row,
    check_class_name,
    found_actions,
    found_labels,
    split_of,
)
from labels.records import tables
from labels.records.safe_writing import write_text

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
MOST_SECONDS = 10**7


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
        name, offset_s = origin_of(video)
        shown = labels.times_of(video).seconds([row["start_frame"], row["end_frame"]])
        writer.writerow([row["class_name"], name, *(_seconds(offset_s + second) for second in shown), split_of(video)])
    write_text(folder / "kinetics.csv", text.getvalue())
    lines = []
    if len(actions) > len(whole):
        lines.append(f"left out: {len(actions) - len(whole)} actions of single players; use AVA for them")
    if ignored := len(labels.actions) - len(actions):
        lines.append(f"left out: {ignored} ignored actions; Kinetics knows no «ignore»")
    if len(labels.boxes):
        lines.append(f"left out: {len(labels.boxes)} boxes; Kinetics holds actions only")
    return lines


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def read_kinetics(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read the CSV. A row means the clip of that id whose own segment it lies in."""
    clips: dict[str, list[tuple[float, Row]]] = {}
    for row in videos.rows.values():
        name, offset_s = origin_of(row)
        clips.setdefault(name, []).append((offset_s, row))
    rows, actions, covered = BoxRows(path), [], set()
    for number, line in csv_rows(path, COLUMNS[:4]):
        name = line["youtube_id"]
        with rows.entry(f"line {number}"):
            start_s, end_s = (seconds_of(line[key]) for key in ("time_start", "time_end"))
            offset_s, video = _clip_of(name, start_s, end_s, clips.get(name, []), videos)
            if video is None:
                videos.miss(name)
                continue
            times = videos.times(video)
            start, end = (times.edge_at(second - offset_s) for second in (start_s, end_s))
            if end <= start:
                raise OddEntry("rows of which nothing lies in their clip")
            if not line["label"]:
                raise OddEntry("rows without a label")
            check_class_name(path, line["label"])
            actions.append(("", str(video["video_id"]), tables.NO_TRACK, start, end, line["label"]))
            covered.add(str(video["video_id"]))
    return found_labels(
        rows, videos.rows, {}, actions=found_actions(actions), covered_actions=covered, tolerance_frames=1
    )


def _clip_of(
    name: str, start_s: float, end_s: float, clips: list[tuple[float, Row]], videos: KnownVideos
) -> tuple[float, Row | None]:
    """The clip that a row means, and the second at which it begins in what the row calls `name`."""
    for offset_s, row in clips:
        if _lies_in(start_s, end_s, offset_s, row):
            return offset_s, row
    if any(row["video_id"] == name for _, row in clips):
        raise OddEntry("rows of which nothing lies in their clip")
    named = videos.find(name)
    return (0.0, None) if named is None or (clips and origin_of(named)[0] == name) else (0.0, named)


def _lies_in(start_s: float, end_s: float, offset_s: float, video: Row) -> bool:
    return end_s > offset_s and offset_s - 0.5 <= start_s < offset_s + video["frame_count"] / video["fps"]


def seconds_of(text: str) -> float:
    """Seconds, or h:mm:ss, as a number from 0; the decimals may follow a comma. Raises OddEntry."""
    parts = text.replace(",", ".").split(":")
    numbers = [number_of(part, "time") for part in parts]
    second = sum(number * 60**place for place, number in enumerate(reversed(numbers)))
    if len(parts) > 3 or min(numbers) < 0 or second >= MOST_SECONDS:
        raise OddEntry("rows whose time is no time in seconds")
    return second
