"""WebDataset, each way: tar shards of `<key>.jpg` or `<key>.mp4` with `<key>.json`, read in order while training.

`frames-<split>-000000.tar` holds the pictures of the dataset, `clips-<split>-000000.tar` the videos with actions. The
JSON is a row of the Hugging Face export (`formats/hugging_face.py`), with categories by name. A key has no dot, as what
follows the first one is taken for the suffix.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labels.exchange.formats.hugging_face import (
    NO_FILE,
    SPLITS,
    SampleReading,
    card,
    clip_samples,
    frame_samples,
    has_file,
)
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import FoundLabels, LabelSet, file_in
from labels.records.errors import InputError
from labels.records.safe_writing import write_text

MOST_SHARD_BYTES = 2**30
MOST_JSON_BYTES = 2**26  # of one sample that is read
SHARD = re.compile(r"(frames|clips)-.*\.tar")


def write_webdataset(folder: Path, labels: LabelSet) -> list[str]:
    """The shards and the same card. The same labels give the same bytes."""
    shards = _Shards(folder)
    for split, picture, sample in frame_samples(labels):
        shards.add("frames", split, f"{sample['video_id']}_{sample['frame_index']:06d}", picture, sample)
    for split, video, sample in clip_samples(labels):
        shards.add("clips", split, sample["video_id"], video, sample)
    shards.close()
    write_text(folder / "README.md", card(labels, {}))
    lines = (
        [f"mind: {shards.without} videos are named without their file, which is {NO_FILE}"] if shards.without else []
    )
    return [*lines, "mind: it holds the pictures themselves; who may see them is for the footage's owner to say"]


class _Shards:
    def __init__(self, folder: Path):
        self.folder, self.without = folder, 0
        self._open: dict[tuple[str, str], tarfile.TarFile] = {}
        self._count: dict[tuple[str, str], int] = {}

    def add(self, kind: str, split: str, key: str, path: Path, sample: dict[str, Any]) -> None:
        tar = self._tar((kind, split))
        key = key.replace(".", "_")
        if has_file(path):
            _add(tar, f"{key}{path.suffix.lower()}", path.read_bytes())
        else:
            self.without += 1
        _add(tar, f"{key}.json", json.dumps(sample, ensure_ascii=False).encode())
        if tar.offset > MOST_SHARD_BYTES:
            self._open.pop((kind, split)).close()

    def _tar(self, name: tuple[str, str]) -> tarfile.TarFile:
        if name not in self._open:
            number = self._count.get(name, 0)
            self._count[name] = number + 1
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{name[0]}-{SPLITS[name[1]]}-{number:06d}.tar"
            self._open[name] = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        return self._open[name]

    def close(self) -> None:
        for tar in self._open.values():
            tar.close()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def read_webdataset(path: Path, videos: KnownVideos) -> FoundLabels:
    """Read the JSON of such shards, a folder of them or one; pictures and videos in them are not looked at."""
    reading = SampleReading(path, videos)
    files = [file for file in file_in(path, "*.tar") if SHARD.fullmatch(file.name)]
    if not files:
        raise InputError(f"{path}: holds no frames-*.tar or clips-*.tar")
    for file in files:
        take = reading.frame if file.name.startswith("frames") else reading.clip
        for name, sample in _samples(file):
            take(f"{file.name}: {name}", sample)
    return reading.found()


def _samples(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile() or not member.name.endswith(".json"):
                    continue
                if member.size > MOST_JSON_BYTES:
                    raise InputError(f"{path}: {member.name[:80]} is larger than {MOST_JSON_BYTES >> 20} MiB")
                opened = tar.extractfile(member)
                sample = json.loads(opened.read() if opened is not None else b"")
                if isinstance(sample, dict):
                    yield member.name[:80], sample
    except (OSError, tarfile.TarError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not such a tar: {' '.join(str(error).split())[:120]}") from None
