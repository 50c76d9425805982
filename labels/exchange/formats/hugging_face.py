"""Hugging Face, each way: a folder that `datasets.load_dataset` opens offline, and that can be put on the hub.

Two configurations, each with train, validation and test:

- `frames`: a row a picture of the dataset, its JPEG in the row, and `objects`, its boxes as COCO has them
  (`bbox` is x, y, width, height in pixels) with category, track, quality and decision.
- `clips`: a row a video with actions, the file in the row, and its `actions` as intervals of frames, half-open.

`README.md` is the data set's card. The features stand in the Parquet's metadata, as `datasets` writes them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labels.exchange.foreign_files import number_of, text_value, whole_number
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import (
    BoxRows,
    FoundLabels,
    LabelSet,
    OddEntry,
    check_class_name,
    found_actions,
    found_labels,
    split_of,
)
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

SPLITS = {"train": "train", "val": "validation", "test": "test"}  # ours to theirs, in their order
OBJECT = {
    "label_uid": "string",
    "category": "int64",
    "track_id": "int64",
    "score": "float32",
    "quality": "float32",
    "decision": "string",  # keep, or ignore: neither an object to learn nor background
    "origin": "string",
    "round_born": "int64",
    "mask_rle": "string",  # COCO's compressed run lengths; empty: no mask
}
ACTION = {
    "label_uid": "string",
    "category": "int64",
    "track_id": "int64",
    "start_frame": "int64",
    "end_frame": "int64",
    "start_s": "float64",
    "end_s": "float64",
    "score": "float32",
    "quality": "float32",
    "decision": "string",
    "origin": "string",
    "round_born": "int64",
}
FRAME = {"video_id": "string", "frame_index": "int64", "time_s": "float64", "width": "int64", "height": "int64"}
FRAME |= {"group": "string"}
CLIP = {"video_id": "string", "fps": "float64", "frame_count": "int64", "width": "int64", "height": "int64"}
CLIP |= {"group": "string", "url": "string", "start_s": "float64"}
MEDIA = pa.struct({"bytes": pa.binary(), "path": pa.string()})
ARROW = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "float32": pa.float32()}
MOST_SHARD_BYTES = 400 * 2**20  # the hub asks for less than 500 MB
MOST_CLIP_BYTES = 2**30  # a value of a Parquet column ends at 2 GiB
NO_FILE = f"gone or larger than {MOST_CLIP_BYTES >> 30} GiB"
ROWS_TOGETHER = 32  # pictures in memory at a time
Sample = dict[str, Any]


def frame_samples(labels: LabelSet) -> Iterator[tuple[str, Path, Sample]]:
    """For each picture of the dataset its split, its file and its row of `frames`, category by name."""
    boxes = dict(iter(labels.in_images(labels.boxes).groupby(["video_id", "frame_index"])))
    none = labels.boxes[:0]
    for image in labels.images.sort_values(["video_id", "frame_index"]).to_dict("records"):
        found = boxes.get((image["video_id"], image["frame_index"]), none)
        sample = {name: image[name] for name in FRAME}
        yield split_of(image), Path(image["picture"]), sample | {"objects": [_object(row) for row in _rows(found)]}


def clip_samples(labels: LabelSet) -> Iterator[tuple[str, Path, Sample]]:
    """The same for each video with actions, and its row of `clips`."""
    actions = dict(iter(labels.actions.groupby("video_id")))
    for video in labels.videos.sort_values("video_id").to_dict("records"):
        if video["video_id"] not in actions or labels.clips is None:
            continue
        own = actions[video["video_id"]].sort_values(["start_frame", "end_frame", "class_name", "label_uid"])
        listed = [{name: row[name] for name in ACTION if name != "category"} for row in _rows(own)]
        for item, name in zip(listed, own["class_name"], strict=True):
            item["category"] = name
        sample = {name: None if video[name] != video[name] else video[name] for name in CLIP}  # NaN is no JSON
        yield split_of(video), labels.clips / video["file"], sample | {"actions": listed}


def _object(row: Mapping[str, Any]) -> Sample:
    x1, y1, x2, y2 = (float(row[name]) for name in tables.BOX_COLUMNS)
    item = {name: row[name] for name in OBJECT if name not in ("category", "mask_rle")}
    return item | {"category": row["class_name"], "bbox": [x1, y1, x2 - x1, y2 - y1], "mask_rle": row["mask_rle"]}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    if "mask_rle" not in table:
        table = table.assign(mask_rle="")
    return table.to_dict("records")


def has_file(path: Path) -> bool:
    """Whether a picture or clip can go into a row."""
    return path.is_file() and path.stat().st_size <= MOST_CLIP_BYTES


def action_names(labels: LabelSet) -> list[str]:
    return sorted(labels.actions["class_name"].unique())


def write_hugging_face(folder: Path, labels: LabelSet) -> list[str]:
    """The Parquet files and the card. Lines on what is left out, and on whose the footage is."""
    lines, configs = [], {}
    frames = _Shards(folder / "frames", "image", FRAME, "objects", OBJECT, list(labels.class_names))
    for split, picture, sample in frame_samples(labels):
        frames.add(split, picture, sample)
    configs["frames"] = frames.close()
    clips = _Shards(folder / "clips", "video", CLIP, "actions", ACTION, action_names(labels))
    for split, video, sample in clip_samples(labels):
        clips.add(split, video, sample)
    configs["clips"] = clips.close()
    if clips.without:
        lines.append(f"mind: {clips.without} videos are named without their file, which is {NO_FILE}")
    write_text(folder / "README.md", card(labels, configs))
    return [*lines, "mind: it holds the pictures themselves; who may see them is for the footage's owner to say"]


class _Shards:
    """The Parquet files of one configuration, `<split>-00000.parquet` on, a new one where one grows too large."""

    def __init__(
        self, folder: Path, medium: str, columns: Mapping[str, str], list_name: str, item: Mapping[str, str],
        class_names: list[str],
    ):  # fmt: skip
        self.folder, self.medium, self.list_name = folder, medium, list_name
        self.number = {name: place for place, name in enumerate(class_names)}
        fields: dict[str, pa.DataType] = {name: ARROW[kind] for name, kind in item.items()}
        features: dict[str, Any] = {name: {"dtype": kind, "_type": "Value"} for name, kind in item.items()}
        features["category"] = {"names": class_names, "_type": "ClassLabel"}
        if list_name == "objects":
            fields["bbox"] = pa.list_(pa.float32())
            features["bbox"] = [{"dtype": "float32", "_type": "Value"}]
        all_features: dict[str, Any] = {medium: {"_type": medium.capitalize()}}
        all_features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in columns.items()} | {
            list_name: [features]
        }
        schema = {medium: MEDIA} | {name: ARROW[kind] for name, kind in columns.items()}
        self.schema = pa.schema(schema | {list_name: pa.list_(pa.struct(fields))}).with_metadata(
            {"huggingface": json.dumps({"info": {"features": all_features}})}
        )
        self.without = 0
        self._waiting: dict[str, list[Sample]] = {}
        self._bytes: dict[str, int] = {}
        self._count: dict[str, int] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, split: str, path: Path, sample: Sample) -> None:
        content = path.read_bytes() if has_file(path) else None
        self.without += content is None
        items = [item | {"category": self.number[item["category"]]} for item in sample[self.list_name]]
        medium = {self.medium: None if content is None else {"bytes": content, "path": path.name}}
        waiting = self._waiting.setdefault(split, [])
        waiting.append(sample | medium | {self.list_name: items})
        self._bytes[split] = self._bytes.get(split, 0) + len(content or b"")
        if len(waiting) >= ROWS_TOGETHER or self._bytes[split] > MOST_SHARD_BYTES:
            self._flush(split)

    def _flush(self, split: str) -> None:
        if not self._waiting.get(split):
            return
        if split not in self._writers:
            number = self._count.get(split, 0)
            self._count[split] = number + 1
            path = self.folder / f"{SPLITS[split]}-{number:05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[split] = pq.ParquetWriter(path, self.schema)
        self._writers[split].write_table(pa.Table.from_pylist(self._waiting.pop(split), self.schema))
        if self._bytes[split] > MOST_SHARD_BYTES:
            self._bytes[split] = 0
            self._writers.pop(split).close()

    def close(self) -> list[str]:
        """The splits that have rows, by their names there."""
        for split in list(self._waiting):
            self._flush(split)
        for writer in self._writers.values():
            writer.close()
        return [theirs for ours, theirs in SPLITS.items() if ours in self._count]


def card(labels: LabelSet, configs: Mapping[str, list[str]]) -> str:
    """The README.md of a data set: where its files are, for machines, and what is known of its labels."""
    head = ["---", "pretty_name: " + json.dumps(labels.title), "tags:", "- sports", "- video"]
    tasks = {"frames": "object-detection", "clips": "video-classification"}
    head += ["task_categories:", *(f"- {tasks[name]}" for name, splits in configs.items() if splits)]
    default = next((name for name, splits in configs.items() if splits), "")
    head.append("configs:")
    for name, splits in configs.items():
        if splits:
            head += [f"- config_name: {name}", *(["  default: true"] if name == default else []), "  data_files:"]
            for split in splits:
                head += [f"  - split: {split}", f"    path: {name}/{split}-*.parquet"]
    return "\n".join([*head, "---", "", *labels.about, *_use(configs)]) + "\n"


def _use(configs: Mapping[str, list[str]]) -> list[str]:
    lines = ["", "## How to read it", "", "```python", "from datasets import load_dataset", ""]
    lines += [f'{name} = load_dataset("FOLDER", "{name}")' for name, splits in configs.items() if splits]
    lines += ["```", ""]
    lines.append(
        "`objects`: a box is `x, y, width, height` in pixels; `track_id` -1 is no track; `decision` «ignore» is"
    )
    lines.append("neither an object to learn nor background. `actions`: frames from 0, the end not included.")
    return [*lines, "No source video (`group`) is in two splits."]


def push(folder: Path, name: str) -> str:
    """Put an exported folder on the hub as the data set `name`, with the token of whoever is logged in there.

    A data set that is new there is private. Returns its address; InputError in one line for whatever goes wrong.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(f"--push {name}: needs huggingface_hub: pip install huggingface_hub") from None
    if huggingface_hub.get_token() is None:
        raise InputError(f"--push {name}: nobody is logged in; run: hf auth login") from None
    hub = huggingface_hub.HfApi()
    try:
        address = hub.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        hub.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder, commit_message="Labels")
    except Exception as error:  # of the hub, of its HTTP client, of the disk
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--push {name}: refused ({reason}); the export is in {folder}") from None
    return str(address)


