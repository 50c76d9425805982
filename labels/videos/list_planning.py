"""What a run has to do, worked out on disk: a list of a million entries needs no more memory than one of a thousand.

The plan is an SQLite file that is made anew by every run from the list and the ledger; nothing is lost with it.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from labels.videos.clip_requests import ClipRequest
from labels.videos.download_outcomes import BLOCKED, OK
from labels.videos.list_drawing import SPLIT_RANKS, PlanCounts, draw_clips
from labels.videos.list_filters import ClassChoice, ListFilters

CACHE_KIB = 32 * 1024
BATCH = 10_000
ATTEMPTS_TABLE = """
CREATE TABLE attempts (
    video_id TEXT PRIMARY KEY, outcome TEXT, again INTEGER, stamp TEXT, message TEXT, file TEXT, fps REAL,
    frame_count INTEGER, width INTEGER, height INTEGER, sha256 TEXT, short_side INTEGER
) WITHOUT ROWID
"""
ROW_COLUMNS = (
    "video_id", "source_key", "url", "start_s", "end_s", "class_name", "split", "fault", "outcome", "message", "file",
    "fps", "frame_count", "width", "height", "sha256",
)  # fmt: skip
WAITING = f"a.video_id IS NULL OR a.again OR a.outcome IN ({', '.join(repr(name) for name in sorted(BLOCKED))})"


class PlannedClip(NamedTuple):
    """A clip to get."""

    source_key: str
    url: str
    video_id: str
    start_s: float | None
    end_s: float | None
    class_name: str
    class_names: str
    split: str
    duration_s: float | None


class DownloadPlan:
    """The wanted clips of one run and what is known of each. A context manager; its file goes with it."""

    def __init__(self, folder: Path, filters: ListFilters):
        self.path, self.filters = folder / "plan.sqlite", filters
        self.counts = PlanCounts()
        self.choice = ClassChoice(filters.classes)

    def __enter__(self) -> "DownloadPlan":
        self.database = sqlite3.connect(self.path)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}", "temp_store=FILE"):
            self.database.execute(f"PRAGMA {pragma}")
        self.database.execute(ATTEMPTS_TABLE)
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()
        self.path.unlink(missing_ok=True)

    def take_list(self, requests: Iterable[ClipRequest]) -> None:
        """Read a whole list; what of it is wanted is known afterwards."""
        draw_clips(self.database, requests, self.filters, self.choice, self.counts)

    def take_attempts(self, rows: Iterable[dict[str, Any]]) -> None:
        """What the ledgers say; of several attempts at a clip the one that got it counts, or else the last one."""
        columns = [row[1] for row in self.database.execute("PRAGMA table_info(attempts)")]
        update = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
        self.database.executemany(
            f"INSERT INTO attempts VALUES ({', '.join('?' * len(columns))}) "
            f"ON CONFLICT (video_id) DO UPDATE SET {update} WHERE excluded.stamp >= attempts.stamp",
            (_attempt_row(row) for row in rows),
        )
        self.database.commit()

    def choose(self, retry: frozenset[str]) -> int:
        """Settle which clips are to be fetched now; `retry` are the outcomes that are tried again. Their number."""
        names = ", ".join(f"'{name}'" for name in sorted(retry - {OK})) or "''"
        self.database.execute(
            "CREATE TABLE todo AS SELECT c.source_key, c.url, c.video_id, c.start_s, c.end_s, c.class_name, "
            "c.class_names, c.split, c.duration_s FROM clips AS c LEFT JOIN attempts AS a USING (video_id) "
            f"WHERE c.state = '' AND c.fault = '' AND ({WAITING} OR a.outcome IN ({names})) "
            "ORDER BY c.source_lot, c.source_key, c.start_s"
        )
        self.database.commit()
        return int(self.database.execute("SELECT count(*) FROM todo").fetchone()[0])

    def videos(self) -> Iterator[list[PlannedClip]]:
        """The clips to fetch, all those of one video together."""
        for _, clips in groupby(self._todo(), key=lambda clip: clip.source_key):
            yield list(clips)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Every wanted clip as ROW_COLUMNS; the outcome of one that waits to be fetched is None."""
        return iter(
            self.database.execute(
                "SELECT c.video_id, c.source_key, c.url, c.start_s, c.end_s, c.class_name, c.split, c.fault, "
                f"CASE WHEN {WAITING} THEN NULL ELSE a.outcome END, a.message, a.file, a.fps, a.frame_count, a.width, "
                "a.height, a.sha256 "
                "FROM clips AS c LEFT JOIN attempts AS a USING (video_id) WHERE c.state = '' ORDER BY c.video_id"
            )
        )

    def by_class(self) -> list[tuple[str, str, int, int, float]]:
        """(class, outcome, clips, videos, seconds as far as known), most clips first.

        Clips that were not asked for have the outcome "refused" or "waiting".
        """
        return self.database.execute(
            f"SELECT c.class_name, CASE WHEN c.fault <> '' THEN 'refused' WHEN {WAITING} THEN 'waiting' "
            "ELSE a.outcome END AS ended, count(*), count(DISTINCT c.source_key), "
            "total(coalesce(c.end_s - coalesce(c.start_s, 0), c.duration_s)) "
            "FROM clips AS c LEFT JOIN attempts AS a USING (video_id) WHERE c.state = '' "
            "GROUP BY c.class_name, ended ORDER BY count(*) DESC, c.class_name, ended"
        ).fetchall()

    def count_of_other_size(self, short_side: int | None) -> int:
        """How many clips are there that were cut to another short side."""
        query = (
            "SELECT count(*) FROM clips AS c JOIN attempts AS a USING (video_id) "
            "WHERE c.state = '' AND a.outcome = 'ok' AND a.short_side IS NOT ?"
        )
        return int(self.database.execute(query, (short_side,)).fetchone()[0])

    def _todo(self) -> Iterator[PlannedClip]:
        names = {rank: name for name, rank in SPLIT_RANKS.items()}
        last = 0
        while True:  # in pages: the table of attempts changes while this is read
            page = self.database.execute(
                "SELECT rowid, * FROM todo WHERE rowid > ? ORDER BY rowid LIMIT ?", (last, BATCH)
            ).fetchall()
            for row in page:
                clip = PlannedClip(*row[1:])
                yield clip._replace(split=names[row[8]])
            if len(page) < BATCH:
                return
            last = page[-1][0]


def _attempt_row(row: dict[str, Any]) -> tuple[Any, ...]:
    got_it = row["outcome"] == OK
    return (
        row["video_id"], row["outcome"], bool(row.get("again")), f"{int(got_it)}{row.get('time', '')}",
        row.get("message", ""), row.get("file", ""), row.get("fps"), row.get("frame_count"), row.get("width"),
        row.get("height"), row.get("sha256"), row.get("short_side"),
    )  # fmt: skip
