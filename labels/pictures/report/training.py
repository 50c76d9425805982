"""How a student learned: metrics.csv and metrics.json as curves and numbers, and a recogniser's confusion matrix.

In the confusion matrix, rows are the truth and columns the predictions, in shares of a row.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.figure
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labels.pictures.report.charts import FACTS, LINE_COLOURS, new_figure
from labels.pictures.report.rounds import CleanedRound
from labels.records.errors import InputError
from labels.records.safe_writing import read_object, whole_file
from labels.records.work_folder import ACTIONS_TRAINED

SHARES = (
    "precision",
    "recall",
    "f1",
    "mean_iou",
    "ap",
    "top1",
    "macro_f1",
    "balanced_accuracy",
    "ece",
)  # all between 0 and 1
NAMES = {
    "f1": "F1", "mean_iou": "mean IoU", "ap": "AP", "ap50": "AP at IoU 0.5", "top1": "right at first guess",
    "macro_f1": "macro-F1", "balanced_accuracy": "mean recall", "ece": "calibration error",
}  # fmt: skip
DASHES = ["-", "--", "-", ":", "-."]


def read_metrics(metrics_csv: Path) -> pd.DataFrame:
    """metrics.csv with one row an epoch, numbers where there are any. InputError when it is no such table."""
    try:
        metrics = pd.read_csv(metrics_csv)
    except (OSError, ValueError) as error:
        raise InputError(f"{metrics_csv}: cannot be read as CSV: {error}") from None
    metrics.columns = [str(name).strip() for name in metrics.columns]
    if "epoch" not in metrics.columns:
        metrics.insert(0, "epoch", range(1, len(metrics) + 1))
    return metrics.apply(pd.to_numeric, errors="coerce").dropna(axis="columns", how="all")


def training_figure(metrics: pd.DataFrame, title: str = "") -> Figure:
    """Two panels: the losses, and every share (precision, recall, …) the table holds, with the epoch kept marked."""
    with matplotlib.rc_context(FACTS):
        figure, (losses, shares) = new_figure(9, 3.2, panels=2)
        _draw_lines(losses, metrics, [name for name in metrics.columns if "loss" in name.lower()])
        losses.set_title(f"{title}loss" if title else "Loss")
        losses.set_ylim(bottom=0)
        found = [name for name in metrics.columns if name.lower().startswith(SHARES) and not name.endswith("_error")]
        _draw_lines(shares, metrics, found)
        shares.set_title("Agreement with validation labels")
        shares.set_ylim(0, 1.02)
        if "f1" in metrics.columns and metrics["f1"].notna().any():
            best = _epoch_kept(metrics)
            shares.axvline(best["epoch"], color=LINE_COLOURS[0], linewidth=0.8, alpha=0.6)
            shares.annotate(
                f"kept: epoch {int(best['epoch'])}, F1 {best['f1']:.3f}",
                (best["epoch"], 0.02),
                xytext=(-4 if best["epoch"] > metrics["epoch"].mean() else 4, 0),
                textcoords="offset points",
                ha="right" if best["epoch"] > metrics["epoch"].mean() else "left",
                fontsize=9,
            )
        return figure


def _epoch_kept(metrics: pd.DataFrame) -> pd.Series:
    """The row of the epoch whose weights became the student; where the table does not say, that of the best F1."""
    if "kept" in metrics.columns and (metrics["kept"] == 1).any():
        return metrics[metrics["kept"] == 1].iloc[-1]
    return metrics.loc[metrics["f1"].idxmax()]


def _draw_lines(axes: Axes, metrics: pd.DataFrame, names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        axes.plot(
            metrics["epoch"],
            metrics[name],
            color=LINE_COLOURS[position % len(LINE_COLOURS)],
            linestyle=DASHES[position % len(DASHES)],
            marker="o" if len(metrics) < 15 else None,
            markersize=3.5,
            linewidth=1.6,
            label=NAMES.get(name.lower(), name.replace("_", " ")),
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.grid(axis="y")
    if names:
        axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        axes.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axes.transAxes)


def draw_training_curves(metrics_csv: Path, png: Path) -> None:
    """Draw the curves of one student from its metrics.csv into a PNG file."""
    figure = training_figure(read_metrics(metrics_csv))
    with whole_file(png) as aside, matplotlib.rc_context(FACTS):
        figure.savefig(aside, dpi=130, facecolor="white", metadata={"Software": None})


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


NUMBERS_UP_TO = 25  # classes; more would not be legible


def draw_confusion(confusion_csv: Path, png: Path) -> None:
    """Draw confusion.csv. InputError when it is no such table."""
    try:
        with open(confusion_csv, newline="", encoding="utf-8") as opened:
            rows = list(csv.reader(opened))
        names, counts = rows[0][1:], np.array([[int(value) for value in row[1:]] for row in rows[1:]])
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{confusion_csv}: not a confusion matrix: {error}") from None
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.45 * len(names)
    with matplotlib.rc_context(FACTS):
        figure, axes = new_figure(side + 1, side)
        panel = axes[0]
        panel.imshow(share, cmap="Blues", vmin=0, vmax=1)
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right")
        panel.set_yticks(range(len(names)), names)
        panel.set_xlabel("said")
        panel.set_ylabel("truth")
        if len(names) <= NUMBERS_UP_TO:
            for row, column in zip(*np.nonzero(counts), strict=True):
                dark = share[row, column] > 0.5
                colour = "white" if dark else "black"
                panel.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
        with whole_file(png) as aside:
            figure.savefig(aside, dpi=130, facecolor="white", metadata={"Software": None})
