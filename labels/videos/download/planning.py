"""What a run has to do, planned on disk: a list of a million entries needs no more memory than one of a thousand.

The plan is an SQLite file that every run makes anew from the list and the ledger; nothing is lost with it. Filters,
duplicates and the draw by lot are settled in that database too.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from labels.videos.download.outcomes import BLOCKED, CLOSED, DEAD, OK, OUTCOMES
from labels.videos.download.requests import (
    ClassChoice,
    ClipRequest,
    ListFilters,
    is_in_shard,
    stable_number,
    why_not_wanted,
)

SPLIT_RANKS = {"": 0, "train": 1, "val": 2, "test": 3}  # the more held out, the higher
CLIPS_TABLE = """
CREATE TABLE clips (
    video_id TEXT, source_key TEXT, url TEXT, start_s REAL, end_s REAL, class_name TEXT, class_names TEXT,
    split INTEGER, duration_s REAL, fault TEXT, lot INTEGER, source_lot INTEGER, here INTEGER, state TEXT
)"""  # state: why it is left out; empty when it is wanted


@dataclass
class PlanCounts:
    """Every entry of the list, accounted for."""

    entries: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # by why it is not wanted
    moved_to_held_out: int = 0  # clips whose video the list also has in a more held-out split


def draw_clips(
    database: sqlite3.Connection,
    requests: Iterable[ClipRequest],
    filters: ListFilters,
    choice: ClassChoice,
    counts: PlanCounts,
) -> None:
    """Read a whole list into a new table `clips`; `choice` and `counts` learn what it held."""
    _Drawing(database, filters, choice, counts).run(requests)


class _Drawing:
    def __init__(self, database: sqlite3.Connection, filters: ListFilters, choice: ClassChoice, counts: PlanCounts):
        self.database, self.filters, self.choice, self.counts = database, filters, choice, counts

    def run(self, requests: Iterable[ClipRequest]) -> None:
        self.database.execute(CLIPS_TABLE)
        places = ", ".join("?" * (CLIPS_TABLE.count(",") + 1))
        self.database.executemany(f"INSERT INTO clips VALUES ({places})", self._wanted_rows(requests))
        self._hold_out()
        self.database.execute("CREATE INDEX by_video ON clips (video_id)")
        again = (
            "EXISTS (SELECT 1 FROM clips AS other WHERE other.video_id = clips.video_id AND other.rowid < clips.rowid)"
        )
        self._leave_out("named twice", again)
        if self.filters.splits:
            ranks = ", ".join(str(SPLIT_RANKS[name]) for name in self.filters.splits)
            self._leave_out("of another split", f"split NOT IN ({ranks}) AND fault = ''")
        if self.filters.per_class is not None:
            self._draw("PARTITION BY class_name", self.filters.per_class, "beyond --per-class")
        if self.filters.limit is not None:
            self._draw("", self.filters.limit, "beyond --limit")
        self._leave_out("in other shards", "NOT here")
        self.database.commit()

    def _wanted_rows(self, requests: Iterable[ClipRequest]) -> Iterator[tuple[Any, ...]]:
        filters, counts = self.filters, self.counts
        for request in requests:
            counts.entries += 1
            # A refused entry that does not even say its class may be one that is wanted: it is shown.
            class_name = self.choice.first_wanted(request.class_names)
            if class_name is None and request.fault and not request.class_names:
                class_name = ""
            if class_name is None:
                counts.left_out["of other classes"] += 1
                continue
            why_not = "" if request.fault else why_not_wanted(request, filters)
            if why_not:
                counts.left_out[why_not] += 1
                continue
            yield (
                request.video_id, request.source_key, request.url, request.start_s, request.end_s, class_name,
                "|".join(request.class_names), SPLIT_RANKS[request.split], request.duration_s, request.fault,
                stable_number(f"{filters.seed}|{request.video_id}"), stable_number(request.source_key),
                is_in_shard(request.source_key, filters.shard), "",
            )  # fmt: skip

    def _hold_out(self) -> None:
        """Put every clip of a video that stands in two splits into the more held-out one."""
        run = self.database.execute
        if run("SELECT min(split) = max(split) FROM clips").fetchone()[0]:
            return
        run("CREATE INDEX by_source ON clips (source_key, split)")
        run(
            "CREATE TEMP TABLE mixed AS SELECT source_key FROM clips WHERE split > 0 AND fault = '' "
            "GROUP BY source_key HAVING min(split) < max(split)"
        )
        highest = "(SELECT max(split) FROM clips AS other WHERE other.source_key = clips.source_key)"
        self.counts.moved_to_held_out = run(
            f"UPDATE clips SET split = {highest} WHERE split < {highest} "
            "AND source_key IN (SELECT source_key FROM mixed)"
        ).rowcount

    def _leave_out(self, why: str, condition: str) -> None:
        count = self.database.execute(f"UPDATE clips SET state = ? WHERE state = '' AND ({condition})", (why,)).rowcount
        if count:
            self.counts.left_out[why] += count

    def _draw(self, partition: str, number: int, why: str) -> None:
        self.database.execute("DROP TABLE IF EXISTS drawn")
        self.database.execute(
            "CREATE TEMP TABLE drawn AS SELECT clip FROM (SELECT rowid AS clip, row_number() OVER "
            f"({partition} ORDER BY lot, video_id) AS place FROM clips WHERE state = '' AND fault = '') "
            "WHERE place <= ?",
            (number,),
        )
        self._leave_out(why, "fault = '' AND rowid NOT IN (SELECT clip FROM drawn)")


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


MOST_CLASSES = 30
ClassRows = list[tuple[str, str, int, int, float]]  # as DownloadPlan.by_class gives them


def list_line(counts: PlanCounts) -> str:
    """Every entry of the list, accounted for in one line."""
    left_out = "".join(f" + {count:,} {why}" for why, count in sorted(counts.left_out.items()))
    wanted = counts.entries - sum(counts.left_out.values())
    return f"list: {counts.entries:,} entries = {wanted:,} wanted{left_out}"


def split_line(counts: PlanCounts) -> list[str]:
    if not counts.moved_to_held_out:
        return []
    return [
        f"{counts.moved_to_held_out:,} entries name a video that the list also has in a more held-out split; "
        "it stays in that one alone"
    ]


def planned_lines(rows: ClassRows) -> list[str]:
    """What a dry run prints: by class, what would be fetched, from how many videos, and how long it is."""
    table: dict[str, list[float]] = {}
    for name, outcome, clips, videos, seconds in rows:
        line = table.setdefault(name, [0, 0, 0, 0, 0])
        if outcome == "waiting":
            line[0] += clips
            line[1] += videos
            line[2] += seconds
        else:
            line[3 if outcome == OK else 4] += clips
    order = sorted(table, key=lambda name: (-table[name][0], name))
    shown, rest = order[:MOST_CLASSES], order[MOST_CLASSES:]
    body = [(name or "(no class)", table[name]) for name in shown]
    if rest:
        body.append((f"{len(rest)} other classes", [sum(table[name][at] for name in rest) for at in range(5)]))
    body.append(("together", [sum(line[at] for line in table.values()) for at in range(5)]))
    cells: list[tuple[str, ...]] = [("class", "to fetch", "videos", "hours", "there", "not again")]
    for name, line in body:
        hours = f"{line[2] / 3600:.1f}" if line[2] else "?"
        cells.append((name, f"{line[0]:,.0f}", f"{line[1]:,.0f}", hours, f"{line[3]:,.0f}", f"{line[4]:,.0f}"))
    return _aligned(cells)


def outcome_lines(rows: ClassRows) -> list[str]:
    """The closing table: a line a class, a column an outcome; and the share of videos asked for that is dead."""
    table: dict[str, Counter[str]] = {}
    for name, outcome, clips, _, _ in rows:
        table.setdefault(name, Counter())[outcome] += clips
    total: Counter[str] = Counter()
    for counts in table.values():
        total.update(counts)
    columns = [outcome for outcome in (*OUTCOMES, "refused", "waiting") if total[outcome]]
    order = sorted(table, key=lambda name: (-sum(table[name].values()), name))
    body = [(name or "(no class)", table[name]) for name in order[:MOST_CLASSES]]
    if len(order) > MOST_CLASSES:
        others: Counter[str] = Counter()
        for name in order[MOST_CLASSES:]:
            others.update(table[name])
        body.append((f"{len(order) - MOST_CLASSES} other classes", others))
    if len(body) != 1:
        body.append(("together", total))
    cells: list[tuple[str, ...]] = [("class", *columns)]
    cells += [(name, *(f"{counts[column]:,}" for column in columns)) for name, counts in body]
    return _aligned(cells) + dead_line(total)


def dead_line(total: Counter[str]) -> list[str]:
    """Of the clips that got an answer: how many are gone, and how many are there but closed to guests."""
    answered = sum(count for outcome, count in total.items() if outcome not in BLOCKED | {"refused", "waiting"})
    if not answered:
        return []
    dead = sum(total[outcome] for outcome in DEAD)
    closed = sum(total[outcome] for outcome in CLOSED)
    return [
        f"dead (private or removed): {dead:,} of {answered:,} clips asked for, {dead / answered:.1%}; "
        f"closed to guests from here: {closed:,}, {closed / answered:.1%}"
    ]


def bar_counts(counts: Counter[str]) -> str:
    """The outcomes so far, most frequent first, for the progress bar."""
    return " ".join(f"{outcome} {count:,}" for outcome, count in counts.most_common(6))


def _aligned(cells: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in
                  enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]  # fmt: skip
