"""The commands that made a round, put together again from its run records."""

import shlex
from typing import Any

from labels.pictures.round_reading import CleanedRound
from labels.records.work_folder import STAGES

SCRIPTS = {"labelled": "dataset_processor.py", "cleaned": "dataset_cleaner.py", "trained": "train.py"}
NOT_AN_OPTION = {"work", "round", "strict"}


def stage_command(stage: str, work: str, number: int, arguments: dict[str, Any]) -> str:
    """A line for the shell. Options that are off or empty are left out."""
    words = ["python", SCRIPTS[stage], work, "--round", str(number)]
    for name, value in sorted(arguments.items()):
        if name in NOT_AN_OPTION or value is None or value is False or value in ("", [], {}):
            continue
        if isinstance(value, dict):
            continue  # settings no option sets
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(",".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value))
    return " ".join(shlex.quote(word) for word in words)


def commands_of(found: CleanedRound, work: str) -> list[str]:
    """The commands of the stages of a round that are finished, in order."""
    return [
        stage_command(stage, work, found.number, record.arguments)
        for stage in STAGES
        if (record := found.records[stage]) is not None
    ]


def next_stage(found: CleanedRound, work: str) -> str | None:
    """The command of the first stage of a round that is not finished yet; None when all are."""
    for stage in STAGES:
        if found.records[stage] is None:
            return stage_command(stage, work, found.number, {})
    return None
