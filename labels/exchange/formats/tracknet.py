"""TrackNet's ball tracks, each way: `Frame,Visibility,X,Y`, one CSV a video, the ball's centre in whole pixels.

Read is its other form too, `file name,visibility,x-coordinate,y-coordinate,status`, with a picture's name for a frame.
Frames count from 0. Visibility 0 is a frame without the ball; 3 one in which it is hidden.
"""

import csv
import io
from pathlib import Path
from typing import Any

from labels.exchange.foreign_files import csv_rows, frame_number, number_of, whole_number
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import BoxRows, FoundLabels, LabelSet, OddEntry, file_in, found_labels
from labels.records.class_lists import family_of
from labels.records.errors import InputError
from labels.records.safe_writing import write_text
from labels.videos.truth_files import BALL_SUFFIX, DEFAULT_CLASS, TRACKNET, tracknet_columns

TOLERANCE_PIXELS = 1.0


def write_tracknet(folder: Path, labels: LabelSet) -> list[str]:
    """`<video_id>_ball.csv`: every frame of which it is known whether a ball is in it; of two balls the surer one."""
    balls = sorted({name for name in labels.class_names if family_of(name) == DEFAULT_CLASS})
    if not balls:
        raise InputError("TrackNet holds balls, and here is no class that is one")
    kept = labels.kept[labels.kept["class_name"].isin(balls)].sort_values("score", ascending=False)
    first = kept.drop_duplicates(["video_id", "frame_index"])
    unsure = set(map(tuple, labels.ignored[["video_id", "frame_index"]].to_numpy().tolist()))
    known = {(row.video_id, row.frame_index): (0, 0, 0) for row in labels.images.itertuples()}
    known |= {
        (row.video_id, row.frame_index): (1, round((row.x1 + row.x2) / 2), round((row.y1 + row.y2) / 2))
        for row in first.itertuples()
    }
    for video in labels.videos.to_dict("records"):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(TRACKNET[0])
        for (video_id, frame), ball in sorted(known.items()):
            if video_id == video["video_id"] and (ball[0] or (video_id, frame) not in unsure):
                writer.writerow([frame, *ball])
        write_text(folder / f"{video['video_id']}{BALL_SUFFIX}.csv", text.getvalue())
    lines = ["rounded: TrackNet holds the ball's centre in whole pixels, no size, name or score"]
    if len(kept) > len(first):
        lines.append(f"left out: {len(kept) - len(first)} further balls of frames with several; TrackNet holds one")
    others = len(labels.kept) - len(kept)
    if others:
        lines.append(f"left out: {others} boxes of other classes; TrackNet holds balls only")
    return [*lines, *labels.left_out_lines("TrackNet", holds_ignored=False)]


def read_tracknet(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read one CSV or all of a folder, each of the video that it is called after."""
    rows = BoxRows(path)
    covered: dict[str, set[int]] = {}
    notes: list[str] = []
    for csv_path in file_in(path, "*.csv"):
        lines = csv_rows(csv_path, ())
        columns = tracknet_columns(list(lines[0][1]) if lines else [])
        if columns is None:
            raise InputError(f"{csv_path}: none of TrackNet's: its columns are not {','.join(TRACKNET[0])}")
        stem = csv_path.stem
        video = videos.find(stem.removesuffix(BALL_SUFFIX), stem, csv_path.parent.name) or videos.only()
        if video is None:
            videos.miss(stem, len(lines))
            continue
        known = covered.setdefault(str(video["video_id"]), set())
        counted = {whole_number(Path(line[columns[0]]).stem, -1) for _, line in lines}
        first, lines_on_it = videos.first_frame({str(video["video_id"]): counted}, True, str(csv_path))
        notes += lines_on_it
        for number, line in lines:
            with rows.entry(f"{csv_path.name}: line {number}", video):
                frame = frame_number(Path(line[columns[0]]).stem or None) - first
                is_seen = _is_seen(line[columns[1]])
                known.add(frame)
                if is_seen:
                    with rows.entry(f"{csv_path.name}: line {number}", video, frame):
                        x, y = (number_of(line[name], name) for name in columns[2:])
                        rows.add(video, frame, (x, y, x, y), DEFAULT_CLASS, is_point=True)
    return found_labels(rows, videos.rows, covered, tolerance_pixels=TOLERANCE_PIXELS, lines=notes)


def _is_seen(text: Any) -> bool:
    visibility = number_of(text, "visibility")
    if visibility not in (0, 1, 2, 3):
        raise OddEntry("lines whose visibility is none of 0, 1, 2 and 3")
    return visibility in (1, 2)
