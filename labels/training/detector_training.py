"""The training loop: epochs over labelled frames, validation after each, the best weights, and going on after a kill.

Every epoch draws its random numbers from the seed and its own number, so that the state after an epoch is all that a
run needs to go on: an epoch cut short is done again from its start, and the weights end up the same (on the CPU, to the
bit, with the same number of threads).
"""

import csv
import io
import math
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from labels.models.checkpoints import load_checkpoint, save_checkpoint
from labels.records.errors import InputError
from labels.records.safe_writing import write_text
from labels.training.box_datasets import LabelledFrame
from labels.training.box_metrics import find_thresholds, measure
from labels.training.detector_tasks import DetectorTask, detection_tables, spread
from labels.training.settings import TrainingSettings
from labels.training.weight_averaging import AverageWeights


@dataclass(frozen=True)
class TrainingFolder:
    """`trained/` of a round."""

    path: Path

    @property
    def best(self) -> Path:
        return self.path / "detector.pt"

    @property
    def last(self) -> Path:
        return self.path / "last.pt"

    @property
    def epochs(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"


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
        identity: digest of everything the result depends on; `folder.last` is gone on from when it has the same.

    Raises InputError when the loss is no longer finite, and when a batch does not fit into the GPU.
    """
    loop = _Loop(network, task, training, settings)
    history = loop.resume(folder, identity)
    if history:
        write_history(folder.epochs, history)  # it may have been cut off, or taken away
    checked = spread(validation, settings.validation_frames)
    progress = tqdm(total=loop.total_steps, initial=len(history) * loop.epoch_steps, desc="train", unit="step")
    with progress, _deterministic(loop.device):
        while len(history) < settings.epochs and not _is_over(history, settings.patience):
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
            best = max((_f1(past) for past in history), default=-1.0)
            payload = {
                "architecture": settings.architecture,
                "class_names": list(task.class_names),
                "settings": network_settings,
                "working_threshold": thresholds,
                "identity": identity,
                "epoch": len(history) + 1,
            }
            if _f1(row) > best:
                save_checkpoint(folder.best, payload | {"network": averaged.state_dict(), "metrics": metrics})
            history.append(row)
            save_checkpoint(folder.last, payload | loop.state() | {"metrics": metrics, "history": history})
            write_history(folder.epochs, history)
            progress.write(_line_of(row, settings.epochs), file=sys.stderr)
    return history


class _Loop:
    """The optimiser's part: steps, learning rate, averaged weights, and their state."""

    def __init__(
        self, network: nn.Module, task: DetectorTask, training: Sequence[LabelledFrame], settings: TrainingSettings
    ) -> None:
        self.network, self.task, self.training, self.settings = network, task, training, settings
        self.device = next(network.parameters()).device
        seen = max(len(training), settings.epoch_frames)
        self.epoch_steps = math.ceil(seen / settings.batch_size)
        self.total_steps = self.epoch_steps * settings.epochs
        self.step = 0
        decayed = [weights for weights in network.parameters() if weights.requires_grad and weights.ndim > 1]
        others = [weights for weights in network.parameters() if weights.requires_grad and weights.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=settings.learning_rate,
        )
        self.average = AverageWeights(network, settings.average_decay)

    def run_epoch(self, epoch: int, progress: Any) -> dict[str, float]:
        """One pass; returns the mean of each part of the loss."""
        seed_everything(self.settings.seed, epoch)
        self.network.train()
        sums: dict[str, float] = {}
        for frames in self._batches(epoch):
            batch = self.task.make_batch(frames)
            parts = self.task.losses(self.network, batch, self.step / self.total_steps)
            loss = torch.stack(list(parts.values())).sum()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise InputError(
                    f"training: the loss is {value} in epoch {epoch + 1}, step {self.step + 1}; nothing of this epoch "
                    f"is kept; try a smaller --lr than {self.settings.learning_rate:g}"
                )
            self._descend(loss)
            for name, part in {"loss": loss, **{f"{name}_loss": part for name, part in parts.items()}}.items():
                sums[name] = sums.get(name, 0.0) + float(part.detach())
            progress.set_postfix(loss=f"{value:.3f}", refresh=False)
            progress.update()
        return {name: round(total / self.epoch_steps, 6) for name, total in sums.items()}

    def _batches(self, epoch: int) -> Iterator[list[LabelledFrame]]:
        order = np.random.default_rng([self.settings.seed, epoch, 1])
        count = self.epoch_steps * self.settings.batch_size
        passes = [order.permutation(len(self.training)) for _ in range(math.ceil(count / len(self.training)))]
        drawn = np.concatenate(passes)[:count]
        for first in range(0, count, self.settings.batch_size):
            yield [self.training[at] for at in drawn[first : first + self.settings.batch_size]]

    def _descend(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.average.update(self.network)
        self.step += 1

    def learning_rate(self, step: int) -> float:
        """Rises in a line, then falls as half a cosine, to a hundredth."""
        warm_up = max(1, round(self.settings.warm_up * self.total_steps))
        if step < warm_up:
            return self.settings.learning_rate * (step + 1) / warm_up
        done = (step - warm_up) / max(1, self.total_steps - warm_up)
        return self.settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)

    def averaged_network(self) -> nn.Module:
        """A copy of the network with the averaged weights, in evaluation mode."""
        averaged = deepcopy(self.network)
        averaged.load_state_dict(self.average.values)
        return averaged.eval()

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }

    def resume(self, folder: TrainingFolder, identity: str) -> list[dict[str, Any]]:
        """Take up the state of the last finished epoch of the same training; the history so far, empty when none."""
        if not folder.last.is_file() or not folder.best.is_file():
            return []
        try:
            state, best = load_checkpoint(folder.last), load_checkpoint(folder.best)
        except InputError as error:
            print(f"training starts anew, because where it stood cannot be read: {error}", file=sys.stderr)
            return []
        if state.get("identity") != identity or best.get("identity") != identity:
            return []
        self.network.load_state_dict(state["network"])
        self.average.load(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        return list(state["history"])


def seed_everything(seed: int, epoch: int) -> None:
    """Make what follows depend on these two numbers alone."""
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)  # noqa: NPY002 - for libraries that draw from the global generator
    torch.manual_seed(mixed)


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, the same bits each time; on a GPU that would cost much speed."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(device.type == "cpu", warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def write_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """metrics.csv: a row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def _too_large(settings: TrainingSettings) -> str:
    """What to say when the GPU's memory is out."""
    if settings.batch_size > 1:
        return (
            f"training: {settings.batch_size} frames a step do not fit into the GPU; "
            f"say --batch-size {settings.batch_size // 2}"
        )
    return f"training: a frame does not fit into the GPU; say a --long-side below {settings.long_side}, or --device cpu"


def _is_over(history: Sequence[dict[str, Any]], patience: int) -> bool:
    """Whether the best F1 is that many epochs old."""
    if not history:
        return False
    best = max(range(len(history)), key=lambda at: (_f1(history[at]), -at))
    return len(history) - 1 - best >= patience


def _f1(row: dict[str, Any]) -> float:
    return float(row["f1"])


def _line_of(row: dict[str, Any], epochs: int) -> str:
    return (
        f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, agreement with the validation labels: "
        f"F1 {row['f1']:.3f} (precision {row['precision']:.3f}, recall {row['recall']:.3f})"
    )
