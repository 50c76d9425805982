"""The ledger: a line for every attempt to get a clip, kept for ever, in `work/ledger/*.jsonl`.

It is the memory of downloading. What was got is not fetched again, what is dead is not asked for again, and the
ledgers of several machines merge by lying in one folder: every file there is read, each machine writes its own.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from labels.records.work_folder import WorkFolder


def ledger_folder(work: WorkFolder) -> Path:
    return work.root / "ledger"


def ledger_file(work: WorkFolder, shard: tuple[int, int]) -> Path:
    """Where this run writes: shards have names of their own, so that merging them is copying."""
    part, parts = shard
    return ledger_folder(work) / ("clips.jsonl" if parts == 1 else f"clips_{part:03d}_of_{parts:03d}.jsonl")


def read_ledgers(work: WorkFolder) -> Iterator[dict[str, Any]]:
    """Every attempt in every ledger, those of one file in the order they were made.

    A line that is not whole (the process was killed while writing it) is no attempt.
    """
    for path in sorted(ledger_folder(work).glob("*.jsonl")):
        with open(path, encoding="utf-8", errors="replace") as opened:
            for line in opened:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict) and isinstance(row.get("video_id"), str) and "outcome" in row:
                    yield row


class Ledger:
    """One ledger file, written to. Rows are on the disk when `write` returns."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> "Ledger":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._opened = open(self.path, "ab+")
        if self._opened.seek(0, os.SEEK_END):
            self._opened.seek(-1, os.SEEK_END)
            if self._opened.read(1) != b"\n":  # a line that a killed process left unfinished
                self._opened.write(b"\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def write(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Append attempts. Returns them with the time they ended, in UTC."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        rows = [{**row, "time": now} for row in rows]
        lines = [json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows]
        self._opened.write("".join(lines).encode())
        self._opened.flush()
        os.fsync(self._opened.fileno())
        return rows
