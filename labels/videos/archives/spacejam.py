"""SpaceJam: `<id>.mp4` of 16 frames, 176 high and 128 wide, annotation_dict.json `{id: class number}`, joints/<id>.npy.

Copies: an id with anything after its digits (`0000000_flipped`, `0000000_translate_-32_0`) is the clip of those digits,
flipped, turned or moved. Training makes such copies on the fly, so they are skipped; taken (`with_copies`), they share
the group of their original, as no copy may be judged by what its original taught.

Groups: the archive does not say from which game a clip is. Its ids count the clips in the order they were cut, so that
neighbours show the same players seconds apart. A group is a block of `spacejam_block` ids in a row: what leaks is only
what straddles the border of two blocks. There is no official split.

Joints are pickled dicts of Python; they are read by `restricted_pickle.py` and written as a table beside the clip:
`videos/truth/poses/<video_id>.parquet` with frame_index, joint, x, y in pixels.
"""

import math
import re
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from labels.records import tables
from labels.records.class_lists import read_class_list
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, read_parquet_metadata, write_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.archives.clips import (
    SKIPPED,
    ArchiveClip,
    ArchiveFolder,
    Refusal,
    clips_of_walk,
    find_lists,
    missing,
)
from labels.videos.archives.known import ArchiveSettings
from labels.videos.archives.restricted_pickle import BadPickle, read_pickled_array
from labels.videos.archives.rows import POSE, ArchiveResult, take_clips
from labels.videos.download.list_reading import BadEntry, json_entries
from labels.videos.folder import shown
from labels.videos.videos_table import Row, VideosTable

FRAMES = 16
DISCARD = 10  # clips its makers threw out
CLIP_ID = re.compile(r"(?P<number>\d{1,12})(?P<copy>_.+)?")
Labels = dict[str, Any]  # clip id -> class number, or a Refusal


def add_spacejam(work: WorkFolder, settings: ArchiveSettings, table: VideosTable | None = None) -> ArchiveResult:
    """Take the clips of a SpaceJam folder. InputError when it holds no video or no annotation_dict.json."""
    folder = ArchiveFolder.of(settings.path)
    labels = read_labels(folder, settings)
    content = folder.videos(work.root)
    clips, lines = clips_of_walk(folder, content, lambda path: _clip(path, labels, settings))
    there = {clip.path.stem for clip in clips if clip.path is not None}
    for clip_id in sorted(labels.keys() - there):
        clip = _labelled(
            ArchiveClip(f"spacejam_{clip_id}", f"annotation_dict.json: {clip_id!a}"), clip_id, labels, settings
        )
        fault = folder.fault_of_text(clip_id) or clip.refusal or missing(f"{clip_id}.mp4")
        clips.append(replace(clip, refusal=fault))
    joints = {path.stem: path for path, _ in content.left_out if path.suffix.lower() == ".npy"}
    poses = _Poses(work, folder, joints)
    result = take_clips(work, settings, folder, clips, lines, table, poses.keep if joints else None)
    result.lines.extend(poses.lines())
    return result


def read_labels(folder: ArchiveFolder, settings: ArchiveSettings) -> Labels:
    """Class numbers by clip id, from annotation_dict.json and what its copies have beside it."""
    paths = find_lists(folder, settings.annotations, "*annotation_dict.json")
    if not paths:
        raise InputError(f"{shown(folder.root)}: no annotation_dict.json in or beside it; name it with --annotations")
    labels: Labels = {}
    for path in paths:
        for clip_id, number in json_entries(path):
            if not clip_id:
                raise InputError(f"{shown(path)}: holds a list, not clip ids with class numbers")
            if labels.setdefault(clip_id, number) != number:
                labels[clip_id] = Refusal("labelled twice", f"as {labels[clip_id]} and as {number}")
    return labels


