"""Lists of MMAction2, and Moments in Time as folders of images.

MMAction2's lists name `path label` for videos, `folder number_of_frames label` for folders of images. Paths are
relative to `--path`. The list's file name tells the split (`kinetics_train_list.txt`). Labels are numbers; their names
stand in a label map (`label_map*.txt`, one name a line from number 0) beside the lists, or are the names of the class
folders where each number has one folder, or are the `--classes` in their order. Folders of images are encoded into one
video each, at `image_fps`. A group is the YouTube id of a Kinetics name or the group of a UCF101 name, else the clip
itself: with other archives, check that no source video is in two of them.

A moment is a folder of a few frames: `<class>/<number>/img_00001.jpg … 00005.jpg`, with or without lists `class/number
5 label`. It is a group of its own. Without a list every folder of images is taken, and its length is what it holds.
With lists (train and test by their names) only what they name is; the class is the folder, and a class number must
stand for the same folder throughout.
"""

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.videos.archives import kinetics_folder as kinetics_folder_source
from labels.videos.archives import ucf101 as ucf101_source
from labels.videos.archives.clips import SKIPPED, ArchiveClip, ArchiveFolder, Refusal, find_lists
from labels.videos.archives.known import ArchiveSettings
from labels.videos.archives.rows import ArchiveResult, take_clips
from labels.videos.download.list_reading import text_lines
from labels.videos.download.requests import GLOB, split_of_file
from labels.videos.folder import shown
from labels.videos.settings import VIDEO_SUFFIXES
from labels.videos.videos_table import VideosTable

LABEL_MAPS = ("label_map*.txt", "classes.txt", "class_names.txt")
WHOLE = re.compile(r"\d{1,9}")


@dataclass(frozen=True)
class Listed:
    """One line of a list: `text` is the path as it stands there."""

    text: str
    place: str
    split: str
    label: int = -1
    frame_count: int | None = None
    refusal: Refusal | None = None


def add_mmaction(work: WorkFolder, settings: ArchiveSettings, table: VideosTable | None = None) -> ArchiveResult:
    """Take what the lists of MMAction2 name. InputError when there is no list, or labels without names."""
    folder = ArchiveFolder.of(settings.path)
    listed = read_lists(folder, settings)
    names, lines, by_classes = class_names(folder, settings, listed)
    clips = [_clip(folder, entry, names) for entry in listed]
    if by_classes:
        settings = replace(settings, classes=())
    return take_clips(work, settings, folder, clips, lines, table)


def read_lists(folder: ArchiveFolder, settings: ArchiveSettings) -> list[Listed]:
    """The lines of every list there is. InputError when there is none."""
    maps = {path for pattern in LABEL_MAPS for path in _found(folder, settings, pattern)}
    paths = [path for path in find_lists(folder, settings.annotations, "*.txt") if path not in maps]
    if not paths:
        raise InputError(f"{shown(folder.root)}: no list (*.txt) in or beside it; name it with --annotations")
    return [
        parse_line(folder, line, f"{path.name} line {number}", split_of_file(path.stem))
        for path in paths
        for number, line in text_lines(path)
    ]


def parse_line(folder: ArchiveFolder, line: str, place: str, split: str) -> Listed:
    """A video's line ends in its label, a folder's in the number of its images and its label; paths may hold spaces."""
    words = line.split()
    if len(words) < 2 or WHOLE.fullmatch(words[-1]) is None:
        return Listed(
            line[:80], place, split, refusal=Refusal("bad entry of the list", "not a path and a class number")
        )
    line = folder.below(line)
    text, label = line.rsplit(maxsplit=1)[0], int(words[-1])
    frame_count = None
    if PurePosixPath(text).suffix.lower() not in VIDEO_SUFFIXES and len(words) > 2 and WHOLE.fullmatch(words[-2]):
        text, frame_count = line.rsplit(maxsplit=2)[0], int(words[-2])
        if PurePosixPath(text).suffix.lower() in VIDEO_SUFFIXES:
            refusal = Refusal("several labels", f"{words[-2]} and {words[-1]}; a clip has one")
            return Listed(text, place, split, refusal=refusal)
    return Listed(text, place, split, label, frame_count, folder.fault_of_text(text))


def class_names(
    folder: ArchiveFolder, settings: ArchiveSettings, listed: list[Listed]
) -> tuple[dict[int, str], list[str], bool]:
    """Names by class number, lines on where they come from, and whether `--classes` was taken for them."""
    for pattern in LABEL_MAPS:
        for path in _found(folder, settings, pattern)[:1]:
            names = [line for _, line in text_lines(path)]
            if len(set(names)) < len(names):
                raise InputError(f"{shown(path)}: a class name stands twice")
            return dict(enumerate(names)), [f"class names from {path.name}"], False
    folders: defaultdict[int, set[str]] = defaultdict(set)
    for entry in listed:
        if entry.refusal is None:
            parts = PurePosixPath(entry.text).parts
            folders[entry.label].add(parts[-2] if len(parts) > 1 else "")
    named = {label: min(found) for label, found in folders.items() if len(found) == 1 and found != {""}}
    if folders and len(named) == len(folders) == len(set(named.values())):
        return named, ["class names from the folders, as each class number has one"], False
    if settings.classes and not any(GLOB.search(name) for name in settings.classes):
        return dict(enumerate(settings.classes)), ["class names from --classes, in its order from number 0"], True
    raise InputError(
        f"{shown(folder.root)}: the lists have class numbers without names; put label_map.txt (a name a line, from "
        "number 0) beside them, or give all names in order with --classes"
    )


def _clip(folder: ArchiveFolder, entry: Listed, names: dict[int, str]) -> ArchiveClip:
    path = None if entry.refusal else folder.root / entry.text
    is_frames = entry.frame_count is not None
    name = str(PurePosixPath(entry.text) if is_frames else PurePosixPath(entry.text).with_suffix("")) or "entry"
    source = f"{entry.place}: {entry.text!a}" if path is None else shown(path)
    clip = ArchiveClip(name, source, path, names.get(entry.label, ""), _group(name), entry.split)
    clip = replace(clip, is_frames=is_frames, frame_count=entry.frame_count, refusal=entry.refusal)
    if path is None:
        return clip
    fault = folder.fault_of_path(path, is_folder=is_frames)
    if fault is None and entry.label not in names:
        fault = Refusal("unknown class number", f"{entry.label}; there are {len(names)} classes")
    if fault is not None and fault.kind == "not in the archive":
        fault = replace(fault, detail=entry.place)
    return replace(clip, refusal=fault)


def _group(name: str) -> str:
    stem = PurePosixPath(name).name
    if match := kinetics_folder_source.CLIP_NAME.fullmatch(stem):
        return match["id"]
    if match := ucf101_source.CLIP_NAME.fullmatch(stem):
        return f"ucf101_{match['group']}"
    return name


def _found(folder: ArchiveFolder, settings: ArchiveSettings, pattern: str) -> list[Path]:
    """Label maps lie beside the list the user named, or where the lists are looked for."""
    annotations = settings.annotations
    if annotations is not None and annotations.expanduser().is_file():
        return sorted(annotations.expanduser().absolute().parent.glob(pattern))
    try:
        return find_lists(folder, annotations, pattern)
    except InputError:
        return []


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
    clips = [_moment_clip(folder, entry, folder_of) for entry in listed]
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


def _moment_clip(folder: ArchiveFolder, entry: Listed, folder_of: dict[int, str]) -> ArchiveClip:
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
