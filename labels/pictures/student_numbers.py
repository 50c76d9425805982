"""What a round's training wrote of its student: metrics.json and metrics.csv, read liberally."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.figure
import pandas as pd

from labels.pictures.round_reading import CleanedRound
from labels.pictures.training_curves import read_metrics, training_figure
from labels.records.safe_writing import read_object
from labels.records.work_folder import ACTIONS_TRAINED


@dataclass(frozen=True)
class Student:
    """A trained student on its validation clips: how far it agrees with their labels, which are pseudo-labels.

    `true_f1` is its F1 against the truth of those clips, NaN where there is none.
    """

    round: int
    epochs: int
    precision: float
    recall: float
    f1: float
    ap: float
    true_f1: float


def read_student(found: CleanedRound) -> Student | None:
    """The numbers of a round's student; None when it is not trained. What is not recorded is NaN."""
    if found.records["trained"] is None:
        return None
    folder = found.folder.stage("trained")
    epochs = _epochs(folder)
    metrics = read_object(folder / "metrics.json")
    best, true = metrics.get("agreement_with_labels"), metrics.get("accuracy")
    if not isinstance(best, dict):
        best = _first_with_f1(metrics)
    if "f1" not in best and epochs is not None and "f1" in epochs.columns and epochs["f1"].notna().any():
        best = epochs.loc[epochs["f1"].idxmax()].to_dict()
    values = {name: _as_number(best.get(name)) for name in ("precision", "recall", "f1", "ap")}
    true_f1 = _as_number(true.get("f1")) if isinstance(true, dict) else math.nan
    return Student(found.number, 0 if epochs is None else len(epochs), true_f1=true_f1, **values)


def read_folds(found: CleanedRound) -> dict[str, Any]:
    """How far students agree with the round's labels that never saw their groups; empty where none were asked."""
    cleaned, trained = found.records["cleaned"], found.records["trained"]
    if cleaned is None or trained is None or trained.inputs.get(f"round {found.number} cleaned") != cleaned.output:
        return {}  # they were asked about other labels
    agreement = read_object(found.folder.folds).get("agreement")
    return agreement if isinstance(agreement, dict) else {}


def student_figure(found: CleanedRound) -> matplotlib.figure.Figure | None:
    """The training curves of a round's student; None when there are none to draw."""
    if found.records["trained"] is None:
        return None
    epochs = _epochs(found.folder.stage("trained"))
    return training_figure(epochs, f"Round {found.number}: ") if epochs is not None and len(epochs) else None


def confusion_path(found: CleanedRound) -> Path:
    """Where a recogniser's training writes what it takes for what."""
    return found.folder.stage("trained") / "confusion.csv"


def confusion_of(found: CleanedRound) -> str | None:
    """Whose labels it counts: test or validation."""
    record = found.records[ACTIONS_TRAINED]
    return record.facts["metrics"].get("confusion_of") if record is not None else None


def _epochs(folder: Path) -> pd.DataFrame | None:
    path = folder / "metrics.csv"
    return read_metrics(path) if path.is_file() else None


def _first_with_f1(metrics: dict[str, Any]) -> dict[str, Any]:
    """The first object, from the top down, that holds an F1."""
    level: list[Any] = [metrics]
    while level:
        for value in level:
            if isinstance(value, dict) and isinstance(value.get("f1"), int | float):
                return value
        level = [child for value in level if isinstance(value, dict) for child in value.values()]
    return {}


def _as_number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
