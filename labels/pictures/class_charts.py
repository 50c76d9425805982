"""Charts over classes: how many labels of each are kept, round by round, and what a recogniser takes for what."""

import csv
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from labels.pictures.chart_style import FACTS, LINE_COLOURS, new_figure, shade
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
    counts = []
    for survey in surveys:
        kept = survey.all_decided[survey.all_decided["style"].isin(KEPT)]
        counts.append(kept.groupby("class_name")["labels"].sum().to_dict())
    totals: dict[str, int] = {}
    for of_round in counts:
        for name, count in of_round.items():
            totals[str(name)] = totals.get(str(name), 0) + int(count)
    if len(totals) < 2:
        return None
    names = sorted(totals, key=lambda name: (-totals[name], name))
    shown, rest = names[:CLASSES_SHOWN], names[CLASSES_SHOWN:]
    rows = [[int(of_round.get(name, 0)) for name in shown] for of_round in counts]
    words = list(shown)
    if rest:
        words.append(f"{len(rest)} other classes")
        rows = [[*row, sum(int(c.get(name, 0)) for name in rest)] for row, c in zip(rows, counts, strict=True)]
    with matplotlib.rc_context(FACTS):
        figure, (axes,) = new_figure(9, 0.9 + len(words) * (0.16 + 0.2 * len(surveys)))
        height = 0.82 / len(surveys)
        widest = max(max(row) for row in rows) or 1
        for position, (survey, row) in enumerate(zip(surveys, rows, strict=True)):
            places = np.arange(len(words)) - 0.41 + height * (position + 0.5)
            colour = shade(position, len(surveys), LINE_COLOURS[0])
            axes.barh(places, row, height=height * 0.9, color=colour, label=f"round {survey.number}")
            for place, value in zip(places, row, strict=True):
                if value:
                    axes.text(value + 0.006 * widest, place, f"{value:,}", va="center", fontsize=9)
        axes.set_yticks(range(len(words)), words)
        axes.invert_yaxis()
        axes.set_xlabel("labels kept")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(axis="x")
        axes.margins(x=0.08)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=8, fontsize=9.5, borderaxespad=0.2)
        return figure


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
