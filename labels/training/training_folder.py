"""The files of a round's `trained/` folder."""

import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labels.models.checkpoints import DETECTOR
from labels.records.safe_writing import write_text


@dataclass(frozen=True)
class TrainingFolder:
    """`trained/` of a round. A round may train a detector and a recogniser; the latter keeps its own in `actions/`."""

    path: Path
    kind: str = DETECTOR

    @property
    def best(self) -> Path:
        return self.path / f"{self.kind}.pt"

    @property
    def beside(self) -> Path:
        return self.path if self.kind == DETECTOR else self.path / "actions"

    @property
    def last(self) -> Path:
        return self.beside / "last.pt"

    @property
    def epochs(self) -> Path:
        return self.beside / "metrics.csv"

    @property
    def metrics(self) -> Path:
        return self.beside / "metrics.json"

    @property
    def curves(self) -> Path:
        return self.beside / "curves.png"

    @property
    def confusion(self) -> Path:
        return self.path / "confusion.csv"


def write_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """metrics.csv: a row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def fold_folder(beside: Path, fold: int) -> Path:
    """Where the student of a fold is trained, until all of them have been asked."""
    return beside / f"fold_{fold}"


def clear_folds(beside: Path) -> None:
    """Take away what training the students of folds left, also where that was killed."""
    for left in beside.glob("fold_*"):
        shutil.rmtree(left)
