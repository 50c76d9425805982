"""Training a recogniser: epochs over labelled windows, validation after each, the best weights, exact resuming.

As in `training.fit`, an epoch depends on the seed and its own number alone.

A student agrees with labels it was trained on. What counts for the next cleaning are out-of-fold predictions, of a
student that never saw the label's group (`cleaning/actions/confident_learning`).
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from labels.labelling.action_intervals import probabilities_json
from labels.models.checkpoints import RECOGNISER, load_checkpoint, save_checkpoint
from labels.models.recognisers.recogniser import logs_of, network_from_file, tempered
from labels.models.recognisers.settings import JOINTS
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, read_parquet_metadata, write_parquet
from labels.training.actions.metrics import fit_temperature, macro_f1_error, measure_actions, rounded
from labels.training.actions.task import LabelledWindow, RecognitionTask, by_label, chances
from labels.training.fit import deterministic
from labels.training.optimisation import Optimisation, is_chosen, is_over, seed_everything
from labels.training.settings import RecognitionSettings
from labels.training.splits import folds_of
from labels.training.training_folder import TrainingFolder, clear_folds, fold_folder, write_history

LAYER = re.compile(r".*?\.\d+(?=\.)")  # of a weight's name: up to its first number
HEAD = re.compile(r"(.*\.)?(head|fc|classifier)\.")
SCORE = "macro_f1"  # on the validation labels: by it an epoch is kept
NORMS_SEED = 2**31  # far from any epoch's


def train_recogniser(
    network: nn.Module,
    task: RecognitionTask,
    training: Sequence[LabelledWindow],
    validation: Sequence[LabelledWindow],
    settings: RecognitionSettings,
    folder: TrainingFolder,
    identity: str,
    pretrained: bool = False,
) -> list[dict[str, Any]]:
    """Train a network in place and leave the best weights in `folder.best`. Returns the history, a dict an epoch.

    Which epoch is the best see `epoch_choice`. Raises InputError when the loss is no longer finite.
    """
    require_no_group_twice(training, validation)
    of_joints = task.preset.reads == JOINTS
    least = settings.epoch_poses if of_joints else settings.epoch_frames
    loop = Optimisation(
        network,
        task,
        training,
        replace(settings, epoch_frames=least),
        chances(training, len(task.class_names), settings.beta, settings.human_draws),
        layer_rates([name for name, _ in network.named_parameters()], settings.backbone_share).__getitem__
        if pretrained
        else None,
    )
    history = loop.resume(folder, identity)
    if history:
        write_history(folder.epochs, history)

    def is_done() -> bool:
        return len(history) >= settings.epochs or is_over(history, settings.patience, SCORE)

    progress = tqdm(
        total=loop.total_steps,
        initial=len(history) * loop.epoch_steps,
        desc=f"train {settings.architecture}",
        unit="step",
    )
    with progress, deterministic(loop.device):
        while not is_done():
            try:
                losses = loop.run_epoch(len(history), progress)
            except torch.OutOfMemoryError:
                raise InputError(
                    f"training: {settings.batch_size} windows a step do not fit into the GPU; "
                    f"say a --batch-size below it"
                ) from None
            averaged = loop.averaged_network()
            if not getattr(network, "frozen_norms", False):
                settle_norms(averaged, task, training, settings, len(history))
            metrics, temperature, threshold = validate(task, averaged, validation, settings)
            row = {"epoch": len(history) + 1, "learning_rate": loop.learning_rate(loop.step - 1), **losses, **metrics}
            payload = {
                "architecture": settings.architecture,
                "class_names": list(task.class_names),
                "settings": asdict(task.preset),
                "working_threshold": threshold,
                "temperature": temperature,
                "identity": identity,
                "epoch": len(history) + 1,
                "metrics": metrics,
            }
            history.append(row)
            row["kept"] = int(is_chosen(history, SCORE))  # the last of these is the student
            if row["kept"]:
                save_checkpoint(folder.best, payload | {"network": averaged.state_dict()}, RECOGNISER)
            save_checkpoint(folder.last, payload | loop.state() | {"history": history}, RECOGNISER)
            write_history(folder.epochs, history)
            if validation:
                progress.write(_line_of(row, settings.epochs), file=sys.stderr)
    return history


def layer_rates(names: Sequence[str], first: float) -> dict[str, float]:
    """Each weight's share of the learning rate: 1 in the head, `first` in the first layer, a power between them."""
    layer_of = {name: (match[0] if (match := LAYER.match(name)) else name.rpartition(".")[0]) for name in names}
    layers = list(dict.fromkeys(layer for name, layer in layer_of.items() if not HEAD.match(name)))
    shares = {layer: round(first ** (1 - at / len(layers)), 6) for at, layer in enumerate(layers)}
    return {name: 1.0 if HEAD.match(name) else shares[layer_of[name]] for name in names}


def settle_norms(
    network: nn.Module,
    task: RecognitionTask,
    training: Sequence[LabelledWindow],
    settings: RecognitionSettings,
    epoch: int,
) -> None:
    """Precise batch norm (arxiv.org/abs/2105.07576): the statistics of averaged weights, from training windows.

    Those that the average brings are of weights long gone, and of batches that may be small.
    """
    seed_everything(settings.seed, NORMS_SEED + epoch)
    odds = chances(training, len(task.class_names), settings.beta, settings.human_draws)
    drawn = np.random.default_rng([settings.seed, epoch, 2]).choice(len(training), settings.norm_windows, p=odds)
    size = settings.batch_size
    batches = ([training[at] for at in drawn[first : first + size]] for first in range(0, len(drawn), size))
    device = next(network.parameters()).device
    update_bn((task.make_batch(windows)[0] for windows in batches), network, device)


