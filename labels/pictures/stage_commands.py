"""The commands that made a round, put together again from its run records."""

import shlex
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

from labels.cleaning import threshold_arguments
from labels.cleaning.action_settings import ActionSettings
from labels.labelling import action_settings, detector_arguments
from labels.pictures.round_reading import CleanedRound
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, ACTIONS_TRAINED, STAGES
from labels.training import recognition_settings, settings

SCRIPTS = {"labelled": "dataset_processor.py", "cleaned": "dataset_cleaner.py", "trained": "train.py"}
OF_ACTIONS = (ACTIONS_LABELLED, ACTIONS_CLEANED, ACTIONS_TRAINED)
SAID: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "labelled": detector_arguments.said_words,
    "cleaned": threshold_arguments.said_words,
    "trained": settings.said_words,
    ACTIONS_LABELLED: action_settings.said_words,
    ACTIONS_CLEANED: partial(threshold_arguments.said_words, kind=ActionSettings),
    ACTIONS_TRAINED: recognition_settings.said_words,
}


def stage_command(stage: str, work: str, number: int, arguments: dict[str, Any]) -> str:
    """A line for the shell. Options that are off, empty or as they are anyway are left out."""
    words = ["python", SCRIPTS[stage.split("/")[0]], work, "--round", str(number)]
    if stage in (ACTIONS_CLEANED, ACTIONS_TRAINED):
        words += ["--task", "actions"]
    return shlex.join(words + SAID[stage](arguments))


def commands_of(found: CleanedRound, work: str) -> list[str]:
    """The commands of the stages of a round that are finished, in order."""
    return [
        stage_command(stage, work, found.number, record.arguments)
        for stage in STAGES
        if (record := found.records[stage]) is not None
    ]


def next_stage(found: CleanedRound, before: CleanedRound | None, work: str) -> str | None:
    """The command of the first stage of a round that is not finished yet; None when all are.

    It has the options that the stage had in the round `before`; labelling those that last, for another labeller's turn
    comes.
    """
    kinds = [kind for kind in (tuple(SCRIPTS), OF_ACTIONS) if any(found.records[stage] is not None for stage in kind)]
    for stage in chain.from_iterable(kinds or [SCRIPTS]):
        if found.records[stage] is None:
            usual = before.records[stage] if before is not None and stage != ACTIONS_LABELLED else None
            arguments = usual.arguments if usual is not None else {}
            if stage == "labelled":
                arguments = detector_arguments.lasting(arguments)
            return stage_command(stage, work, found.number, arguments)
    return None
