"""The skeleton every stage script shares: how it parses, ends, fails and is interrupted.

Imports nothing heavy, so that `--help` answers at once.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from labels.records.errors import InputError
from labels.records.old_names import GONE_OPTIONS, OLD_OPTIONS

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


SET = "--set"
SWITCH = ("no", "yes")


@dataclass(frozen=True)
class Setting:
    """What `--set NAME=VALUE` may change: `kind` reads the value, and is `bool` for yes or no."""

    kind: Callable[[str], Any]
    choices: Sequence[Any] = ()

    def read(self, text: str) -> Any:
        """Raises ValueError or ArgumentTypeError for a value that cannot be."""
        if self.kind is bool:
            return SWITCH.index(text) == 1 if text in SWITCH else self._refuse(text, SWITCH)
        value = self.kind(text)
        return value if not self.choices or value in self.choices else self._refuse(text, self.choices)

    @staticmethod
    def _refuse(text: str, choices: Sequence[Any]) -> None:
        raise argparse.ArgumentTypeError(f"one of {', '.join(map(str, choices))}, not '{text}'")


class _SetByName(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):  # type: ignore[no-untyped-def]
        name, equals, text = values.partition("=")
        setting = parser.settings.get(name)
        if setting is None or not equals:
            near = get_close_matches(name, parser.settings, n=1, cutoff=0.5) or sorted(parser.settings)
            parser.error(f"{SET} {values}: NAME=VALUE, where NAME is {', '.join(near)}")
        try:
            setattr(namespace, name, setting.read(text))
        except (argparse.ArgumentTypeError, ValueError) as error:
            why = str(error) if isinstance(error, argparse.ArgumentTypeError) else f"a number, not '{text}'"
            parser.error(f"{SET} {name}: {why}")


class StageParser(argparse.ArgumentParser):
    """The parser of a stage script.

    What few people change has no option of its own: it is a setting, given by `--set NAME=VALUE` and listed at the end
    of the help. Options of older versions are taken too, and values that begin with «-», such as a video's id.
    """

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.settings: dict[str, Setting] = {}
        self._heading = ""

    def add_setting(
        self,
        name: str,
        kind: Callable[[str], Any],
        default: Any,
        meaning: str,
        choices: Sequence[Any] = (),
        heading: str = "",
    ) -> None:
        """`args.NAME`, changed by `--set NAME=VALUE`; `heading`: what it is a setting of."""
        if not self.settings:
            text = "change a setting of those listed below; may be repeated"
            self.add_argument(SET, action=_SetByName, default=argparse.SUPPRESS, metavar="NAME=VALUE", help=text)
        if heading != self._heading or not self.settings:
            self.epilog = f"{self.epilog}\n\n" if self.epilog else ""
            self.epilog += f"settings{f' of {heading}' if heading else ''}, for {SET}:"
            self._heading = heading
        self.settings[name] = Setting(kind, choices)
        self.set_defaults(**{name: default})
        shown = SWITCH[default] if isinstance(default, bool) else default
        usual = "" if shown in (None, "") else f" (default: {shown})"
        listed = f" {', '.join(map(str, choices))}" if choices else ""
        self.epilog = f"{self.epilog}\n  {name:<16}{meaning}{':' if listed else ''}{listed}{usual}"

    def option_of(self, name: str) -> str:
        """How an argument is typed."""
        return f"{SET} {name}" if name in self.settings else f"--{name.replace('_', '-')}"

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        words = self._as_today(list(sys.argv[1:] if args is None else args))
        return super().parse_known_args(self._with_their_values(words), namespace)

    def _as_today(self, words: list[str]) -> list[str]:
        known: list[str] = []
        left = iter(words)
        for word in left:
            option, equals, value = word.partition("=")
            if option in self._option_string_actions or not option.startswith("--"):
                known.append(word)
                continue
            if option in GONE_OPTIONS:
                self.error(f"{option} is no more: {GONE_OPTIONS[option]}; leave it out")
            setting = self.settings.get(option[2:].replace("-", "_"))
            if setting is not None:
                form = option[2:].replace("-", "_") + ("=yes" if setting.kind is bool else "={}")
                name = SET
            else:
                name, form = OLD_OPTIONS.get(option, ("", ""))
            if name not in self._option_string_actions:
                known.append(word)
                continue
            typed = form.format(value if equals else next(left, "")) if "{}" in form else form
            print(f"{self.prog}: {option} is called {name} {typed} today", file=sys.stderr)
            known += [f"{name}={typed}"] if typed.startswith("-") else [name, typed]
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


def stage_parser(manual: str) -> StageParser:
    """An argument parser whose help is the script's module docstring, with what every stage has in common."""
    parser = StageParser(description=manual, formatter_class=_ManualFormatter, allow_abbrev=False)
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


def options_given(args: argparse.Namespace, usual: Mapping[str, tuple[str, object]]) -> list[str]:
    """Those of some options that were given; `usual`: argument -> (how it is typed, its default)."""
    return [option for name, (option, value) in usual.items() if getattr(args, name) != value]
