"""Stage 1 from a clip list: plan, fetch, put in place, remember, report.

Only this process writes to the work folder; workers write aside in `videos/.downloads/`. The rows of `videos.parquet`
are made from the plan and merged with what was there.
"""

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.engine.pools import interruption_waits
from labels.records import tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.frame_times import keep_frame_times
from labels.records.work_folder import WorkFolder
from labels.videos.download.clip_lists import read_clip_list
from labels.videos.download.outcomes import OK, Ledger, ledger_file, read_ledgers
from labels.videos.download.planning import ROW_COLUMNS, SPLIT_RANKS, DownloadPlan, PlannedClip
from labels.videos.download.requests import ListFilters
from labels.videos.settings import DownloadSettings
from labels.videos.videos_table import DEFAULTS, KINDS

CHUNK = 50_000
WAITING_REASON = "not fetched yet; run the same command again"
SPLIT_NAMES = np.array(list(SPLIT_RANKS), dtype=object)


def write_clip_rows(work: WorkFolder, plan: DownloadPlan, source: str) -> list[str]:
    """Put a row for every clip of the plan into the videos table, in the place of older ones of the same clips.

    Returns lines worth telling: videos that earlier runs had put into another split.
    """
    new = tables.concatenate(list(_new_rows(plan, source)), KINDS)
    groups = set(new["group"])
    if work.videos_table.is_file():
        old = work.read_videos()
        old = old[~old["video_id"].isin(new["video_id"])]
        new = _with_columns_of(new, old)
        old = _with_columns_of(old, new)
        new = tables.concatenate([old, new], KINDS)
    moved = _hold_out(new, groups)
    if len(new) or work.videos_table.is_file():
        work.write_videos(new)
    return [f"{moved} clips moved to the split in which an earlier list has their video"] if moved else []


def _new_rows(plan: DownloadPlan, source: str) -> Iterator[pd.DataFrame]:
    rows = plan.rows()
    while chunk := list(islice(rows, CHUNK)):
        columns = dict(zip(ROW_COLUMNS, zip(*chunk, strict=True), strict=True))
        described = [_status(fault, outcome, message) for fault, outcome, message in zip(
            columns["fault"], columns["outcome"], columns["message"], strict=True)]  # fmt: skip
        good = np.array([status == "ok" for status, _ in described])
        values: dict[str, object] = {
            "video_id": columns["video_id"],
            "status": [status for status, _ in described],
            "reason": [reason for _, reason in described],
            "file": np.where(good, np.array([name or "" for name in columns["file"]], dtype=object), ""),
            "source": [source] * len(chunk),
            "url": columns["url"],
            "group": columns["source_key"],
            "class_name": columns["class_name"],
            "split": SPLIT_NAMES[np.array(columns["split"])],
            "sha256": np.where(good, np.array([digest or "" for digest in columns["sha256"]], dtype=object), ""),
        }
        for name in ("start_s", "end_s"):
            values[name] = np.array(columns[name], dtype=np.float64)
        for name in ("fps", "frame_count", "width", "height"):
            missing = float(str(DEFAULTS[KINDS[name]]))
            found = np.array([missing if value is None else value for value in columns[name]], dtype=np.float64)
            values[name] = np.where(good, found, missing)
        values |= {name: [DEFAULTS[kind]] * len(chunk) for name, kind in KINDS.items() if name not in values}
        yield tables.make_table(KINDS, values)


def _status(fault: str, outcome: str | None, message: str | None) -> tuple[str, str]:
    if fault:
        return "skipped", f"refused: {fault}"
    if outcome is None:
        return "skipped", WAITING_REASON
    return ("ok", "") if outcome == OK else ("failed", f"{outcome}: {message}")


