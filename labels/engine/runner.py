"""The one runner of per-item work: a task says what an item becomes, `run` makes of it what is not there yet.

    class Lengths(Task): ...                                    # key, files, make
    outcome = run(Lengths(folder), video_ids, Placement(processes=4))

What is finished is left alone, the rest is made in this process, in several or on a Ray cluster, or one share of it;
every item ends used or skipped for a reason. What is of all items, and the run record, is written by whoever called,
last.
"""

import os
import pickle
import platform
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from tqdm import tqdm

from labels.engine.placement import Placement
from labels.engine.pools import Cluster, Died, cores, in_processes, on_ray, ray_cluster
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet_metadata

Account = dict[str, Any]  # what a result says of itself; JSON can hold it
Step = Callable[[int], object]  # told of progress, in the task's unit
Value = TypeVar("Value")


class Skip(NamedTuple):
    """Why an item has no result; `kind` is what such reasons are counted by."""

    kind: str
    reason: str


Results = Generator[tuple[str, Account | Skip], None, None]


class Task(ABC):
    """Work on items that are known by a name (a video_id), each by itself.

    A result is one file or several, each whole or absent; what it holds depends on the item and on the task's fields
    alone, never on other items, so that any process on any machine may make it. A task is a dataclass, and is pickled
    to get there; what its cached properties hold is not.
    """

    name: ClassVar[str]  # before the progress bar
    unit: ClassVar[str] = "video"
    skips: ClassVar[tuple[type[Exception], ...]] = ()  # what costs one item; anything else ends the run
    counted: ClassVar[tuple[str, ...]] = ()  # numbers in the accounts that the runner adds up
    owns_folders: ClassVar[bool] = True  # whether a file of no item, where results lie, is a leftover

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @abstractmethod
    def key(self, item: str) -> str:
        """Changes when the result of an item would. Never raises what is in `skips`."""

    @abstractmethod
    def files(self, item: str) -> tuple[Path, ...]:
        """The files of a result, in the order they are written; named by the item, `<item>.<suffix>`."""

    @abstractmethod
    def make(self, item: str, key: str, step: Step) -> Account:
        """Write the result of an item. Raises one of `skips` when it can have none."""

    def finished(self, item: str, key: str) -> Account | None:
        """The account of a result that is there, whole, and made from just this; here for Parquet shards."""
        accounts = [read_parquet_metadata(path) for path in self.files(item)]
        return accounts[-1] if all(found is not None and found.get("key") == key for found in accounts) else None

    def size(self, item: str) -> int:
        """How much of the task's unit an item is."""
        return 1

    def kind_of(self, error: Exception) -> str:
        return str(error)

    @property
    def device(self) -> str:
        """What it computes on, auto, cpu or cuda: that of what it has loaded."""
        loaded = [value for value in vars(self).values() if isinstance(value, Loaded)]
        return loaded[0].device if loaded else "cpu"

    def worth(self, items: list[str]) -> int:
        """How many processes these pay for, where nobody says how many."""
        return 1

    def make_all(self, keys: Mapping[str, str], step: Step) -> Results:
        """`make` of each item; a task that looks ahead of the item it is at has its own."""
        for item, key in keys.items():
            yield item, self.attempt(item, lambda item=item, key=key: self.make(item, key, step))  # type: ignore[misc]
            step(self.size(item))

    def attempt(self, item: str, make: Callable[[], Account]) -> Account | Skip:
        """What `make` gives; Skip, and no result of an earlier run, when it raises one of `skips`."""
        try:
            return make()
        except self.skips as error:
            self.remove(item)
            return Skip(self.kind_of(error), str(error))

    def remove(self, item: str) -> None:
        for path in self.files(item):
            path.unlink(missing_ok=True)

    def remove_leftovers(self, items: set[str]) -> int:
        """Take away what lies there of other items, and half-written files; of how many other items there was some."""
        strangers = set()
        for pattern in self.files("*"):
            for path in pattern.parent.glob(f"*{pattern.suffix}"):
                if path.name.startswith(".") and ".aside" in path.name:  # of a run that was killed
                    path.unlink()
                elif path.stem not in items:
                    strangers.add(path.stem)
        for stranger in strangers:
            self.remove(stranger)
        return len(strangers)


