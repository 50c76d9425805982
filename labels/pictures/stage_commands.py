"""The commands that made a round, put together again from its run records."""

import shlex
from dataclasses import asdict
from typing import Any

from labels.cleaning.settings import CleaningSettings
from labels.labelling.settings import LabellingSettings
from labels.pictures.round_reading import CleanedRound
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, ACTIONS_TRAINED, STAGES
from labels.training.settings import FrameChoice, SplitSettings, TrainingSettings

SCRIPTS = {"labelled": "dataset_processor.py", "cleaned": "dataset_cleaner.py", "trained": "train.py"}
NOT_AN_OPTION = {"work", "round", "strict"}
OPTION_NAMES = {
    "keep_quality": "keep",
    "ignore_quality": "ignore",
    "min_size_pixels": "min-size",
    "learning_rate": "lr",
}
REPEATED = {"without", "detector"}  # one option for each value, rather than values with commas between
DEFAULTS: dict[str, list[Any]] = {
    "labelled": [LabellingSettings()],
    "cleaned": [CleaningSettings()],
    "trained": [TrainingSettings(), SplitSettings(), FrameChoice()],
}
# Of the stages of actions, the arguments that are options too; the others are settings that are derived.
ACTION_OPTIONS = {
    ACTIONS_LABELLED: {"recogniser", "map", "per", "human_share"},
    ACTIONS_CLEANED: set(),
    ACTIONS_TRAINED: {"architecture", "epochs", "batch_size", "seed", "from_scratch"},
}


def stage_command(stage: str, work: str, number: int, arguments: dict[str, Any]) -> str:
    """A line for the shell. Options that are off, empty or as they are anyway are left out."""
    usual = {name: value for settings in DEFAULTS.get(stage, []) for name, value in asdict(settings).items()}
    words = ["python", SCRIPTS[stage.split("/")[0]], work, "--round", str(number)]
    if stage in (ACTIONS_CLEANED, ACTIONS_TRAINED):
        words += ["--task", "actions"]
    for name, value in sorted(arguments.items()):
        if name not in ACTION_OPTIONS.get(stage, {name}):
            continue
        if name in NOT_AN_OPTION or value is None or value is False or value in ("", [], {}):
            continue
        if isinstance(value, dict) or value == usual.get(name):
            continue  # a dict is no option's value: settings that the stage derived
        option = f"--{OPTION_NAMES.get(name, name).replace('_', '-')}"
        if value is True:
            words.append(option)
        elif name in REPEATED and not isinstance(value, str):
            words += [word for item in value for word in (option, str(item))]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
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
    of_boxes = any(found.records[stage] is not None for stage in SCRIPTS)
    for stage in SCRIPTS if of_boxes or not any(found.records.values()) else ACTION_OPTIONS:
        if found.records[stage] is None:
            return stage_command(stage, work, found.number, {})
    return None
