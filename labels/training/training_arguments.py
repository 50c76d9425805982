"""The arguments of stage 4, but those of actions alone. Imports nothing heavy."""

import argparse
import shlex
from typing import TYPE_CHECKING

from labels.models.recogniser_settings import DEFAULT_ON_CPU, DEFAULT_ON_GPU
from labels.records.command_line import above_zero, positive_number, whole_number
from labels.records.said_options import typed
from labels.training import recognition_settings, settings
from labels.training.settings import TrainingSettings

if TYPE_CHECKING:
    from labels.records.work_folder import RoundFolder, WorkFolder


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a user may say of any training; the script's own text says what the architectures are."""
    defaults = TrainingSettings()
    parser.add_argument(
        "--architecture",
        help=f"see above (default: {defaults.architecture}; of actions {DEFAULT_ON_CPU}, on a GPU {DEFAULT_ON_GPU})",
    )
    parser.add_argument("--epochs", type=positive_number, help=f"at most (default: {defaults.epochs}; of actions 30)")
    parser.add_argument("--batch-size", type=positive_number, help="crops, frames or windows a step (default: 16)")
    parser.add_argument("--lr", type=above_zero, help="the highest learning rate (default: the architecture's)")
    parser.add_argument(
        "--long-side",
        type=positive_number,
        help="pixels that larger frames are reduced to (default: the architecture's)",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU if there is one"
    )
    parser.add_argument("--seed", type=whole_number, default=defaults.seed, help="of everything that is drawn")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--from-scratch", action="store_true", help="do not fetch COCO weights (torchvision)")
    parser.add_argument(
        "--folds",
        type=positive_number,
        default=0,
        metavar="K",
        help="train K more students, each without a part of the groups, and ask them about the labels they did not "
        "see: of boxes, how far they agree; of actions, what the next round's cleaning goes by",
    )
    start.add_argument("--continue", dest="go_on", action="store_true", help="start from the round before's weights")


def training_command(work: "WorkFolder", number: int, actions: bool = False) -> str:
    """What trains a round's detector, or its recogniser, as it, or that of the round before, was trained last."""
    from labels.records.run_records import last_run, read_run_record
    from labels.records.work_folder import ACTIONS_TRAINED

    command = f"python train.py {shlex.quote(str(work.root))} --round {number}"
    run = last_run(work, number, ACTIONS_TRAINED if actions else "trained")
    folds = _folds_of(run[0], actions) if run is not None else 0
    said = ["--folds", str(folds)] if folds else []
    arguments = run[1].arguments if run is not None else {}
    if not actions:
        return command + typed(said + settings.said_words(arguments))
    has_boxes = read_run_record(work.round(number), "cleaned") is not None
    return command + typed(["--task", "actions"] * has_boxes + said + recognition_settings.said_words(arguments))


def _folds_of(folder: "RoundFolder", actions: bool) -> int:
    """How many students were trained beside the round's own, each without some groups. No run record says it: they
    change nothing about that one."""
    from labels.records.safe_writing import read_object, read_parquet_metadata

    said = read_parquet_metadata(folder.out_of_fold) if actions else read_object(folder.folds)
    return int((said or {}).get("folds", 0))
