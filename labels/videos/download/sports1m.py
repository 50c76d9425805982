"""Sports-1M: whole YouTube videos with one or more of 487 sports.

Two forms are read: `sports1m_train.json` and `sports1m_test.json` (an array of `{id, duration, height, label487}`),
and the text lists (`URL index,index`). The names of the classes stand in `labels.txt`, one a line, from index 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labels.records.errors import InputError
from labels.videos.download.list_reading import BadEntry, json_entries, text_lines
from labels.videos.download.requests import ClipRequest, RequestMaker, parse_time_s, split_of_file, youtube_id_of

LABELS_FILE = "labels.txt"


def read_label_names(list_path: Path, labels_path: Path | None) -> list[str]:
    """The class names in the order of their indices, from `labels.txt` beside the list when nothing is said."""
    path = labels_path or next(
        (near for folder in list_path.parents[:2] if (near := folder / LABELS_FILE).is_file()), None
    )
    if path is None:
        raise InputError(
            f"{list_path.parent}: no {LABELS_FILE}, which names the classes; it comes with "
            "https://github.com/gtoderici/sports-1m-dataset (or name it with --labels FILE)"
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
            yield _from_json(maker, f"{path.name} entry {number}", entry, names, split)
    else:
        for number, line in text_lines(path):
            yield _from_line(maker, f"{path.name} line {number}", line, names, split)


def _from_json(maker: RequestMaker, entry: str, values: Any, names: list[str], split: str) -> ClipRequest:
    if not isinstance(values, dict):
        reason = values.reason if isinstance(values, BadEntry) else "not an object with id and label487"
        return maker.refused(reason, (), split, entry)
    class_names = _names_of(values.get("label487"), names)
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


def _from_line(maker: RequestMaker, entry: str, line: str, names: list[str], split: str) -> ClipRequest:
    url, _, indices = line.partition(" ")
    parts = indices.strip().split(",")
    class_names = _names_of([int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 7], names)
    if class_names is None or len(class_names) < len(parts):
        return maker.refused("not an address and class indices", (), split, entry)
    # Straight to the id: the list's addresses are http://www.youtube.com/…, others are not Sports-1M's.
    request = maker.web(url, class_names=class_names, split=split, entry=entry)
    if not request.fault and request.source_key != youtube_id_of(url):
        return maker.refused("not a YouTube address", class_names, split, entry)
    return request


def _names_of(indices: Any, names: list[str]) -> tuple[str, ...] | None:
    if not isinstance(indices, list) or not indices:
        return None
    if not all(isinstance(index, int) and 0 <= index < len(names) for index in indices):
        return None
    return tuple(names[index] for index in indices)
