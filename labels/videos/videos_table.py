"""The rows of `videos.parquet` while stage 1 adds to them: earlier rows stay, progress is saved as it goes."""

import hashlib
import re
import time
from types import TracebackType
from typing import Any

import pandas as pd

from labels.records import tables
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
