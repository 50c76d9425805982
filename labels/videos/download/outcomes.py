"""How an attempt to get a clip ended, told from what yt-dlp raised.

"Gone" is not one thing: a private video is dead, one closed to guests is not, a block says nothing about the clip.
"""

import re

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
