"""The thresholds of cleaning as arguments of its script. Imports nothing heavy."""

import argparse
import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from labels.cleaning.action_settings import ActionSettings
from labels.cleaning.settings import CleaningSettings
from labels.records.said_options import said_options, typed

if TYPE_CHECKING:
    from labels.records.work_folder import WorkFolder

# The thresholds people change; the others are in labels/cleaning/settings.py.
OPTIONS = {
    "keep_quality": ("--keep", "quality from which a label is trained on; that of boxes on no path moves with it"),
    "ignore_quality": ("--ignore", "quality from which it is neither trained on nor background"),
    "max_per_frame": ("--max-per-frame", "balls in play at once, where you know it; 0: not known"),
    "max_overlap": ("--max-overlap", "IoU with a better box of its class"),
    "max_aspect": ("--max-aspect", "longer over shorter side of a ball's box"),
    "min_size_pixels": ("--min-size", "square root of the area in pixels"),
    "max_frame_share": ("--max-frame-share", "size of a ball over the frame's shorter side"),
}


def add_threshold_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each of OPTIONS."""
    thresholds = parser.add_argument_group("thresholds")
    for name, (option, meaning) in OPTIONS.items():
        default = getattr(CleaningSettings, name)
        others = f", of actions {getattr(ActionSettings, name):g}" if hasattr(ActionSettings, name) else ""
        told = f"{meaning} (default: {default:g}{others})"
        thresholds.add_argument(option, dest=name, type=type(default), metavar="X", help=told)


def settings_from(args: argparse.Namespace) -> CleaningSettings:
    from labels.records.errors import InputError

    said = {name: value for name in OPTIONS if (value := getattr(args, name)) is not None}
    settings = CleaningSettings(without=tuple(args.without), **said)
    if not 0 <= settings.ignore_quality <= settings.keep_quality <= 1:
        raise InputError(
            f"--ignore {settings.ignore_quality:g} and --keep {settings.keep_quality:g}: qualities, "
            "0 <= ignore <= keep <= 1"
        )
    for name, (option, _) in OPTIONS.items():
        value = getattr(settings, name)
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{option}: a number from 0, not {value}")
    return settings


def said_of_boxes(args: argparse.Namespace) -> list[str]:
    """The options that were given and that only boxes know."""
    said = ["--without"] if args.without else []
    own = [
        option
        for name, (option, _) in OPTIONS.items()
        if not hasattr(ActionSettings, name) and getattr(args, name) is not None
    ]
    return [*said, *own]


def said_words(
    arguments: Mapping[str, Any], kind: type[CleaningSettings] | type[ActionSettings] = CleaningSettings
) -> list[str]:
    """The options that a round was cleaned with, from its run record."""
    options = {name: option for name, (option, _) in OPTIONS.items()} | {"without": "--without"}
    return said_options(arguments, options, asdict(kind()))


def cleaning_command(work: "WorkFolder", number: int, actions: bool = False) -> str:
    """What cleans a round's boxes, or its actions, as they, or those of the round before, were cleaned last."""
    from labels.records.run_records import last_arguments, read_run_record
    from labels.records.work_folder import ACTIONS_CLEANED

    command = f"python dataset_cleaner.py {shlex.quote(str(work.root))} --round {number}"
    if not actions:
        return command + typed(said_words(last_arguments(work, number, "cleaned") or {}))
    has_boxes = read_run_record(work.round(number), "labelled") is not None
    said = said_words(last_arguments(work, number, ACTIONS_CLEANED) or {}, ActionSettings)
    return command + typed(["--task", "actions"] * has_boxes + said)
