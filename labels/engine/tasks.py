"""What the runner must know of a kind of work: where a result lies, what it is made from, and how it is made."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

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

    def __init__(self, value: Value | None = None, load: Callable[[], Value] | None = None) -> None:
        """`load` must be picklable; without it the value itself must be."""
        self._value, self._load = value, load

    @property
    def value(self) -> Value:
        if self._value is None:
            assert self._load is not None, "neither a value nor how to load it"
            self._value = self._load()
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return Loaded, ((self._value, None) if self._load is None else (None, self._load))
