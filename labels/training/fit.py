"""The training loop: epochs over labelled examples, validation after each, the best weights, going on after a kill.

It is the same for a network that finds boxes and for one that recognises actions; what differs is in its `Task`.

Every epoch draws its random numbers from the seed and its own number, so that the state after an epoch is all that a
run needs to go on: an epoch cut short is done again from its start, and the weights end up the same (on the CPU, to the
bit, with the same number of threads).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from labels.models.checkpoints import save_checkpoint
from labels.records.errors import InputError
from labels.training.optimisation import Optimisation, Task, is_chosen, is_over
from labels.training.training_folder import TrainingFolder, write_history


def fit(
    network: nn.Module,
    task: Task,
    training: Sequence[Any],
    validation: Sequence[Any],
    folder: TrainingFolder,
    identity: str,
    network_settings: dict[str, Any],
    rate_of: Callable[[str], float] | None = None,
) -> list[dict[str, Any]]:
    """Train a network in place and leave the best weights in `folder.best`. Returns the history, a dict an epoch.

    Args:
        network: on its device, with the weights to start from.
        validation: none: the last epoch is kept. Otherwise see `optimisation.is_chosen`.
        identity: digest of everything the result depends on; `folder.last` is gone on from when it has the same.
        network_settings: go into the checkpoint: from them the network is made again.
        rate_of: a weight's name -> its share of the learning rate; None: all learn alike.

    Raises InputError when the loss is no longer finite, and when a batch does not fit into the GPU.
    """
    settings = task.settings
    loop = Optimisation(network, task, training, settings, task.chances(training), rate_of)
    history = loop.resume(folder, identity)
    if history:
        write_history(folder.epochs, history)  # it may have been cut off, or taken away
    progress = tqdm(
        total=loop.total_steps,
        initial=len(history) * loop.epoch_steps,
        desc=f"train {settings.architecture}",
        unit="step",
    )
    with progress, deterministic(loop.device):
        while len(history) < settings.epochs and not is_over(history, settings.patience, task.score):
            try:
                losses = loop.run_epoch(len(history), progress)
            except torch.OutOfMemoryError:
                raise InputError(f"training: {task.too_large()}") from None
            averaged = task.settled(loop.averaged_network(), training, len(history))
            found = task.validate(averaged, validation)
            epoch = len(history) + 1
            row = {"epoch": epoch, "learning_rate": loop.learning_rate(loop.step - 1), **losses}
            history.append(row | found.metrics | found.columns)
            history[-1]["kept"] = int(is_chosen(history, task.score))  # the last of these is the student
            payload = {
                "architecture": settings.architecture,
                "class_names": list(task.class_names),
                "settings": network_settings,
                **found.checkpoint,
                "identity": identity,
                "epoch": epoch,
                "metrics": found.metrics,
            }
            if history[-1]["kept"]:
                save_checkpoint(folder.best, payload | {"network": averaged.state_dict()}, folder.kind)
            save_checkpoint(folder.last, payload | loop.state() | {"history": history}, folder.kind)
            write_history(folder.epochs, history)
            line = f"epoch {epoch}/{settings.epochs}: loss {row['loss']:.3f}"
            progress.write(f"{line}, {found.text}" if found.text else line, file=sys.stderr)
    return history


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
