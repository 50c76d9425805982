"""The confusion matrix of a recogniser as a picture: rows are the truth, columns what was said, in shares of a row."""

import csv
from pathlib import Path

import matplotlib
import numpy as np

from labels.pictures.chart_style import FACTS, new_figure
from labels.records.errors import InputError
from labels.records.safe_writing import whole_file

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
