"""Moments of a few frames: `<class>/<number>/img_00001.jpg … 00005.jpg`, with or without lists `class/number 5 label`.

Each moment is encoded into one short video at `image_fps` and is a group of its own. Without a list every folder of
images is taken, and its length is what it holds. With lists (train and test by their names) only what they name is;
the class is the folder, and a class number must stand for the same folder throughout.
"""

import os
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.videos.archives.clips import SKIPPED, ArchiveClip, ArchiveFolder, Refusal, find_lists
from labels.videos.archives.known import ArchiveSettings
from labels.videos.archives.mmaction import LABEL_MAPS, Listed, parse_line
from labels.videos.archives.rows import ArchiveResult, take_clips
from labels.videos.download.list_reading import text_lines
from labels.videos.download.requests import split_of_file
from labels.videos.folder import shown
from labels.videos.videos_table import VideosTable


def add_moments(work: WorkFolder, settings: ArchiveSettings, table: VideosTable | None = None) -> ArchiveResult:
    """Take the moments of a folder. InputError when it holds none."""
    folder = ArchiveFolder.of(settings.path)
    maps = {path for pattern in LABEL_MAPS for path in folder.root.glob(pattern)}
    paths = [path for path in find_lists(folder, settings.annotations, "*.txt") if path not in maps]
    moments = _walk(folder, work)
    lines = []
    if not paths:
        lines.append("no list (*.txt) found: every folder of images is taken, without an official split")
        return take_clips(work, settings, folder, moments, lines, table)
    listed = [
        parse_line(folder, line, f"{path.name} line {number}", split_of_file(path.stem))
        for path in paths
        for number, line in text_lines(path)
    ]
    folder_of = _folder_of_numbers(listed)
    clips = [_clip(folder, entry, folder_of) for entry in listed]
    named = {clip.source for clip in clips}
    refusal = Refusal("not named by a list", status=SKIPPED)
    clips.extend(replace(clip, refusal=clip.refusal or refusal) for clip in moments if clip.source not in named)
    return take_clips(work, settings, folder, clips, lines, table)


def _walk(folder: ArchiveFolder, work: WorkFolder) -> list[ArchiveClip]:
    """Every folder two levels down."""
    clips = []
    for class_path in _subfolders(folder.root):
        for path in _subfolders(class_path):
            clips.append(_moment(folder, path, folder.fault_of_path(path, is_folder=True)))
    return [clip for clip in clips if clip.path is None or work.root.resolve() not in clip.path.resolve().parents]


def _subfolders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be looked into: {error.strerror}") from None


def _moment(folder: ArchiveFolder, path: Path, refusal: Refusal | None) -> ArchiveClip:
    name = f"moment_{folder.relative(path)}"
    return ArchiveClip(name, shown(path), path, shown(Path(path.parent.name)), name, is_frames=True, refusal=refusal)


def _folder_of_numbers(listed: list[Listed]) -> dict[int, str]:
    """The class folder that most lines of a class number name."""
    folders: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for entry in listed:
        folders[entry.label][Path(entry.text).parent.name] += 1
    return {label: max(sorted(found), key=lambda name: found[name]) for label, found in folders.items()}


def _clip(folder: ArchiveFolder, entry: Listed, folder_of: dict[int, str]) -> ArchiveClip:
    if entry.refusal is not None:
        return ArchiveClip(f"moment_{entry.place}", f"{entry.place}: {entry.text!a}", refusal=entry.refusal)
    path = folder.root / entry.text
    clip = replace(_moment(folder, path, None), split=entry.split, frame_count=entry.frame_count)
    fault = folder.fault_of_path(path, is_folder=True)
    if fault is None and entry.frame_count is None:
        fault = Refusal("bad entry of the list", f"{entry.place}: not a folder, a number of frames and a class number")
    if fault is None and folder_of[entry.label] != path.parent.name:
        fault = Refusal(
            "label and folder differ", f"{entry.place}: {entry.label} is {folder_of[entry.label]} elsewhere"
        )
    return replace(clip, refusal=fault)
