"""Appearance features of a box: colours inside it and the directions of its edges. Needs no weights.

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
    if not len(xyxy):
        return np.zeros((0, FEATURES), dtype=np.float32)
    tight, around = [], []
    for x1, y1, x2, y2 in np.asarray(xyxy, dtype=np.float64):
        width, height = x2 - x1, y2 - y1
        tight.append(_crop(rgb, x1, y1, width, height))
        around.append(_crop(rgb, x1 - width / 4, y1 - height / 4, width * 1.5, height * 1.5))
    shares = np.concatenate([_colours(np.stack(tight)), _gradients(np.stack(around))], axis=1)
    return np.sqrt(shares).astype(np.float32)


def _crop(rgb: np.ndarray, left: float, top: float, width: float, height: float) -> np.ndarray:
    """The rectangle as (SIDE, SIDE, 3); beyond the frame its edge goes on."""
    scale = np.array([[width / SIDE, 0, left], [0, height / SIDE, top]])
    shift = np.array([(scale[0, 0] - 1) / 2, (scale[1, 1] - 1) / 2])  # pixel centres stay pixel centres
    scale[:, 2] += shift
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(rgb, scale, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _colours(crops: np.ndarray) -> np.ndarray:
    """(N, 3 * COLOUR_BINS) shares of the colours within the ellipses of crops (N, SIDE, SIDE, 3)."""
    inside = _ellipse()
    lab = cv2.cvtColor(_in_a_row(crops), cv2.COLOR_RGB2LAB).reshape(crops.shape)[:, inside].astype(np.float64)
    place = ((lab - _LOW) / (_HIGH - _LOW) * COLOUR_BINS).clip(0, COLOUR_BINS - 1).astype(int)
    place += np.arange(3) * COLOUR_BINS
    return _counted(place.reshape(len(crops), -1), None, 3 * COLOUR_BINS) / inside.sum()


def _gradients(crops: np.ndarray) -> np.ndarray:
    """(N, CELLS * CELLS * DIRECTIONS) shares of the edges' strength by cell and direction, of crops as above."""
    grey = cv2.cvtColor(_in_a_row(crops), cv2.COLOR_RGB2GRAY).reshape(crops.shape[:3]).astype(np.float32)
    rimmed = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="reflect")  # so that no crop sees the next one
    tall = rimmed.reshape(-1, SIDE + 2)
    x, y = (cv2.Sobel(tall, cv2.CV_32F, *order).reshape(rimmed.shape)[:, 1:-1, 1:-1] for order in ((1, 0), (0, 1)))
    strength, angle = np.hypot(x, y), np.arctan2(y, x) % np.pi  # a ball may be lighter or darker than what is behind
    direction = (angle / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
    cell = np.arange(SIDE) * CELLS // SIDE
    place = (cell[:, None] * CELLS + cell[None, :]) * DIRECTIONS + direction
    count = len(crops)
    total = _counted(place.reshape(count, -1), strength.reshape(count, -1), CELLS * CELLS * DIRECTIONS)
    return total / (total.sum(axis=1, keepdims=True) + 50.0)


def _in_a_row(crops: np.ndarray) -> np.ndarray:
    """Crops (N, SIDE, SIDE, 3) below each other, (N * SIDE, SIDE, 3), for what looks at single pixels."""
    return crops.reshape(-1, SIDE, 3)


def _counted(place: np.ndarray, weight: np.ndarray | None, bins: int) -> np.ndarray:
    """(N, bins): the sums of the weights (N, M), or the counts, of each row's places (N, M)."""
    rows = place + np.arange(len(place))[:, None] * bins
    weights = None if weight is None else weight.ravel()
    return np.bincount(rows.ravel(), weights, len(place) * bins).reshape(len(place), bins)


def _ellipse() -> np.ndarray:
    middle = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    return middle[:, None] ** 2 + middle[None, :] ** 2 <= 0.8
