"""How every chart looks, and how it becomes SVG that follows the page: its text takes the page's colour and font."""

import io
import re
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from labels.pictures.palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, STYLES, VERMILION, hexadecimal

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