def read_hugging_face(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read the Parquet files of such a folder; pictures and videos in it are not looked at."""
    reading = SampleReading(path, videos)
    files = sorted(path.glob("frames/*.parquet")) + sorted(path.glob("clips/*.parquet"))
    if not files:
        raise InputError(f"{path}: holds no Parquet in frames/ or clips/")
    for file in files:
        list_name = "objects" if file.parent.name == "frames" else "actions"
        for place, row in enumerate(_parquet_rows(file, list_name)):
            where = f"{file.parent.name}/{file.name}: row {place}"
            (reading.frame if list_name == "objects" else reading.clip)(where, row)
    return reading.found()


def _parquet_rows(path: Path, list_name: str) -> Iterator[Sample]:
    """The rows without their pictures, categories by name."""
    try:
        opened = pq.ParquetFile(path)
        metadata = json.loads((opened.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata["info"]["features"][list_name]
        item = features[0] if isinstance(features, list) else features.get("feature", features)
        names = dict(enumerate(item["category"]["names"]))
        columns = [name for name in (*FRAME, *CLIP, list_name) if name in opened.schema_arrow.names]
        for batch in opened.iter_batches(1024, columns=list(dict.fromkeys(columns))):
            for row in batch.to_pylist():
                for each in row.get(list_name) or []:
                    each["category"] = names.get(each.get("category"), "")
                yield row
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, pa.ArrowException) as error:
        raise InputError(f"{path}: not such a Parquet: {' '.join(str(error).split())[:120]}") from None


class SampleReading:
    """Rows of `frames` and `clips` as they are read, each checked."""

    def __init__(self, path: Path, videos: KnownVideos):
        self.path, self.videos, self.rows = path, videos, BoxRows(path)
        self.actions: list[tuple[Any, ...]] = []
        self.covered: dict[str, set[int]] = {}
        self.covered_actions: set[str] = set()

    def frame(self, where: str, row: Sample) -> None:
        video = self.videos.find(text_value(row.get("video_id")))
        items = _items(row.get("objects"))
        frame = whole_number(row.get("frame_index"), -1)
        if video is None:
            self.videos.miss(text_value(row.get("video_id")) or where, len(items))
            return
        if 0 <= frame < int(video["frame_count"]):
            self.covered.setdefault(str(video["video_id"]), set()).add(frame)
        for item in items:
            with self.rows.entry(where, video, frame):
                box = item.get("bbox")
                if not isinstance(box, list) or len(box) != 4:
                    raise OddEntry("objects whose bbox is not four numbers")
                x, y, width, height = (number_of(value, "bbox") for value in box)
                name = text_value(item.get("category"))
                track, uid = whole_number(item.get("track_id"), tables.NO_TRACK), text_value(item.get("label_uid"))
                is_ignored = item.get("decision") == "ignore"
                self.rows.add(video, frame, (x, y, x + width, y + height), name, uid, track, is_ignored)

    def clip(self, where: str, row: Sample) -> None:
        video = self.videos.find(text_value(row.get("video_id")))
        items = _items(row.get("actions"))
        if video is None:
            self.videos.miss(text_value(row.get("video_id")) or where, len(items))
            return
        video_id = str(video["video_id"])
        self.covered_actions.add(video_id)
        for item in items:
            with self.rows.entry(where, video):
                start, end = (whole_number(item.get(name), -1) for name in ("start_frame", "end_frame"))
                if not 0 <= start < end <= int(video["frame_count"]):
                    raise OddEntry("actions that are not within their video")
                name = text_value(item.get("category"))
                if not name:
                    raise OddEntry("actions without a class")
                check_class_name(self.path, name)
                track = whole_number(item.get("track_id"), tables.NO_TRACK)
                self.actions.append((text_value(item.get("label_uid")), video_id, track, start, end, name))

    def found(self) -> FoundLabels:
        return found_labels(
            self.rows,
            self.videos.rows,
            self.covered,
            actions=found_actions(self.actions),
            covered_actions=self.covered_actions,
        )


def _items(items: object) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
