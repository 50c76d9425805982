"""A chart of counts over names, a group of bars a name with a bar a round, the later rounds darker."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from labels.pictures.chart_style import FACTS, new_figure, shade


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
