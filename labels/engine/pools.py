"""Work side by side: a function over many things in threads, in processes or on a Ray cluster, the answers in order.

A process that dies (a crash in a library, no memory left) costs the one thing it worked on. Ctrl-C waits for what must
not be left half done, and worker processes leave it to their parent.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from labels.engine.placement import answers
from labels.records.errors import InputError

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")
AHEAD = 4  # answers a worker may be ahead of the one that is waited for
END_S = 5.0  # how long a process may take to clear up before it is killed


class Died:
    """Instead of an answer: the process that worked on it died, also when it had nothing else to do."""


DIED: Final = Died()


def cores() -> int:
    """Those this process may run on, which on a shared machine are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[Thing], Answer], things: Iterable[Thing], threads: int) -> Generator[Answer, None, None]:
    """`work` of each thing, in order. Closing the generator waits for those that have begun."""
    running: deque[Future[Answer]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for thing in things:
            running.append(pool.submit(work, thing))
            if len(running) > AHEAD * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_processes(
    work: Callable[[Thing], Answer],
    things: Iterable[Thing],
    processes: int,
    start: Callable[[], None] | None = None,
) -> Generator[Answer | Died, None, None]:
    """`work` of each thing, in order; raises what it raises. Closing the generator ends the processes.

    Args:
        work, things: both are pickled.
        start: called once in each process, before anything else; what it raises, `work` raises.
    """
    others = set(multiprocessing.active_children())
    pool = _pool(processes, start)
    running: deque[tuple[Thing, Future[Answer]]] = deque()
    waiting = iter(things)
    more = True
    try:
        while more or running:
            while more and len(running) < AHEAD * processes:
                try:
                    thing = next(waiting)
                except StopIteration:
                    more = False
                else:
                    running.append((thing, pool.submit(_call, work, thing)))
            if not running:
                return
            thing, future = running.popleft()
            answer: Answer | Died
            try:
                answer = future.result()
            except BrokenProcessPool:  # by whichever of those in work: this one is tried by itself, the others again
                pool.shutdown(wait=True)
                answer = _call_alone(work, thing, start)
                pool = _pool(processes, start)
                running = deque(
                    (later, outcome if _is_whole(outcome) else pool.submit(_call, work, later))
                    for later, outcome in running
                )
            yield answer
    except BaseException:
        _end(others)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(processes: int, start: Callable[[], None] | None) -> ProcessPoolExecutor:
    # Not forked: a fork copies locks that threads of numpy, OpenCV or pyarrow may hold.
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, (start,))


def _is_whole(future: "Future[Answer]") -> bool:
    return future.done() and future.exception() is None


def _call_alone(work: Callable[[Thing], Answer], thing: Thing, start: Callable[[], None] | None) -> Answer | Died:
    pool = _pool(1, start)
    try:
        return pool.submit(_call, work, thing).result()
    except BrokenProcessPool:
        return DIED
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _end(others: set[multiprocessing.process.BaseProcess]) -> None:
    """End the processes that are not `others`; what they wrote half is taken away by themselves."""
    own = [process for process in multiprocessing.active_children() if process not in others]
    for process in own:
        process.terminate()
    for process in own:
        process.join(END_S)
        if process.is_alive():
            process.kill()


_failure: Exception | None = None  # in a worker process: why it could not be started


def _start(start: Callable[[], None] | None) -> None:
    global _failure
    leave_to_parent()
    try:
        if start is not None:
            start()
    except Exception as error:  # it is for the one who asked: a pool would only say that it is broken
        _failure = error


def _call(work: Callable[[Thing], Answer], thing: Thing) -> Answer:
    if _failure is not None:
        raise _failure
    try:
        return work(thing)
    except SystemExit:  # told to end: a pool would take it for an answer
        os._exit(1)


class Cluster(NamedTuple):
    """What a Ray cluster has for us: so many actors, each with its part of the cores, and with a GPU or none."""

    actors: int
    cores_each: int = 1
    gpus_each: int = 0


