"""The clip lists Rally knows, and which files of a folder belong to one."""

from collections.abc import Iterator
from pathlib import Path

from labels.records.errors import InputError
from labels.videos.download.kinetics import read_kinetics
from labels.videos.download.requests import ClipRequest, RequestMaker
from labels.videos.download.sports1m import read_sports1m
from labels.videos.download.urls import read_urls
from labels.videos.settings import DownloadSettings

# Which files are taken when a folder is named instead of a list.
LIST_FILES = {
    "sports1m": ("sports1m_*.json", "*_partition.txt"),
    "kinetics": ("*.csv", "*.json"),
    "urls": ("*.csv",),
}


def list_files(kind: str, path: Path) -> list[Path]:
    """The list itself, or the lists of a folder: the first kind of file that is there."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such clip list")
    for pattern in LIST_FILES[kind]:
        found = sorted(each for each in path.glob(pattern) if not each.name.startswith("."))
        if found:
            return found
    raise InputError(f"{path}: holds no {kind} list ({' or '.join(LIST_FILES[kind])})")


def read_clip_list(
    kind: str, path: Path, settings: DownloadSettings, labels_path: Path | None = None
) -> Iterator[ClipRequest]:
    """Every entry of a clip list of the kind sports1m, kinetics or urls; `path` is a file, or a folder of lists."""
    for file in list_files(kind, path):
        maker = RequestMaker(file.name, settings)
        if kind == "sports1m":
            yield from read_sports1m(file, maker, labels_path)
        elif kind == "kinetics":
            yield from read_kinetics(file, maker)
        else:
            yield from read_urls(file, maker)
