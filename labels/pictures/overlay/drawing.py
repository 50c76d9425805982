"""Drawing on pixels: boxes, tails, truth marks and masks, and text in any script that DejaVu Sans holds.

Each mark has a dark rim that stands out on grass, wood and sky. The font comes with matplotlib.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from labels.pictures.palette import BLACK, TEXT, TRUTH_COLOUR, UNSEEN_COLOUR, Colour, LineStyle
from labels.records.masks import decode_mask

MIN_DRAWN_PX = 10.0  # a ball of two pixels still gets an outline to see


def outline_of(xyxy: np.ndarray, scale: float, margin: float = 2.0) -> tuple[int, int, int, int]:
    """Where the outline of a box (pixels of the frame) runs on the enlarged canvas: around the object, not over it."""
    x1, y1, x2, y2 = (float(value) * scale for value in xyxy)
    grow_x = max(margin, (MIN_DRAWN_PX - (x2 - x1)) / 2)
    grow_y = max(margin, (MIN_DRAWN_PX - (y2 - y1)) / 2)
    return round(x1 - grow_x), round(y1 - grow_y), round(x2 + grow_x), round(y2 + grow_y)


def draw_outline(canvas: np.ndarray, outline: tuple[int, int, int, int], style: LineStyle) -> None:
    """Draw a box in place; its line is solid, dashed or dotted as its style says."""
    x1, y1, x2, y2 = outline
    sides = [((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))]
    strokes = [stroke for start, end in sides for stroke in _strokes(start, end, style.dash)]
    for colour, width in ((BLACK, style.width + 2), (style.colour, style.width)):
        for start, end in strokes:
            cv2.line(canvas, start, end, colour, width)


def _strokes(
    start: tuple[int, int], end: tuple[int, int], dash: tuple[int, int] | None
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The drawn parts of a line along an axis."""
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    if dash is None or length == 0:
        return [(start, end)]
    step = np.sign(np.subtract(end, start))
    parts = []
    for begin in range(0, length, sum(dash)):
        stop = min(begin + dash[0], length)
        parts.append((tuple((start + step * begin).tolist()), tuple((start + step * stop).tolist())))
    return parts


def draw_truth(canvas: np.ndarray, xyxy: np.ndarray, scale: float, seen: bool) -> None:
    """A truth box as four thin corners; a truth point as a small cross; grey where it can hardly be seen."""
    if xyxy[0] == xyxy[2]:
        x, y = round(float(xyxy[0]) * scale), round(float(xyxy[1]) * scale)
        strokes = [((x - 5, y), (x + 5, y)), ((x, y - 5), (x, y + 5))]
    else:
        x1, y1, x2, y2 = outline_of(xyxy, scale, margin=6.0)
        reach = max(3, min(x2 - x1, y2 - y1) // 5)
        corners = [
            (x, y, inward_x, inward_y)
            for x, inward_x in ((x1, reach), (x2, -reach))
            for y, inward_y in ((y1, reach), (y2, -reach))
        ]
        strokes = [((x, y), (x + inward_x, y)) for x, y, inward_x, _ in corners]
        strokes += [((x, y), (x, y + inward_y)) for x, y, _, inward_y in corners]
    for colour, width in ((BLACK, 3), (TRUTH_COLOUR if seen else UNSEEN_COLOUR, 1)):
        for start, end in strokes:
            cv2.line(canvas, start, end, colour, width)


def draw_tail(canvas: np.ndarray, points: np.ndarray, colour: Colour) -> None:
    """A track's way, oldest point first: (N, 2) canvas pixels, thinner the older. NaN points break the line."""
    for position in range(1, len(points)):
        pair = points[position - 1 : position + 1]
        if np.isfinite(pair).all() and np.abs(pair).max() < 10_000:
            start, end = (tuple(np.round(point).astype(int).tolist()) for point in pair)
            cv2.line(canvas, start, end, colour, 1 if position < len(points) / 2 else 2, cv2.LINE_AA)


def draw_tag(canvas: np.ndarray, text: str, outline: tuple[int, int, int, int], colour: Colour, floor: int) -> None:
    """Words beside a box: above it, or below it at the upper border; always inside the frame (`floor` px high)."""
    x1, y1, _, y2 = outline
    height, width = text_height(12), text_width(text, 12)
    top = y1 - height - 2 if y1 - height - 2 >= 0 else min(y2 + 3, floor - height)
    left = int(np.clip(x1, 0, max(0, canvas.shape[1] - width)))
    draw_text(canvas, text, left, top, size=12, colour=colour, background=BLACK)


TINT = 0.4  # of the colour; the rest is the picture


def draw_mask(canvas: np.ndarray, mask_rle: str, size: tuple[int, int], colour: Colour) -> None:
    """Tint a mask in place on the enlarged canvas, (H, W, 3) RGB. `size` is the frame's height and width."""
    mask = decode_mask(mask_rle, *size).astype(np.uint8)
    height, width = canvas.shape[:2]
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    inside = large.astype(bool)
    canvas[inside] = (canvas[inside] * (1 - TINT) + np.array(colour) * TINT).astype(np.uint8)
    outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, colour, 1)


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
