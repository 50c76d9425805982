"""YOLO, each way: `images/<split>/`, `labels/<split>/` with `class cx cy w h` over the picture's size, and data.yaml.

Five columns, because the sixth is a track id to some readers and a score to others. There is no place for a
`label_uid`, and none for «ignore»: a picture with an ignored label is left out, as YOLO would learn it as background.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import yaml

from labels.exchange.foreign_files import hull, number_of, read_text, whole_number
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import (
    NO_SIZE,
    BoxRows,
    FoundLabels,
    LabelSet,
    OddEntry,
    file_in,
    found_labels,
    link_pictures,
    small_file,
    split_of,
)
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

DATASET_SIGNS = ("images", "obj.data", "obj.names")  # which no folder of `yolo predict` has
NOT_LABELS = {"classes.txt", "README.txt", "README.dataset.txt", "README.roboflow.txt", "requirements.txt"}
MOST_BYTES = 2**26  # of one file


def write_yolo(folder: Path, labels: LabelSet) -> list[str]:
    """Pictures as links; a picture without a box has an empty label file, as Ultralytics reads it."""
    numbers = {name: place for place, name in enumerate(labels.class_names)}
    frame = ["video_id", "frame_index"]
    ignored = labels.ignored[frame].drop_duplicates().assign(is_ignored=True)
    images = labels.images.merge(ignored, on=frame, how="left")
    images = images[images["is_ignored"].isna()].drop(columns="is_ignored")
    images = images.assign(set=[split_of(row) for row in images.to_dict("records")])
    boxes = dict(iter(labels.kept.groupby(frame)))
    for row in images.to_dict("records"):
        text = ""
        found = boxes.get((row["video_id"], row["frame_index"]))
        if found is not None:
            xyxy = found[tables.BOX_COLUMNS].to_numpy(dtype=np.float64) / ([row["width"], row["height"]] * 2)
            shares = np.column_stack([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]])
            text = "".join(
                f"{numbers[name]} " + " ".join(f"{value:.8f}" for value in share) + "\n"
                for name, share in zip(found["class_name"], shares, strict=True)
            )
        small_file(folder / "labels" / row["set"] / f"{Path(row['file_name']).stem}.txt", text)
    link_pictures(folder / "images", images, by_set=True)
    sets = sorted(images["set"].unique())
    # Without «path», Ultralytics looks beside the file; a relative one it would look for from where it is started.
    lines = [*(f"{name}: images/{name}" for name in sets), "names:"]
    lines += [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for name, number in numbers.items()]
    write_text(folder / "data.yaml", "\n".join(lines) + "\n")
    notes = labels.left_out_lines("YOLO", holds_ignored=False)
    if len(images) < len(labels.images):
        notes.append(f"left out: the {len(labels.images) - len(images)} pictures with an ignored label in them")
    if missing := {"train", "val"} - set(sets):
        notes.append(
            f"mind: no picture is in {' and '.join(sorted(missing))}, and Ultralytics wants both; add clips of another "
            "source, as one source is not split"
        )
    return [*notes, "YOLO holds no label_uid, track or score: labels are known again by their place alone"]


def read_yolo(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read the folder that holds data.yaml (or classes.txt or obj.names); a picture's name tells video and frame.

    An outline of more than four numbers is taken for its box. Numbers of a sixth column that are whole are tracks.
    """
    if not path.is_dir():
        raise InputError(f"{path}: YOLO's labels are a folder with data.yaml in it")
    names = _class_names(path)
    rows = BoxRows(path, has_sizes=True)
    pictures: list[tuple[Path, dict, int, list[str]]] = []
    numbers: dict[str, set[int]] = {}
    from_zero = any((path / name).exists() for name in DATASET_SIGNS) or _yaml_of(path) is not None
    for text_path in file_in(path, "*.txt"):
        if text_path.parent == path and text_path.name in NOT_LABELS | {"train.txt", "val.txt", "test.txt"}:
            continue
        place = videos.find_frame(str(text_path.relative_to(path)), path.name)
        lines = _lines(text_path)
        if place is None:
            if text_path.parent != path:
                videos.miss(text_path.stem, len(lines))
            continue
        numbers.setdefault(str(place[0]["video_id"]), set()).add(place[1])
        pictures.append((text_path, *place, lines))
        from_zero |= re.search(r"(?<!\d)0\d+$", text_path.stem.partition(".rf.")[0]) is not None
    first, notes = videos.first_frame(numbers, from_zero, str(path))
    words_of = (words for *_, lines in pictures for words in map(str.split, lines))
    has_tracks, line = _is_track(words[-1] for words in words_of if _has_more(words))
    for text_path, video, number, lines in pictures:
        for count, text in enumerate(lines, start=1):
            with rows.entry(f"{text_path}: line {count}", video, number - first):
                class_name, xyxy, extra = _read_line(text.split(), video, names)
                track_id = whole_number(extra, tables.NO_TRACK) if has_tracks else tables.NO_TRACK
                rows.add(video, number - first, xyxy, class_name, track_id=track_id)
    covered = {video_id: {number - first for number in found} for video_id, found in numbers.items()}
    return found_labels(rows, videos.rows, covered, lines=notes + line)


