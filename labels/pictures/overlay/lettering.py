"""Text on pixels, in any script that DejaVu Sans holds (the font that comes with matplotlib)."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from labels.pictures.palette import TEXT, Colour


@lru_cache(maxsize=16)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


@lru_cache(maxsize=4096)
def _text_mask(text: str, size: int, bold: bool) -> np.ndarray:
    """Coverage of each pixel of one line of text, (H, W) float32 in 0-1; H depends on the size alone."""
    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, int(np.ceil(font.getlength(text)))), ascent + descent), 0)
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    return np.asarray(image, dtype=np.float32) / 255


def text_width(text: str, size: int, bold: bool = False) -> int:
    """Width of one line of text in pixels."""
    return int(np.ceil(_font(size, bold).getlength(text)))


def text_height(size: int) -> int:
    return sum(_font(size, False).getmetrics())


def draw_text(
    canvas: np.ndarray,
    text: str,
    left: int,
    top: int,
    size: int = 13,
    colour: Colour = TEXT,
    bold: bool = False,
    background: Colour | None = None,
) -> int:
    """Draw one line onto `canvas` (H, W, 3) in place, cut at its borders. Returns the x where the text ends."""
    mask = _text_mask(text, size, bold)
    height, width = mask.shape
    y1, x1 = max(top, 0), max(left, 0)
    y2, x2 = min(top + height, canvas.shape[0]), min(left + width, canvas.shape[1])
    if y2 > y1 and x2 > x1:
        part = mask[y1 - top : y2 - top, x1 - left : x2 - left, None]
        under = canvas[y1:y2, x1:x2].astype(np.float32)
        if background is not None:
            under = 0.3 * under + 0.7 * np.array(background, dtype=np.float32)
        inked = under * (1 - part) + np.array(colour, dtype=np.float32) * part
        canvas[y1:y2, x1:x2] = np.round(inked).astype(np.uint8)
    return left + width


def draw_text_right(canvas: np.ndarray, text: str, right: int, top: int, size: int, colour: Colour = TEXT) -> int:
    """Draw one line that ends at x = `right`. Returns the x where it begins."""
    left = right - text_width(text, size)
    draw_text(canvas, text, left, top, size=size, colour=colour)
    return left


def fit_text(text: str, width: int, size: int, bold: bool = False) -> str:
    """`text`, with its middle left out where it is wider than `width` pixels: names differ at their ends."""
    if text_width(text, size, bold) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = kept // 2
        shortened = f"{text[:head]}…{text[len(text) - (kept - head) :]}"
        if text_width(shortened, size, bold) <= width:
            return shortened
    return "…"
