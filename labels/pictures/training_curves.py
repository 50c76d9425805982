"""How a student learned: loss, agreement with its validation labels, and AP over the epochs of metrics.csv."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from labels.pictures.chart_style import FACTS, LINE_COLOURS, new_figure
from labels.records.errors import InputError
from labels.records.safe_writing import whole_file

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
