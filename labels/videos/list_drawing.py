"""Which clips of a list are drawn: what is not wanted is left out, what stands in it twice is settled, by lot the rest.

All of it happens in the plan's database, so that it takes no memory however long the list is.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from labels.videos.clip_requests import ClipRequest
from labels.videos.list_filters import ClassChoice, ListFilters, is_in_shard, stable_number, why_not_wanted

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
