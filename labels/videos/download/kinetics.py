"""Kinetics-400, -600, -700 and -700-2020: ten-second segments of YouTube videos.

Two forms are read: CSV (`label,youtube_id,time_start,time_end,split`; the test lists have no label) and JSON
(`{id: {annotations: {label, segment: [start, end]}, subset}}`; also ActivityNet's, `{database: {id: ...}}`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labels.videos.download.list_reading import BadEntry, csv_rows, json_entries
from labels.videos.download.requests import ClipRequest, RequestMaker, split_name, split_of_file


def read_kinetics(path: Path, maker: RequestMaker) -> Iterator[ClipRequest]:
    """The entries of a Kinetics list, in its order."""
    split = split_of_file(path.stem)
    if path.suffix.lower() == ".json":
        for number, (key, value) in enumerate(_json_videos(path), 1):
            yield from _from_json(maker, f"{path.name} entry {number}", key, value, split)
        return
    for number, row in csv_rows(path, ("youtube_id", "time_start", "time_end")):
        entry = f"{path.name} line {number}"
        if isinstance(row, BadEntry):
            yield maker.refused(row.reason, (), split, entry)
            continue
        yield _clip(
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


def _from_json(maker: RequestMaker, entry: str, youtube_id: str, values: Any, split: str) -> Iterator[ClipRequest]:
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
            yield _clip(maker, here, youtube_id, (segment[0], segment[1]), label, split)


def _clip(
    maker: RequestMaker, entry: str, youtube_id: Any, times: tuple[Any, Any], label: str, split: str
) -> ClipRequest:
    class_names = (label.strip().replace("_", " "),) if label.strip() else ()
    if any(time in (None, "") for time in times):
        return maker.refused("a segment needs both its times", class_names, split, entry)
    return maker.youtube(youtube_id, *times, class_names, split, entry=entry)
