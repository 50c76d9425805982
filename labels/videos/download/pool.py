"""Several workers and the one place that decides: what is next, what is tried again, when all wait, who is killed."""

import heapq
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from labels.records.errors import InputError
from labels.videos.download.outcomes import BLOCKED, FetchError
from labels.videos.download.worker import ClipResult, DownloadJob, failed, serve
from labels.videos.settings import DownloadSettings

LONGEST_WAIT_S = 1.0


class Attempt(NamedTuple):
    """One try of a job, and the clips of it that this run will ask for again."""

    job: DownloadJob
    number: int  # from 1
    results: list[ClipResult]
    again: frozenset[str]  # video_ids


class _Worker:
    """A process, the job it is at, and when it must have ended."""

    def __init__(self, settings: DownloadSettings):
        context = multiprocessing.get_context("spawn")
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(theirs, settings), daemon=False)
        self.process.start()
        theirs.close()
        self.job: DownloadJob | None = None
        self.number = 0
        self.deadline = float("inf")

    def kill(self) -> None:
        """The process and everything it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()


class DownloadPool:
    """Runs jobs in processes. Closing the generator of `run` kills whatever is under way."""

    def __init__(self, settings: DownloadSettings, folder: Path):
        self.settings, self.folder = settings, folder
        self.stopped = ""  # why the run ended before its jobs did
        self.notes: list[str] = []  # what happened on the way and is worth a line: pauses
        self._workers: list[_Worker] = []
        self._again: list[tuple[float, int, DownloadJob, int]] = []  # (not before, order, job, number)
        self._order = 0
        self._exhausted = False
        self._paused_until = 0.0
        self._pauses = 0  # in a row
        self._next_start = 0.0

    def run(self, jobs: Iterator[DownloadJob]) -> Iterator[Attempt]:
        """Every attempt at every job, as it ends. After too many blocks it stops, and `stopped` says so."""
        try:
            while True:
                while not self.stopped and self._may_start():
                    found = self._next_job(jobs)
                    if found is None:
                        break
                    self._start(*found)
                busy = [worker for worker in self._workers if worker.job is not None]
                if not busy and (self.stopped or (self._exhausted and not self._again)):
                    return
                yield from self._collect(busy)
        finally:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()

    def pause_text(self) -> str:
        """For the progress bar: how long all workers still wait, empty when they do not."""
        left_s = self._paused_until - time.monotonic()
        return f" | blocked, waiting {left_s / 60:.0f} min" if left_s > 0 else ""

    def _may_start(self) -> bool:
        now = time.monotonic()
        busy = sum(worker.job is not None for worker in self._workers)
        # After a block one worker tries whether it has ended before the others follow.
        allowed = self.settings.workers if not self._pauses else 1
        return busy < allowed and now >= self._paused_until and now >= self._next_start

    def _next_job(self, jobs: Iterator[DownloadJob]) -> tuple[DownloadJob, int] | None:
        """What is to be done now: what is due to be tried again before what is new. None: nothing yet, or no more."""
        if self._again and self._again[0][0] <= time.monotonic():
            _, _, job, number = heapq.heappop(self._again)
            return job, number
        if not self._exhausted:
            job_or_none = next(jobs, None)
            if job_or_none is not None:
                return job_or_none, 1
            self._exhausted = True
        return None

    def _start(self, job: DownloadJob, number: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < self.settings.free_bytes:
            raise InputError(
                f"{self.folder}: only {free / 2**30:.1f} GiB are free on its disk; make room, then run the same "
                "command again"
            )
        worker = next((each for each in self._workers if each.job is None), None)
        if worker is None:
            worker = _Worker(self.settings)
            self._workers.append(worker)
        worker.job, worker.number = job, number
        worker.deadline = time.monotonic() + self.settings.job_deadline_s
        with suppress(BrokenPipeError):  # a worker that died while idle; `_collect` sees it
            worker.pipe.send(job)
        if self.settings.per_hour:
            self._next_start = time.monotonic() + 3600.0 / self.settings.per_hour

    def _collect(self, busy: list[_Worker]) -> Iterator[Attempt]:
        """Wait for something to happen, and account for the workers that have ended."""
        now = time.monotonic()
        moments = [self._paused_until, self._next_start, *(worker.deadline for worker in busy)]
        moments += [self._again[0][0]] if self._again else []
        wait_s = max(0.01, min([moment - now for moment in moments if moment > now] + [LONGEST_WAIT_S]))
        if not busy:
            time.sleep(wait_s)
        ready = connection.wait([worker.pipe for worker in busy], wait_s)
        for worker in busy:
            if worker.job is None:
                continue
            if worker.pipe in ready:
                try:
                    results = worker.pipe.recv()
                except (EOFError, OSError):
                    self._bury(worker)
                    died = FetchError("error", f"the worker died (code {worker.process.exitcode})")
                    results = failed(worker.job, died)
            elif time.monotonic() > worker.deadline:
                self._bury(worker)
                results = failed(
                    worker.job, FetchError("network", f"no end after {self.settings.job_deadline_s:g} s", False)
                )
            else:
                continue
            job, worker.job = worker.job, None
            yield from self._account(job, worker.number, results)

    def _bury(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)

    def _account(self, job: DownloadJob, number: int, results: list[ClipResult]) -> Iterator[Attempt]:
        if any(result.outcome in BLOCKED for result in results):
            self._pause(results[0].outcome)
            # Being blocked says nothing about the clip, so it costs no try; it may stay for the next run.
            self._try_again(job, number, 0.0)
            yield Attempt(job, number, results, frozenset(each.video_id for each in job.segments))
            return
        self._pauses = 0
        again = frozenset(result.video_id for result in results if result.is_transient)
        if not again or number > self.settings.retries:
            yield Attempt(job, number, results, frozenset())
            return
        rest = job._replace(segments=tuple(each for each in job.segments if each.video_id in again))
        self._try_again(rest, number + 1, self.settings.retry_wait_s * 3 ** (number - 1))
        yield Attempt(job, number, results, again)

    def _try_again(self, job: DownloadJob, number: int, wait_s: float) -> None:
        self._order += 1
        heapq.heappush(self._again, (time.monotonic() + wait_s, self._order, job, number))

    def _pause(self, outcome: str) -> None:
        now = time.monotonic()
        if now < self._paused_until:
            return  # another worker was told the same a moment ago
        self._pauses += 1
        if self._pauses > self.settings.max_pauses:
            self.stopped = f"blocked ({outcome}) {self._pauses} times in a row"
            return
        self._paused_until = now + self.settings.pause_s
        self.notes.append(f"blocked ({outcome}): all workers paused for {self.settings.pause_s:g} s")
