"""What lies in a folder tree: its videos, the truth beside them, and everything else with the reason it is left out."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labels.records.errors import InputError
from labels.videos.settings import VIDEO_SUFFIXES

HIDDEN, LINKED_FOLDER, NO_FILE, NO_VIDEO = "hidden", "a link to a folder", "not a regular file", "not a video"


@dataclass(frozen=True)
class FolderContent:
    """Paths in the order of their names."""

    root: Path
    videos: list[Path] = field(default_factory=list)
    truth: dict[Path, Path] = field(default_factory=dict)  # video -> the CSV of the same stem beside it
    left_out: list[tuple[Path, str]] = field(default_factory=list)  # path, reason


def walk_folder(root: Path, leave_alone: Path) -> FolderContent:
    """Everything under `root` but `leave_alone`, the work folder itself. InputError when there is no video."""
    if not root.exists():
        raise InputError(f"{shown(root)}: no such folder")
    if not root.is_dir():
        raise InputError(f"{shown(root)}: not a folder")
    if root.resolve().is_relative_to(leave_alone.resolve()):
        raise InputError(f"{shown(root)}: lies in the work folder; give the folder that your own clips lie in")
    content = FolderContent(root)
    tables: list[Path] = []
    for path, reason in sorted(_entries(root, leave_alone.resolve())):
        if reason:
            content.left_out.append((path, reason))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            content.videos.append(path)
        else:
            tables.append(path)
    truth_of = {path.with_suffix(""): path for path in tables if path.suffix.lower() == ".csv"}
    content.truth.update(
        {video: truth_of[video.with_suffix("")] for video in content.videos if video.with_suffix("") in truth_of}
    )
    used = set(content.truth.values())
    content.left_out.extend((path, NO_VIDEO) for path in tables if path not in used)
    if not content.videos:
        raise InputError(
            f"{shown(root)}: no video in it ({len(content.left_out)} other files); "
            f"a video is known by its suffix: {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return content


def _entries(folder: Path, leave_alone: Path) -> Iterator[tuple[Path, str]]:
    """Each file under a folder, with the reason why it cannot be a clip, or none."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        yield folder, f"cannot be looked into: {error.strerror}"
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):  # ._ files of macOS among them
            yield path, HIDDEN
        elif entry.is_dir():
            if entry.is_symlink():
                yield path, LINKED_FOLDER
            elif path.resolve() != leave_alone:
                yield from _entries(path, leave_alone)
        else:
            yield path, "" if path.is_file() else NO_FILE


def shown(path: Path) -> str:
    """A path as text that can be printed and stored, also when its name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
