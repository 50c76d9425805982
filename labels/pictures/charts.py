"""Charts over rounds. Each is an SVG for the report, readable at a glance, with its counts written on it."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from labels.pictures.chart_style import FACTS, HATCHES, LINE_COLOURS, STYLE_COLOURS, STYLE_WORDS, new_figure
from labels.pictures.grouped_bars import grouped_bars, summed
from labels.pictures.intervals import f1_interval
from labels.pictures.palette import KEPT
from labels.pictures.round_survey import RoundSurvey
from labels.pictures.rule_words import rule_name
from labels.pictures.settings import REPORT, ReportSettings

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
