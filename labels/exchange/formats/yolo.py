"""YOLO, each way: `images/<split>/`, `labels/<split>/` with `class cx cy w h` over the picture's size, and data.yaml.

Five columns, because the sixth is a track id to some readers and a score to others. There is no place for a
`label_uid`, and none for «ignore»: a picture with an ignored label is left out, as YOLO would learn it as background.
"""

import json
import re
from pathlib import Path

import numpy as np

from labels.exchange.label_set import (
    BoxRows,
    FoundLabels,
    KnownVideos,
    LabelSet,
    file_in,
    found_actions,
    link_pictures,
    small_file,
    split_of,
)
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

NAME_LINE = re.compile(r"\s*(?:(\d+)\s*:|-)\s*(.+?)\s*(?:#.*)?")
FLOW_NAMES = re.compile(r"names\s*:\s*(\[.*\])\s*")


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
    lines = ["path: .", *(f"{name}: images/{name}" for name in sets), "names:"]
    lines += [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for name, number in numbers.items()]
    write_text(folder / "data.yaml", "\n".join(lines) + "\n")
    told = labels.left_out_lines("YOLO", holds_ignored=False)
    if len(images) < len(labels.images):
        told.append(f"left out: the {len(labels.images) - len(images)} pictures with an ignored label in them")
    if missing := {"train", "val"} - set(sets):
        told.append(f"mind: no picture is in {' and '.join(sorted(missing))}; Ultralytics wants both")
    return [*told, "YOLO holds no label_uid, track or score: labels are known again by their place alone"]


def read_yolo(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read the folder that holds data.yaml (or classes.txt or obj.names); a picture's name tells video and frame."""
    if not path.is_dir():
        raise InputError(f"{path}: YOLO's labels are a folder with data.yaml in it")
    names = _class_names(path)
    rows = BoxRows()
    covered: dict[str, list[int]] = {}
    for text_path in file_in(path, "*.txt"):
        if text_path.parent == path:  # lists of pictures, and class names
            continue
        lines = _lines(text_path)
        place = videos.find_frame(text_path.name)
        if place is None:
            videos.miss(text_path.stem, len(lines))
            continue
        video, frame_index = place
        covered.setdefault(str(video["video_id"]), []).append(frame_index)
        for number, line in enumerate(lines, start=1):
            where = f"{text_path}: line {number}"
            class_name, xyxy = _read_line(where, line, video, names)
            rows.add(where, video, frame_index, xyxy, class_name)
    return FoundLabels(
        rows.table(),
        found_actions([]),
        {video_id: np.unique(np.array(frames, dtype=np.int64)) for video_id, frames in covered.items()},
    )


def _read_line(where: str, line: str, video: dict, names: tuple[str, ...]) -> tuple[str, np.ndarray]:
    words = line.split()
    try:
        number, share = int(words[0]), np.array([float(word) for word in words[1:5]])
    except (ValueError, IndexError):
        raise InputError(f"{where}: not «class cx cy w h»: {line[:60]!r}") from None
    if len(words) not in (5, 6) or not np.isfinite(share).all() or not 0 <= number < len(names):
        raise InputError(f"{where}: not «class cx cy w h» with one of {len(names)} classes: {line[:60]!r}")
    size = np.array([video["width"], video["height"]], dtype=np.float64)
    centre, half = share[:2] * size, share[2:] * size / 2
    return names[number], np.concatenate([centre - half, centre + half])


def _class_names(folder: Path) -> tuple[str, ...]:
    """From data.yaml (a list, or numbers with names), else from classes.txt or obj.names, a name a line."""
    for name in ("classes.txt", "obj.names"):
        if (folder / name).is_file():
            return tuple(line.strip() for line in _lines(folder / name))
    path = folder / "data.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: holds no data.yaml, classes.txt or obj.names with the names of the classes")
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    for place, line in enumerate(lines):
        if flow := FLOW_NAMES.fullmatch(line):
            return tuple(word.strip().strip("'\"") for word in flow[1].strip("[]").split(",") if word.strip())
        if re.fullmatch(r"names\s*:\s*", line):
            found = _block_names(lines[place + 1 :])
            if found:
                return found
    raise InputError(f"{path}: has no «names:» as a list or as numbers with names")


def _block_names(lines: list[str]) -> tuple[str, ...]:
    numbered: dict[int, str] = {}
    for line in lines:
        match = NAME_LINE.fullmatch(line)
        if match is None:
            break
        text = match[2]
        if text.startswith('"'):
            try:
                text = json.loads(text)
            except ValueError:
                text = text.strip('"')
        numbered[int(match[1]) if match[1] else len(numbered)] = text.strip("'")
    return tuple(numbered[number] for number in sorted(numbered)) if set(numbered) == set(range(len(numbered))) else ()


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None
