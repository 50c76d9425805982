"""The colours and line styles of every picture. A decision is shown by its line style as well as by its colour.

Okabe and Ito's palette (jfly.uni-koeln.de/color), which stays distinct under the common kinds of colour blindness.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

Colour = tuple[int, int, int]  # RGB

SKY_BLUE: Colour = (86, 180, 233)
LIGHT_BLUE: Colour = (176, 220, 246)
ORANGE: Colour = (230, 159, 0)
PURPLE: Colour = (204, 121, 167)
BLUE: Colour = (0, 114, 178)
GREEN: Colour = (0, 158, 115)
GREEN_LIGHT: Colour = (64, 224, 180)  # the green of the palette, light enough for thin lines on grass
VERMILION: Colour = (213, 94, 0)
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
PANEL: Colour = (30, 32, 36)
RAISED: Colour = (48, 51, 57)
TEXT: Colour = (232, 232, 228)
MUTED: Colour = (160, 162, 166)


@dataclass(frozen=True)
class LineStyle:
    """How the outline of a box is drawn: `dash` is (drawn, left out) in pixels, None for a solid line."""

    colour: Colour
    width: int
    dash: tuple[int, int] | None
    words: str  # in the legend


STYLES = {
    "kept": LineStyle(SKY_BLUE, 2, None, "kept"),
    "interpolated": LineStyle(LIGHT_BLUE, 2, (2, 4), "kept, interpolated"),
    "human": LineStyle(GREEN_LIGHT, 4, None, "kept, by a person"),
    "ignored": LineStyle(ORANGE, 1, None, "ignored"),
    "dropped": LineStyle(PURPLE, 2, (7, 5), "dropped, with reason"),
}
OLD_PLACE = LineStyle(WHITE, 1, None, "as it was in the other round")
TRUTH_COLOUR = WHITE
UNSEEN_COLOUR: Colour = (150, 150, 150)


KEPT = ("kept", "interpolated", "human")  # the styles of labels that count


def hexadecimal(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def style_names(boxes: pd.DataFrame) -> np.ndarray:
    """The name in `STYLES` of each row of a decided boxes table, (N,) str."""
    kept_as = np.where(boxes["origin"] == "detected", "kept", boxes["origin"])  # interpolated | human
    names = np.where(
        boxes["decision"] == "ignore", "ignored", np.where(boxes["decision"] == "drop", "dropped", kept_as)
    )
    return names.astype(object)
