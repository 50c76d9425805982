"""The clip lists Rally knows: URLs, Kinetics and Sports-1M, each read into clip requests.

URLs: any CSV with the column `url` and, where wanted, `start`, `end`, `label` and `split`. Times are seconds or
`h:mm:ss`; both empty means the whole video.

Kinetics-400, -600, -700 and -700-2020, ten-second segments of YouTube videos, in two forms: CSV
(`label,youtube_id,time_start,time_end,split`; the test lists have no label) and JSON (`{id: {annotations: {label,
segment: [start, end]}, subset}}`; also ActivityNet's, `{database: {id: ...}}`).

Sports-1M, whole YouTube videos with one or more of 487 sports, in two forms: `sports1m_train.json` and
`sports1m_test.json` (an array of `{id, duration, height, label487}`), and the text lists (`URL index,index`). The names
of the classes stand in `labels.txt`, one a line, from index 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labels.records.errors import InputError
from labels.videos.download.list_reading import BadEntry, csv_rows, json_entries, text_lines
from labels.videos.download.requests import (
    ClipRequest,
    RequestMaker,
    parse_time_s,
    split_name,
    split_of_file,
    youtube_id_of,
)
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


def read_urls(path: Path, maker: RequestMaker) -> Iterator[ClipRequest]:
    """The entries of a list of URLs, in its order."""
    file_split = split_of_file(path.stem)
    for number, row in csv_rows(path, ("url",)):
        entry = f"{path.name} line {number}"
        if isinstance(row, BadEntry):
            yield maker.refused(row.reason, (), file_split, entry)
            continue
        label = row.get("label", "").strip()
        yield maker.web(
            row["url"].strip(),
            row.get("start"),
            row.get("end"),
            (label,) if label else (),
            split_name(row.get("split", "")) or file_split,
            entry,
        )


def read_kinetics(path: Path, maker: RequestMaker) -> Iterator[ClipRequest]:
    """The entries of a Kinetics list, in its order."""
    split = split_of_file(path.stem)
    if path.suffix.lower() == ".json":
        for number, (key, value) in enumerate(_json_videos(path), 1):
            yield from _kinetics_json(maker, f"{path.name} entry {number}", key, value, split)
        return
    for number, row in csv_rows(path, ("youtube_id", "time_start", "time_end")):
        entry = f"{path.name} line {number}"
        if isinstance(row, BadEntry):
            yield maker.refused(row.reason, (), split, entry)
            continue
        yield _kinetics_clip(
            maker,
            entry,
            row["youtube_id"],
            (row["time_start"], row["time_end"]),
            row.get("label", ""),
            split_name(row.get("split", "")) or split,
        )


def _json_videos(path: Path) -> Iterator[tuple[str, Any]]:
    """The videos of a JSON list; ActivityNet's lie below `database`, beside its version and taxonomy."""
    for key, value in json_entries(path):
        if key == "database" and isinstance(value, dict):
            yield from value.items()
        elif key not in ("version", "taxonomy", "comments", "errata"):
            yield key, value


def _kinetics_json(maker: RequestMaker, entry: str, youtube_id: str, values: Any, split: str) -> Iterator[ClipRequest]:
    if not isinstance(values, dict):
        reason = values.reason if isinstance(values, BadEntry) else "not an object with annotations"
        yield maker.refused(reason, (), split, entry)
        return
    split = split_name(str(values.get("subset", ""))) or split
    found = values.get("annotations")
    for number, annotation in enumerate(found if isinstance(found, list) and found else [found], 1):
        segment = annotation.get("segment") if isinstance(annotation, dict) else None
        label = annotation.get("label", "") if isinstance(annotation, dict) else None
        here = entry if number == 1 else f"{entry} segment {number}"
        if not isinstance(segment, list) or len(segment) != 2 or not isinstance(label, str):
            yield maker.refused("no segment [start, end] with a label", (), split, here)
        else:
            yield _kinetics_clip(maker, here, youtube_id, (segment[0], segment[1]), label, split)


def _kinetics_clip(
    maker: RequestMaker, entry: str, youtube_id: Any, times: tuple[Any, Any], label: str, split: str
) -> ClipRequest:
    class_names = (label.strip().replace("_", " "),) if label.strip() else ()
    if any(time in (None, "") for time in times):
        return maker.refused("a segment needs both its times", class_names, split, entry)
    return maker.youtube(youtube_id, *times, class_names, split, entry=entry)


LABELS_FILE = "labels.txt"


def read_label_names(list_path: Path, labels_path: Path | None) -> list[str]:
    """The class names in the order of their indices, from `labels.txt` beside the list when nothing is said."""
    path = labels_path or next(
        (near for folder in list_path.parents[:2] if (near := folder / LABELS_FILE).is_file()), None
    )
    if path is None:
        raise InputError(
            f"{list_path.parent}: no {LABELS_FILE}, which names the classes; it comes with "
            "https://github.com/gtoderici/sports-1m-dataset (or name it with --annotations FILE)"
        )
    names = [line for _, line in text_lines(path)]
    if not names or len(set(names)) < len(names):
        raise InputError(f"{path}: holds no list of class names, each once")
    return names


def read_sports1m(path: Path, maker: RequestMaker, labels_path: Path | None = None) -> Iterator[ClipRequest]:
    """The entries of a Sports-1M list, in its order."""
    names = read_label_names(path, labels_path)
    split = split_of_file(path.stem)
    if path.suffix.lower() == ".json":
        for number, (_, entry) in enumerate(json_entries(path), 1):
            yield _sports1m_json(maker, f"{path.name} entry {number}", entry, names, split)
    else:
        for number, line in text_lines(path):
            yield _sports1m_line(maker, f"{path.name} line {number}", line, names, split)


def _sports1m_json(maker: RequestMaker, entry: str, values: Any, names: list[str], split: str) -> ClipRequest:
    if not isinstance(values, dict):
        reason = values.reason if isinstance(values, BadEntry) else "not an object with id and label487"
        return maker.refused(reason, (), split, entry)
    class_names = _sports1m_names(values.get("label487"), names)
    if class_names is None:
        return maker.refused("label487 is no list of known class indices", (), split, entry)
    try:
        duration_s = parse_time_s(values.get("duration")) or None
    except ValueError:
        duration_s = None  # only a hint; the fetched video tells
    height = values.get("height")
    return maker.youtube(
        values.get("id"),
        class_names=class_names,
        split=split,
        duration_s=duration_s,
        height=height if isinstance(height, int) else None,
        entry=entry,
    )


def _sports1m_line(maker: RequestMaker, entry: str, line: str, names: list[str], split: str) -> ClipRequest:
    url, _, numbers = line.partition(" ")
    parts = numbers.strip().split(",")
    indices = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 7]
    class_names = _sports1m_names(indices, names)
    if class_names is None or len(class_names) < len(parts):
        return maker.refused("not an address and class indices", (), split, entry)
    # Straight to the id: the list's addresses are http://www.youtube.com/…, others are not Sports-1M's.
    request = maker.web(url, class_names=class_names, split=split, entry=entry)
    if not request.fault and request.source_key != youtube_id_of(url):
        return maker.refused("not a YouTube address", class_names, split, entry)
    return request


def _sports1m_names(indices: Any, names: list[str]) -> tuple[str, ...] | None:
    if not isinstance(indices, list) or not indices:
        return None
    if not all(isinstance(index, int) and 0 <= index < len(names) for index in indices):
        return None
    return tuple(names[index] for index in indices)
