"""Boxes of a person in the plainest form, read only: `video_id,frame_index,x1,y1,x2,y2[,class_name][,label_uid]`.

Pixels of the upright frame, half-open, frames counted from 0. Without a class it is a sports ball.
"""

from pathlib import Path

from labels.exchange.foreign_files import csv_rows, frame_number, number_of
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import BoxRows, FoundLabels, found_labels
from labels.records import tables

DEFAULT_CLASS = "sports ball"
CLASS_COLUMNS = ("class_name", "class", "label", "category", "name")


def read_box_csv(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read the CSV. InputError when a column is missing."""
    rows, unnamed = BoxRows(path), 0
    for number, line in csv_rows(path, ("video_id", "frame_index", *tables.BOX_COLUMNS)):
        video = videos.find_or_only(line["video_id"])
        if video is None:
            videos.miss(line["video_id"])
            continue
        where = f"line {number}"
        with rows.entry(where, video):
            frame = frame_number(line["frame_index"])
            with rows.entry(where, video, frame):
                corners = [number_of(line[name], name) for name in tables.BOX_COLUMNS]
                class_name = next(filter(None, (line.get(name) for name in CLASS_COLUMNS)), "")
                unnamed += not class_name
                rows.add(video, frame, corners, class_name or DEFAULT_CLASS, line.get("label_uid", ""))
    lines = [f"class: {unnamed} lines say none; taken as {DEFAULT_CLASS}"] if unnamed else []
    return found_labels(rows, videos.rows, {}, lines=lines)
