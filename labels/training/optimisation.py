"""The optimiser's part of training: an epoch's steps, and the state from which a killed run goes on."""

import math
import random
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labels.models.checkpoints import load_checkpoint
from labels.records.errors import InputError
from labels.training.box_datasets import LabelledFrame
from labels.training.detector_tasks import DetectorTask
from labels.training.settings import TrainingSettings
from labels.training.training_folder import TrainingFolder
from labels.training.weight_averaging import AverageWeights


class Optimisation:
    """Steps, learning rate, averaged weights, and their state."""

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
