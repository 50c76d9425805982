"""How an attempt to get a clip ended, read from what yt-dlp raised, and the ledger that keeps every attempt.

"Gone" is not one thing: a private video is dead, one closed to guests is not, a block says nothing about the clip.

The ledger, `work/ledger/*.jsonl`, has a line for every attempt and is never cleared. What was fetched is not fetched
again, what is dead is not asked for again. To merge the ledgers of several machines, put them in one folder: every file
there is read, each machine writes its own.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labels.records.work_folder import WorkFolder

OK = "ok"
FAILED = "failed"  # for --retry: all the others
TRANSIENT = frozenset({"network", "short"})  # tried again in the same run
BLOCKED = frozenset({"rate_limited", "bot"})  # nothing about the clip: all workers pause, and it is asked for again
DEAD = frozenset({"private", "removed"})
CLOSED = frozenset({"age", "geo", "members", "forbidden"})  # there, but not for a guest from here
OUTCOMES = (
    OK,
    "private",
    "removed",
    "age",
    "geo",
    "members",
    "forbidden",
    "bot",
    "rate_limited",
    "network",
    "short",
    "cut_mismatch",
    "decode_error",
    "no_video",  # what is there is no video: a page, a live stream, a playlist
    "no_format",
    "too_large",
    "too_long",
    "too_small",
    "address",  # it led to an address inside a private network
    "error",  # anything else; the message says what
)

# In this order: "Video unavailable" stands before many a better reason.
MESSAGES = tuple(
    (outcome, re.compile(pattern, re.IGNORECASE))
    for outcome, pattern in (
        ("bot", r"not a bot|captcha"),
        ("rate_limited", r"rate.?limited|HTTP Error 429|too many requests|try again later"),
        ("age", r"confirm your age|age.restricted|inappropriate for some"),
        ("geo", r"in your (country|location|region)|geo.?restrict|HTTP Error 451"),
        ("members", r"members.only|join this channel|requires payment|rent(al)? |premium"),
        ("private", r"private video|video is private"),
        ("no_video", r"live event|premieres? in|is (not )?(currently )?live|unsupported url|no video formats|playlist"),
        ("no_format", r"requested format|drm"),
        (
            "removed",
            r"HTTP Error (404|410)|has been (removed|terminated|deleted)|no longer available|video unavailable"
            r"|not available|does not exist|account .{0,60}(terminated|closed)|copyright|been removed",
        ),
        ("too_large", r"larger than max|file too large"),
        (
            "short",
            r"IncompleteRead|more expected|content too short|downloaded \d+ bytes, expected",
        ),
        # An address of a file that was handed out a moment ago and is refused has expired: asking anew helps.
        ("network", r"unable to download video data: HTTP Error 403"),
        ("forbidden", r"HTTP Error (401|402|403)|sign in|log ?in|account.?required"),
        (
            "network",
            r"HTTP Error 5\d\d|timed? ?out|connection|resolv|resolution|unreachable|reset|refused|certificate|ssl"
            r"|getaddrinfo|name or service|remote end|no data|did not get any data|broken pipe|end of file|eof",
        ),
    )
)
PREFIX = re.compile(r"^(\x1b\[[0-9;]*m)*(ERROR:)?(\x1b\[[0-9;]*m)*\s*(\[[\w:.+-]+\]\s*)?([\w-]{11}: )?")


class FetchError(Exception):
    """Why a video or a clip of it was not got: one of OUTCOMES, one line, and whether trying again may help."""

    def __init__(self, outcome: str, message: str, is_transient: bool | None = None):
        super().__init__(f"{outcome}: {message}")
        self.outcome, self.message = outcome, message
        self.is_transient = outcome in TRANSIENT if is_transient is None else is_transient


def classify(error: BaseException) -> FetchError:
    """The outcome that an exception of yt-dlp, or one below it, stands for."""
    chain = _causes(error)
    for each in chain:
        if isinstance(each, FetchError):
            return each
    names = " ".join(type(each).__name__ for each in chain)
    message = one_line(PREFIX.sub("", str(error)) or type(error).__name__)
    text = f"{message} {' '.join(str(each) for each in chain[1:])} {names}"
    if "GeoRestrictedError" in names:
        return FetchError("geo", message)
    for outcome, pattern in MESSAGES:
        if pattern.search(text):
            return FetchError(outcome, message)
    if "TransportError" in names:
        return FetchError("network", message)
    return FetchError("error", message)


def one_line(text: str, limit: int = 300) -> str:
    """Text from elsewhere as one printable line."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(plain.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and everything it was raised from, without repetition."""
    chain: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(chain) < 20:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or any(each is known for known in chain):
            continue
        chain.append(each)
        raised = getattr(each, "exc_info", None)
        waiting += [
            raised[1] if isinstance(raised, tuple) and len(raised) > 1 else None,
            getattr(each, "cause", None),
            each.__cause__,
            each.__context__,
        ]
    return chain


def ledger_folder(work: "WorkFolder") -> Path:
    return work.root / "ledger"


def ledger_file(work: "WorkFolder", shard: tuple[int, int]) -> Path:
    """Where this run writes: shards have names of their own, so that merging them is copying."""
    part, parts = shard
    return ledger_folder(work) / ("clips.jsonl" if parts == 1 else f"clips_{part:03d}_of_{parts:03d}.jsonl")


def read_ledgers(work: "WorkFolder") -> Iterator[dict[str, Any]]:
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