class Loaded(Generic[Value]):
    """A network, or what else is too large to send: another process gets how to load it, and loads its own."""

    def __init__(
        self, value: Value | None = None, load: Callable[[], Value] | None = None, device: str = "cpu"
    ) -> None:
        """`load` must be picklable; without it the value itself must be. `device`: auto, cpu or cuda."""
        self.device = device
        self._value, self._load = value, load

    @property
    def value(self) -> Value:
        if self._value is None:
            assert self._load is not None, "neither a value nor how to load it"
            self._value = self._load()
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return Loaded, ((self._value, None) if self._load is None else (None, self._load)) + (self.device,)


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
    total = sum(map(task.size, pending))
    with (
        tqdm(total=total, desc=task.name, unit=task.unit, dynamic_ncols=True) as bar,
        closing(_made(task, pending, where, bar.update)) as made,
    ):
        for item, result in made:
            results[item] = result if isinstance(result, Skip) else _counted(task, result)
            if total > len(pending):
                bar.set_postfix_str(f"{len(results)}/{len(pending)} videos", refresh=False)
    return results


def _made(task: Task, pending: dict[str, str], where: Placement, step: Step) -> Results:
    if where.ray:
        with ray_cluster(where.ray, task.device != "cpu") as cluster:
            yield from _beside(task, pending, cluster, step)
        return
    processes = min(where.processes or task.worth(list(pending)), len(pending))
    yield from _beside(task, pending, processes, step) if processes > 1 else task.make_all(pending, step)


def _beside(task: Task, pending: dict[str, str], workers: int | Cluster, step: Step) -> Results:
    """The same in processes of their own, here or on a cluster, some items at a time.

    Those of whatever killed its process, twice, are made again one by one: one that does so alone is a Skip.
    """
    count = workers if isinstance(workers, int) else workers.actors
    many = max(1, min(BATCH, len(pending) // (BATCHES_EACH * count)))
    items = list(pending)
    batches = [{item: pending[item] for item in items[first : first + many]} for first in range(0, len(items), many)]
    while batches:
        doubtful: dict[str, str] = {}
        with closing(_answers(task, batches, workers)) as answers:
            for batch, answer in zip(batches, answers, strict=True):
                if isinstance(answer, Died) and len(batch) > 1:
                    doubtful |= batch
                    continue
                if isinstance(answer, Died):
                    answer = [(item, DIED) for item in batch]
                    task.remove(*batch)
                for item, result in answer:
                    step(task.size(item))
                    yield item, result
        batches = [{item: key} for item, key in doubtful.items()]
        workers = 1 if isinstance(workers, int) else workers._replace(actors=1)


def _answers(
    task: Task, batches: list[dict[str, str]], workers: int | Cluster
) -> Generator[list[tuple[str, Account | Skip]] | Died, None, None]:
    if isinstance(workers, int):
        here = partial(_start, max(1, cores() // workers), pickle.dumps(task))
        return in_processes(_make_in_worker, batches, workers, here)
    seen = task.files(next(iter(batches[0])))[0].parent.resolve()
    seen.mkdir(parents=True, exist_ok=True)
    there = partial(_start_elsewhere, Path.cwd(), seen, workers.cores_each, pickle.dumps(task))
    return on_ray(_make_in_worker, batches, workers, there)


_task: Task | None = None  # in a worker process


def _start(threads: int, task: bytes) -> None:
    global _task
    for name in THREADS:
        os.environ.setdefault(name, str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait take others' cores
    _task = pickle.loads(task)  # only now: this imports what takes its number of threads from there


def _start_elsewhere(folder: Path, seen: Path, threads: int, task: bytes) -> None:
    """In an actor, whose machine must see the work folder and be where the user is: paths may be relative."""
    if not (folder.is_dir() and seen.is_dir()):
        where = f"{platform.node()} does not see {seen if folder.is_dir() else folder}"
        raise InputError(f"{where}: the work folder must be shared by all machines, under one path")
    os.chdir(folder)
    _start(threads, task)


def _make_in_worker(keys: dict[str, str]) -> list[tuple[str, Account | Skip]]:
    assert _task is not None
    done = [(item, _task.finished(item, key)) for item, key in keys.items()]  # before the process before this one died
    finished = [(item, account) for item, account in done if account is not None]
    rest = {item: keys[item] for item, account in done if account is None}
    return [*finished, *_task.make_all(rest, lambda count: None)]
