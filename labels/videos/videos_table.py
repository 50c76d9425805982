"""The rows of `videos.parquet` while stage 1 adds to them, and the check that each video is still the file labelled.

Earlier rows stay, progress is saved as it goes. For the check, size and modification time are compared first; the
digest is computed only where they differ or are unknown, and cached in `videos/.clips.json`.
"""

import hashlib
import re
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import file_digest, read_object, read_parquet_metadata, write_json
from labels.records.work_folder import WorkFolder

# Beside the columns of every videos table: by which a source is known to be unchanged, and how its frames are got.
KINDS = tables.VIDEOS | {
    "source_bytes": "int64",
    "source_mtime_ns": "int64",
    "damage": "str",  # why the clip is used until its last good frame alone, which frame_count says; empty: it is whole
    "repeated_frames": "int64",  # how many show just what the frame before shows; -1: nobody has looked
    "notes": "str",  # what was chosen or done to decode it
}
DEFAULTS = {"str": "", "int64": -1, "float64": float("nan")}
SAVE_EVERY_S = 2.0
MOST_LETTERS = 80

Row = dict[str, Any]


def video_row(**known: Any) -> Row:
    """A row of the videos table; what is not said is empty, -1 or NaN."""
    return {name: known.get(name, DEFAULTS[kind]) for name, kind in KINDS.items()}


class VideosTable:
    """The table of a work folder, open for adding. As a context manager it is saved however the block ends."""

    def __init__(self, work: WorkFolder):
        self.work = work
        self._kinds = dict(KINDS)
        self._rows: dict[str, Row] = {}
        self._taken: set[str] = set()  # every video_id, folded: some file systems do not tell a from A
        self._id_by_source: dict[str, str] = {}
        self._id_by_sha256: dict[str, str] = {}
        self._unsaved = False
        self._saved_s = time.monotonic()
        if work.videos_table.is_file():
            self.add(work.read_videos())
            self._unsaved = False

    def __enter__(self) -> "VideosTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.save()

    def row_from(self, source: str) -> Row | None:
        """What an earlier run said of a source."""
        video_id = self._id_by_source.get(source)
        return None if video_id is None else self._rows[video_id]

    def usable_with(self, sha256: str) -> Row | None:
        """The usable clip of this content."""
        video_id = self._id_by_sha256.get(sha256)
        return None if video_id is None else self._rows[video_id]

    def put(self, row: Row) -> None:
        """Add a row, or put it in the place of the one with its video_id."""
        self.remove(row["video_id"])
        self._rows[row["video_id"]] = row
        self._taken.add(row["video_id"].casefold())
        self._id_by_source.setdefault(row["source"], row["video_id"])
        if row["status"] == "ok" and row["sha256"]:
            self._id_by_sha256.setdefault(row["sha256"], row["video_id"])
        self._unsaved = True
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def remove(self, video_id: str) -> None:
        row = self._rows.pop(video_id, None)
        if row is None:
            return
        self._taken.discard(video_id.casefold())
        for index, key in ((self._id_by_source, row["source"]), (self._id_by_sha256, row["sha256"])):
            if index.get(key) == video_id:
                del index[key]
        self._unsaved = True

    def add(self, videos: pd.DataFrame) -> None:
        """Put all rows of a table; columns that only it has are kept."""
        for name, dtype in videos.dtypes.items():
            kind = str(dtype) if pd.api.types.is_numeric_dtype(dtype) else "str"
            self._kinds.setdefault(str(name), kind)
        for row in videos.to_dict("records"):
            self.put(video_row() | {str(name): value for name, value in row.items()})

    def save(self) -> None:
        if not self._unsaved:
            return
        columns: dict[str, object] = {
            name: [row.get(name, DEFAULTS.get(kind)) for row in self._rows.values()]
            for name, kind in self._kinds.items()
        }
        self.work.write_videos(tables.make_table(self._kinds, columns))
        self._unsaved, self._saved_s = False, time.monotonic()

    def free_id(self, name: str, source: str) -> str:
        """A video_id for a source: the one it has, or its name in safe letters, made unique by a digest if need be."""
        earlier = self._id_by_source.get(source)
        if earlier is not None:
            return earlier
        wanted = safe_name(name)
        if wanted.casefold() not in self._taken:
            return wanted
        return f"{wanted}_{hashlib.sha256(source.encode()).hexdigest()[:10]}"