def _clip(path: Path, labels: Labels, settings: ArchiveSettings) -> ArchiveClip:
    clip = ArchiveClip(f"spacejam_{path.stem}", shown(path), path, frame_count=FRAMES)
    if path.stem not in labels:
        return replace(clip, refusal=Refusal("not in annotation_dict.json", status=SKIPPED))
    return _labelled(clip, path.stem, labels, settings)


def _labelled(clip: ArchiveClip, clip_id: str, labels: Labels, settings: ArchiveSettings) -> ArchiveClip:
    """A clip with its class and group, or why it is not used."""
    number, named = labels[clip_id], CLIP_ID.fullmatch(clip_id)
    if isinstance(number, Refusal):
        return replace(clip, refusal=number)
    if (
        isinstance(number, BadEntry)
        or not isinstance(number, int)
        or isinstance(number, bool)
        or not 0 <= number <= DISCARD
    ):
        return replace(clip, refusal=Refusal("unknown class number", f"{number!r:.40}, not one of 0 to {DISCARD}"))
    if named is None:
        return replace(clip, refusal=Refusal("not an id of SpaceJam", ascii(clip_id)[:60]))
    if number == DISCARD:
        return replace(clip, refusal=Refusal("labelled discard", status=SKIPPED))
    block = int(named["number"]) // settings.spacejam_block
    clip = replace(clip, class_name=class_names()[number], group=f"spacejam_block_{block:05d}")
    if named["copy"] and not settings.with_copies:
        return replace(clip, refusal=Refusal("a copy of another clip", f"of {named['number']}", SKIPPED))
    return clip


@cache
def class_names() -> tuple[str, ...]:
    """By class number; 10, discard, is no class."""
    return read_class_list("spacejam")


class _Poses:
    """Writes the joints of clips that are used, and counts what became of them."""

    def __init__(self, work: WorkFolder, folder: ArchiveFolder, joints: dict[str, Path]):
        self.work, self.folder, self.joints = work, folder, joints
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def keep(self, clip: ArchiveClip, row: Row) -> None:
        assert clip.path is not None
        source = self.joints.get(clip.path.stem)
        target = self.work.truth_joints(row["video_id"])
        try:
            if source is None:
                raise BadPickle("no joints")
            fault = self.folder.fault_of_path(source)
            if fault is not None:
                raise BadPickle(str(fault))
            status = source.stat()
            made_from = {"video_id": row["video_id"], "digest": digest_of([status.st_size, status.st_mtime_ns])}
            if read_parquet_metadata(target) != made_from:
                write_parquet(target, pose_table(read_pickled_array(source)), made_from)
            self.count += 1
        except BadPickle as error:
            target.unlink(missing_ok=True)
            self.reasons[str(error)] += 1
            self.examples[str(error)].append(clip.path.stem)

    def lines(self) -> list[str]:
        if not self.joints:
            return []
        lines = [f"joints: {self.count} of {self.count + self.reasons.total()} used clips have them"]
        for reason, count in self.reasons.most_common(5):
            lines.append(f"joints of {count} clips not used: {reason} ({', '.join(self.examples[reason][:3])})")
        return lines


def pose_table(frames: Any) -> pd.DataFrame:
    """16 dicts {joint: (x, y)} as rows; a joint without two finite coordinates in a frame has no row there.

    Raises BadPickle when the value is anything else.
    """
    if not isinstance(frames, list) or len(frames) != FRAMES or not all(isinstance(joints, dict) for joints in frames):
        raise BadPickle(f"not {FRAMES} dicts of joints")
    rows = []
    for frame_index, joints in enumerate(frames):
        for joint, point in joints.items():
            try:
                x, y = (float(value) for value in point)
            except (TypeError, ValueError):
                if point is None:
                    continue
                raise BadPickle("a joint that is no pair of numbers") from None
            if math.isfinite(x) and math.isfinite(y):
                rows.append((frame_index, str(joint), x, y))
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in POSE]
    return tables.make_table(POSE, dict(zip(POSE, columns, strict=True)))
