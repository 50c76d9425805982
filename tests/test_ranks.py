"""Training in two processes under torchrun: the steps of one process, one writer, and either goes on from the other."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from test_train import SmallSettings, make_work
from torch import nn

from labels.training.optimisation import Optimisation

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class LongerSettings(SmallSettings):
    epoch_frames: int = 96
    learning_rate: float = 3e-3


class LineTask:
    """Least squares, without anything random."""

    def make_batch(self, examples):
        return torch.tensor(examples)

    def losses(self, network, batch, progress):
        return {"square": (network(batch[:, :2]) - batch[:, 2:]).square().mean()}


LINE = [[x / 7, (x * x) % 5 / 5, x % 3 / 3] for x in range(21)]

STEPS = """
import sys
from test_ranks import line_steps
from labels.training.ranks import run_ranks
sys.exit(run_ranks("cpu", lambda: line_steps(sys.argv[1])))
"""
STAGE = """
import sys
import train
from test_ranks import LongerSettings
train.TrainingSettings = LongerSettings
sys.exit(train.main(sys.argv[1:]))
"""


def line_steps(path: str) -> int:
    """Two epochs; leaves the weights, the averaged ones and the losses in a file."""
    torch.manual_seed(0)
    network = nn.Linear(2, 1)
    loop = Optimisation(network, LineTask(), LINE, SmallSettings(batch_size=5, epoch_frames=21))
    losses = [loop.run_epoch(epoch)["loss"] for epoch in range(2)]
    values = [*network.weight.flatten().tolist(), *loop.average.values["weight"].flatten().tolist(), *losses]
    Path(path).write_text(json.dumps(values))
    return 0


def run(script: str, *words: str, processes: int = 2) -> subprocess.CompletedProcess:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    path = Path(words[0]).with_suffix(".py")
    path.write_text(script)
    start = [*command, str(path)] if processes > 1 else [str(path)]
    return subprocess.run(
        [sys.executable, *start, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_two_processes_take_the_steps_of_one(tmp_path):
    """Also when a batch of 5 cannot be halved."""
    line_steps(str(tmp_path / "one.json"))
    done = run(STEPS, str(tmp_path / "two.json"))
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert two == pytest.approx(one, abs=2e-5)


def test_a_round_is_trained_by_two_processes_and_gone_on_with_by_one(tmp_path):
    words = ["--round", "0", "--batch-size", "4", "--device", "cpu", "--epochs", "5"]
    rows, f1 = {}, {}
    for processes in (1, 2):
        work = make_work(tmp_path / str(processes))
        done = run(STAGE, str(work.root), *words, processes=processes)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("train round 0: 4 videos") == 1, "rank 0 alone speaks"
        folder = work.round(0).stage("trained")
        rows[processes] = list(csv.DictReader((folder / "metrics.csv").open()))
        f1[processes] = json.loads((folder / "metrics.json").read_text())["agreement_with_labels"]["f1"]
    assert [row["learning_rate"] for row in rows[2]] == [row["learning_rate"] for row in rows[1]]
    assert f1[1] > 0.9
    assert f1[2] == pytest.approx(f1[1], abs=0.005)

    # what two processes left after five epochs, one takes up: nothing is trained again
    for name in ("metrics.json", "run.json"):
        (folder / name).unlink()
    done = run(STAGE, str(work.root), *words, processes=1)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/5" not in done.stderr
    assert list(csv.DictReader((folder / "metrics.csv").open())) == rows[2]


def test_more_processes_than_a_batch_has_frames(tmp_path):
    done = run(STAGE, str(make_work(tmp_path / "work").root), "--round", "0", "--batch-size", "1", "--device", "cpu")
    assert done.returncode != 0
    assert "2 processes cannot share --batch-size 1" in done.stderr
