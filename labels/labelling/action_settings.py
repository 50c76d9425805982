"""What labelling actions goes by, and its arguments. Imports nothing heavy."""

import argparse
import shlex
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from labels.models.recogniser_settings import POSES
from labels.models.settings import HUMAN
from labels.records.command_line import above_zero, said_beside
from labels.records.errors import InputError
from labels.records.said_options import options_named, said_options, typed

if TYPE_CHECKING:
    from labels.records.work_folder import WorkFolder

SUBJECTS = ("auto", "frame", "player")
# Of labelling actions alone, and what they are where nobody says them.
ACTION_OPTIONS = {"--map": None, "--pose": None, "--per": SUBJECTS[0], "--human-share": 1.0}
USUAL = {option[2:].replace("-", "_"): value for option, value in ACTION_OPTIONS.items()}
LASTING = ("per", "human_share")  # what holds for the round after too


def add_action_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of stage 2 that are of actions alone."""
    actions = parser.add_argument_group("actions")
    actions.add_argument(
        "--recogniser",
        metavar="NAME|FILE",
        help=f"label actions, not boxes: {HUMAN} (what archives say of their clips), a torchvision video network with "
        "its Kinetics-400 weights, or a recogniser.pt; a student of the round before is taken without it",
    )
    actions.add_argument("--map", metavar="CSV", help="kinetics_class,class_name: a recogniser's classes to ours")
    actions.add_argument(
        "--pose", choices=POSES, help="where joints come from (default: as the recogniser was trained)"
    )
    actions.add_argument(
        "--per", choices=SUBJECTS, default=SUBJECTS[0], help="windows of whole frames or of each player"
    )
    actions.add_argument(
        "--human-share",
        type=above_zero,
        default=1.0,
        metavar="X",
        help="use the human labels of this share of the source videos; the others' measure what labels are worth",
    )


def said_words(arguments: Mapping[str, Any], names: Collection[str] = (*USUAL, "recogniser")) -> list[str]:
    """The options that a round's actions were labelled with, from its run record; of these names alone."""
    return said_options(arguments, options_named(*names), USUAL)


def recognising_command(work: "WorkFolder", number: int) -> str:
    """What labels a round's actions as they were labelled last, or else with what people said of the clips."""
    from labels.records.run_records import read_run_record
    from labels.records.work_folder import ACTIONS_LABELLED

    record = read_run_record(work.round(number), ACTIONS_LABELLED)
    said = typed(said_words(record.arguments) if record is not None else ["--recogniser", HUMAN])
    return f"python dataset_processor.py {shlex.quote(str(work.root))} --round {number}{said}"


def refuse_actions(args: argparse.Namespace) -> None:
    """InputError for options that labelling boxes would ignore."""
    said = said_beside(args, ACTION_OPTIONS)
    if said:
        raise InputError(f"{', '.join(said)}: of actions alone; name a --recogniser, or leave it out")
