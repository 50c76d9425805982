"""MOT Challenge, each way: a folder a sequence with `gt/gt.txt`, `gt/labels.txt` and `seqinfo.ini`.

Frames, track ids and pixels are counted from 1: the box whose left edge is the frame's has bb_left 1. The seventh
column of the truth says whether a row counts: an ignored label is there with 0. Tracks are named by numbers, so a label
has no place for its `label_uid`, and every box needs a track: one without gets its own.
"""

from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

import numpy as np

from labels.exchange.foreign_files import MOST_FRAMES, csv_lines, number_of, read_text, whole_number
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import BoxRows, FoundLabels, LabelSet, OddEntry, file_in, found_labels, tracks_of
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

MOT_CLASSES = (
    *("Pedestrian", "Person on vehicle", "Car", "Bicycle", "Motorbike", "Non motorized vehicle", "Static person"),
    *("Distractor", "Occluder", "Occluder on the ground", "Occluder full", "Reflection"),
)  # what the numbers of MOT16 and MOT17 mean where no labels.txt says otherwise
COUNT_SLACK = 0.02  # of a video's frames, by which another decoder may count otherwise
SINGULAR = {"players": "player", "goalkeepers": "goalkeeper", "referees": "referee"}


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
    """Read a folder of sequences, or one gt.txt; the sequence's name, or its folder's, is the video's.

    Classes are those of labels.txt beside it, of SoccerNet's gameinfo.ini by track, else MOT's own. Frames are counted
    from 1, or from 0 where that is there; frames past `seqLength` are unknown. A sequence of another number of frames
    that lasts as long as its video was counted at another rate, and is mapped by time.
    """
    rows = BoxRows(path, has_sizes=True)
    covered: dict[str, set[int]] = {}
    notes: list[str] = []
    for gt_path in file_in(path, "gt.txt"):
        sequence = gt_path.parent.parent if gt_path.parent.name == "gt" else gt_path.parent
        lines = [line[0].split() if len(line) == 1 else line for line in csv_lines(gt_path)]
        info = sequence_info(sequence)
        video = videos.find(info.get("name"), sequence.name, gt_path.stem)
        if video is None:
            videos.miss(sequence.name, len(lines))
            continue
        by_track = track_classes(sequence)
        names, is_own = _class_names(gt_path)
        numbers = {whole_number(line[0], -1) for line in lines}
        first = 0 if 0 in numbers and int(video["frame_count"]) not in numbers else 1
        if videos.hints.first_frame is not None or not first:
            first = first if videos.hints.first_frame is None else videos.hints.first_frame
            notes.append(f"frames: counted from {first} in {sequence.name}")
        frames = _frames_of(info, video, videos, notes)
        covered.setdefault(str(video["video_id"]), set()).update(frame for frame in frames if frame >= 0)
        unnamed = 0
        for number, line in enumerate(lines, start=1):
            place = whole_number(line[0], -1) - first
            with rows.entry(f"{gt_path}: line {number}", video, frames[place] if 0 <= place < len(frames) else None):
                unnamed += _read_line(line, video, names, by_track, rows, frames, first)
        if unnamed and not is_own:
            notes.append(f"class: {unnamed} lines of {sequence.name} say none (ten columns); taken as {names[0]}")
    return found_labels(rows, videos.rows, covered, lines=notes)


def _frames_of(info: dict[str, str], video: dict, videos: KnownVideos, lines: list[str]) -> list[int]:
    """The video's frame for each frame of a sequence, -1 where another one of it lies nearer to that frame."""
    count, times = int(video["frame_count"]), videos.times(video)
    length, rate = whole_number(info.get("seqlength"), count), videos.hints.fps
    if rate is None:
        stated = whole_number(info.get("framerate"), 0)
        lasts_as_long = abs(length / times.end_s - stated) <= 0.5  # seqinfo.ini holds whole numbers
        rate = length / times.end_s if lasts_as_long and abs(length - count) > max(2, COUNT_SLACK * count) else None
    if rate is None:
        return list(range(min(length, count)))
    lines.append(f"by time: {video['video_id']} was counted at {rate:g} a second, but has {video['fps']:g}")
    frames = [times.frame_at(number / rate) for number in range(max(1, round(times.end_s * rate)))]
    nearest: dict[int, tuple[float, int]] = {}
    for number, frame in enumerate(frames):
        off_s = abs(number / rate - float(times.seconds(frame)))
        if frame not in nearest or off_s < nearest[frame][0]:
            nearest[frame] = (off_s, number)
    return [frame if nearest[frame][1] == number else -1 for number, frame in enumerate(frames)]


def sequence_info(sequence: Path) -> dict[str, str]:
    """What seqinfo.ini says, keys in small letters; empty when there is none."""
    return _section(sequence / "seqinfo.ini")


def track_classes(sequence: Path) -> dict[int, str]:
    """SoccerNet's class of each track, from gameinfo.ini: `trackletID_2= ball;1` is the ball; teams are players."""
    found = {}
    for key, value in _section(sequence / "gameinfo.ini").items():
        number = key.removeprefix("trackletid_")
        if number != key and number.isdecimal():
            name = value.partition(";")[0].partition(" team")[0].strip()
            found[int(number)] = SINGULAR.get(name, name)
    return found


def _section(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string("\n".join(line.strip() for line in read_text(path).splitlines()))  # indented: no new line
        return dict(parser["Sequence"])
    except (ConfigError, KeyError) as error:
        raise InputError(f"{path}: no {path.name}: {str(error).splitlines()[0]}") from None


def _class_names(gt_path: Path) -> tuple[tuple[str, ...], bool]:
    """The names of the numbers from 1, and whether the file's own labels.txt says them."""
    path = gt_path.with_name("labels.txt")
    if not path.exists():
        return MOT_CLASSES, False
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    return (names, True) if names else (MOT_CLASSES, False)


def _read_line(
    line: list[str],
    video: dict,
    names: tuple[str, ...],
    by_track: dict[int, str],
    rows: BoxRows,
    frames: list[int],
    first: int,
) -> bool:
    """Whether nothing said the line's class. Raises OddEntry."""
    while line and not line[-1]:  # a comma at the end; one within would move all that follows
        line = line[:-1]
    values = [number_of(value, "value") for value in line]
    if len(values) < 6 or values[0] != int(values[0]):
        raise OddEntry("lines that are not frame,id,left,top,width,height,…")
    track_id = whole_number(values[1], tables.NO_TRACK)
    place = int(min(max(values[0] - first, -1), MOST_FRAMES))
    if place >= len(frames):
        raise OddEntry(f"of a frame past the {len(frames)} of their sequence", is_nothing=True)
    if place >= 0 and frames[place] < 0:
        raise OddEntry("of frames that lie between those of their video", is_nothing=True)
    number = int(min(max(values[7], -1), 10**6)) if len(values) in (8, 9) else 0  # 10 columns are a tracker's result
    name = by_track.get(track_id) or (names[number - 1] if 1 <= number <= len(names) else "")
    if not name and number > 0:
        raise OddEntry(f"lines of a class above {len(names)}, which has no name")
    left, top = values[2] - 1, values[3] - 1
    rows.add(
        video,
        frames[place] if place >= 0 else -1,
        (left, top, left + values[4], top + values[5]),
        name or names[0],
        track_id=track_id,
        is_ignored=len(values) in (8, 9) and values[6] == 0,
    )
    return not name
