"""What the lines of an overlay mean, in as many lines of words as the width needs."""

import numpy as np

from labels.pictures.box_drawing import draw_outline, draw_truth
from labels.pictures.lettering import draw_text, text_width
from labels.pictures.palette import PANEL, STYLES, TRUTH_COLOUR

LINE_PX = 26
MARK_PX = 34  # from the left of a mark to its words
APART_PX = 20
SIZE = 12


def draw_legend(style_names: list[str], with_truth: bool, width: int) -> np.ndarray:
    """A strip (H, width, 3) with a mark and words for each style of `STYLES` named, and for the truth."""
    words = {name: STYLES[name].words for name in style_names}
    if with_truth:
        words["truth"] = "truth (grey: hardly seen)"
    places, left, line = {}, 10, 0
    for name, text in words.items():
        wide = MARK_PX + text_width(text, SIZE)
        if left > 10 and left + wide > width:
            left, line = 10, line + 1
        places[name] = left, line * LINE_PX
        left += wide + APART_PX
    strip = np.full((LINE_PX * (line + 1), width, 3), PANEL, dtype=np.uint8)
    for name, (left, top) in places.items():
        if name == "truth":
            draw_truth(strip, np.array([left + 7, top + 9, left + 19, top + 17]), 1.0, True)
        else:
            draw_outline(strip, (left + 2, top + 7, left + 26, top + 19), STYLES[name])
        colour = TRUTH_COLOUR if name == "truth" else STYLES[name].colour
        draw_text(strip, words[name], left + MARK_PX, top + 5, size=SIZE, colour=colour)
    return strip
