"""CONTRIBUTING's recipes, followed to the letter in a copy of the tree: files made, lines inserted, commands run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_test_video
from warm_processes import WarmStart

from labels.exchange.known_formats import FORMATS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PARTS = ("labels", "dataset_downloader.py", "dataset_processor.py", "dataset_cleaner.py", "train.py", "visualise.py")


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    return re.split(r"^#+ ", TEXT.split(f" {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


@dataclass
class Tree:
    """A copy of what a contributor changes."""

    root: Path
    warm: WarmStart
    printed: str = ""

    def follow(self, title: str) -> None:
        """Do what the blocks of a section say, in order."""
        for kind, name, body in BLOCK.findall(section(title)):
            if kind == "diff":
                self.insert(self.root / name, body)
            elif name:
                assert not (self.root / name).exists(), f"{name}: is there already"
                (self.root / name).write_text(body)
            elif kind == "bash" and "venv" not in body and "pip install" not in body:
                for command in body.strip().splitlines():
                    self.run(command)

    def insert(self, path: Path, body: str) -> None:
        lines = body.splitlines()
        before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        after = "\n".join(line[1:] for line in lines)
        text = path.read_text()
        assert text.count(f"{before}\n") == 1, f"{path.name}: its context is there {text.count(before)} times"
        path.write_text(text.replace(f"{before}\n", f"{after}\n"))

    def run(self, command: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.root)}
        if re.match(r"python \w+\.py ", command):
            words = [sys.executable, *shlex.split(command)[1:]]
            ended = self.warm.run(words, cwd=self.root, env=environment)
        else:
            line = re.sub("^python ", f"{sys.executable} ", command)
            ended = subprocess.run(line, shell=True, cwd=self.root, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        self.printed = ended.stdout

    def record(self, stage: str, work: str = "work") -> dict:
        return json.loads((self.root / work / "rounds" / "00" / stage / "run.json").read_text())

    def boxes(self, stage: str) -> pd.DataFrame:
        paths = sorted((self.root / "work" / "rounds" / "00" / stage / "boxes").glob("*.parquet"))
        return pd.concat([pd.read_parquet(path) for path in paths])


def copied(root: Path, warm: WarmStart) -> Tree:
    root.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, root / name)
    return Tree(root, warm)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, warm_stages) -> Path:
    """The work folder that the recipes ask for, made as CONTRIBUTING says."""
    tree = copied(tmp_path_factory.mktemp("contributing") / "tree", warm_stages)
    tree.follow("How to add")
    return tree.root / "work"


@pytest.fixture
def tree(tmp_path, prepared, warm_stages) -> Tree:
    tree = copied(tmp_path / "tree", warm_stages)
    shutil.copytree(prepared, tree.root / "work")
    return tree


def test_a_detector(tree):
    tree.follow("A detector")
    assert tree.record("labelled")["facts"]["labeller"]["name"] == "brightest"
    boxes = tree.boxes("labelled")
    assert len(boxes) == 24 and set(boxes["frame_index"]) == set(range(24))
    assert set(tree.boxes("cleaned")["label_uid"]) >= set(boxes["label_uid"])


def test_a_recogniser(tree, tmp_path):
    for number, move in enumerate(("jump", "run", "jump", "run", "jump", "run")):
        red = [number * 10 + 9 * frame * (move == "jump") for frame in range(16)]  # grows brighter, or does not
        frames = [np.full((48, 48, 3), (value, 90, 30), dtype=np.uint8) for value in red]
        path = tmp_path / "archive" / "train" / move / f"{move}_{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_test_video(path, frames, width=48, height=48)
    tree.run(f"python dataset_downloader.py actions --from kinetics-folder --path {tmp_path / 'archive'}")
    tree.run("python dataset_processor.py actions --round 0 --recogniser human")
    tree.run("python dataset_cleaner.py actions --round 0")
    tree.follow("A recogniser of actions")
    assert tree.record("trained/actions", "actions")["arguments"]["architecture"] == "mean_colour"
    record = json.loads((tree.root / "actions/rounds/01/labelled/actions/run.json").read_text())
    assert record["facts"]["labeller"]["class_names"] == ["jump", "run"] and record["counts"]["used"] == 6


def test_a_clip_source(tree):
    tree.follow("A clip source")
    (row,) = pd.read_parquet(tree.root / "named" / "videos.parquet").to_dict("records")
    assert (row["status"], row["class_name"], row["group"]) == ("ok", "serve", "named_final")
    assert "1 human labels" in tree.printed


def test_a_cleaning_rule(tree):
    tree.follow("A cleaning rule")
    assert (tree.boxes("cleaned")["reason"].str.startswith("wide: 1.")).any()
    tree.run("python dataset_cleaner.py work --round 0 --without wide")
    assert not (tree.boxes("cleaned")["reason"].str.startswith("wide")).any()
    tree.run("python dataset_cleaner.py --help")
    assert "wider than a ball is that flies this slowly" in tree.printed


def test_a_format(tree):
    tree.follow("A format")
    assert "centres" not in FORMATS  # here, that is: only the copy has it
    kept = tree.boxes("cleaned").query("decision == 'keep'")
    centres = pd.read_csv(tree.root / "work/rounds/00/export/centres/centres.csv")
    assert len(centres) == len(kept) > 0
    assert sorted(centres["x"]) == pytest.approx(sorted((kept["x1"] + kept["x2"]) / 2), abs=1e-3)
    assert f"{len(kept)} labels = {len(kept)} used" in tree.printed


def test_a_class_list(tree):
    tree.follow("A class list")
    assert "tennis racket" in tree.printed
