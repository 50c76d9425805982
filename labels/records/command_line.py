"""The skeleton every stage script shares: how it parses, ends, fails and is interrupted.

Imports nothing heavy, so that `--help` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labels.records.errors import InputError

# Kinds of skipped items that the same command, run again, may well use: they end a stage with EXIT_SKIPPED.
DECODER_DIED = "lost because the decoder died; run again"
TRANSIENT = (DECODER_DIED,)
EXIT_DONE, EXIT_BAD_INPUT, EXIT_SKIPPED, EXIT_INTERRUPTED = 0, 2, 3, 130

MOST_DIGITS = 9  # of a number that is given as an argument


@dataclass
class Summary:
    """What a stage did: every input it found was either used or skipped for a named reason."""

    stage: str
    unit: str  # what is counted: "videos", "boxes", ...
    found: int
    used: int
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> count
    lines: list[str] = field(default_factory=list)  # anything else worth a line, printed before the closing one
    next_command: str | None = None
    alarms: list[str] = field(default_factory=list)  # why nobody should go on before having looked: exit code 3

    def __post_init__(self) -> None:
        total = self.used + sum(self.skipped.values())
        if total != self.found:
            raise AssertionError(f"{self.stage}: {self.used=} + {self.skipped=} is {total}, not {self.found=}")

    def closing_line(self) -> str:
        skipped = "; ".join(f"{count} {reason}" for reason, count in sorted(self.skipped.items()))
        total = sum(self.skipped.values())
        tail = f" ({skipped})" if skipped else ""
        return f"{self.stage}: {self.found} {self.unit} = {self.used} used + {total} skipped{tail}"


class _ManualFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The manual as it is written, and the default of every option that has one worth telling."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, [], "") or isinstance(action.default, bool | tuple):
            return action.help
        return super()._get_help_string(action)


# Options that are called otherwise today, and how. What ends with «=» takes the old option's value.
OLD_OPTIONS = {
    "--retry-failed": ("--retry", "failed"),
    "--max-overlap": ("--set", "max_overlap="),
    "--max-aspect": ("--set", "max_aspect="),
    "--min-size": ("--set", "min_size_pixels="),
    "--max-frame-share": ("--set", "max_frame_share="),
}
# Options that are no more, and why.
GONE_OPTIONS = {
    "--any-side": "on real clips it cost more than it gave",
    "--mixup": "no figure spoke for it",
    "--rand-augment": "no figure spoke for it",
}


class _StageParser(argparse.ArgumentParser):
    """Takes options of older versions, and values that begin with «-», such as a video's id."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        words = self._as_today(list(sys.argv[1:] if args is None else args))
        return super().parse_known_args(self._with_their_values(words), namespace)

    def _as_today(self, words: list[str]) -> list[str]:
        known: list[str] = []
        left = iter(words)
        for word in left:
            option, equals, value = word.partition("=")
            if option in self._option_string_actions or option not in OLD_OPTIONS | GONE_OPTIONS:
                known.append(word)
                continue
            if option in GONE_OPTIONS:
                self.error(f"{option} is no more: {GONE_OPTIONS[option]}; leave it out")
            name, told = OLD_OPTIONS[option]
            if name not in self._option_string_actions:
                known.append(word)
                continue
            told += (value if equals else next(left, "")) if told.endswith("=") else ""
            print(f"{self.prog}: {option} is called {name} {told} today", file=sys.stderr)
            known += [name, told]
        return known

    def _with_their_values(self, words: list[str]) -> list[str]:
        """«--videos -id» as «--videos=-id»: what follows an option that takes one value is that value."""
        joined: list[str] = []
        for word in words:
            action = self._option_string_actions.get(joined[-1]) if joined else None
            takes_one = action is not None and action.nargs is None
            if takes_one and word.startswith("-") and word.partition("=")[0] not in self._option_string_actions:
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        return joined


def stage_parser(manual: str) -> argparse.ArgumentParser:
    """An argument parser whose help is the script's module docstring, with what every stage has in common."""
    parser = _StageParser(description=manual, formatter_class=_ManualFormatter, allow_abbrev=False)
    parser.add_argument("work", type=Path, help="the work folder")
    parser.add_argument("--strict", action="store_true", help="exit with code 3 when anything was skipped")
    return parser


def add_force(parser: argparse.ArgumentParser, further: str = "") -> None:
    parser.add_argument(
        "--force", action="store_true", help=f"go on although clips were replaced since they were labelled{further}"
    )


def round_number(text: str) -> int:
    """Argument type of `--round`: a whole number from 0."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 99:
        raise argparse.ArgumentTypeError(f"a round is a number from 0 to 99, not '{text}'")
    return number


def positive_number(text: str) -> int:
    """Argument type: a whole number from 1."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {10**MOST_DIGITS - 1}, not '{text}'")
    return int(text)


def positive_numbers(text: str) -> tuple[int, ...]:
    """Argument type: whole numbers from 1 with commas between, each once."""
    return tuple(dict.fromkeys(positive_number(part.strip()) for part in text.split(",")))


def whole_number(text: str) -> int:
    """Argument type: a whole number from 0, from which everything is drawn."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0, not '{text}'")
    return int(text)


def above_zero(text: str) -> float:
    """Argument type: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not '{text}'")
    return number


def shown_safely(text: str) -> str:
    """Text that may come from outside, such as a file's name, without what would steer a terminal."""
    return "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape", "backslashreplace").decode()
        for letter in text
    )


def run_stage(body: Callable[[], Summary], strict: bool = False) -> int:
    """Run a stage's body, print how it ended, and return the exit code (see the module's constants)."""
    script = Path(sys.argv[0]).name
    try:
        summary = body()
    except InputError as error:
        print(shown_safely(f"{script}: error: {error}"), file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:  # the disk is full, or not to be written to
        where = f"{error.filename}: " if error.filename else ""
        reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
        print(shown_safely(f"{script}: error: {where}{reason}; run the same command again to go on"), file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"\n{script}: stopped. What was finished is kept; run the same command again to go on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    for line in summary.lines:
        print(shown_safely(line))
    print(shown_safely(summary.closing_line()))
    if summary.next_command and not summary.alarms:
        print(shown_safely(f"next: {summary.next_command}"))
    for alarm in summary.alarms:
        print(shown_safely(f"{script}: alarm: {alarm}"), file=sys.stderr)
    to_look_at = summary.alarms or any(kind in summary.skipped for kind in TRANSIENT)
    return EXIT_SKIPPED if to_look_at or (strict and summary.skipped) else EXIT_DONE


def options_given(args: argparse.Namespace, usual: Mapping[str, object]) -> list[str]:
    """Those of some options that were given; `usual`: option -> what it is where nobody says it."""
    return [option for option, value in usual.items() if getattr(args, option[2:].replace("-", "_")) != value]
