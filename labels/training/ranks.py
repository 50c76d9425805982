"""Training in several processes: `torchrun --nproc-per-node N train.py …`, on GPUs (NCCL) or on a CPU (gloo).

Rank 0 is the stage: it alone reads the work folder's records, holds its lock, validates and writes. The other ranks
only take steps: rank 0 sends them the network, the task and the examples of a training, and after that the number of
each epoch. Every batch is divided among the ranks, so that the effective batch, and with it the learning rate, the
steps of an epoch and the checkpoints, are those of one process; a run may go on with another number of ranks.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from io import BytesIO
from typing import Any

import torch
from torch import distributed

from labels.engine.pools import cores
from labels.records.errors import InputError

PATIENCE = timedelta(days=7)  # rank 0 may validate, or read frames, for hours while the others wait


def world() -> tuple[int, int]:
    """This process's rank and how many there are; (0, 1) without torchrun."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def run_ranks(device: str, stage: Callable[[], int]) -> int:
    """`stage` on rank 0, steps on the others; `stage` alone without torchrun. Returns the exit code.

    When rank 0 fails, or any rank dies, torchrun ends the others: none waits for what never comes.

    Args:
        device: auto, cpu or cuda, as the user said.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:  # torchrun sets it
        return stage()
    local, beside = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        if local >= torch.cuda.device_count():
            if local == torch.cuda.device_count():  # one of them says so
                text = f"torchrun: {beside} processes, but {local} CUDA devices on this machine"
                print(text, file=sys.stderr)
            return 2
        torch.cuda.set_device(local)
    torch.set_num_threads(max(1, cores() // beside))
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    if distributed.get_rank() > 0:
        _take_steps("cuda" if on_gpu else "cpu")
    else:
        code = stage()
        if code:
            return code
        tell(None)
    distributed.destroy_process_group()
    return 0


def tell(order: Any) -> None:
    """From rank 0 to all others."""
    whole = BytesIO()
    torch.save(order, whole)
    distributed.broadcast_object_list([whole.getvalue()], src=0)


def _take_steps(device: str) -> None:
    """What a rank above 0 does: a training comes as a dict, an epoch of it as its number, the end as None."""
    from labels.training.optimisation import Optimisation

    loop: Optimisation | None = None
    while True:
        received: list[Any] = [None]
        distributed.broadcast_object_list(received, src=0)
        # Made by rank 0 of this very run: whole objects, unlike what is read from files. Its GPU is not this one's.
        order = torch.load(BytesIO(received[0]), map_location="cpu", weights_only=False)
        if order is None:
            return
        if isinstance(order, int):
            assert loop is not None, "an epoch before its training"
            with suppress(InputError):  # the loss is no longer finite, on every rank: rank 0 says so
                loop.run_epoch(order)
        else:
            loop = Optimisation.of_order(order, device)


def share_of(batch: list[Any]) -> tuple[list[Any], float]:
    """This rank's part of a batch, and what its mean loss is to be multiplied with.

    DistributedDataParallel averages the gradients of the ranks, of which one may have an example less than another.
    """
    rank, ranks = world()
    own = batch[rank::ranks]
    return own, len(own) * ranks / len(batch)


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks."""
    if world()[1] > 1:
        distributed.all_reduce(values)
    return values
