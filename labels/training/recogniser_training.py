"""Training a recogniser: epochs over labelled windows, validation after each, the best weights, exact resuming.

As for detectors (see `detector_training`): an epoch depends on the seed and its own number alone.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from labels.models.checkpoints import RECOGNISER, save_checkpoint
from labels.records.errors import InputError
from labels.training.action_metrics import fit_temperature, measure_actions, tempered
from labels.training.detector_training import deterministic
from labels.training.optimisation import Optimisation
from labels.training.recognition_settings import RecognitionSettings
from labels.training.recognition_tasks import LabelledWindow, RecognitionTask, by_label, chances
from labels.training.training_folder import TrainingFolder, write_history


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

    Without validation windows the last epoch is the best one. Raises InputError when the loss is no longer finite.
    """
    require_no_group_twice(training, validation)
    loop = Optimisation(
        network,
        task,
        training,
        settings,
        chances(training, len(task.class_names), settings.beta),
        (lambda name: 1.0 if any(part in name for part in (".head", ".fc", ".classifier")) else settings.backbone_share)
        if pretrained
        else None,
    )
    history = loop.resume(folder, identity)
    if history:
        write_history(folder.epochs, history)
    progress = tqdm(total=loop.total_steps, initial=len(history) * loop.epoch_steps, desc="train", unit="step")
    with progress, deterministic(loop.device):
        while len(history) < settings.epochs and not _is_over(history, settings.patience):
            try:
                losses = loop.run_epoch(len(history), progress)
            except torch.OutOfMemoryError:
                raise InputError(
                    f"training: {settings.batch_size} windows a step do not fit into the GPU; "
                    f"say a --batch-size below it"
                ) from None
            averaged = loop.averaged_network()
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
            if not history or not validation or _value(row) > max(map(_value, history)):
                save_checkpoint(folder.best, payload | {"network": averaged.state_dict()}, RECOGNISER)
            history.append(row)
            save_checkpoint(folder.last, payload | loop.state() | {"history": history}, RECOGNISER)
            write_history(folder.epochs, history)
            if validation:
                progress.write(_line_of(row, settings.epochs), file=sys.stderr)
    return history


def validate(
    task: RecognitionTask, network: nn.Module, validation: Sequence[LabelledWindow], settings: RecognitionSettings
) -> tuple[dict[str, Any], float, dict[str, float]]:
    """Metrics over the labels of the validation windows, the temperature that fits them, and thresholds by class."""
    usual = dict.fromkeys(task.class_names, 0.5)
    if not validation:
        return {"top1": None, "macro_f1": None, "balanced_accuracy": None, "ece": None}, 1.0, usual
    labels, probabilities = by_label(validation, task.probabilities(network, validation))
    truth = np.array([label.class_id for label in labels])
    temperature = fit_temperature(truth, probabilities)
    calm = tempered(np.log(np.clip(probabilities, 1e-6, 1)), temperature)  # as it will label
    said, sure = calm.argmax(axis=1), calm.max(axis=1)
    for class_id, name in enumerate(task.class_names):
        own = said == class_id
        if own.any():
            usual[name] = trusted_from(sure[own], truth[own] == class_id, settings.precision_floor)
    return measure_actions(truth, probabilities), temperature, usual


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


def _value(row: dict[str, Any]) -> float:
    return float(row["macro_f1"] or 0.0) - 1e-3 * float(row["ece"] or 0.0)


def _is_over(history: Sequence[dict[str, Any]], patience: int) -> bool:
    if not history or history[0]["macro_f1"] is None:
        return False
    best = max(range(len(history)), key=lambda at: (_value(history[at]), -at))
    return len(history) - 1 - best >= patience


def _line_of(row: dict[str, Any], epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, validation labels: top-1 {row['top1']:.3f}, "
        f"macro-F1 {row['macro_f1']:.3f}, balanced {row['balanced_accuracy']:.3f}, ECE {row['ece']:.3f}"
    )
