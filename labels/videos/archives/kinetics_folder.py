"""A folder of Kinetics clips: `[train|val|test/]<class>/<YouTube id>_<start>_<end>.mp4`, times as six digits.

Class folders are written with spaces or underscores. Where a CSV or JSON of Kinetics is beside the clips, it gives the
split, and the class of clips that lie in no class folder; what it asks for and is not there ends as a row. A group is a
YouTube id. Clips of other names are taken too, each a group of its own.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

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
from labels.videos.download.clip_lists import read_kinetics
from labels.videos.download.list_reading import text_lines
from labels.videos.download.requests import ClipRequest, RequestMaker, split_name
from labels.videos.folder import shown
from labels.videos.settings import DownloadSettings
from labels.videos.videos_table import VideosTable

CLIP_NAME = re.compile(r"(?P<id>[A-Za-z0-9_-]{11})_(?P<start>\d{6})_(?P<end>\d{6})")


class Segment(NamedTuple):
    """What Kinetics calls a clip: whole seconds of a YouTube video."""

    youtube_id: str
    start_s: int
    end_s: int


class Entry(NamedTuple):
    class_name: str
    split: str
    place: str


UNLISTED = Entry("", "", "")


def add_kinetics_folder(work: WorkFolder, settings: ArchiveSettings, table: VideosTable | None = None) -> ArchiveResult:
    """Take the clips of a Kinetics folder. InputError when it holds no video."""
    folder = ArchiveFolder.of(settings.path)
    entries, clips = read_entries(folder, settings)
    known = {entry.class_name.casefold() for entry in entries.values()} - {""}
    walked, lines = clips_of_walk(folder, folder.videos(work.root), lambda path: _clip(folder, path, entries, known))
    there = {segment_of(clip.path) for clip in walked if clip.path is not None}
    for segment, entry in entries.items():
        if segment not in there:
            name = f"{segment.youtube_id}_{segment.start_s:06d}_{segment.end_s:06d}"
            clips.append(
                ArchiveClip(
                    name, entry.place, None, entry.class_name, segment.youtube_id, entry.split, refusal=missing(name)
                )
            )
    unnamed = sum(clip.refusal is None and segment_of(clip.path) is None for clip in walked if clip.path is not None)
    if unnamed:
        lines.append(f"{unnamed} clips are not named <YouTube id>_<start>_<end>: each is a group of its own")
    return take_clips(work, settings, folder, [*walked, *clips], lines, table)


def segment_of(path: Path) -> Segment | None:
    match = CLIP_NAME.fullmatch(path.stem)
    return Segment(match["id"], int(match["start"]), int(match["end"])) if match else None


def read_entries(folder: ArchiveFolder, settings: ArchiveSettings) -> tuple[dict[Segment, Entry], list[ArchiveClip]]:
    """What the lists say of each segment, and a refused clip for each entry that cannot be."""
    paths = find_lists(folder, settings.annotations, "*.csv")
    if settings.annotations is None:
        paths = [path for path in paths if _is_of_kinetics(path)]
    if not paths:
        paths = [
            path for path in find_lists(folder, None, "*.json") if "kinetics" in path.name or split_name(path.stem)
        ]
    entries: dict[Segment, Entry] = {}
    refusals = []
    for path in paths:
        maker = RequestMaker(path.name, DownloadSettings())
        for number, request in enumerate(read_kinetics(path, maker), 1):
            place = f"{path.name} entry {number}"
            entry = Entry(request.class_names[0] if request.class_names else "", request.split, place)
            segment = _segment(request)
            fault = None
            if segment is None:
                fault = Refusal("bad entry of the list", request.fault or "no whole segment")
            elif entries.setdefault(segment, entry)[:2] != entry[:2]:
                fault = Refusal("listed twice, differently", f"{entries[segment].place} says {entries[segment][:2]}")
            if fault is not None:
                refusals.append(
                    ArchiveClip(f"{path.stem}_entry_{number}", place, None, entry.class_name, refusal=fault)
                )
    return entries, refusals


def _is_of_kinetics(path: Path) -> bool:
    """A CSV beside the clips may be anything."""
    return any("youtube_id" in line for number, line in text_lines(path) if number == 1)


def _segment(request: ClipRequest) -> Segment | None:
    if request.fault or request.start_s is None or request.end_s is None:
        return None
    return Segment(request.source_key, round(request.start_s), round(request.end_s))


def _clip(folder: ArchiveFolder, path: Path, entries: dict[Segment, Entry], known: set[str]) -> ArchiveClip:
    """A clip by its folders, its name, and the list's entry of it."""
    *folders, _ = path.relative_to(folder.root).parts
    split = next((split_name(name) for name in folders if split_name(name)), "")
    named = [name for name in folders if not split_name(name)]
    class_name = shown(Path(named[-1])).replace("_", " ") if named else ""
    segment = segment_of(path)
    clip = ArchiveClip(path.stem, shown(path), path, class_name, folder.relative(path.with_suffix("")), split)
    if segment is not None:
        clip = replace(clip, group=segment.youtube_id, start_s=float(segment.start_s), end_s=float(segment.end_s))
        clip = replace(clip, url=f"https://www.youtube.com/watch?v={segment.youtube_id}")
    # A folder that is no class, such as `clips/`, is told from one by the list.
    is_class = class_name != "" and (not known or class_name.casefold() in known)
    entry = entries.get(segment, UNLISTED) if segment is not None else UNLISTED
    if is_class and entry.class_name and entry.class_name.casefold() != class_name.casefold():
        detail = f"it lies in {class_name}, the list says {entry.class_name}"
        return replace(clip, refusal=Refusal("label and folder differ", detail))
    if split and entry.split and split != entry.split:
        detail = f"it lies in {split}, the list says {entry.split}"
        return replace(clip, refusal=Refusal("split and folder differ", detail))
    if not is_class and not entry.class_name:
        detail = f"{class_name or 'no folder'} is no class, and no list says another"
        return replace(clip, class_name="", refusal=Refusal("without a label", detail, SKIPPED))
    return replace(clip, class_name=entry.class_name or class_name, split=entry.split or split)
