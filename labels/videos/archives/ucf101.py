"""UCF101: `<Class>/v_<Class>_g08_c01.avi`, classInd.txt (numbers from 1), trainlist01-03.txt and testlist01-03.txt.

A group is what the archive calls one: clips of the same class and g number are cut from one video. The official splits
keep groups whole.
"""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from labels.records.errors import InputError
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
from labels.videos.archives.rows import ArchiveResult, take_clips
from labels.videos.download.list_reading import text_lines
from labels.videos.folder import shown
from labels.videos.videos_table import VideosTable

CLIP_NAME = re.compile(r"(?P<group>v_(?P<class_name>[A-Za-z0-9]+)_g\d+)_c\d+")
Listed = dict[str, tuple[str, str, str]]  # file name in lower case -> split, class number or "", what the list says


def add_ucf101(work: WorkFolder, settings: ArchiveSettings, table: VideosTable | None = None) -> ArchiveResult:
    """Take the clips of a UCF101 folder. InputError when it holds no video or not the split asked for."""
    folder = ArchiveFolder.of(settings.path)
    numbers = read_class_numbers(folder, settings)
    listed, clips, lines = read_lists(folder, settings)
    walked, more_lines = clips_of_walk(
        folder, folder.videos(work.root), lambda path: _clip(folder, path, numbers, listed)
    )
    there = {clip.path.name.lower() for clip in walked if clip.path is not None}
    for name, (split, _, text) in listed.items():
        if name not in there:
            class_name = PurePosixPath(text).parent.name
            clip = ArchiveClip(f"ucf101_{name}", f"{split} list: {text}", class_name=class_name, split=split)
            clips.append(replace(clip, refusal=missing(text)))
    return take_clips(work, settings, folder, [*walked, *clips], [*lines, *more_lines], table)


def read_class_numbers(folder: ArchiveFolder, settings: ArchiveSettings) -> dict[str, str]:
    """Class name in lower case -> its number as text; empty where there is no classInd.txt."""
    numbers: dict[str, str] = {}
    for path in _lists(folder, settings, "classInd.txt")[:1]:
        for number, line in text_lines(path):
            index, _, name = line.partition(" ")
            if not index.isascii() or not index.isdigit() or not name.strip():
                raise InputError(f"{shown(path)} line {number}: '{line[:60]}' is not a class number and a name")
            if index in numbers.values() or name.strip().lower() in numbers:
                raise InputError(f"{shown(path)} line {number}: class {line[:60]} stands twice")
            numbers[name.strip().lower()] = index
    return numbers


def read_lists(folder: ArchiveFolder, settings: ArchiveSettings) -> tuple[Listed, list[ArchiveClip], list[str]]:
    """What the two lists of a split say; entries that lead elsewhere as refused clips; lines."""
    found = _lists(folder, settings, "t*list0[123].txt")
    if not found:
        return (
            {},
            [],
            [f"{shown(folder.root)}: no split lists (trainlist01.txt) found: the clips have no official split"],
        )
    listed: Listed = {}
    refusals = []
    for split in ("train", "test"):
        name = f"{split}list0{settings.split_number}.txt"
        path = next((path for path in found if path.name == name), None)
        if path is None:
            raise InputError(f"{shown(found[0].parent)}: no {name} beside {found[0].name}")
        for number, line in text_lines(path):
            text, _, label = line.partition(" ")
            fault = folder.fault_of_text(text)
            key = PurePosixPath(text).name.lower()
            if fault is None and key in listed:
                fault = Refusal("named twice by the split", text)
            if fault is not None:
                where = f"{path.name} line {number}"
                refusals.append(
                    ArchiveClip(f"ucf101_{split}_line_{number}", f"{where}: {ascii(text)[:80]}", refusal=fault)
                )
            else:
                listed[key] = (split, label.strip(), text)
    return listed, refusals, []


def _lists(folder: ArchiveFolder, settings: ArchiveSettings, pattern: str) -> list[Path]:
    """The official lists lie together; classInd.txt may be absent."""
    annotations = settings.annotations
    if annotations is not None and annotations.expanduser().is_file():
        annotations = annotations.expanduser().parent
    try:
        return find_lists(folder, annotations, pattern)
    except InputError:
        if pattern == "classInd.txt" and annotations is not None and annotations.expanduser().is_dir():
            return []
        raise


def _clip(folder: ArchiveFolder, path: Path, numbers: dict[str, str], listed: Listed) -> ArchiveClip:
    named = CLIP_NAME.fullmatch(path.stem)
    class_name = path.parent.name if path.parent != folder.root else named["class_name"] if named else ""
    group = named["group"] if named else path.stem
    clip = ArchiveClip(f"ucf101_{path.stem}", shown(path), path, class_name, f"ucf101_{group}")
    if named is None:
        return replace(clip, refusal=Refusal("not the name of a UCF101 clip", path.name))
    if numbers and class_name.lower() not in numbers:
        return replace(clip, refusal=Refusal("unknown class", f"{class_name} is not in classInd.txt"))
    if not listed:
        return clip
    if path.name.lower() not in listed:
        return replace(clip, refusal=Refusal("not named by the split", status=SKIPPED))
    split, label, _ = listed[path.name.lower()]
    if label and numbers and label != numbers[class_name.lower()]:
        detail = f"the list says class {label[:12]}, {class_name} is {numbers[class_name.lower()]}"
        known = label in numbers.values()
        return replace(clip, refusal=Refusal("label and folder differ" if known else "unknown class number", detail))
    return replace(clip, split=split)
