"""MOT Challenge, each way: a folder a sequence with `gt/gt.txt`, `gt/labels.txt` and `seqinfo.ini`.

Frames, track ids and pixels are counted from 1: the box whose left edge is the frame's has bb_left 1. The seventh
column of the truth says whether a row counts: an ignored label is there with 0. Tracks are named by numbers, so a label
has no place for its `label_uid`, and every box needs a track: one without gets its own.
"""

from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

import numpy as np

from labels.exchange.foreign_files import csv_lines
from labels.exchange.label_set import (
    BoxRows,
    FoundLabels,
    KnownVideos,
    LabelSet,
    all_frames,
    file_in,
    found_actions,
    tracks_of,
)
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

MOT_CLASSES = (
    *("Pedestrian", "Person on vehicle", "Car", "Bicycle", "Motorbike", "Non motorized vehicle", "Static person"),
    *("Distractor", "Occluder", "Occluder on the ground", "Occluder full", "Reflection"),
)  # what the numbers of MOT16 and MOT17 mean where no labels.txt says otherwise


def write_mot(folder: Path, labels: LabelSet) -> list[str]:
    """One sequence a video; the pictures stay in the video, `img1/` is not written."""
    numbers = {name: place for place, name in enumerate(labels.class_names, start=1)}
    by_video = dict(iter(labels.boxes.groupby("video_id")))
    lines = []
    for video in labels.videos.to_dict("records"):
        video_id = str(video["video_id"])
        sequence = folder / video_id
        rows = []
        for track_id, track in enumerate(tracks_of(by_video.get(video_id, labels.boxes.iloc[:0])), start=1):
            xyxy = track[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
            left_top, size = xyxy[:, :2] + 1, xyxy[:, 2:] - xyxy[:, :2]
            for place, (frame, name, decision) in enumerate(
                zip(track["frame_index"], track["class_name"], track["decision"], strict=True)
            ):
                numbers_of = ",".join(f"{value:.4f}" for value in (*left_top[place], *size[place]))
                rows.append((frame, track_id, f"{numbers_of},{int(decision == 'keep')},{numbers[name]},1"))
        text = "".join(f"{frame + 1},{track_id},{rest}\n" for frame, track_id, rest in sorted(rows))
        write_text(sequence / "gt" / "gt.txt", text)
        write_text(sequence / "gt" / "labels.txt", "".join(f"{name}\n" for name in labels.class_names))
        write_text(
            sequence / "seqinfo.ini",
            f"[Sequence]\nname={video_id}\nimDir=img1\nframeRate={round(video['fps'])}\n"
            f"seqLength={video['frame_count']}\nimWidth={video['width']}\nimHeight={video['height']}\nimExt=.jpg\n",
        )
    odd = [row["video_id"] for row in labels.videos.to_dict("records") if row["fps"] != round(row["fps"])]
    if odd:
        lines.append(f"rounded: the frame rate of {len(odd)} videos; seqinfo.ini holds whole numbers")
    strides = sorted({stride for stride in labels.stride.values() if stride > 1})
    if strides:
        lines.append(f"mind: only every {strides[0]}th frame is labelled; MOT takes the frames between for empty")
    lines.append("MOT holds no label_uid: labels are known again by their place alone")
    return [*lines, *labels.left_out_lines("MOT", holds_ignored=True)]


def read_mot(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read a sequence's folder, a folder of sequences, or one gt.txt."""
    rows = BoxRows()
    covered: dict[str, np.ndarray] = {}
    for gt_path in file_in(path, "gt.txt"):
        sequence = gt_path.parent.parent if gt_path.parent.name == "gt" else gt_path.parent
        lines = csv_lines(gt_path)
        video = videos.find(sequence_info(sequence).get("name"), sequence.name, gt_path.stem)
        if video is None:
            videos.miss(sequence.name, len(lines))
            continue
        names = _class_names(gt_path)
        covered[str(video["video_id"])] = all_frames(video)
        for number, line in enumerate(lines, start=1):
            _read_line(f"{gt_path}: line {number}", line, video, names, rows)
    return FoundLabels(rows.table(), found_actions([]), covered)


def sequence_info(sequence: Path) -> dict[str, str]:
    """What seqinfo.ini says, keys in small letters; empty when there is none."""
    path = sequence / "seqinfo.ini"
    if not path.is_file():
        return {}
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8-sig")
        return dict(parser["Sequence"])
    except (ConfigError, KeyError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: no seqinfo.ini: {str(error).splitlines()[0]}") from None


def _class_names(gt_path: Path) -> tuple[str, ...]:
    path = gt_path.with_name("labels.txt")
    try:
        names = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except FileNotFoundError:
        return MOT_CLASSES
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    return names or MOT_CLASSES


def _read_line(where: str, line: list[str], video: dict, names: tuple[str, ...], rows: BoxRows) -> None:
    try:
        values = [float(value) for value in line]
    except ValueError:
        raise InputError(f"{where}: a value is not a number: {','.join(line)[:60]!r}") from None
    if len(values) < 6 or not np.isfinite(values).all() or values[0] != int(values[0]):
        raise InputError(f"{where}: not frame,id,left,top,width,height,…: {','.join(line)[:60]!r}")
    number = int(values[7]) if len(values) >= 9 else 1  # 10 columns are a tracker's result, without a class
    if len(values) >= 10:
        number = 1
    if not 1 <= number <= len(names):
        raise InputError(f"{where}: class {number}, but there are {len(names)} names")
    left, top = values[2] - 1, values[3] - 1
    rows.add(
        where,
        video,
        int(values[0]) - 1,
        (left, top, left + values[4], top + values[5]),
        names[number - 1],
        track_id=int(values[1]),
        is_ignored=len(values) == 9 and values[6] == 0,
    )
