"""Stage 4 for actions, as the script calls it."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labels.labelling.action_settings import LASTING, said_words
from labels.models.recogniser_settings import DEFAULT_ON_CPU, DEFAULT_ON_GPU, PRETRAINED
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import last_arguments, out_of_date, read_run_record, require_run_record
from labels.records.safe_writing import digest_of
from labels.records.said_options import typed
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, ACTIONS_TRAINED, WorkFolder
from labels.training.recognition_settings import RecognitionSettings
from labels.training.round_gain import round_to_stay_with

if TYPE_CHECKING:
    from labels.training.action_training import TrainedActions

Draw = Callable[[Path, Path], object]  # a picture from the first file into the second


def wants_actions(work: WorkFolder, number: int, task: str | None) -> bool:
    """Whether a recogniser is to be trained: it was said, or the round has only actions."""
    if task is not None:
        return task == "actions"
    folder = work.round(number)
    return read_run_record(folder, ACTIONS_CLEANED) is not None and read_run_record(folder, "cleaned") is None


def train_actions_of(args: argparse.Namespace, draw_curves: Draw, draw_confusion: Draw) -> Summary:
    """Train the recogniser of one round and draw its curves and its confusion."""
    from labels.models.loading import torch_device
    from labels.training.action_training import train_actions

    work = WorkFolder(args.work)
    work.usable_videos()
    device = torch_device(args.device)
    if args.long_side is not None:
        raise InputError("--long-side: recognisers have a size of their own; leave it out")
    architecture = args.architecture or (DEFAULT_ON_GPU if device == "cuda" else DEFAULT_ON_CPU)
    settings = replace(RecognitionSettings(), architecture=architecture, seed=args.seed)
    settings = replace(
        settings,
        mask_channel=args.mask_channel,
        epochs=args.epochs or settings.epochs,
        batch_size=args.batch_size or settings.batch_size,
        frames=args.window_frames,
        seconds=args.window_seconds,
        mixup=args.mixup,
        rand_augment=args.rand_augment,
        any_side=args.any_side,
        pose=args.pose or "",
    )
    if args.folds and "+" in architecture:
        raise InputError(f"--folds {args.folds}: of a single network, not of {architecture}")
    with work.writing():
        from labels.models.recogniser import preset_of

        for part in architecture.split("+"):
            preset_of(part)
        settings = replace(settings, learning_rate=args.lr or RecognitionSettings.rate_for(architecture))
        trained = train_actions(
            work, args.round, settings, device, args.from_scratch, args.go_on, draw_curves, draw_confusion, args.folds
        )
        summary = summarise(args, trained)
        if args.folds:
            summary.lines.append(_ask_folds(work, args, settings, trained, device))
        stay = round_to_stay_with(work, args.round)
        if stay is not None:
            summary.lines.append(stay[1])
            summary.next_command = f"python visualise.py {args.work} --round {stay[0]}"
        summary.lines += out_of_date(work)
    return summary


def _ask_folds(
    work: WorkFolder, args: argparse.Namespace, settings: RecognitionSettings, trained: "TrainedActions", device: str
) -> str:
    """Train the out-of-fold students; returns the line that says so."""
    from labels.models.recogniser import build_recogniser
    from labels.training.action_folds import write_out_of_fold
    from labels.training.recognition_tasks import RecognitionTask
    from labels.training.splits import TRAIN

    data, folder = trained.data, work.round(args.round)
    preset, windows = data.store.preset, data.windows[TRAIN]
    pretrained = not args.from_scratch and settings.architecture in PRETRAINED
    task = RecognitionTask(data.class_names, preset, data.read, settings)
    record = require_run_record(folder, ACTIONS_TRAINED, "")
    asked = write_out_of_fold(
        folder.out_of_fold,
        task,
        windows,
        settings,
        args.folds,
        lambda: build_recogniser(settings.architecture, len(data.class_names), preset, pretrained).to(device),
        digest_of([record.arguments, record.inputs]),
        pretrained,
    )
    return f"{args.folds} out-of-fold students were asked about {asked} labels: trained/actions/out_of_fold.parquet"


def summarise(args: argparse.Namespace, trained: "TrainedActions") -> Summary:
    """Which videos were used, and what came out."""
    data = trained.data
    work = WorkFolder(args.work)
    lasting = said_words(last_arguments(work, args.round, ACTIONS_LABELLED) or {}, LASTING)
    if read_run_record(work.round(args.round), "trained") is not None:  # a detector's turn comes too: say whose it is
        lasting = ["--recogniser", str(work.round(args.round).recogniser), *lasting]
    return Summary(
        f"train actions of round {args.round}",
        "videos",
        len(data.splits),
        len(data.splits) - sum(data.skipped.values()),
        data.skipped,
        trained.lines(),
        f"python dataset_processor.py {args.work} --round {args.round + 1}{typed(lasting)}",
    )
