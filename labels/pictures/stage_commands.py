"""The commands that made a round, put together again from its run records."""

import shlex
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from labels.cleaning.settings import CleaningSettings
from labels.labelling.settings import LabellingSettings
from labels.pictures.round_reading import CleanedRound
from labels.records.said_options import said_options
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, ACTIONS_TRAINED, STAGES
from labels.training.recognition_settings import SAID, options_of, usual_recognition
from labels.training.settings import usual_training

SCRIPTS = {"labelled": "dataset_processor.py", "cleaned": "dataset_cleaner.py", "trained": "train.py"}
USUAL: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "labelled": lambda _: asdict(LabellingSettings()),
    "cleaned": lambda _: asdict(CleaningSettings()),
    "trained": usual_training,
    ACTIONS_TRAINED: usual_recognition,
}
# Of the stages of actions, the arguments that are options too; the others are settings that are derived.
ACTION_OPTIONS = {
    ACTIONS_LABELLED: {"recogniser", "map", "per", "human_share"},
    ACTIONS_CLEANED: set(),
    ACTIONS_TRAINED: set(SAID),
}


def stage_command(stage: str, work: str, number: int, arguments: dict[str, Any]) -> str:
    """A line for the shell. Options that are off, empty or as they are anyway are left out."""
    usual = USUAL[stage](arguments) if stage in USUAL else {}
    words = ["python", SCRIPTS[stage.split("/")[0]], work, "--round", str(number)]
    if stage in (ACTIONS_CLEANED, ACTIONS_TRAINED):
        words += ["--task", "actions"]
    arguments = options_of(arguments) if stage == ACTIONS_TRAINED else arguments
    given = {name: value for name, value in arguments.items() if name in ACTION_OPTIONS.get(stage, {name})}
    return shlex.join(words + said_options(given, usual))


def commands_of(found: CleanedRound, work: str) -> list[str]:
    """The commands of the stages of a round that are finished, in order."""
    return [
        stage_command(stage, work, found.number, record.arguments)
        for stage in STAGES
        if (record := found.records[stage]) is not None
    ]


def next_stage(found: CleanedRound, before: CleanedRound | None, work: str) -> str | None:
    """The command of the first stage of a round that is not finished yet; None when all are.

    It has the options that the stage had in the round `before`, but for labelling: another labeller's turn comes.
    """
    of_boxes = any(found.records[stage] is not None for stage in SCRIPTS)
    for stage in SCRIPTS if of_boxes or not any(found.records.values()) else ACTION_OPTIONS:
        if found.records[stage] is None:
            usual = before.records[stage] if before is not None and not stage.startswith("labelled") else None
            return stage_command(stage, work, found.number, usual.arguments if usual is not None else {})
    return None
