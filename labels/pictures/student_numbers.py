"""What a round's training wrote of its student: metrics.json and metrics.csv, read liberally."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.figure
import pandas as pd

from labels.pictures.round_reading import CleanedRound
from labels.pictures.training_curves import read_metrics, training_figure
from labels.records.errors import InputError
from labels.records.safe_writing import read_json


@dataclass(frozen=True)
class Student:
    """A trained student against its validation labels, which are pseudo-labels: agreement, not accuracy."""

    round: int
    epochs: int
    precision: float
    recall: float
    f1: float
    ap: float


def read_student(found: CleanedRound) -> Student | None:
    """The numbers of a round's student; None when it is not trained. What is not recorded is NaN."""
    if found.records["trained"] is None:
        return None
    folder = found.folder.stage("trained")
    epochs = _epochs(folder)
    best = _numbers_in(folder / "metrics.json")
    if "f1" not in best and epochs is not None and "f1" in epochs.columns and epochs["f1"].notna().any():
        best = epochs.loc[epochs["f1"].idxmax()].to_dict()
    values = {name: _as_number(best.get(name)) for name in ("precision", "recall", "f1", "ap")}
    return Student(found.number, 0 if epochs is None else len(epochs), **values)


def student_figure(found: CleanedRound) -> matplotlib.figure.Figure | None:
    """The training curves of a round's student; None when there are none to draw."""
    if found.records["trained"] is None:
        return None
    epochs = _epochs(found.folder.stage("trained"))
    return training_figure(epochs, f"Round {found.number}: ") if epochs is not None and len(epochs) else None


def _epochs(folder: Path) -> pd.DataFrame | None:
    path = folder / "metrics.csv"
    return read_metrics(path) if path.is_file() else None


def _numbers_in(path: Path) -> dict[str, Any]:
    """The first object in metrics.json, from the top down, that holds an F1."""
    try:
        level = [read_json(path)]
    except InputError:
        return {}
    while level:
        for value in level:
            if isinstance(value, dict) and isinstance(value.get("f1"), int | float):
                return value
        level = [child for value in level if isinstance(value, dict) for child in value.values()]
    return {}


def _as_number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
