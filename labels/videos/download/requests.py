"""One entry of a clip list: what is asked for, or why it is refused; and the filters that choose among entries.

A list comes from outside, so everything is checked here, before anything is fetched. Imports nothing heavy.
"""

import difflib
import fnmatch
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from labels.records.class_lists import class_names_from
from labels.records.errors import InputError
from labels.videos.download.network_guard import fault_of_url
from labels.videos.settings import DownloadSettings

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
YOUTUBE_HOSTS = re.compile(r"((www|m|music)\.)?(youtube(-nocookie)?\.com|youtu\.be)")
CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:\.\d{1,9})?)", re.ASCII)
NUMBER = re.compile(r"\d{1,20}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,3})?", re.ASCII)  # float() also takes 1_0 and nan
MAX_TIME_S = 999_999  # six digits, as the file names of Kinetics have
SPLITS = {"training": "train", "validate": "val", "validation": "val", "valid": "val", "testing": "test"}


class ClipRequest(NamedTuple):
    """A clip that a list asks for. With a `fault` nothing is fetched: the clip is a row with that reason."""

    video_id: str  # the clip's name in the work folder
    source_key: str  # what is fetched once for all its clips, and never split: the YouTube id, or the URL
    url: str
    start_s: float | None  # None: from the beginning
    end_s: float | None  # None: to the end
    class_names: tuple[str, ...]
    split: str
    duration_s: float | None = None  # of the whole video, where the list says it
    height: int | None = None  # likewise
    fault: str = ""


class RequestMaker:
    """Makes requests of one list from what its entries say."""

    def __init__(self, list_name: str, settings: DownloadSettings):
        self.list_name, self.settings = list_name, settings

    def youtube(
        self, youtube_id: Any, start: Any = None, end: Any = None, class_names: tuple[str, ...] = (), split: str = "",
        duration_s: float | None = None, height: int | None = None, entry: object = "",
    ) -> ClipRequest:  # fmt: skip
        """A clip of a YouTube video; times in any spelling that `parse_time_s` knows."""
        if not isinstance(youtube_id, str) or not YOUTUBE_ID.fullmatch(youtube_id):
            return self.refused(f"{_shown(youtube_id)} is no YouTube id", class_names, split, entry)
        url = self.settings.youtube_url.format(id=youtube_id)
        return self._clip(youtube_id, youtube_id, url, start, end, class_names, split, duration_s, height, entry)

    def web(
        self, url: Any, start: Any = None, end: Any = None, class_names: tuple[str, ...] = (), split: str = "",
        entry: object = "",
    ) -> ClipRequest:  # fmt: skip
        """A clip of the video at a URL; one on YouTube is told by its id, so that it is the same clip in every list."""
        if not isinstance(url, str) or not url:
            return self.refused("no URL", class_names, split, entry)
        fault = fault_of_url(url, self.settings.allowed_addresses)
        if fault:
            return self.refused(fault, class_names, split, entry)
        parts = urlsplit(url)
        if YOUTUBE_HOSTS.fullmatch(parts.hostname or ""):
            return self.youtube(youtube_id_of(url), start, end, class_names, split, entry=entry)
        last = parts.path.rstrip("/").rpartition("/")[2].partition(".")[0]
        slug = re.sub(r"[^A-Za-z0-9]+", "-", last)[:40].strip("-") or "video"
        name = f"{slug}_{blake2b(url.encode(), digest_size=5).hexdigest()}"
        return self._clip(name, url, url, start, end, class_names, split, None, None, entry)

    def refused(self, fault: str, class_names: tuple[str, ...], split: str, entry: object) -> ClipRequest:
        """An entry for which nothing will be fetched. Its name depends on the list's name and the entry alone."""
        digest = blake2b(f"{self.list_name}|{entry}".encode("utf-8", "replace"), digest_size=8).hexdigest()
        return ClipRequest(
            f"refused_{digest}", f"refused_{digest}", "", None, None, class_names, split, fault=f"{entry}: {fault}"
        )

    def _clip(
        self, stem: str, source_key: str, url: str, start: Any, end: Any, class_names: tuple[str, ...], split: str,
        duration_s: float | None, height: int | None, entry: object,
    ) -> ClipRequest:  # fmt: skip
        try:
            start_s, end_s = parse_time_s(start), parse_time_s(end)
        except ValueError as error:
            return self.refused(str(error), class_names, split, entry)
        if end_s is not None and (start_s or 0.0) >= end_s:
            return self.refused(f"it ends at {end_s:g} s, not after {start_s or 0:g} s", class_names, split, entry)
        asked_s = end_s - (start_s or 0.0) if end_s is not None else duration_s
        if asked_s is not None and asked_s > self.settings.max_clip_s:
            return self.refused(
                f"{asked_s:g} s is longer than the {self.settings.max_clip_s:g} s allowed", class_names, split, entry
            )
        if any("\ufffd" in name for name in class_names):
            return self.refused("its class name is not UTF-8", (), split, entry)
        name = clip_name(stem, start_s, end_s)
        return ClipRequest(name, source_key, url, start_s, end_s, class_names, split, duration_s, height)


