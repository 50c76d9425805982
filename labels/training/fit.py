"""The training loop: epochs over labelled frames, validation after each, the best weights, and going on after a kill.

Every epoch draws its random numbers from the seed and its own number, so that the state after an epoch is all that a
run needs to go on: an epoch cut short is done again from its start, and the weights end up the same (on the CPU, to the
bit, with the same number of threads).
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from labels.models.checkpoints import save_checkpoint
from labels.records.errors import InputError
from labels.records.geometry import area_of
from labels.training.boxes.data import DetectorTask, LabelledFrame, detection_tables, spread
from labels.training.boxes.metrics import find_thresholds, measure
from labels.training.optimisation import Optimisation, is_chosen, is_over
from labels.training.settings import TrainingSettings
from labels.training.training_folder import TrainingFolder, write_history


def train_detector(
    network: nn.Module,
    task: DetectorTask,
    training: Sequence[LabelledFrame],
    validation: Sequence[LabelledFrame],
    settings: TrainingSettings,
    network_settings: dict[str, Any],
    folder: TrainingFolder,
    identity: str,
) -> list[dict[str, Any]]:
    """Train a network in place and leave the best weights in `folder.best`. Returns the history, a dict an epoch.

    Args:
        network: on its device, with the weights to start from.
        validation: none: the last epoch is kept.
        identity: digest of everything the result depends on; `folder.last` is gone on from when it has the same.

    Raises InputError when the loss is no longer finite, and when a batch does not fit into the GPU.
    """
    chances = draw_chances(training)
    loop = Optimisation(
        network, task, training, settings, chances if task.weighs_boxes else chances * sureness(training)
    )
    history = loop.resume(folder, identity)
    if history:
        write_history(folder.epochs, history)  # it may have been cut off, or taken away
    checked = spread(validation, settings.validation_frames)
    progress = tqdm(total=loop.total_steps, initial=len(history) * loop.epoch_steps, desc="train", unit="step")
    with progress, deterministic(loop.device):
        while len(history) < settings.epochs and not is_over(history, settings.patience):
            try:
                losses = loop.run_epoch(len(history), progress)
            except torch.OutOfMemoryError:
                raise InputError(_too_large(settings)) from None
            averaged = loop.averaged_network()
            found, labels = detection_tables(task, averaged, checked)
            thresholds = find_thresholds(found, labels, task.class_names, settings.precision_floor)
            metrics = measure(found, labels, thresholds).as_dict()
            # All numbers are agreement with the labels of the validation clips, which are not truth.
            row: dict[str, Any] = {
                "epoch": len(history) + 1,
                "learning_rate": loop.learning_rate(loop.step - 1),
                **losses,
            }
            row |= metrics | {f"threshold {name}": value for name, value in thresholds.items()}
            payload = {
                "architecture": settings.architecture,
                "class_names": list(task.class_names),
                "settings": network_settings,
                "working_threshold": thresholds,
                "identity": identity,
                "epoch": len(history) + 1,
            }
            history.append(row)
            row["kept"] = int(is_chosen(history))  # the last of these is the student
            if row["kept"]:
                save_checkpoint(folder.best, payload | {"network": averaged.state_dict(), "metrics": metrics})
            save_checkpoint(folder.last, payload | loop.state() | {"metrics": metrics, "history": history})
            write_history(folder.epochs, history)
            progress.write(_line_of(row, settings.epochs, bool(checked)), file=sys.stderr)
    return history


def draw_chances(frames: Sequence[LabelledFrame]) -> np.ndarray:
    """How often each frame is drawn, against the others (N,).

    By the rarest of its boxes: 1 over the root of the number of boxes of the same class, of the same octave of size, in
    the same video (inverse square-root frequency; repeat factors of Gupta, Dollár and Girshick, LVIS, CVPR 2019). A
    clip with ten times the labels is drawn three times as often. Frames that are surely empty are drawn as often as
    those of the most frequent kind.
    """
    kinds = [_kinds_of(frame) for frame in frames]
    counts = Counter(kind for of_frame in kinds for kind in of_frame)
    chance = np.array([max((counts[kind] ** -0.5 for kind in of_frame), default=np.nan) for of_frame in kinds])
    least = np.nanmin(chance) if len(counts) else 1.0
    return np.where(np.isnan(chance), least, chance)


def _kinds_of(frame: LabelledFrame) -> list[tuple[str, int, int]]:
    """Video, class and octave of size of each box of a frame."""
    octave = np.log2(np.sqrt(np.maximum(area_of(frame.xyxy), 1.0))).round().astype(int)
    return [
        (frame.video_id, class_id, size)
        for class_id, size in zip(frame.class_ids.tolist(), octave.tolist(), strict=True)
    ]


def sureness(frames: Sequence[LabelledFrame]) -> np.ndarray:
    """How sure the labels of each frame are on average (N,); frames that are surely empty count in full."""
    return np.array([float(frame.weight.mean()) if len(frame.weight) else 1.0 for frame in frames])


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, the same bits each time; on a GPU that would cost much speed."""
    before = torch.are_deterministic_algorithms_enabled()
    filling: Any = torch.utils.deterministic  # a help in finding faults that costs a tenth of the time
    filled = filling.fill_uninitialized_memory
    torch.use_deterministic_algorithms(device.type == "cpu", warn_only=True)
    filling.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        filling.fill_uninitialized_memory = filled


def _too_large(settings: TrainingSettings) -> str:
    """What to say when the GPU's memory is out."""
    if settings.batch_size > 1:
        return (
            f"training: {settings.batch_size} frames a step do not fit into the GPU; "
            f"say --batch-size {settings.batch_size // 2}"
        )
    return (
        "training: a frame does not fit into the GPU; "
        f"say --set long_side=N with N below {settings.long_side}, or --device cpu"
    )


def _line_of(row: dict[str, Any], epochs: int, is_validated: bool) -> str:
    if not is_validated:
        return f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}"
    return (
        f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, agreement with the validation labels: "
        f"F1 {row['f1']:.3f} (precision {row['precision']:.3f}, recall {row['recall']:.3f})"
    )
