"""What a box looks like, in a few numbers: colours inside it and the directions of its edges. Needs no weights.

`(N, 56)` shares: 3 x 8 shares of lightness, green-red and blue-yellow (CIE Lab) within the ellipse the
box holds, then a histogram of oriented gradients (Dalal & Triggs, 2005) with 2 x 2 cells of 8 directions over the box
and half as much around it. Square roots of shares, so that distances are Hellinger distances.
"""

import cv2
import numpy as np

COLOUR_BINS = 8
CELLS, DIRECTIONS = 2, 8
SIDE = 16  # pixels that a box is brought to
FEATURES = 3 * COLOUR_BINS + CELLS * CELLS * DIRECTIONS
_LOW, _HIGH = np.array([0.0, 88.0, 88.0]), np.array([256.0, 168.0, 168.0])  # most colours are near grey


def appearance(rgb: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Features (N, FEATURES) float32 of boxes (N, 4) of one frame (H, W, 3) uint8."""
    features = np.zeros((len(xyxy), FEATURES), dtype=np.float32)
    inside = _ellipse()
    for row, (x1, y1, x2, y2) in enumerate(np.asarray(xyxy, dtype=np.float64)):
        width, height = x2 - x1, y2 - y1
        tight = _crop(rgb, x1, y1, width, height)
        lab = cv2.cvtColor(tight, cv2.COLOR_RGB2LAB)[inside].astype(np.float64)
        place = ((lab - _LOW) / (_HIGH - _LOW) * COLOUR_BINS).clip(0, COLOUR_BINS - 1).astype(int)
        colours = np.zeros((3, COLOUR_BINS))
        for channel in range(3):
            colours[channel] = np.bincount(place[:, channel], minlength=COLOUR_BINS) / len(place)
        around = _crop(rgb, x1 - width / 4, y1 - height / 4, width * 1.5, height * 1.5)
        features[row] = np.concatenate([np.sqrt(colours).ravel(), np.sqrt(_gradients(around))])
    return features


def _crop(rgb: np.ndarray, left: float, top: float, width: float, height: float) -> np.ndarray:
    """The rectangle as (SIDE, SIDE, 3); beyond the frame its edge goes on."""
    scale = np.array([[width / SIDE, 0, left], [0, height / SIDE, top]])
    shift = np.array([(scale[0, 0] - 1) / 2, (scale[1, 1] - 1) / 2])  # pixel centres stay pixel centres
    scale[:, 2] += shift
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(rgb, scale, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _gradients(crop: np.ndarray) -> np.ndarray:
    """(CELLS * CELLS * DIRECTIONS,) shares of the edges' strength by cell and direction."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength, angle = np.hypot(x, y), np.arctan2(y, x) % np.pi  # a ball may be lighter or darker than what is behind
    direction = (angle / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
    cell = np.arange(SIDE) * CELLS // SIDE
    place = (cell[:, None] * CELLS + cell[None, :]) * DIRECTIONS + direction
    total = np.bincount(place.ravel(), strength.ravel(), CELLS * CELLS * DIRECTIONS)
    return total / (total.sum() + 50.0)


def _ellipse() -> np.ndarray:
    middle = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    return middle[:, None] ** 2 + middle[None, :] ** 2 <= 0.8
