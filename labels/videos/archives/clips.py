"""The clips an archive names, before they are opened: name, place, label; and which of them are taken."""

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from labels.records.errors import InputError
from labels.videos.archives.known import ArchiveSettings
from labels.videos.download.requests import ClassChoice, stable_number
from labels.videos.folder import HIDDEN, NO_VIDEO, FolderContent, shown, walk_folder
from labels.videos.settings import VIDEO_SUFFIXES

FAILED, SKIPPED = "failed", "skipped"


@dataclass(frozen=True)
class Refusal:
    """Why a clip is not used: a kind that is counted, and what this clip has to say beyond it."""

    kind: str
    detail: str = ""
    status: str = FAILED

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


NO_LIST = re.compile(r"\.|readme|licen[cs]e|changelog|requirements", re.IGNORECASE)
OUTSIDE = "leads outside the archive"


def missing(name: str) -> Refusal:
    """A list names what is not there."""
    return Refusal("not in the archive", name)


@dataclass(frozen=True)
class ArchiveClip:
    """A clip as its archive describes it; with a `refusal` it becomes a row and nothing else."""

    name: str  # what it is called in the work folder, unique in the archive
    source: str  # the path, or the place in a list; one row each
    path: Path | None = None  # a file, or a folder of images
    class_name: str = ""
    group: str = ""
    split: str = ""
    start_s: float | None = None  # within the video it was cut from
    end_s: float | None = None
    url: str = ""
    is_frames: bool = False
    frame_count: int | None = None  # that it must have
    fps: float | None = None  # of a folder of images, where the archive says it
    refusal: Refusal | None = None


@dataclass(frozen=True)
class ArchiveFolder:
    """The root of an archive: nothing outside it is touched, whatever a list or a link says."""

    root: Path

    @classmethod
    def of(cls, path: Path) -> "ArchiveFolder":
        """InputError when there is no such folder."""
        root = Path(os.path.abspath(path.expanduser()))
        if not root.is_dir():
            raise InputError(f"{shown(root)}: {'not a folder' if root.exists() else 'no such folder'}")
        return cls(root)

    @cached_property
    def _real_folders(self) -> dict[str, str]:
        return {}

    def _is_inside(self, path: Path) -> bool:
        """Links followed; the folders of many clips are followed once."""
        real_root = self._real_of(str(self.root)).rstrip(os.sep)
        real = os.path.realpath(path) if path.is_symlink() else self._real_of(str(path.parent)) + os.sep
        return real == real_root or real.startswith(real_root + os.sep)

    def _real_of(self, folder: str) -> str:
        known = self._real_folders.get(folder)
        if known is None:
            known = self._real_folders[folder] = os.path.realpath(folder)
        return known

    def videos(self, leave_alone: Path) -> FolderContent:
        return walk_folder(self.root, leave_alone)

    def below(self, text: str) -> str:
        """A path in a list as it lies below the root: an absolute one that leads there is as good as a relative one."""
        root = str(self.root).rstrip(os.sep) + os.sep
        return text[len(root) :] if text.startswith(root) else text

    def fault_of_text(self, text: str) -> Refusal | None:
        """Whether a path in a list is one to look at."""
        posix, windows = PurePosixPath(text), PureWindowsPath(text)
        if not text or any(ord(letter) < 32 for letter in text):
            return Refusal("not a path", ascii(text[:60]))
        if posix.is_absolute() or windows.drive or windows.root or ".." in {*posix.parts, *windows.parts}:
            return Refusal(OUTSIDE, ascii(text[:120]))
        return None

    def fault_of_path(self, path: Path, is_folder: bool = False) -> Refusal | None:
        """Whether a path below the root is there, a plain file (or a folder), and no link that leads out."""
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            return missing(self.relative(path))
        if not (stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode)):
            return Refusal("not a folder" if is_folder else "not a regular file")
        if not self._is_inside(path):
            return Refusal(OUTSIDE, f"a link to {shown(Path(os.path.realpath(path)))}")
        return None

    def relative(self, path: Path) -> str:
        return shown(path.relative_to(self.root))


def clips_of_walk(
    folder: ArchiveFolder, content: FolderContent, describe: Callable[[Path], ArchiveClip]
) -> tuple[list[ArchiveClip], list[str]]:
    """What `describe` makes of each video of a walk, rows for what looks like a video and is none, and lines."""
    clips = []
    for path in content.videos:
        clip = describe(path)
        fault = clip.refusal or folder.fault_of_path(path)
        clips.append(clip if fault is clip.refusal else refused(clip, fault))
    others = 0
    for path, reason in content.left_out:
        if reason == NO_VIDEO or (reason == HIDDEN and path.suffix.lower() not in VIDEO_SUFFIXES):
            others += 1
            continue
        detail = "a file macOS leaves beside a video" if path.name.startswith("._") else ""
        refusal = Refusal(reason, detail, SKIPPED)
        clips.append(ArchiveClip(folder.relative(path), shown(path), path, refusal=refusal))
    return clips, [f"{others} other files are no videos and were not looked at"] if others else []


