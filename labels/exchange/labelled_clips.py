"""Stage 1 from clips that come with labels: the videos of a folder, and what its label files say of them as truth.

For CVAT, Label Studio, COCO, VOC, YOLO and AVA the videos lie in the folder beside the labels, which call each by its
file's name (a picture of it by <name>_<frame>). A MOT sequence may also be a folder of pictures, `img1/`, which becomes
a video at its `frameRate`. Pictures without a video are no clips.
"""

import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from labels.exchange.formats.mot import sequence_info
from labels.exchange.known_formats import FORMATS, Format, recognise_or_none
from labels.exchange.known_videos import ImportHints, KnownVideos
from labels.exchange.label_set import FOUND_ACTIONS, FoundLabels
from labels.records import tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.frame_times import FrameTimes
from labels.records.safe_writing import digest_of, write_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.archives.clips import ArchiveClip, ArchiveFolder
from labels.videos.archives.known import ArchiveSettings
from labels.videos.archives.rows import take_clips
from labels.videos.folder import add_folder_clips, shown
from labels.videos.videos_table import VideosTable

MOST_LINES = 20


def add_labelled_clips(
    work: WorkFolder,
    table: VideosTable,
    format_name: str,
    path: Path,
    copy: bool,
    hints: ImportHints | None = None,
    until_damage: bool = True,
) -> Summary:
    """Take the clips below `path`, and their labels as truth. InputError when there is no clip, or no sound label."""
    root = Path(os.path.abspath(path.expanduser()))
    if not root.is_dir():
        raise InputError(f"{shown(root)}: {'not a folder' if root.exists() else 'no such folder'}")
    if format_name == "mot" and (sequences := _picture_sequences(root)):
        summary, sources = _take_sequences(work, table, root, sequences, copy), {shown(path) for path in sequences}
    else:
        if not any(_label_paths(root, format_name)):
            raise InputError(f"{shown(root)}: no labels of the format {format_name} in it")
        try:
            report = add_folder_clips(work, root, table, copy, until_damage)
        except InputError as error:
            raise InputError(f"{error}; labels of pictures alone are not clips") from None
        lines = report.lines[:MOST_LINES]
        summary = Summary("download", "files", report.found, report.used, dict(report.skipped), lines)
        sources = None
    table.save()
    usable = work.usable_videos()
    if sources is None:
        inside = [str(source).startswith(shown(root) + os.sep) for source in usable["source"]]
        usable = usable[inside]
    else:
        usable = usable[usable["source"].isin(sources)]
    videos = KnownVideos(usable, work.frame_times, hints)
    summary.lines += _write_truth(work, videos, _label_paths(root, format_name), FORMATS[format_name])
    return summary


def _label_paths(root: Path, format_name: str) -> list[Path]:
    """What is read: the whole folder, or each file of a format that is one file."""
    if format_name in ("labelstudio", "coco", "tracknet"):
        pattern = "*.csv" if format_name == "tracknet" else "*.json"
        return sorted(path for path in root.rglob(pattern) if recognise_or_none(path) == format_name)
    if format_name == "ava":
        return sorted(path for path in root.rglob("*.csv") if recognise_or_none(path) == "ava")
    signs = {"mot": "gt.txt", "cvat": "*.xml", "voc": "*.xml"}
    if format_name == "yolo":
        names = ("*.yaml", "*.yml", "classes.txt", "obj.names")
        return sorted({path.parent for name in names for path in root.rglob(name)})
    return [root] if next(root.rglob(signs[format_name]), None) is not None else []


def _write_truth(work: WorkFolder, videos: KnownVideos, paths: list[Path], kind: Format) -> list[str]:
    written: Counter[str] = Counter()
    acted: Counter[str] = Counter()
    lines: list[str] = []
    for path in paths:
        found: FoundLabels = kind.read(path, videos)
        lines += [*found.lines, *found.left_out.lines()]
        if twice := sorted(set(written) & set(found.covered)):
            raise InputError(f"{shown(path)}: labels {twice[0]}, which another file labels too; leave one of them")
        for video_id, frames in found.covered.items():
            truth = truth_table(found.boxes[found.boxes["video_id"] == video_id], frames)
            written[video_id] = int((~truth["x1"].isna()).sum())
            if len(truth):
                write_parquet(work.truth_boxes(video_id), truth, {"labels": shown(path)})
        for video_id, actions in found.actions.groupby("video_id"):
            table = human_actions(actions, videos.times(videos.rows[str(video_id)]))
            write_parquet(work.truth_actions(str(video_id)), table, {"labels": shown(path)})
            acted[str(video_id)] = len(table)
    if acted:
        lines.append(f"actions: {sum(acted.values())} of {len(acted)} clips")
    without = sorted(set(videos.rows) - set(written) - set(acted))
    if without:
        lines.append(f"no labels: {len(without)} clips, such as {without[0]}")
    return [*lines, *videos.unknown_lines(), f"truth: {sum(written.values())} boxes of {len(written)} clips"]


