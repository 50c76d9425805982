"""Optimisation: the steps of an epoch, the weight average (EMA), resuming after a kill, the choice of the best epoch.

The exponential moving average of the weights is steadier than the last step's weights; it is what is validated and
saved. The epoch that is kept is one whose difference to the best is within the uncertainty of the validation clips.
"""

import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from labels.models.checkpoints import load_checkpoint
from labels.records.errors import InputError
from labels.training import ranks
from labels.training.training_folder import TrainingFolder


class AverageWeights:
    """Keeps an average of everything in a state dict that is a float; counters are taken as they are."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def update(self, network: nn.Module) -> None:
        """Take a step's weights in. The first steps count for more, or the start would linger."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point():
                    self.values[name].lerp_(tensor, 1 - decay)
                else:
                    self.values[name].copy_(tensor)

    def state(self) -> dict[str, Tensor | int]:
        return {"steps": self.steps, **self.values}

    def load(self, state: dict[str, Tensor | int]) -> None:
        """Take back what `state` gave."""
        self.steps = int(state["steps"])
        for name, tensor in self.values.items():
            tensor.copy_(torch.as_tensor(state[name]))


class StepSettings(Protocol):
    """The settings that training goes by; see `TrainingSettings`."""

    @property
    def architecture(self) -> str: ...
    @property
    def epochs(self) -> int: ...
    @property
    def epoch_frames(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warm_up(self) -> float: ...
    @property
    def clip_norm(self) -> float: ...
    @property
    def average_decay(self) -> float: ...
    @property
    def patience(self) -> int: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Validation:
    """What a network is worth on validation examples."""

    metrics: dict[str, Any]  # the task's `score` and `<score>_error` among them, None where not known
    checkpoint: dict[str, Any]  # what labelling with these weights goes by: working thresholds, temperature
    text: str  # for the terminal; empty where there was nothing to validate on
    columns: dict[str, Any] = field(default_factory=dict)  # more for metrics.csv


class Task(Protocol):
    """What training asks of a kind of network, be it one that finds boxes or one that recognises actions."""

    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def settings(self) -> StepSettings: ...
    @property
    def score(self) -> str:
        """The metric by which an epoch is kept."""
        ...

    def chances(self, training: Any) -> np.ndarray:
        """How often each example is drawn, against the others (N,)."""
        ...

    def make_batch(self, examples: Any) -> Any:
        """Read and augment examples."""
        ...

    def losses(self, network: nn.Module, batch: Any, progress: float) -> dict[str, Tensor]:
        """The parts of the loss; their sum is minimised. `progress` is the share of the training that is done."""
        ...

    def settled(self, network: nn.Module, training: Any, epoch: int) -> nn.Module:
        """The network with averaged weights, and what the average has made stale mended in place."""
        ...

    def validate(self, network: nn.Module, validation: Any) -> Validation: ...

    def too_large(self) -> str:
        """What to say when a batch does not fit into the GPU."""
        ...


RANK_SEED = 2**20  # between ranks: further than any number of epochs, so that each draws its own augmentation


class Optimisation:
    """Steps, learning rate, averaged weights, and their state.

    Args:
        chances: (N,) how often each example is drawn, against the others; None: all in turn.
        rate_of: a weight's name -> its share of the learning rate; None: all learn alike.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        training: Sequence[Any],
        settings: StepSettings,
        chances: np.ndarray | None = None,
        rate_of: Callable[[str], float] | None = None,
    ) -> None:
        self.network, self.task, self.training, self.settings, self.rate_of = network, task, training, settings, rate_of
        self.stepped = network  # the same weights; under torchrun it averages the ranks' gradients
        self.chances = None if chances is None else chances / chances.sum()
        self.device = next(network.parameters()).device
        seen = max(len(training), settings.epoch_frames)
        self.epoch_steps = math.ceil(seen / settings.batch_size)
        self.total_steps = self.epoch_steps * settings.epochs
        self.step = 0
        self.optimizer = torch.optim.AdamW(self._groups(rate_of), lr=settings.learning_rate)
        self.average = AverageWeights(network, settings.average_decay)

    def _groups(self, rate_of: Callable[[str], float] | None) -> list[dict[str, Any]]:
        """Weights by their share of the learning rate; vectors (norms, biases) do not decay."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, weights in self.network.named_parameters():
            if weights.requires_grad:
                groups.setdefault((rate_of(name) if rate_of else 1.0, weights.ndim > 1), []).append(weights)
        decay = self.settings.weight_decay
        return [
            {"params": groups[key], "weight_decay": decay * key[1]} | ({"share": key[0]} if rate_of else {})
            for key in sorted(groups, reverse=True)
        ]

    def run_epoch(self, epoch: int, progress: Any = None) -> dict[str, float]:
        """One pass; returns the mean of each part of the loss. Under torchrun, on all ranks at once."""
        self._spread(epoch)
        rank, count = ranks.world()
        seed_everything(self.settings.seed, epoch + rank * RANK_SEED)
        self.network.train()
        sums: dict[str, float] = {}
        for examples in self._batches(epoch):
            own, share = ranks.share_of(examples)
            parts = self.task.losses(self.stepped, self.task.make_batch(own), self.step / self.total_steps)
            loss = torch.stack(list(parts.values())).sum() * share
            losses = torch.stack([loss.detach(), *(part.detach() * share for part in parts.values())]) / count
            values = ranks.summed(losses).tolist()
            value = values[0]
            if not math.isfinite(value):
                raise InputError(
                    f"training: the loss is {value} in epoch {epoch + 1}, step {self.step + 1}; nothing of this epoch "
                    f"is kept; try a smaller --lr than {self.settings.learning_rate:g}"
                )
            self._descend(loss)
            for name, part in zip(["loss", *(f"{name}_loss" for name in parts)], values, strict=True):
                sums[name] = sums.get(name, 0.0) + part
            if progress is not None:
                progress.set_postfix(loss=f"{value:.3f}", refresh=False)
                progress.update()
        return {name: round(total / self.epoch_steps, 6) for name, total in sums.items()}

    def _spread(self, epoch: int) -> None:
        """Under torchrun: rank 0 sends the others this training, once, and the epoch."""
        rank, count = ranks.world()
        if count == 1:
            return
        if self.stepped is self.network:
            if count > self.settings.batch_size:
                raise InputError(f"torchrun: {count} processes cannot share --batch-size {self.settings.batch_size}")
            if rank == 0:
                names = ("task", "training", "settings", "chances", "rate_of", "step")
                order = {name: getattr(self, name) for name in names}
                ranks.tell(order | {"network": deepcopy(self.network), "optimizer": self.optimizer.state_dict()})
            self.stepped = DistributedDataParallel(self.network)
        if rank == 0:
            ranks.tell(epoch)

    @classmethod
    def of_order(cls, order: dict[str, Any], device: str) -> "Optimisation":
        """On another rank, what rank 0 sent."""
        optimizer, step = order.pop("optimizer"), order.pop("step")
        loop = cls(order.pop("network").to(device), **order)
        loop.optimizer.load_state_dict(optimizer)
        loop.step = step
        loop.stepped = DistributedDataParallel(loop.network)
        return loop

    def _batches(self, epoch: int) -> Iterator[list[Any]]:
        order = np.random.default_rng([self.settings.seed, epoch, 1])
        count = self.epoch_steps * self.settings.batch_size
        if self.chances is not None:
            drawn = order.choice(len(self.training), size=count, p=self.chances)
        else:
            passes = [order.permutation(len(self.training)) for _ in range(math.ceil(count / len(self.training)))]
            drawn = np.concatenate(passes)[:count]
        for first in range(0, count, self.settings.batch_size):
            yield [self.training[at] for at in drawn[first : first + self.settings.batch_size]]

    def _descend(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step) * group.get("share", 1.0)
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
            state, best = load_checkpoint(folder.last, folder.kind), load_checkpoint(folder.best, folder.kind)
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


LEAST_PARTS = 3  # videos or groups whose figures differ by something that can be told


def jackknife_error(without: Sequence[float]) -> float:
    """Standard error of a figure from its values when one part after the other is left out (Tukey 1958).

    NaN where the parts are too few to tell.
    """
    if len(without) < LEAST_PARTS:
        return float("nan")
    return float(np.std(without) * math.sqrt(len(without) - 1))


def is_chosen(history: Sequence[dict[str, Any]], score: str = "f1") -> bool:
    """Whether the last epoch is the one to keep so far: as good as the best, within a standard error of its score.

    A few noisy validation labels cannot tell epochs apart that lie closer together, and of such ones the later has
    learnt from more at a smaller learning rate (the one-standard-error rule of Breiman et al., Classification and
    Regression Trees, 1984, section 3.4.3, turned towards the longer training). One or two validation clips tell
    nothing, and none at all either: then the last epoch is kept.

    Args:
        history: a row an epoch, with the score and `<score>_error`, None where it is not known.
    """
    if history[-1][score] is None:
        return True
    best = max(history, key=lambda row: float(row[score]))
    error = best[f"{score}_error"]
    return error is None or float(history[-1][score]) >= float(best[score]) - error


def is_over(history: Sequence[dict[str, Any]], patience: int, score: str = "f1") -> bool:
    """Whether so many epochs in a row were not worth keeping."""
    if len(history) <= patience:
        return False
    return not any(is_chosen(history[: len(history) - at], score) for at in range(patience))