def _with_columns_of(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The table with every column of the other one, filled with what stands for nothing."""
    table = table.copy()
    for name, dtype in other.dtypes.items():
        if name not in table.columns:
            empty: Any = -1 if dtype.kind in "iu" else float("nan") if dtype.kind == "f" else ""
            table[name] = pd.Series([empty] * len(table), index=table.index).astype(dtype)
    return table


def _hold_out(videos: pd.DataFrame, groups: set[str]) -> int:
    """Put all clips of each of the groups into its most held-out split, in place; how many moved."""
    rank = videos["split"].map(SPLIT_RANKS).fillna(0).astype(int)
    highest = rank.groupby(videos["group"]).transform("max")
    moved = (rank > 0) & (rank < highest) & videos["group"].isin(groups)
    videos.loc[moved, "split"] = SPLIT_NAMES[highest[moved].to_numpy()]
    return int(moved.sum())


@dataclass(frozen=True)
class ListDownload:
    """What the user asked for. `retry` are the outcomes of earlier runs that are tried again."""

    kind: str  # sports1m | kinetics | urls
    path: Path
    labels_path: Path | None = None
    filters: ListFilters = field(default_factory=ListFilters)
    settings: DownloadSettings = field(default_factory=DownloadSettings)
    retry: frozenset[str] = frozenset()
    dry_run: bool = False


def download_list(work: WorkFolder, request: ListDownload) -> Summary:
    """Get what a clip list asks for; the caller holds the work folder's lock, unless it is a dry run."""
    if request.dry_run:
        with tempfile.TemporaryDirectory() as folder, DownloadPlan(Path(folder), request.filters) as plan:
            _fill(plan, work, request)
            return _dry_summary(plan, request)
    downloads = work.videos / ".downloads"
    shutil.rmtree(downloads, ignore_errors=True)  # what a killed run left
    downloads.mkdir(parents=True)
    try:
        with DownloadPlan(downloads, request.filters) as plan:
            _fill(plan, work, request)
            return _Run(work, request, plan, downloads).go()
    finally:
        shutil.rmtree(downloads, ignore_errors=True)


def _fill(plan: DownloadPlan, work: WorkFolder, request: ListDownload) -> None:
    """Read the list and what the ledgers know of it."""
    plan.take_list(read_clip_list(request.kind, request.path, request.settings, request.labels_path))
    plan.choice.require_any(str(request.path))
    plan.take_attempts(row for row in read_ledgers(work) if row["outcome"] != OK or _is_there(work, row))


def _is_there(work: WorkFolder, row: dict[str, Any]) -> bool:
    """Whether the clip that a ledger says was got lies in its place; a ledger may be copied without its clips."""
    name = row.get("file")
    if not isinstance(name, str) or not name or os.path.basename(name) != name:
        return False
    try:
        return os.stat(work.videos / name).st_size == row.get("bytes")
    except OSError:
        return False


class _Run:
    """One run over a plan."""

    def __init__(self, work: WorkFolder, request: ListDownload, plan: DownloadPlan, downloads: Path):
        self.work, self.request, self.plan, self.downloads = work, request, plan, downloads
        longest_s = request.filters.max_duration_s
        self.settings = replace(
            request.settings,
            min_height=max(request.settings.min_height, request.filters.min_height),
            max_clip_s=min(request.settings.max_clip_s, longest_s or request.settings.max_clip_s),
        )
        self.waiting: dict[str, dict[str, PlannedClip]] = {}  # by source: the clips that are under way
        self.counts: Counter[str] = Counter()

    def go(self) -> Summary:
        from labels.videos.download.pool import DownloadPool

        todo = self.plan.choose(self.request.retry)
        pool = DownloadPool(self.settings, self.downloads)
        table_lines: list[str] = []
        try:
            if todo:
                self._fetch(pool, todo)
        finally:
            table_lines = write_clip_rows(self.work, self.plan, f"{self.request.kind}:{self.request.path.name}")
        return self._summary(pool.stopped, pool.notes + table_lines)

    def _fetch(self, pool: Any, todo: int) -> None:
        from tqdm import tqdm

        with (
            Ledger(ledger_file(self.work, self.request.filters.shard)) as ledger,
            closing(pool.run(self._jobs())) as attempts,
            tqdm(total=todo, unit="clip", desc="download", file=sys.stderr, smoothing=0.05) as bar,
        ):
            for attempt in attempts:
                with interruption_waits():  # or the table would lack what the ledger has
                    self.plan.take_attempts(ledger.write([self._settle(attempt, each) for each in attempt.results]))
                if len(attempt.again) < len(attempt.results):
                    bar.update(len(attempt.results) - len(attempt.again))
                bar.set_postfix_str(_bar_text(self.counts, pool))
                if not attempt.again:
                    shutil.rmtree(attempt.job.folder, ignore_errors=True)
                    self.waiting.pop(attempt.job.source_key, None)

    def _jobs(self) -> Iterator[Any]:
        from labels.videos.download.cutting import Segment
        from labels.videos.download.worker import DownloadJob

        for clips in self.plan.videos():
            first = clips[0]
            self.waiting[first.source_key] = {clip.video_id: clip for clip in clips}
            folder = self.downloads / blake2b(first.source_key.encode(), digest_size=8).hexdigest()
            segments = tuple(Segment(clip.video_id, clip.start_s, clip.end_s) for clip in clips)
            yield DownloadJob(first.source_key, first.url, segments, folder.resolve())

    def _settle(self, attempt: Any, result: Any) -> dict[str, Any]:
        """Move a clip into place; then its row for the ledger."""
        clip = self.waiting[attempt.job.source_key][result.video_id]
        if result.path is not None:
            os.replace(result.path, self.work.videos / result.path.name)
            keep_frame_times(self.work.frame_times / f"{result.video_id}.parquet", result.times_s)
        again = result.video_id in attempt.again
        if not again:
            self.counts[result.outcome] += 1
        asked_s = None if clip.end_s is None else round(clip.end_s - (clip.start_s or 0.0), 3)
        return {
            **clip._asdict(),
            "list": f"{self.request.kind}:{self.request.path.name}",
            "short_side": self.settings.short_side,
            "asked_s": asked_s,
            "attempt": attempt.number,
            "outcome": result.outcome,
            "message": result.message,
            "again": again,
            **result.facts,
        }

    def _summary(self, stopped: str, notes: list[str]) -> Summary:
        from labels.videos.download.planning import list_line, outcome_lines, split_line

        rows = self.plan.by_class()
        skipped: Counter[str] = Counter()
        for _, outcome, clips, _, _ in rows:
            skipped[_SKIPPED.get(outcome, outcome)] += clips
        used = skipped.pop(OK, 0)
        summary = Summary("download", "clips", used + sum(skipped.values()), used, dict(skipped))
        summary.lines = [list_line(self.plan.counts), *split_line(self.plan.counts), *self.plan.choice.unfulfilled()]
        summary.lines += [*notes, *_size_lines(self.plan, self.settings.short_side), *outcome_lines(rows)]
        if stopped:
            summary.lines.append(f"stopped: {stopped}. The same command goes on where it ended; later is better.")
        return summary


_SKIPPED = {"waiting": "not fetched yet", "error": "other errors"}


def _dry_summary(plan: DownloadPlan, request: ListDownload) -> Summary:
    from labels.videos.download.planning import list_line, planned_lines, split_line

    rows = plan.by_class()
    by_outcome: Counter[str] = Counter()
    for _, outcome, clips, _, _ in rows:
        by_outcome[outcome] += clips
    used = plan.choose(request.retry)
    skipped = Counter({_SKIPPED.get(name, name): count for name, count in by_outcome.items() if name != "waiting"})
    skipped["there already"] = skipped.pop(OK, 0)
    for name in request.retry:  # what would be tried again is no longer skipped
        skipped.pop(_SKIPPED.get(name, name), None)
    skipped = Counter({name: count for name, count in skipped.items() if count})
    lines = [list_line(plan.counts), *split_line(plan.counts), *plan.choice.unfulfilled(), *planned_lines(rows)]
    lines.append("a dry run: nothing was fetched or written")
    return Summary("download (dry run)", "clips", used + sum(skipped.values()), used, dict(skipped), lines)


def _size_lines(plan: DownloadPlan, short_side: int | None) -> list[str]:
    """Clips of an earlier run that were cut to another size stay as they are; that is said."""
    other = plan.count_of_other_size(short_side)
    if not other:
        return []
    return [f"{other:,} clips are here with another --short-side than asked now; delete them to get them anew"]


def _bar_text(counts: Counter[str], pool: Any) -> str:
    from labels.videos.download.planning import bar_counts

    return bar_counts(counts) + pool.pause_text()


def check_retry(names: str) -> frozenset[str]:
    """`private,geo` as outcomes, `failed` as all but the good one. InputError for a word that is none."""
    from labels.videos.download.outcomes import FAILED, OK, OUTCOMES

    wanted = frozenset(name.strip() for name in names.split(",") if name.strip())
    if FAILED in wanted:
        wanted = wanted - {FAILED} | (frozenset(OUTCOMES) - {OK})
    unknown = wanted - set(OUTCOMES)
    if unknown:
        known = ", ".join([FAILED, *OUTCOMES[1:]])
        raise InputError(f"--retry {', '.join(sorted(unknown))}: no outcome; there are {known}")
    return wanted