def human_action_uid(video_id: str, track_id: int, start_frame: int, end_frame: int, class_name: str) -> str:
    """The name of an action that a person said, the same whenever the same is said."""
    return digest_of([*map(str, (video_id, track_id, start_frame, end_frame, class_name)), "human"])[:16]


def human_actions(found: pd.DataFrame, times: FrameTimes) -> pd.DataFrame:
    """Actions of one video that a file says (FOUND_ACTIONS), as an actions table of a human's labels."""
    rows = found.sort_values(["start_frame", "track_id", "class_name"])
    segments = rows[["video_id", "track_id", "start_frame", "end_frame", "class_name"]].itertuples(
        index=False, name=None
    )
    values: dict[str, object] = {name: rows[name].to_numpy() for name in FOUND_ACTIONS}
    values |= {
        "label_uid": [human_action_uid(*row) for row in segments],
        "start_s": times.seconds(rows["start_frame"].to_numpy()),
        "end_s": times.seconds(rows["end_frame"].to_numpy()),
        "score": 1.0,
        "probabilities": [json.dumps({name: 1.0}, ensure_ascii=False) for name in rows["class_name"]],
        "origin": "human",
        "round_born": 0,
    }
    return tables.make_table(tables.ACTIONS, values)


def truth_table(boxes: pd.DataFrame, frames: np.ndarray) -> pd.DataFrame:
    """Truth of the frames that the labels know: their boxes, and for each class the frames without it.

    A frame in which a label is to be ignored is not named, for nothing is known of it.
    """
    unsure = boxes.loc[boxes["is_ignored"], "frame_index"].unique()
    frames = np.setdiff1d(frames, unsure)
    boxes = boxes[np.isin(boxes["frame_index"], frames)]
    parts = [boxes[["frame_index", *tables.BOX_COLUMNS, "class_name", "track_id"]]]
    for name in sorted(boxes["class_name"].unique()):
        empty = np.setdiff1d(frames, boxes.loc[boxes["class_name"] == name, "frame_index"])
        nowhere = dict.fromkeys(tables.BOX_COLUMNS, np.float32(math.nan))
        parts.append(pd.DataFrame({"frame_index": empty, **nowhere, "class_name": name, "track_id": tables.NO_TRACK}))
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    values: dict[str, object] = {name: rows[name].to_numpy() for name in rows.columns}
    truth = tables.make_table(tables.TRUTH, values | {"visibility": 1.0})
    return truth.sort_values(["frame_index", "class_name", "x1", "y1"], ignore_index=True)


def _picture_sequences(root: Path) -> list[Path]:
    """The `img1/` folders (as seqinfo.ini calls them) of MOT sequences."""
    found = []
    for info in sorted(root.rglob("seqinfo.ini")):
        pictures = info.parent / sequence_info(info.parent).get("imdir", "img1")
        if pictures.is_dir() and pictures.resolve().is_relative_to(root.resolve()):
            found.append(pictures)
    return found


def _take_sequences(work: WorkFolder, table: VideosTable, root: Path, sequences: list[Path], copy: bool) -> Summary:
    folder = ArchiveFolder.of(root)
    clips = []
    for pictures in sequences:
        name = pictures.parent.name
        rate = sequence_info(pictures.parent).get("framerate", "")
        try:
            fps = float(rate)
        except ValueError:
            fps = 0.0
        if not 0 < fps <= 1000:
            raise InputError(
                f"{pictures.parent / 'seqinfo.ini'}: frameRate {rate[:20]!r} is no number of frames a second"
            )
        clips.append(ArchiveClip(name, shown(pictures), pictures, group=name, is_frames=True, fps=fps))
    result = take_clips(work, ArchiveSettings(path=root, copy=copy), folder, clips, [], table)
    return Summary("download", "clips", result.found, result.used, dict(result.refused), result.lines)