def refused(clip: ArchiveClip, refusal: Refusal | None) -> ArchiveClip:
    return ArchiveClip(**{**clip.__dict__, "refusal": refusal})


def find_lists(folder: ArchiveFolder, annotations: Path | None, pattern: str) -> list[Path]:
    """The lists of an archive by their file name: where the user says, else in its folder, below it or beside it.

    Raises InputError when the user named a place without them.
    """
    if annotations is None:
        places = [
            folder.root,
            *_subfolders(folder.root),
            *_subfolders(folder.root.parent, like=("split", "list", "anno")),
        ]
        return next((found for place in places if (found := _matching(place, pattern))), [])
    given = Path(os.path.abspath(annotations.expanduser()))
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise InputError(f"{shown(given)}: no such file or folder")
    found = next((found for place in (given, *_subfolders(given)) if (found := _matching(place, pattern))), [])
    if not found:
        raise InputError(f"{shown(given)}: holds no {pattern}")
    return found


def _matching(place: Path, pattern: str) -> list[Path]:
    return sorted(path for path in place.glob(pattern) if path.is_file() and not NO_LIST.match(path.name))


def _subfolders(place: Path, like: tuple[str, ...] = ()) -> list[Path]:
    try:
        folders = sorted(Path(entry.path) for entry in os.scandir(place) if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []
    return [path for path in folders if not like or any(word in path.name.lower() for word in like)]


def choose_clips(
    clips: list[ArchiveClip], settings: ArchiveSettings, where: str
) -> tuple[list[ArchiveClip], list[str]]:
    """The clips asked for, in the order of their names, and lines on those that are left out.

    A clip that is refused and has no class stays: it may be one of those asked for. Drawing by lot for `limit` and
    `per_class` depends on the seed and the clip's name alone, so that a larger limit adds to what a smaller one took.

    Raises:
        InputError: the archive has no clip, or none of the classes asked for.
    """
    if not clips:
        raise InputError(f"{where}: no clip of such an archive in it")
    choice = ClassChoice(settings.classes)
    of_class = [clip for clip in clips if not clip.class_name or choice.first_wanted((clip.class_name,)) is not None]
    choice.require_any(where)
    lines = choice.unfulfilled()
    chosen = [clip for clip in of_class if not settings.splits or clip.refusal or clip.split in settings.splits]
    drawn = _draw([clip for clip in chosen if clip.refusal is None], settings)
    taken = sorted([*drawn, *(clip for clip in chosen if clip.refusal is not None)], key=lambda clip: clip.name)
    if len(taken) < len(clips):
        others = {
            "of other classes": len(clips) - len(of_class),
            "of other splits": len(of_class) - len(chosen),
            "not drawn": len(chosen) - len(taken),
        }
        text = ", ".join(f"{count} {why}" for why, count in others.items() if count)
        lines.append(f"{where}: {len(taken)} of {len(clips)} clips asked for; left alone: {text}")
    return taken, lines


def _draw(clips: list[ArchiveClip], settings: ArchiveSettings) -> list[ArchiveClip]:
    if settings.per_class is None and settings.limit is None:
        return clips
    by_lot = sorted(clips, key=lambda clip: (stable_number(f"{settings.seed}|{clip.name}"), clip.name))
    if settings.per_class is not None:
        seen: Counter[str] = Counter()
        by_lot = [clip for clip in by_lot if _count(seen, clip.class_name) <= settings.per_class]
    return by_lot[: settings.limit]


def _count(seen: Counter[str], name: str) -> int:
    seen[name] += 1
    return seen[name]


def with_own_sources(clips: list[ArchiveClip]) -> list[ArchiveClip]:
    """Give a clip that an archive names twice a row of its own each time, and every clip words that can be stored."""
    times: Counter[str] = Counter()
    return [
        clip
        if _count(times, clip.source) == 1
        else replace(clip, source=f"{clip.source} (named {times[clip.source]} times)")
        for clip in map(_storable, clips)
    ]


def _storable(clip: ArchiveClip) -> ArchiveClip:
    """Names on disk need not be UTF-8, and JSON may hold half a character; tables hold whole ones."""
    words = {name: value for name, value in vars(clip).items() if isinstance(value, str)}
    try:
        "".join([*words.values(), str(clip.refusal)]).encode()
    except UnicodeEncodeError:
        words = {name: _escaped(value) for name, value in words.items()}
        refusal = clip.refusal and replace(clip.refusal, detail=_escaped(clip.refusal.detail))
        return replace(clip, refusal=refusal, **words)  # type: ignore[arg-type]
    return clip


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def groups_in_two_splits(rows: list[dict[str, object]]) -> dict[str, set[str]]:
    """Groups of which clips stand in more than one official split, with these splits."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["split"]:
            splits[str(row["group"])].add(str(row["split"]))
    return {group: found for group, found in splits.items() if len(found) > 1}
