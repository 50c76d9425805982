"""HMDB51: `<class>/*.avi` and the three official splits `<class>_test_split{1,2,3}.txt` (1 train, 2 test, 0 neither).

A clip's name is the film it was cut from, the class, and six attributes (what of the body can be seen, camera motion,
people, viewpoint, quality, number): `Ballfangen_catch_u_cm_np1_fr_goo_0.avi`. Clips of one film, of whatever class,
make one group: the name without class and attributes. That is a heuristic: two films of one name share a group, which
costs nothing, and a film under two names is not seen to be one. The official splits keep films apart by rule, but not
in every case; where they do not, the closing lines say so and the official split stays.
"""

import re
from dataclasses import replace
from pathlib import Path

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

ATTRIBUTES = re.compile(r"_[a-z]_(cm|nm)_np\d+_[a-z]{2}_(bad|med|goo)_\d+$")
SPLIT_FILE = re.compile(r"(?P<class_name>.+)_test_split(?P<number>[123])\.txt")
TAGS = {"0": "", "1": "train", "2": "test"}
Tags = dict[tuple[str, str], str]  # (class, file name) -> tag; two tags for one file as "1 2"


def add_hmdb51(work: WorkFolder, settings: ArchiveSettings, table: VideosTable | None = None) -> ArchiveResult:
    """Take the clips of an HMDB51 folder. InputError when it holds no video or not the split asked for."""
    folder = ArchiveFolder.of(settings.path)
    tags, lines = read_tags(folder, settings)
    clips, more_lines = clips_of_walk(folder, folder.videos(work.root), lambda path: _clip(folder, path, tags))
    there = {(clip.path.parent.name, clip.path.name) for clip in clips if clip.path is not None}
    for class_name, name in tags.keys() - there:
        clip = ArchiveClip(f"hmdb51_{class_name}_{name}", f"split list of {class_name}: {name}", class_name=class_name)
        clips.append(replace(clip, refusal=folder.fault_of_text(name) or missing(name)))
    return take_clips(work, settings, folder, clips, [*lines, *more_lines], table)


def read_tags(folder: ArchiveFolder, settings: ArchiveSettings) -> tuple[Tags, list[str]]:
    """What the split asked for says of each file; empty, with a line, where there are no split lists."""
    found = find_lists(folder, settings.annotations, "*_test_split[123].txt")
    if not found:
        return {}, [f"{shown(folder.root)}: no split lists (*_test_split1.txt) found: the clips have no official split"]
    wanted = [path for path in found if _number(path) == settings.split_number]
    if not wanted:
        known = ", ".join(sorted({str(_number(path)) for path in found}))
        raise InputError(f"{shown(found[0].parent)}: no lists of split {settings.split_number}; there are {known}")
    tags: Tags = {}
    for path in wanted:
        class_name = SPLIT_FILE.fullmatch(path.name)["class_name"]  # type: ignore[index]
        for _, line in text_lines(path):
            name, _, tag = line.rpartition(" ")
            key = (class_name, name.strip() or tag)
            tag = tag if name else "?"
            tags[key] = tag if tags.get(key, tag) == tag else f"{tags[key]} {tag}"
    return tags, []


def _number(path: Path) -> int:
    match = SPLIT_FILE.fullmatch(path.name)
    return int(match["number"]) if match else 0


def _clip(folder: ArchiveFolder, path: Path, tags: Tags) -> ArchiveClip:
    class_name = path.parent.name
    clip = ArchiveClip(f"hmdb51_{path.stem}", shown(path), path, class_name, f"hmdb51_{film_of(path.stem, class_name)}")
    if path.parent == folder.root:
        return replace(clip, class_name="", refusal=Refusal("in no class folder"))
    if not tags:
        return clip
    tag = tags.get((class_name, path.name))
    if tag is None:
        return replace(clip, refusal=Refusal("not named by the split", status=SKIPPED))
    if tag not in TAGS:
        return replace(clip, refusal=Refusal("the split list is not clear", f"it says '{tag[:20]}', not 0, 1 or 2"))
    if not TAGS[tag]:
        return replace(clip, refusal=Refusal("unused by the split", status=SKIPPED))
    return replace(clip, split=TAGS[tag])


def film_of(stem: str, class_name: str) -> str:
    """The source film of a clip by its file's name."""
    named = ATTRIBUTES.sub("", stem)
    return named.removesuffix(f"_{class_name}") or named
