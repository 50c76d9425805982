"""Boxes of a person in the plainest form, read only: `video_id,frame_index,x1,y1,x2,y2[,class_name][,label_uid]`.

Pixels of the upright frame, half-open, frames counted from 0. Without a class it is a sports ball.
"""

import csv
from pathlib import Path

from labels.exchange.foreign_files import frame_number, number_of
from labels.exchange.label_set import BoxRows, FoundLabels, KnownVideos, found_actions
from labels.records import tables
from labels.records.errors import InputError

DEFAULT_CLASS = "sports ball"


def read_box_csv(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read the CSV; a video that is not known is counted, anything else that is unsound is an InputError."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            missing = {"video_id", "frame_index", *tables.BOX_COLUMNS} - set(reader.fieldnames or [])
            if missing:
                raise InputError(f"{path}: lacks the columns {', '.join(sorted(missing))}")
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    rows = BoxRows()
    for number, line in enumerate(lines, start=2):
        where = f"{path}: line {number}"
        video = videos.find((line["video_id"] or "").strip())
        if video is None:
            videos.miss(line["video_id"] or "")
            continue
        frame = frame_number(where, (line["frame_index"] or "").strip())
        corners = [number_of(where, line[name], name) for name in tables.BOX_COLUMNS]
        class_name = (line.get("class_name") or "").strip() or DEFAULT_CLASS
        rows.add(where, video, frame, corners, class_name, (line.get("label_uid") or "").strip())
    return FoundLabels(rows.table(), found_actions([]))
