"""Training in two processes under torchrun: the steps of one process, one writer, and either goes on from the other."""

import csv
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from warm_processes import WarmStart

import train
from labels.training.optimisation import Optimisation
from labels.training.settings import TrainingSettings

# Each rank imports this module: nothing here may take long to import.
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class SmallSettings(TrainingSettings):
    epochs: int = 2
    batch_size: int = 4
    crop: int = 32
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
from test_ranks import SmallSettings
train.TrainingSettings = SmallSettings
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


ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}


def under_torchrun(warm: WarmStart, script: Path, *words: str) -> subprocess.CompletedProcess:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), *words]
    return warm.run([sys.executable, *command], cwd=ROOT, env=ENVIRONMENT)


def in_two_ranks(warm: WarmStart, script: Path, *words: str) -> list[subprocess.CompletedProcess]:
    """Two processes with what torchrun tells its own, without the time that these take to import torch."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def run(rank: int) -> subprocess.CompletedProcess:
        environment = ENVIRONMENT | told | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        return warm.run([sys.executable, str(script), *words], cwd=ROOT, env=environment)

    with ThreadPoolExecutor(2) as both:
        return list(both.map(run, (0, 1)))


def test_two_processes_take_the_steps_of_one(tmp_path, warm_stages):
    """Also when a batch of 5 cannot be halved."""
    line_steps(str(tmp_path / "one.json"))
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    done = under_torchrun(warm_stages, script, str(tmp_path / "two.json"))
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert two == pytest.approx(one, abs=2e-5)


def test_a_round_is_trained_by_two_processes_and_gone_on_with_by_one(tmp_path, warm_stages, monkeypatch, capsys):
    from test_train import make_work

    monkeypatch.setattr(train, "TrainingSettings", SmallSettings)
    words = ["--round", "0", "--batch-size", "4", "--device", "cpu", "--epochs", "5"]
    script = tmp_path / "stage.py"
    script.write_text(STAGE)
    rows, f1 = {}, {}
    for processes in (1, 2):
        work = make_work(tmp_path / str(processes))
        if processes == 1:
            assert train.main([str(work.root), *words]) == 0
            printed = capsys.readouterr().out
        else:
            done = in_two_ranks(warm_stages, script, str(work.root), *words)
            assert [each.returncode for each in done] == [0, 0], done
            printed = "".join(each.stdout for each in done)
        assert printed.count("train round 0: 4 videos") == 1, "rank 0 alone speaks"
        folder = work.round(0).stage("trained")
        rows[processes] = list(csv.DictReader((folder / "metrics.csv").open()))
        f1[processes] = json.loads((folder / "metrics.json").read_text())["agreement_with_labels"]["f1"]
    assert [row["learning_rate"] for row in rows[2]] == [row["learning_rate"] for row in rows[1]]
    assert f1[1] > 0.9
    assert f1[2] == pytest.approx(f1[1], abs=0.005)

    # what two processes left after five epochs, one takes up: nothing is trained again
    for name in ("metrics.json", "run.json"):
        (folder / name).unlink()
    assert train.main([str(work.root), *words]) == 0
    assert "epoch 1/5" not in capsys.readouterr().err
    assert list(csv.DictReader((folder / "metrics.csv").open())) == rows[2]


def test_more_processes_than_a_batch_has_frames(tmp_path, warm_stages):
    from test_train import make_work

    words = [str(make_work(tmp_path / "work").root), "--round", "0", "--batch-size", "1", "--device", "cpu"]
    done = under_torchrun(warm_stages, ROOT / "train.py", *words)
    assert done.returncode != 0
    assert "2 processes cannot share --batch-size 1" in done.stderr
