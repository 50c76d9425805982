"""Which entries of a clip list are wanted. Imports nothing heavy: scripts take their defaults from here."""

import difflib
import fnmatch
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from labels.records.class_lists import class_names_from
from labels.records.errors import InputError
from labels.videos.clip_requests import ClipRequest

GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class ListFilters:
    """What the user wants of a list. `limit` and `per_class` draw by lot: `seed` decides, not the list's order."""

    classes: tuple[str, ...] = ()  # names or globs such as *dancing*; none: every entry
    splits: tuple[str, ...] = ()  # train, val, test; none: all
    limit: int | None = None  # clips
    per_class: int | None = None  # clips
    min_height: int = 0  # pixels, where the list says how high a video is
    max_duration_s: float | None = None  # of a clip, where the list says
    seed: int = 0
    shard: tuple[int, int] = (1, 1)  # (i, n): the i-th of n parts, from 1


def parse_shard(text: str) -> tuple[int, int]:
    """`2/4` as (2, 4). Raises ValueError."""
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"a shard is i/n with i from 1 to n, such as 1/4, not '{text}'")
    return int(match[1]), int(match[2])


def wanted_classes(text: str | None) -> tuple[str, ...]:
    """What stands after `--classes`: a class list, or names and globs with commas between."""
    return class_names_from(text) if text is not None else ()


def stable_number(text: str) -> int:
    """A number from 0 to 2^63 - 1 that depends on the text alone."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def is_in_shard(source_key: str, shard: tuple[int, int]) -> bool:
    """Every video is in exactly one of n shards, with all its clips."""
    part, parts = shard
    return parts == 1 or stable_number(f"shard|{source_key}") % parts == part - 1


class ClassChoice:
    """Tells whether a class is wanted, and which wishes nothing fulfilled."""

    def __init__(self, wanted: Iterable[str]):
        self.wanted = tuple(wanted)
        self.fulfilled: set[str] = set()
        self.seen: Counter[str] = Counter()
        self._tests = [(name, _matcher(name)) for name in self.wanted]
        self._known: dict[str, bool] = {}

    def first_wanted(self, class_names: tuple[str, ...]) -> str | None:
        """The first class that is wanted, None when none is; an entry without a class is "" when all are wanted."""
        for name in class_names:
            self.seen[name] += 1
        if not self.wanted:
            return class_names[0] if class_names else ""
        wanted = [name for name in class_names if self._is_wanted(name)]
        return wanted[0] if wanted else None

    def _is_wanted(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            matching = [wish for wish, matches in self._tests if matches(_plain(name))]
            self.fulfilled.update(matching)
            known = self._known[name] = bool(matching)
        return known

    def unfulfilled(self) -> list[str]:
        """A line for each wish that no entry fulfilled, with the nearest class there is."""
        lines = []
        for wish in self.wanted:
            if wish not in self.fulfilled:
                near = difflib.get_close_matches(wish, list(self.seen), n=1)
                lines.append(f"no entry is of class '{wish}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        return lines

    def require_any(self, where: str) -> None:
        """InputError when classes were wanted and the list has none of them."""
        if self.wanted and not self.fulfilled:
            known = ", ".join(f"'{name}'" for name, _ in self.seen.most_common(5))
            raise InputError(f"{where}: {'; '.join(self.unfulfilled()[:2])}; it has {known or 'no classes'} …")


def why_not_wanted(request: ClipRequest, filters: ListFilters) -> str:
    """Why a sound entry of a wanted class is left out by what it says of itself alone; empty when it is not."""
    if request.height is not None and request.height < filters.min_height:
        return f"less than {filters.min_height} pixels high"
    duration_s = request.duration_s if request.end_s is None else request.end_s - (request.start_s or 0.0)
    if filters.max_duration_s is not None and duration_s is not None and duration_s > filters.max_duration_s:
        return f"longer than {filters.max_duration_s:g} s"
    return ""


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold().strip()


def _matcher(wish: str):  # type: ignore[no-untyped-def]
    if GLOB.search(wish):
        return re.compile(fnmatch.translate(_plain(wish))).match
    # A name with brackets, such as "squash (sport)", is no glob; one with [ ] is taken literally too when it is equal.
    return _plain(wish).__eq__
