"""Charts of label quality: cleaning's own probability that a label is right, which is no measurement."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from labels.pictures.palette import KEPT
from labels.pictures.report.charts import FACTS, HATCHES, LINE_COLOURS, STYLE_COLOURS, STYLE_WORDS, new_figure, shade
from labels.pictures.report.survey import QUALITY_BINS, RoundSurvey

QUALITY_BANDS = ((0, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 1))  # edges of bins: multiples of 0.05


def quality_by_round_chart(surveys: list[RoundSurvey]) -> Figure | None:
    """How sure the cleaning was of the labels it kept: shares of four bands of quality, a bar a round."""
    with_labels = [survey for survey in surveys if survey.kept]
    if not with_labels:
        return None
    with matplotlib.rc_context(FACTS):
        figure, (axes,) = new_figure(9, 1.2 + 0.45 * len(surveys))
        colours = [shade(place, len(QUALITY_BANDS), LINE_COLOURS[0]) for place in range(len(QUALITY_BANDS))]
        bins = np.array([np.sum([survey.quality[style] for style in KEPT], axis=0) for survey in surveys])
        totals = np.maximum(bins.sum(axis=1), 1)
        left = np.zeros(len(surveys))
        for (low, high), colour in zip(QUALITY_BANDS, colours, strict=True):
            counts = bins[:, round(low * QUALITY_BINS) : round(high * QUALITY_BINS)].sum(axis=1)
            words = f"{low:g} to {high:g}" if low else f"below {high:g}"
            axes.barh(range(len(surveys)), counts / totals, left=left, color=colour, height=0.66, label=words)
            for row, count in enumerate(counts):
                if count > 0.05 * totals[row]:
                    ink = "#ffffff" if colour == colours[-1] else "#111111"
                    axes.text(
                        left[row] + count / totals[row] / 2, row, f"{count:,}", ha="center", va="center", color=ink
                    )
            left += counts / totals
        axes.set_yticks(range(len(surveys)), [f"round {survey.number}" for survey in surveys])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the labels kept (numbers: labels), by quality")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, fontsize=9.5, borderaxespad=0.2)
        return figure


def calibration_chart(surveys: list[RoundSurvey]) -> Figure | None:
    """A reliability diagram of the last round with truth: share of right labels by quality, and how many they are."""
    judged = [(survey, found) for survey in surveys if (found := calibration_of(survey))]
    if not judged:
        return None
    survey, found = judged[-1]
    bins = found["bins"]
    with matplotlib.rc_context(FACTS):
        figure, (shares, counts) = new_figure(9, 3.2, panels=2)
        shares.plot([0, 1], [0, 1], "--", color=LINE_COLOURS[5], linewidth=1.2, label="as sure as it should be")
        quality = [one["mean_quality"] for one in bins]
        right = [one["right"] / one["labels"] for one in bins]
        shares.plot(quality, right, "-o", color=LINE_COLOURS[0], linewidth=1.8, label=f"round {survey.number}")
        shares.set_xlim(0, 1)
        shares.set_ylim(0, 1.04)
        shares.set_xlabel("quality (mean of a bin)")
        shares.set_ylabel("share of the labels that is right")
        shares.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=9.5, borderaxespad=0.2)
        width = bins[0]["to"] - bins[0]["from"]
        bars = counts.bar(
            [one["from"] for one in bins], [one["labels"] for one in bins], width, align="edge",
            color=LINE_COLOURS[5], edgecolor="#222222", linewidth=0.4,
        )  # fmt: skip
        counts.bar_label(bars, labels=[f"{one['labels']:,}" for one in bins], fontsize=8.5, padding=1)
        counts.set_xlim(0, 1)
        counts.margins(y=0.12)
        counts.set_xlabel("quality")
        counts.set_ylabel("labels")
        return figure


def calibration_of(survey: RoundSurvey) -> dict[str, Any]:
    """What the cleaner wrote of a round's calibration; empty where there is no truth."""
    record = survey.round.records["cleaned"]
    return record.counts.get("calibration", {}) if record is not None else {}


def quality_chart(survey: RoundSurvey) -> Figure:
    """How the quality of one round's boxes is spread; what was dropped apart, because it outnumbers the rest."""
    with matplotlib.rc_context(FACTS):
        figure, panels = new_figure(9, 2.9, panels=2)
        for axes, styles in zip(panels, (("ignored", "interpolated", "kept", "human"), ("dropped",)), strict=True):
            _draw_quality(axes, survey, styles)
        panels[0].set_ylabel("boxes")
        return figure


def _draw_quality(axes: Axes, survey: RoundSurvey, styles: tuple[str, ...]) -> None:
    edges = np.linspace(0, 1, QUALITY_BINS + 1)
    bottom = np.zeros(QUALITY_BINS)
    for style in styles:
        counts = survey.quality[style]
        if counts.any():
            axes.bar(
                edges[:-1], counts, width=1 / QUALITY_BINS, bottom=bottom, align="edge",
                color=STYLE_COLOURS[style], hatch=HATCHES[style], edgecolor="#222222", linewidth=0.4,
                label=f"{STYLE_WORDS[style]}: {int(counts.sum()):,}",
            )  # fmt: skip
            bottom += counts
    axes.set_xlabel("quality (0: surely wrong, 1: surely right)")
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y")
    if bottom.any():
        axes.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)
    else:
        axes.text(0.5, 0.5, f"none {' or '.join(styles)}", ha="center", va="center", transform=axes.transAxes)
