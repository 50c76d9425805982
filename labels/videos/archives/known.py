"""Labelled archives that lie on disk, by name. Imports nothing heavy: scripts take choices and defaults from here.

    result = ARCHIVES["hmdb51"](WorkFolder(Path("work")), ArchiveSettings(path=Path("~/hmdb51")))

Every archive ends as rows of videos.parquet, each with a status and a reason, and as human labels of whole clips in
`WorkFolder.truth_actions`. Groups and splits are set so that no source video is trained on and judged by.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labels.videos.archives.rows import ArchiveResult


@dataclass(frozen=True)
class ArchiveSettings:
    """What the user says of an archive. `limit` and `per_class` draw by lot; `seed` decides, not the order."""

    path: Path  # its folder
    annotations: Path | None = None  # the lists, a file or a folder; None: looked for in and beside `path`
    classes: tuple[str, ...] = ()  # names or globs; none: all
    splits: tuple[str, ...] = ()  # train, val, test; none: all
    split_number: int = 1  # which of the official splits, where there are three
    limit: int | None = None  # clips
    per_class: int | None = None  # clips
    seed: int = 0
    with_copies: bool = False  # take the flipped, rotated and moved copies of a clip too
    copy: bool = False  # copy the files instead of linking them
    until_damage: bool = True  # take a damaged clip until its damage; otherwise it is refused
    image_fps: float = 25.0  # frames a second of clips that come as folders of images
    image_crf: int = 10  # their compression: 10 cannot be told from the images by eye; 0 plays in no browser
    spacejam_block: int = 500  # clip ids in a row that are taken for one piece of a game
    at_once: int = 0  # clips looked at side by side; 0: one for each core


ArchiveSource = Callable[..., "ArchiveResult"]


def _source(module: str, function: str) -> ArchiveSource:
    """The function of a module that is imported when it is called."""

    def add(*args: Any, **named: Any) -> "ArchiveResult":
        return getattr(import_module(f"labels.videos.archives.{module}"), function)(*args, **named)

    return add


# Each is called with (work, settings) and, where rows are to go into a table already open, that table.
ARCHIVES: dict[str, ArchiveSource] = {
    "hmdb51": _source("hmdb51", "add_hmdb51"),
    "ucf101": _source("ucf101", "add_ucf101"),
    "spacejam": _source("spacejam", "add_spacejam"),
    "kinetics-folder": _source("kinetics_folder", "add_kinetics_folder"),
    "mmaction": _source("mmaction", "add_mmaction"),
    "moments": _source("mmaction", "add_moments"),
}
