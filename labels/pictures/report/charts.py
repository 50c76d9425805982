"""Charts over rounds and classes, each an SVG for the report, readable at a glance, with its counts written on it.

The SVG takes the page's text colour and font.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from labels.cleaning.rules import rule_name
from labels.pictures.palette import BLUE, GREEN, KEPT, ORANGE, PURPLE, SKY_BLUE, STYLES, VERMILION, hexadecimal
from labels.pictures.report.comparison import f1_interval
from labels.pictures.report.survey import QUALITY_BINS, RoundSurvey
from labels.pictures.settings import REPORT, ReportSettings
from labels.records.errors import InputError

matplotlib.use("Agg")


INK = "#010203"  # stands for the page's text colour
FAINT = "#040506"  # stands for the page's line colour
STYLE_COLOURS = {name: hexadecimal(style.colour) for name, style in STYLES.items()}
STYLE_WORDS = {name: style.words.partition(", with")[0] for name, style in STYLES.items()}
LINE_COLOURS = [hexadecimal(colour) for colour in (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE)]
HATCHES = {"kept": "", "interpolated": "...", "human": "xx", "ignored": "", "dropped": "///"}
FACTS: Any = {  # names of settings: matplotlib types them one by one
    "font.size": 10.5,
    "font.family": "DejaVu Sans",
    "svg.fonttype": "none",
    "svg.hashsalt": "rally",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.5,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "hatch.linewidth": 0.7,
}


def new_figure(
    width: float, height: float, panels: int = 1, sharey: bool = False, widths: tuple[float, ...] | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side, in inches; use within `matplotlib.rc_context(FACTS)`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, sharey=sharey, width_ratios=widths)
    return figure, list(axes[0])


def shade(position: int, count: int, colour: str) -> tuple[float, ...]:
    """The colour of one of `count` rounds: the later, the nearer to `colour`, the earlier, the paler."""
    strength = 0.35 + 0.65 * (position / (count - 1) if count > 1 else 1.0)
    return tuple(1 - strength * (1 - channel) for channel in to_rgb(colour))


def as_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element for a page; the same figure gives the same text."""
    buffer = io.StringIO()
    with matplotlib.rc_context(FACTS):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("'DejaVu Sans'", "inherit").replace("font-family: inherit", "font-family: inherit")
    return svg.replace(INK, "currentColor").replace(FAINT, "var(--line, currentColor)")


def summed(counts: list[Mapping[str, int]]) -> dict[str, int]:
    """The counts of all rounds together, the largest first, names of one count by the alphabet."""
    totals: dict[str, int] = {}
    for of_round in counts:
        for name, count in of_round.items():
            totals[str(name)] = totals.get(str(name), 0) + int(count)
    return dict(sorted(totals.items(), key=lambda pair: (-pair[1], pair[0])))


def grouped_bars(
    rounds: list[int],
    counts: list[Mapping[str, int]],
    shown: list[tuple[str, str]],
    rest: tuple[list[str], str],
    unit: str,
    colour: str,
) -> Figure:
    """Draw `counts` (a mapping of name to count for each round); each bar bears its number, nothing is drawn for 0.

    Args:
        shown: the names that have bars of their own, each with the words for it.
        rest: the names that are counted together, and the words for them.
    """
    names, words = [[name] for name, _ in shown], [word for _, word in shown]
    if rest[0]:
        names.append(rest[0])
        words.append(rest[1])
    values = np.array([[sum(int(of_round.get(one, 0)) for one in name) for name in names] for of_round in counts])
    with matplotlib.rc_context(FACTS):
        figure, (axes,) = new_figure(9, 0.9 + len(names) * (0.14 + 0.18 * len(rounds)))
        height = 0.82 / len(rounds)
        for position, (number, row) in enumerate(zip(rounds, values, strict=True)):
            places = np.arange(len(names)) - 0.41 + height * (position + 0.5)
            bar_colour = shade(position, len(rounds), colour)
            axes.barh(places, row, height=height * 0.9, color=bar_colour, label=f"round {number}")
            for place, value in zip(places, row, strict=True):
                if value:
                    axes.text(value + 0.006 * max(values.max(), 1), place, f"{value:,}", va="center", fontsize=9)
        axes.set_yticks(range(len(names)), words)
        axes.invert_yaxis()
        axes.set_xlabel(unit)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(axis="x")
        axes.margins(x=0.08)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=8, fontsize=9.5, borderaxespad=0.2)
        return figure


DROPPED_SHADE = "#8f406e"  # darker than the colour of what is dropped


def decisions_chart(surveys: list[RoundSurvey]) -> Figure:
    """Boxes kept and ignored by round, a bar a round; what was dropped apart, because it outnumbers them."""
    with matplotlib.rc_context(FACTS):
        figure, panels = new_figure(9, 1.3 + 0.5 * len(surveys), panels=2, sharey=True, widths=(2.2, 1))
        for axes, styles in zip(panels, ((*KEPT, "ignored"), ("dropped",)), strict=True):
            _draw_decisions(axes, surveys, styles)
        panels[0].set_yticks(range(len(surveys)), [f"round {survey.number}" for survey in surveys])
        panels[0].invert_yaxis()
        return figure