def validate(
    task: RecognitionTask, network: nn.Module, validation: Sequence[LabelledWindow], settings: RecognitionSettings
) -> tuple[dict[str, Any], float, dict[str, float]]:
    """Metrics over the labels of the validation windows, the temperature that fits them, and thresholds by class."""
    labels, probabilities = by_label(validation, task.probabilities(network, validation))
    temperature = fit_temperature(np.array([label.class_id for label in labels], dtype=np.int64), probabilities)
    metrics, threshold = judge_labels(labels, probabilities, task.class_names, settings, temperature)
    return metrics, temperature, threshold


def judge_labels(
    labels: Sequence[LabelledWindow],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    settings: RecognitionSettings,
    temperature: float,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Metrics of what was said (N, K) of labels (N,), and thresholds by class of the same at a temperature."""
    usual = dict.fromkeys(class_names, 0.5)
    if not labels:
        unknown = ("top1", "macro_f1", "balanced_accuracy", "ece", "macro_f1_error")
        return dict.fromkeys(unknown), usual
    truth = np.array([label.class_id for label in labels])
    calm = tempered(logs_of(probabilities), temperature)  # as it will label
    predicted, sure = calm.argmax(axis=1), calm.max(axis=1)
    for class_id, name in enumerate(class_names):
        own = predicted == class_id
        if own.sum() >= settings.least_judged:
            usual[name] = trusted_from(sure[own], truth[own] == class_id, settings.precision_floor)
    groups = [label.group for label in labels]
    error = macro_f1_error(groups, truth, probabilities.argmax(axis=1), len(class_names))
    return measure_actions(truth, probabilities) | {"macro_f1_error": rounded(error)}, usual


def trusted_from(sure: np.ndarray, right: np.ndarray, floor: float) -> float:
    """The lowest sureness from which at least this share of what was said is right; 1 where no sureness helps."""
    good = [float(limit) for limit in np.sort(sure) if right[sure >= limit].mean() >= floor]
    return round(min(good), 4) if good else 1.0


def require_no_group_twice(training: Sequence[LabelledWindow], held_out: Sequence[LabelledWindow]) -> None:
    """AssertionError when a group, or a video, is trained on and judged by: a leak is never a user's doing."""
    for name in ("group", "video_id"):
        both = {getattr(window, name) for window in training} & {getattr(window, name) for window in held_out}
        if both:
            raise AssertionError(
                f"the {name} {min(both)} is trained on and judged by: the figures would be worth nothing"
            )


def _line_of(row: dict[str, Any], epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, validation labels: top-1 {row['top1']:.3f}, "
        f"macro-F1 {row['macro_f1']:.3f}, balanced {row['balanced_accuracy']:.3f}, ECE {row['ece']:.3f}"
    )


def write_out_of_fold(
    path: Path,
    task: RecognitionTask,
    windows: Sequence[LabelledWindow],
    settings: RecognitionSettings,
    folds: int,
    build: Callable[[], nn.Module],
    identity: str,
    pretrained: bool = False,
) -> int:
    """Train `folds` students, and write what each says of the labels it was not trained on. Does nothing when that is
    done. Returns how many labels were asked about.

    Args:
        windows: those to train on, of all folds.
        build: gives a new network, not yet trained.
        identity: changes when the outcome may; a fold that was trained before a kill is not trained again.
    """
    key = digest_of([identity, folds])
    metadata = read_parquet_metadata(path)
    if metadata is not None and metadata.get("key") == key:
        clear_folds(path.parent)
        return int(metadata["labels"])
    asked: list[LabelledWindow] = []
    predicted: list[np.ndarray] = []
    groups = [window.group for window in windows]
    for fold, (own, rest) in enumerate(folds_of(windows, groups, folds)):
        require_no_group_twice(rest, own)
        files = TrainingFolder(fold_folder(path.parent, fold), RECOGNISER)
        network = _trained(task, rest, settings, files, build, digest_of([key, fold]), pretrained)
        found, probabilities = by_label(own, task.probabilities(network, own))
        asked, predicted = asked + found, [*predicted, probabilities]
    _write(path, asked, np.concatenate(predicted), task.class_names, {"key": key, "folds": folds})
    clear_folds(path.parent)
    return len(asked)


def _trained(
    task: RecognitionTask,
    windows: Sequence[LabelledWindow],
    settings: RecognitionSettings,
    files: TrainingFolder,
    build: Callable[[], nn.Module],
    identity: str,
    pretrained: bool,
) -> nn.Module:
    seed_everything(settings.seed, 2**32 - 1)
    network = build()
    train_recogniser(network, task, windows, [], settings, files, identity, pretrained)
    checkpoint: dict[str, Any] = load_checkpoint(files.best, RECOGNISER)
    return network_from_file(checkpoint, str(files.best)).to(next(network.parameters()).device)


def _write(
    path: Path,
    asked: Sequence[LabelledWindow],
    predicted: np.ndarray,
    class_names: Sequence[str],
    facts: dict[str, Any],
) -> None:
    """The table, its probabilities at the temperature that fits the labels that humans gave, where there are any."""
    human = np.array([label.by_human for label in asked], dtype=bool)
    truth = np.array([label.class_id for label in asked], dtype=np.int64)
    temperature = fit_temperature(truth[human], predicted[human])
    calm = tempered(logs_of(predicted), temperature)
    table = pd.DataFrame(
        {
            "label_uid": [label.label for label in asked],
            "class_name": [class_names[label.class_id] for label in asked],
            "origin": np.where(human, "human", "detected"),
            "probabilities": [probabilities_json(class_names, row) for row in calm],
        }
    )
    write_parquet(path, table.sort_values("label_uid", ignore_index=True), facts | {"labels": len(table)})