def _has_more(words: list[str]) -> bool:
    """Whether a line has a column after its box: a score or a track, or both; an outline of three corners has not."""
    return len(words) == 6 or (len(words) == 7 and words[-1].isdecimal())


def _is_track(last: Iterator[str]) -> tuple[bool, list[str]]:
    """Whether the last of six or seven columns is a track: all are whole, and some above 1. Else it is a score."""
    found = set(islice(last, 100_000))
    are_whole = bool(found) and all(whole_number(value, -1) >= 0 for value in found)
    if are_whole and any(whole_number(value, 0) > 1 for value in found):
        return True, ["track: the last column is whole numbers, and taken for them"]
    return False, ["not used: the last of six columns, which is no track"] if found else []


def _read_line(words: list[str], video: dict, names: tuple[str, ...]) -> tuple[str, tuple[float, ...], str]:
    """Class, corners in pixels, and the last word where there is one too many. Raises OddEntry."""
    if len(words) < 5:
        raise OddEntry("lines that are not «class cx cy w h»")
    number = number_of(words[0], "class")
    if number != int(number) or not 0 <= number < len(names):
        raise OddEntry(f"lines whose class is none of the {len(names)}")
    size = (float(video["width"]), float(video["height"]))
    shares = [number_of(word, "place") for word in words[1:]]
    if len(words) > 5 and not _has_more(words):
        shares = shares[: len(shares) // 2 * 2]
        if not all(-0.5 <= share <= 1.5 for share in shares):
            raise OddEntry("lines whose numbers are no shares of the picture")
        xyxy = hull(value * size[place % 2] for place, value in enumerate(shares))
        return names[int(number)], xyxy, ""
    x, y, width, height = shares[:4]
    if not all(-0.5 <= share <= 1.5 for share in (x, y, width, height)):
        raise OddEntry("lines whose numbers are no shares of the picture")
    if width <= 0 or height <= 0:
        raise OddEntry(NO_SIZE, is_nothing=True)
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return names[int(number)], tuple(value * size[place % 2] for place, value in enumerate(box)), words[-1]


def _yaml_of(folder: Path) -> Path | None:
    """The file that names a data set's classes: data.yaml, else the one YAML with «names»."""
    found = sorted({*folder.glob("*.yaml"), *folder.glob("*.yml")}, key=lambda path: (path.stem != "data", path.name))
    return next((path for path in found if re.search(r"^\s*[\"']?names[\"']?\s*:", _text(path), re.MULTILINE)), None)


def _class_names(folder: Path) -> tuple[str, ...]:
    """From data.yaml (a list, or numbers with names), else from classes.txt or obj.names, a name a line."""
    path = _yaml_of(folder)
    if path is None:
        for name in ("classes.txt", "obj.names"):
            if (folder / name).is_file():
                return tuple(line.strip() for line in _lines(folder / name))
        raise InputError(f"{folder}: holds no data.yaml, classes.txt or obj.names with the names of the classes")
    try:
        content = yaml.load(_text(path), yaml.BaseLoader)  # texts alone: a class may be called «no»; tags mean nothing
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())[:120]}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        numbered = {whole_number(number, -1): name for number, name in names.items()}
        if set(numbered) != set(range(len(numbered))):
            raise InputError(f"{path}: «names:» are not numbered from 0 on")
        names = [numbered[number] for number in range(len(numbered))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int | float) for name in names):
        raise InputError(f"{path}: has no «names:» as a list or as numbers with names")
    return tuple(str(name).strip() for name in names)


def _lines(path: Path) -> list[str]:
    return [line for line in _text(path).splitlines() if line.strip()]


def _text(path: Path) -> str:
    return read_text(path, MOST_BYTES)
