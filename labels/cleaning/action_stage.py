"""Stage 3 for actions, as the script calls it."""

import argparse

from labels.cleaning.action_cleaning import clean_actions
from labels.cleaning.action_lines import action_lines
from labels.cleaning.action_settings import ActionSettings
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import out_of_date, read_run_record
from labels.records.work_folder import ACTIONS_LABELLED, WorkFolder


def wants_actions(work: WorkFolder, number: int, task: str | None) -> bool:
    """Whether actions are to be cleaned: it was said, or the round has nothing else."""
    if task is not None:
        return task == "actions"
    folder = work.round(number)
    return read_run_record(folder, ACTIONS_LABELLED) is not None and read_run_record(folder, "labelled") is None


def settings_of(args: argparse.Namespace) -> ActionSettings:
    """--keep and --ignore where they were said; boxes and actions have other defaults."""
    settings = ActionSettings()
    keep = settings.keep_quality if args.keep_quality is None else args.keep_quality
    ignore = settings.ignore_quality if args.ignore_quality is None else args.ignore_quality
    if not 0 <= ignore <= keep <= 1:
        raise InputError(f"--ignore {ignore:g} and --keep {keep:g}: qualities, 0 <= ignore <= keep <= 1")
    return ActionSettings(keep_quality=keep, least_quality=min(settings.least_quality, keep), ignore_quality=ignore)


def clean_actions_of(args: argparse.Namespace, said_of_boxes: list[str]) -> Summary:
    """Clean the actions of one round. InputError for options that only boxes know."""
    if said_of_boxes:
        raise InputError(f"{', '.join(said_of_boxes)}: of boxes alone, and actions are cleaned here; leave it out")
    work = WorkFolder(args.work)
    settings = settings_of(args)
    found = len(work.usable_videos())
    with work.writing():
        record = clean_actions(work, args.round, settings)
        lines = [*action_lines(record), *out_of_date(work)]
        lines += [f"alarm, but --force: {alarm}" for alarm in record.counts["alarms"] if args.force]
    skipped = len(record.counts["skipped"])
    return Summary(
        f"clean actions of round {args.round}",
        "videos",
        found,
        found - skipped,
        {"were not labelled": skipped} if skipped else {},
        lines,
        alarms=[] if args.force else record.counts["alarms"],
    )
