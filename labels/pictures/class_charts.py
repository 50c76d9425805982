"""Charts over classes: how many labels of each are kept, round by round, and what a recogniser takes for what."""

import csv
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from labels.pictures.chart_style import FACTS, LINE_COLOURS, new_figure
from labels.pictures.grouped_bars import grouped_bars, summed
from labels.pictures.palette import KEPT
from labels.pictures.round_survey import RoundSurvey
from labels.records.errors import InputError

CLASSES_SHOWN = 20
NUMBERS_UP_TO = 16  # classes: in a larger matrix the numbers cannot be read


@dataclass(frozen=True)
class Confusion:
    """`counts` (K, K): rows are the classes of the validation labels, columns what the student said."""

    class_names: list[str]
    counts: np.ndarray


def class_balance_chart(surveys: list[RoundSurvey]) -> Figure | None:
    """Labels kept of each class, boxes and actions alike, a bar a round; None where there is only one class."""
    counts = [
        survey.all_decided[survey.all_decided["style"].isin(KEPT)].groupby("class_name")["labels"].sum().to_dict()
        for survey in surveys
    ]
    names = list(summed(counts))
    if len(names) < 2:
        return None
    shown, rest = names[:CLASSES_SHOWN], names[CLASSES_SHOWN:]
    rounds = [survey.number for survey in surveys]
    others = (rest, f"{len(rest)} other {'class' if len(rest) == 1 else 'classes'}")
    return grouped_bars(rounds, counts, [(name, name) for name in shown], others, "labels kept", LINE_COLOURS[0])


def read_confusion(path: Path) -> Confusion | None:
    """`confusion.csv`: the first row and column name the classes, rows are the truth. None where there is no file."""
    if not path.is_file():
        return None
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            lines = [line for line in csv.reader(opened) if line]
        names = lines[0][1:]
        counts = np.array([[float(cell) for cell in line[1:]] for line in lines[1:]], dtype=np.float64)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise InputError(f"{path}: not a confusion matrix: {error}") from None
    sound = counts.shape == (len(names), len(names)) and [line[0] for line in lines[1:]] == names
    if not names or not sound or not np.isfinite(counts).all() or (counts < 0).any():
        raise InputError(f"{path}: not a confusion matrix: it needs the same classes along both sides, and counts")
    return Confusion(names, counts)


def confusion_chart(confusion: Confusion) -> Figure:
    """Each row shares out the clips of one class: the darker, the larger the share; the numbers are clips."""
    counts, names = confusion.counts, confusion.class_names
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    side = min(9.0, 2.2 + 0.55 * len(names))
    with matplotlib.rc_context(FACTS):
        figure, (axes,) = new_figure(9, side)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        if len(names) <= NUMBERS_UP_TO:
            for row, column in np.ndindex(*counts.shape):
                if counts[row, column]:
                    colour = "#ffffff" if share[row, column] > 0.55 else "#111111"
                    axes.text(column, row, f"{counts[row, column]:,.0f}", ha="center", va="center", color=colour)
        size = 10 if len(names) <= NUMBERS_UP_TO else 7
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=size)
        labels = [f"{name} ({int(number):,})" for name, number in zip(names, total[:, 0], strict=True)]
        axes.set_yticks(range(len(names)), labels, fontsize=size)
        axes.set_xlabel("what the student said")
        axes.set_ylabel("what the clip is labelled (clips)")
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("share of the row")
        bar.outline.set_visible(False)
        return figure
