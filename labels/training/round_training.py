"""Stage 4 for one round: from cleaned labels to `detector.pt`, its metrics, and the record of how it was made."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labels.cleaning.threshold_arguments import cleaning_command
from labels.models.ballnet import BallNetSettings
from labels.models.checkpoints import load_checkpoint, require_fit, save_checkpoint
from labels.models.networks import (
    BALLNET,
    build_network,
    check_architecture,
    freeze_batch_norms,
    network_from_checkpoint,
)
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, read_run_record, require_run_record, start_run, write_run_record
from labels.records.safe_writing import digest_of, file_digest, write_json
from labels.records.work_folder import WorkFolder
from labels.training.ballnet_training import BallNetTask
from labels.training.box_folds import measure_folds
from labels.training.box_metrics import find_slopes, find_thresholds, measure
from labels.training.detector_tasks import DetectorTask, detection_tables, spread
from labels.training.detector_training import train_detector
from labels.training.epoch_choice import LEAST_PARTS
from labels.training.optimisation import seed_everything
from labels.training.round_accuracy import measure_accuracy
from labels.training.round_data import RoundData, digests_of, gather_data
from labels.training.settings import TrainingSettings
from labels.training.splits import TRAIN, VAL, require_groups
from labels.training.trained_round import TrainedRound
from labels.training.training_folder import TrainingFolder, clear_folds

FORMAT = 2  # of what training gives; raise it when the same settings on the same labels give another student


def train_round(
    work: WorkFolder,
    round_number: int,
    settings: TrainingSettings,
    device: str,
    from_scratch: bool,
    go_on: bool,
    draw: Callable[[Path, Path], object] | None = None,
    folds: int = 0,
) -> TrainedRound:
    """Train round N's detector. Does nothing but report when that was done before with the same in hand.

    Args:
        device: cpu or cuda.
        from_scratch: without COCO weights for a torchvision architecture.
        go_on: start from the weights of the round before instead.
        draw: makes curves.png from metrics.csv.
        folds: so many more students, each without a part of the groups, say how far they agree with its labels.
    """
    check_architecture(settings.architecture)
    if from_scratch and settings.architecture == BALLNET:
        raise InputError(f"--from-scratch: {BALLNET} has no COCO weights and starts from chance anyway; leave it out")
    folder = work.round(round_number)
    script = cleaning_command(work, round_number)
    inputs = {
        "format": str(FORMAT),
        f"round {round_number} cleaned": require_run_record(folder, "cleaned", script).output,
    }
    if go_on:
        if round_number == 0:
            raise InputError("--continue: round 0 has no round before it; leave it out")
        before = require_run_record(
            work.round(round_number - 1), "trained", f"python train.py {work.root} --round {round_number - 1}"
        )
        inputs[f"round {round_number - 1} trained"] = before.output
    arguments = {**asdict(settings), "device": device, "from_scratch": from_scratch, "continue": go_on}
    data = gather_data(work, folder, settings)
    require_groups({data.groups[frame.video_id] for frame in data.frames[TRAIN]}, folds)
    inputs |= digests_of(work, data)
    files = TrainingFolder(folder.stage("trained"))
    named = [files.best, files.epochs, files.metrics, *([files.curves] if draw else [])]
    done = read_run_record(folder, "trained") if all(path.is_file() for path in named) else None
    identity = digest_of([arguments, inputs, torch.__version__])

    def build(goes_on: bool = False) -> tuple[nn.Module, dict[str, Any]]:
        network, own = _first_network(work, round_number, data.class_names, settings, from_scratch, goes_on)
        layout = torch.channels_last if settings.architecture == BALLNET else torch.preserve_format
        return network.to(device).to(memory_format=layout), own

    def ask_folds() -> dict[str, Any]:  # with --continue too they start anew: the student before saw all groups
        if not folds:
            return {}
        return measure_folds(folder.folds, data, _task_of(data, settings), settings, folds, build, identity)

    if done is not None and done.is_made_from(arguments, inputs) and done.output == file_digest(files.best):
        return TrainedRound(data, done.facts["metrics"], done_before=True, folds=ask_folds())
    network, network_settings = build(go_on)
    start_run(folder, "trained")  # only now: weights that cannot be had must not cost the student that is there
    folder.folds.unlink(missing_ok=True)  # of other labels
    clear_folds(files.beside)
    metrics = _train_on(work, files, data, settings, network, network_settings, identity)
    if draw:
        draw(files.epochs, files.curves)
    counts = {split: asdict(count) for split, count in data.counts.items()} | {"skipped videos": data.skipped}
    write_run_record(
        folder,
        RunRecord(
            stage="trained",
            round=round_number,
            arguments=arguments,
            inputs=inputs,
            counts=counts,
            facts={"metrics": metrics, "class_names": list(data.class_names)},
            seed=settings.seed,
            output=file_digest(folder.detector),
        ),
    )
    return TrainedRound(data, metrics, done_before=False, folds=ask_folds())


def _task_of(data: RoundData, settings: TrainingSettings) -> DetectorTask:
    if settings.architecture == BALLNET:
        return BallNetTask(data.class_names, data.video_sizes, data.working, settings)
    from labels.training.torchvision_training import TorchvisionTask  # imports all of torchvision

    return TorchvisionTask(data.class_names, data.video_sizes, data.working)


def _first_network(
    work: WorkFolder, number: int, class_names: tuple[str, ...], settings: TrainingSettings, scratch: bool, go_on: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """The network with the weights that training starts from, and the settings that go into its checkpoint."""
    seen = {"long_side": settings.long_side}  # by training, and later by labelling
    own = asdict(BallNetSettings(long_side=settings.long_side)) if settings.architecture == BALLNET else seen
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    if go_on:
        path = work.round(number - 1).detector
        checkpoint = load_checkpoint(path)
        require_fit(checkpoint, settings.architecture, class_names, str(path))
        own = checkpoint["settings"] | seen
        network = network_from_checkpoint(checkpoint | {"settings": own}, str(path))
        counted = any(name.startswith("backbone.") and name.endswith("_tracked") for name in checkpoint["network"])
        if settings.architecture != BALLNET and not counted:  # they were frozen when it was trained
            freeze_batch_norms(network.get_submodule("backbone"))
        return network, own
    seed_everything(settings.seed, 2**32 - 1)
    return build_network(settings.architecture, class_names, own, pretrained=not scratch), own


def _train_on(
    work: WorkFolder,
    files: TrainingFolder,
    data: RoundData,
    settings: TrainingSettings,
    network: nn.Module,
    network_settings: dict[str, Any],
    identity: str,
) -> dict[str, Any]:
    """Train, then measure the best weights on all validation frames and write them with their threshold."""
    task = _task_of(data, settings)
    data.working.hold([*data.frames[TRAIN], *data.frames[VAL]])
    history = train_detector(
        network, task, data.frames[TRAIN], data.frames[VAL], settings, network_settings, files, identity
    )
    checkpoint = load_checkpoint(files.best)
    best = network_from_checkpoint(checkpoint, str(files.best)).to(next(network.parameters()).device)
    weights = {name: tensor.clone() for name, tensor in best.state_dict().items()}  # detecting may rearrange them
    found, labels = detection_tables(task, best, data.frames[VAL])
    told = found, labels
    if len(labels) < LEAST_PARTS:  # one or two clips do not tell how the scores in all the others are to be read
        shown = detection_tables(task, best, spread(data.frames[TRAIN], settings.validation_frames))
        told = found | shown[0], labels | shown[1]
    thresholds = find_thresholds(*told, data.class_names, settings.precision_floor)
    slopes = find_slopes(*told, thresholds)
    accuracy, unused = measure_accuracy(work, task, best, data.frames[VAL], thresholds)
    metrics = {
        "best_epoch": checkpoint["epoch"],
        "epochs": len(history),
        "working_threshold": thresholds,
        "score_slope": slopes,
        "validation_videos": sorted(labels),
        "agreement_with_labels": measure(found, labels, thresholds).as_dict(),
        "accuracy": accuracy,
        "truth_not_used": unused,
    }
    measured = {"network": weights, "working_threshold": thresholds, "score_slope": slopes, "metrics": metrics}
    # What is replaced is taken out first: a key that was read from the file would be written in other bytes.
    kept = {name: value for name, value in checkpoint.items() if name not in measured}
    save_checkpoint(files.best, kept | measured)
    write_json(files.metrics, metrics)
    return metrics