def _draw_decisions(axes: Axes, surveys: list[RoundSurvey], styles: tuple[str, ...]) -> None:
    left = np.zeros(len(surveys))
    most = max([survey.count(*styles) for survey in surveys] + [1])
    for style in styles:
        counts = np.array([survey.count(style) for survey in surveys])
        if not counts.any():
            continue
        axes.barh(
            range(len(surveys)), counts, left=left, color=STYLE_COLOURS[style], label=STYLE_WORDS[style],
            height=0.66, hatch=HATCHES[style], edgecolor="#222222", linewidth=0.4,
        )  # fmt: skip
        for row, count in enumerate(counts):
            if count > 0.07 * most:
                axes.text(
                    left[row] + count / 2, row, f"{count:,}", ha="center", va="center", color="#111111",
                    fontsize=10, bbox={"facecolor": STYLE_COLOURS[style], "edgecolor": "none", "pad": 1.5},
                )  # fmt: skip
        left += counts
    axes.set_xlabel("boxes")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(axis="x")
    if left.any():
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, fontsize=9.5, borderaxespad=0.2)


def reasons_chart(surveys: list[RoundSurvey], settings: ReportSettings = REPORT) -> Figure | None:
    """Boxes dropped by rule; rules that dropped little are counted together. None when nothing was dropped."""
    counts = [
        survey.decided[survey.decided["style"] == "dropped"].groupby("rule")["labels"].sum().to_dict()
        for survey in surveys
    ]
    totals = summed(counts)
    if not totals:
        return None
    least = settings.rule_share * sum(totals.values())
    shown = [rule for rule in list(totals)[: settings.rules_shown] if totals[rule] >= least]
    rest = list(totals)[len(shown) :]
    words = f"{len(rest)} other {'rule' if len(rest) == 1 else 'rules'}"
    named = [(rule, rule_name(rule)) for rule in shown]
    return grouped_bars(
        [survey.number for survey in surveys], counts, named, (rest, words), "boxes dropped", DROPPED_SHADE
    )


def truth_chart(surveys: list[RoundSurvey], settings: ReportSettings = REPORT) -> Figure | None:
    """Precision, recall and F1 by round against truth, training and held-out clips side by side; None without truth."""
    sides = [held_out for held_out in (False, True) if any(survey.judged_videos(held_out) for survey in surveys)]
    if not sides:
        return None
    with matplotlib.rc_context(FACTS):
        figure, panels = new_figure(9, 3.4, panels=len(sides), sharey=True)
        for axes, held_out in zip(panels, sides, strict=True):
            judged = [survey for survey in surveys if survey.judged_videos(held_out)]
            _draw_truth_panel(axes, judged, held_out, settings)
            axes.set_xticks(
                [survey.number for survey in judged],
                [f"round {survey.number}\nF1 {survey.counts(held_out).f1:.3f}" for survey in judged],
            )
            axes.set_xlim(surveys[0].number - 0.35, surveys[-1].number + 0.35)
            clips = max(survey.judged_videos(held_out) for survey in judged)
            kind = "held-out" if held_out else "training"
            axes.set_title(f"{clips} {kind} {'clip' if clips == 1 else 'clips'} with truth")
        panels[0].set_ylim(0, 1.06)
        panels[0].legend(loc="lower right", fontsize=9.5)
        return figure


def _draw_truth_panel(axes: Axes, surveys: list[RoundSurvey], held_out: bool, settings: ReportSettings) -> None:
    numbers = [survey.number for survey in surveys]
    counts = [survey.counts(held_out) for survey in surveys]
    lines = {
        "precision": ([count.precision for count in counts], LINE_COLOURS[1], "--", "s"),
        "recall": ([count.recall for count in counts], LINE_COLOURS[2], ":", "^"),
        "F1": ([count.f1 for count in counts], LINE_COLOURS[0], "-", "o"),
    }
    for name, (values, colour, dash, marker) in lines.items():
        axes.plot(numbers, values, dash, marker=marker, color=colour, label=name, linewidth=1.8, markersize=5.5)
    for survey in surveys:
        rows = survey.matched[(survey.matched["held_out"] == held_out) & (survey.matched["rule"] == "centre")]
        interval = f1_interval(rows, settings)
        if interval.is_known:
            axes.vlines(
                survey.number, interval.low, interval.high, color=LINE_COLOURS[5], linewidth=6, alpha=0.5, zorder=0
            )
    axes.grid(axis="y")


def agreement_chart(surveys: list[RoundSurvey], settings: ReportSettings = REPORT) -> Figure | None:
    """How far each round's labels are those of the round before: F1 with the older labels in truth's place."""
    compared = [survey for survey in surveys if len(survey.changed)]
    if not compared:
        return None
    with matplotlib.rc_context(FACTS):
        figure, (axes,) = new_figure(9, 1.0 + 0.55 * len(compared))
        intervals = [f1_interval(survey.changed, settings) for survey in compared]
        axes.barh(range(len(compared)), [each.value for each in intervals], color=LINE_COLOURS[0], height=0.6)
        words = []
        for row, (survey, each) in enumerate(zip(compared, intervals, strict=True)):
            words.append(f"round {survey.number} with the one before: {each.value:.2f}")
            if each.is_known:
                axes.hlines(row, each.low, each.high, color=LINE_COLOURS[4], linewidth=3)
                words[-1] += f"\n{each.low:.2f} to {each.high:.2f}, {each.clusters} source videos"
        axes.set_yticks(range(len(compared)), words)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.set_xlabel("agreement (1: the same labels)")
        axes.grid(axis="x")
        return figure


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