def clip_name(stem: str, start_s: float | None, end_s: float | None) -> str:
    """`<id>_000012_000022`, as Kinetics names its files; milliseconds where the times are not whole seconds.

    A name that would begin with "-" gets a "_" before it: programs would take such a file for an option.
    """
    safe = f"_{stem}" if stem.startswith("-") else stem
    if start_s is None and end_s is None:
        return safe
    times = [start_s or 0.0, end_s]
    if all(time_s is None or time_s == int(time_s) for time_s in times):
        return "_".join([safe, *("end" if time_s is None else f"{int(time_s):06d}" for time_s in times)])
    return "_".join([safe, *("end" if time_s is None else f"{round(time_s * 1000):09d}ms" for time_s in times)])


def parse_time_s(value: Any) -> float | None:
    """A time in seconds (a number, its text, or `h:mm:ss.s`), to the millisecond; None for nothing. Or ValueError."""
    if value is None or value == "":
        return None
    return _known_time_s(value) if isinstance(value, str) and len(value) < 20 else _time_s(value)


def _time_s(value: Any) -> float:
    clock = CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        if isinstance(value, bool) or (isinstance(value, str) and not clock and not NUMBER.fullmatch(value.strip())):
            raise ValueError
        time_s = int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{_shown(value)} is no time in seconds") from None
    if not math.isfinite(time_s) or not 0 <= time_s <= MAX_TIME_S:
        raise ValueError(f"a time is between 0 and {MAX_TIME_S} s, not {_shown(value)}")
    return round(time_s, 3)


_known_time_s = lru_cache(maxsize=10_000)(_time_s)  # lists of a million clips have the same few thousand times


def youtube_id_of(url: str) -> str | None:
    """The id in a YouTube address (watch?v=, youtu.be/, shorts/, embed/, v/), or None."""
    parts = urlsplit(url)
    steps = parts.path.strip("/").split("/")
    if (parts.hostname or "").endswith("youtu.be"):
        return steps[0]
    if len(steps) == 2 and steps[0] in ("shorts", "embed", "v", "live"):
        return steps[1]
    return next(iter(parse_qs(parts.query).get("v", [])), None)


def split_name(text: str) -> str:
    """train, val or test for what lists and their file names call them; empty for anything else."""
    name = SPLITS.get(text.strip().lower(), text.strip().lower())
    return name if name in ("train", "val", "test") else ""


def split_of_file(stem: str) -> str:
    """The split that the words of a file's name tell: `sports1m_train`, `kinetics_700_validate`."""
    names = {split_name(word) for word in re.split(r"[^A-Za-z]+", stem)} - {""}
    return names.pop() if len(names) == 1 else ""


def _shown(value: Any) -> str:
    """What a list held, short and printable."""
    text = ascii(value) if not isinstance(value, (dict, list)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


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
