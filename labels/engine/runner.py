"""Run a task over its items: leave alone what is finished, make the rest where it was asked for, account for all."""

import os
import pickle
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tqdm import tqdm

from labels.engine.placement import Placement
from labels.engine.pools import Died, cores, in_processes
from labels.engine.tasks import Account, Results, Skip, Step, Task
from labels.records.command_line import Summary

BATCH = 16  # items that are handed to a process at once, so that it can decode the next one ahead
BATCHES_EACH = 4  # at least, so that no process is left without work at the end
DIED = Skip("its process died", "the process that worked on it died; is there enough memory?")
# What numerical libraries take their number of threads from, when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


@dataclass
class Outcome:
    """The account of a run: found = used + skipped, used = made now + untouched."""

    found: int
    made: int = 0
    untouched: int = 0  # finished by an earlier run, or by another that works on the same items
    removed: int = 0  # results of items that are no longer there
    used: list[str] = field(default_factory=list)  # in the order of the items, like the skipped
    skipped: dict[str, str] = field(default_factory=dict)  # item -> reason
    kinds: Counter[str] = field(default_factory=Counter)  # kind of reason -> skipped items
    totals: Counter[str] = field(default_factory=Counter)  # of the task's `counted`, over all used

    def lines(self, done: str) -> list[str]:
        """What to tell the user; `done` is what was done to the items, as «labelled»."""
        lines = [f"{item}: skipped: {reason}" for item, reason in sorted(self.skipped.items())]
        if self.untouched:
            lines.append(f"{self.untouched} videos were {done} already and not touched")
        return lines

    def as_counts(self) -> dict[str, Any]:
        """For run.json."""
        return {"videos": self.found, "used": len(self.used), "skipped": self.skipped, **self.totals}

    def summary(self, stage: str, lines: list[str], where: Placement | None = None) -> Summary:
        """The account as a stage script prints it; of a share it says how the stage is ended."""
        if where is not None and where.is_share:
            stage = f"{stage}, {where.name}"
            lines = [*lines, "when all shares are done, run the same command without --shard: it ends the stage"]
        return Summary(stage, "videos", self.found, len(self.used), dict(self.kinds), lines)


def run(task: Task, items: Sequence[str], where: Placement | None = None) -> Outcome:
    """Make the result of each item (of one share of them, where `where` says so) that has none yet.

    Interrupted or killed, it leaves whole results, and another run makes only the others. Leftovers of items that are
    gone are taken away, but not by a run over a share: the files there may be another's.
    """
    where = where or Placement()
    mine = where.share(items)
    outcome = Outcome(found=len(mine), totals=Counter(dict.fromkeys(task.counted, 0)))
    if task.owns_folders and not where.is_share:
        outcome.removed = task.remove_leftovers(set(items))
    results: dict[str, Account | Skip] = {}
    pending: dict[str, str] = {}
    for item in mine:
        key = task.key(item)
        account = task.finished(item, key)
        if account is None:
            pending[item] = key
        else:
            results[item] = _counted(task, account)
    outcome.untouched = len(results)
    if pending:
        results |= _make(task, pending, where)
    for item in mine:
        result = results[item]
        if isinstance(result, Skip):
            outcome.skipped[item] = result.reason
            outcome.kinds[result.kind] += 1
        else:
            outcome.used.append(item)
            outcome.totals.update(result)
    outcome.made = len(outcome.used) - outcome.untouched
    if len(outcome.used) + len(outcome.skipped) != outcome.found:
        raise AssertionError(f"{task.name}: {outcome.found} found, but {len(results)} accounted for")
    return outcome


def _counted(task: Task, account: Account) -> Account:
    """What of an account is kept until the end: there may be a million. Accounts of older versions lack some."""
    return {name: account.get(name, 0) for name in task.counted}


def _make(task: Task, pending: dict[str, str], where: Placement) -> dict[str, Account | Skip]:
    results: dict[str, Account | Skip] = {}
    processes = min(where.processes or task.worth(list(pending)), len(pending))
    total = sum(map(task.size, pending))
    with tqdm(total=total, desc=task.name, unit=task.unit, dynamic_ncols=True) as bar:
        step = bar.update
        with closing(
            _beside(task, pending, processes, step) if processes > 1 else task.make_all(pending, step)
        ) as made:
            for item, result in made:
                results[item] = result if isinstance(result, Skip) else _counted(task, result)
                if total > len(pending):
                    bar.set_postfix_str(f"{len(results)}/{len(pending)} videos", refresh=False)
    return results


def _beside(task: Task, pending: dict[str, str], processes: int, step: Step) -> Results:
    """The same in processes of their own, some items at a time. Whichever kills its process is a Skip."""
    start = partial(_start, max(1, cores() // processes), pickle.dumps(task))
    many = max(1, min(BATCH, len(pending) // (BATCHES_EACH * processes)))
    items = list(pending)
    batches = [{item: pending[item] for item in items[first : first + many]} for first in range(0, len(items), many)]
    with closing(in_processes(_make_in_worker, batches, processes, start)) as answers:
        for batch, answer in zip(batches, answers, strict=True):
            for item, result in _one_by_one(task, batch, start) if isinstance(answer, Died) else answer:
                step(task.size(item))
                yield item, result


def _one_by_one(task: Task, keys: dict[str, str], start: partial[None]) -> Results:
    """A batch that killed its process: the items before the one that does are finished, those after it are made."""
    singles = [{item: key} for item, key in keys.items()]
    with closing(in_processes(_make_in_worker, singles, 1, start)) as answers:
        for item, answer in zip(keys, answers, strict=True):
            if isinstance(answer, Died):
                task.remove(item)
                yield item, DIED
            else:
                yield from answer


_task: Task | None = None  # in a worker process


def _start(threads: int, task: bytes) -> None:
    global _task
    for name in THREADS:
        os.environ.setdefault(name, str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait take others' cores
    _task = pickle.loads(task)  # only now: this imports what takes its number of threads from there


def _make_in_worker(keys: dict[str, str]) -> list[tuple[str, Account | Skip]]:
    assert _task is not None
    done = [(item, _task.finished(item, key)) for item, key in keys.items()]  # before the process before this one died
    finished = [(item, account) for item, account in done if account is not None]
    rest = {item: keys[item] for item, account in done if account is None}
    return [*finished, *_task.make_all(rest, lambda count: None)]