def safe_name(text: str) -> str:
    """`text` in letters, digits, hyphen and underscore, safe as a file name anywhere; a long one is cut in front."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", text)
    if len(safe) > MOST_LETTERS:
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:10]
        safe = f"{digest}_{safe[len(digest) + 1 - MOST_LETTERS :]}"
    return safe if safe.strip("_") else "clip"


KNOWN_CLIPS = ".clips.json"  # in videos/: video_id -> size, time and digest of its file
MOST_NAMED = 3


def refuse_replaced_clips(
    work: WorkFolder, force: bool, number: int | None = None, stage: str = "", command: str = ""
) -> list[str]:
    """InputError where clips were replaced since stage 1 took them, or since a stage of a round labelled them.

    Args:
        force: no error but the lines to tell.
        number, stage: the round and the stage of it whose shards are to be used; none: no shard is.
        command: what makes that stage anew.
    """
    rows = work.usable_videos().to_dict("records")
    replaced = _replaced_files(work, rows)
    faults = []
    if replaced:
        table = f"{work.videos_table}: not the clips that it speaks of: {_named(replaced)}"
        faults.append(f"{table}; bring them in again with dataset_downloader.py")
    if number is not None:
        outdated = []
        for row in rows:
            metadata = read_parquet_metadata(work.round(number).boxes(stage, row["video_id"])) or {}
            if metadata.get("sha256", row["sha256"]) != row["sha256"]:
                outdated.append(row["video_id"])
        if outdated:
            shards = f"{work.round(number).stage(stage)}: made from other clips than are here now: {_named(outdated)}"
            faults.append(f"{shards}; run first: {command}")
    if faults and not force:
        raise InputError(f"{faults[0]}, or go on with --force")
    return [f"--force: {fault}" for fault in faults]


def _replaced_files(work: WorkFolder, rows: list[dict[str, Any]]) -> list[str]:
    kept = read_object(work.videos / KNOWN_CLIPS)
    known, replaced = {}, []
    for row in rows:
        path, video_id = work.videos / row["file"], row["video_id"]
        try:
            status = path.stat()
            stamp = [status.st_size, status.st_mtime_ns]
            if not row["sha256"] or stamp == [row.get("source_bytes"), row.get("source_mtime_ns")]:
                continue  # a link to a file that stage 1 looked at
            entry = kept.get(video_id)
            digest = _digest_in(entry, stamp) or file_digest(path)
        except OSError:
            continue  # it is gone, or cannot be read: whoever decodes it says so
        known[video_id] = [*stamp, digest]
        if digest != row["sha256"]:
            replaced.append(video_id)
    if known != kept and (known or kept):
        with suppress(OSError):  # a folder that is read alone
            write_json(work.videos / KNOWN_CLIPS, known)
    return replaced


def _digest_in(entry: object, stamp: list[int]) -> str:
    """The digest in an entry of KNOWN_CLIPS of a file with this size and time; empty where it is of another."""
    is_same = isinstance(entry, list) and len(entry) == 3 and entry[:2] == stamp and isinstance(entry[2], str)
    return entry[2] if is_same else ""  # type: ignore[index]


def _named(video_ids: list[str]) -> str:
    more = f" and {len(video_ids) - MOST_NAMED} more" if len(video_ids) > MOST_NAMED else ""
    return f"{len(video_ids)} ({', '.join(video_ids[:MOST_NAMED])}{more})"