@contextmanager
def ray_cluster(address: str, gpus: bool) -> Iterator[Cluster]:
    """Within the block this process drives a Ray cluster. Raises InputError when it cannot be reached.

    Args:
        address: `ray://HOST:PORT`; `ray` for the cluster that this machine is of (or RAY_ADDRESS names), and where
            there is none for one on the cores of this machine, which ends with the block.
        gpus: whether the work is faster on one; then an actor has a GPU of its own, where the cluster has any.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    import ray

    own = not ray.is_initialized()
    # Where this package is from, and no messages of workers: a progress bar is on this terminal.
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    options: dict[str, Any] = {"runtime_env": {"env_vars": {"PYTHONPATH": path}}}
    options |= {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if own and address != "ray":
            ray.init(address, **options)
        elif own:
            try:
                if "RAY_ADDRESS" not in os.environ and _is_stale():
                    raise ConnectionError
                ray.init("auto", **options)
            except ConnectionError:
                if "RAY_ADDRESS" in os.environ:
                    raise
                few = 2**28  # bytes: no pixels go there
                ray.init("local", num_cpus=cores(), include_dashboard=False, object_store_memory=few, **options)
    except (ConnectionError, ValueError, RuntimeError, ImportError) as error:
        raise InputError(f"--on {address}: {' '.join(str(error).split())[:300]}") from None
    try:
        there = ray.cluster_resources()
        cpus, devices = max(1, int(there.get("CPU", 1))), int(there.get("GPU", 0)) if gpus else 0
        yield Cluster(devices, max(1, cpus // devices), 1) if devices else Cluster(cpus)
    finally:
        if own:
            ray.shutdown()


def _is_stale() -> bool:
    """Whether this machine names a cluster that is gone: Ray leaves the file behind when it is killed."""
    named = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray" / "ray_current_cluster"
    try:
        return not answers(named.read_text().strip())
    except OSError:
        return False


class _Actor:
    """Runs in a process of its own, somewhere on the cluster."""

    started = False

    def call(self, start: Any, work: Callable[[Thing], Answer], thing: Thing) -> Answer:
        """`start` is called before the first thing. Not when the actor is made: what dies there dies for ever."""
        if not self.started:
            import ray

            ray.get(start[0])()
            self.started = True
        return _call(work, thing)


def on_ray(
    work: Callable[[Thing], Answer],
    things: Sequence[Thing],
    cluster: Cluster,
    start: Callable[[], None],
) -> Generator[Answer | Died, None, None]:
    """As `in_processes`, by the actors of a cluster; within `ray_cluster`.

    An actor that dies, alone or with its machine, is made again wherever there is room, and tries once more what it
    worked on. One that has nothing left to do makes room.
    """
    import ray
    from ray.exceptions import ActorDiedError, RayError, RayTaskError

    actor_class: Any = ray.remote(_Actor).options(
        num_cpus=cluster.cores_each,
        num_gpus=cluster.gpus_each,
        max_restarts=-1,
        max_task_retries=1,
    )
    shared = [ray.put(start)]  # in a list: an actor fetches it once, not with every thing
    idle = [actor_class.remote() for _ in range(min(cluster.actors, len(things)))]
    waiting = deque(enumerate(things))
    running: dict[Any, tuple[int, Any]] = {}
    answers: dict[int, Answer | Died] = {}
    try:
        for number in range(len(things)):
            while number not in answers:
                while idle and waiting:
                    at, thing = waiting.popleft()
                    actor = idle.pop()
                    running[actor.call.remote(shared, work, thing)] = at, actor
                while idle:
                    ray.kill(idle.pop())
                (ready, *_), _ = ray.wait(list(running))
                at, actor = running.pop(ready)
                try:
                    answers[at] = ray.get(ready)
                except RayTaskError as error:
                    raise error.cause from None
                except RayError as error:  # its process died twice, or its machine did
                    answers[at] = DIED
                    actor = actor_class.remote() if isinstance(error, ActorDiedError) else actor
                idle.append(actor)
            yield answers.pop(number)
    finally:
        for actor in [*idle, *(actor for _, actor in running.values())]:
            ray.kill(actor)


@contextmanager
def interruption_waits() -> Iterator[None]:
    """Within the block Ctrl-C is only noted; KeyboardInterrupt comes at its end. In a thread Ctrl-C never comes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if noted:
        signal.raise_signal(signal.SIGINT)


def leave_to_parent() -> None:
    """In a worker process: the parent says when to stop, and when it dies, so does this one.

    Ctrl-C is not for workers. SIGTERM raises SystemExit, so that files that are half written are taken away.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
