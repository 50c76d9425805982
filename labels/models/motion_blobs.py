"""What moves against the background of one shot: the first half of the `motion` labeller.

Each frame is compared with its neighbours laid over it (`tracks.camera_motion`). The background of a pixel is the
middle of what the neighbours show there, so what passes leaves no ghost, and a slow ball is seen whole. A pixel differs by as
much as it lies outside that background's range in its 3 x 3 surroundings: edges that are half a pixel off do not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from labels.models.settings import MotionSettings

STILL_PIXELS = 0.1  # a shift below is no shift


@dataclass(frozen=True)
class Blobs:
    """N moving blobs of one frame; pixels of the reduced copy."""

    xyxy: np.ndarray  # (N, 4) float32
    centre: np.ndarray  # (N, 2) float32, centre of the box
    size: np.ndarray  # (N,) square root of the box's area
    contrast: np.ndarray  # (N,) mean difference from the background, grey levels
    fill: np.ndarray  # (N,) area over that of the ellipse with the blob's second moments; 1 is an ellipse or a disc
    aspect: np.ndarray  # (N,) longer over shorter axis of that ellipse, at least 1
    bustle: np.ndarray  # (N,) share of the surroundings that moves too, 0-1
    colour: np.ndarray  # (N, 3) mean colour

    def __len__(self) -> int:
        return len(self.size)

    def where(self, mask: np.ndarray) -> "Blobs":
        return Blobs(**{name: values[mask] for name, values in vars(self).items()})


def reduced_copy(rgb: np.ndarray, long_side: int) -> tuple[np.ndarray, float]:
    """The frame with noise smoothed, at most `long_side` long, and its scale against the frame."""
    height, width = rgb.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    if scale < 1:
        rgb = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(rgb, (3, 3), 0), scale


def lay_over(neighbour: np.ndarray, current: np.ndarray, to_neighbour: np.ndarray) -> np.ndarray:
    """`neighbour` as seen from `current`; what it does not show is taken from `current` and so does not differ.

    `to_neighbour` (2, 3) takes the current copy's pixel indices to the neighbour's.
    """
    height, width = current.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], dtype=np.float64)
    if np.abs(corners @ to_neighbour.T - corners[:, :2]).max() < STILL_PIXELS:
        return neighbour
    return cv2.warpAffine(
        neighbour,
        to_neighbour,
        (width, height),
        dst=current.copy(),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_TRANSPARENT,
    )


def difference_from(current: np.ndarray, neighbours: Sequence[np.ndarray]) -> np.ndarray:
    """How far each pixel of `current` lies outside the background's range, (H, W) uint8, the strongest channel."""
    layers = list(neighbours)
    for last in range(len(layers) - 1, 0, -1):  # a sorting network over whole images
        for first in range(last):
            low, high = cv2.min(layers[first], layers[first + 1]), cv2.max(layers[first], layers[first + 1])
            layers[first], layers[first + 1] = low, high
    around = np.ones((3, 3), dtype=np.uint8)
    darkest = cv2.erode(layers[(len(layers) - 1) // 2], around)
    brightest = cv2.dilate(layers[len(layers) // 2], around)
    outside = cv2.max(cv2.subtract(current, brightest), cv2.subtract(darkest, current))
    red, green, blue = cv2.split(outside)
    return cv2.max(cv2.max(red, green), blue)


def find_blobs(current: np.ndarray, difference: np.ndarray, settings: MotionSettings) -> Blobs:
    """The connected pieces of what differs, each with its edge drawn relative to its own strongest difference."""
    height = difference.shape[0]
    noise = float(np.minimum(difference, 3 * settings.min_difference).mean())
    threshold = max(settings.min_difference, settings.noise_factor * noise)
    moving = (difference > threshold).astype(np.uint8)
    whole = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, np.ones((3, 3), dtype=np.uint8))
    _, labelled, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
    left, top, wide, high, area = (stats[1:, column] for column in range(5))
    longest = settings.max_side_share * height
    fits = np.flatnonzero((area >= settings.min_area) & (np.maximum(wide, high) <= longest)) + 1
    strength = [
        float(difference[top[k - 1] : top[k - 1] + high[k - 1], left[k - 1] : left[k - 1] + wide[k - 1]].max())
        for k in fits
    ]
    order = np.argsort(-np.array(strength), kind="stable")[: settings.max_blobs]
    crowd = cv2.integral(moving)
    rows = []
    for place in sorted(order):
        k = fits[place]
        x, y, w, h = (int(value) for value in stats[k, :4])
        region = (slice(y, y + h), slice(x, x + w))
        inside = (labelled[region] == k) & (difference[region] >= max(threshold, settings.rim_share * strength[place]))
        measured = _measure(inside, difference[region], current[region])
        if measured is None:
            continue
        (x1, y1, x2, y2), contrast, fill, aspect, colour = measured
        box = (x + x1, y + y1, x + x2, y + y2)
        rows.append((*box, contrast, fill, aspect, _bustle(crowd, box, (x, y, x + w, y + h)), *colour))
    table = np.array(rows, dtype=np.float32).reshape(-1, 11)
    xyxy = table[:, :4]
    size = np.sqrt(np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1))
    centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    return Blobs(xyxy, centre, size, table[:, 4], table[:, 5], table[:, 6], table[:, 7], table[:, 8:])


def _measure(
    inside: np.ndarray, difference: np.ndarray, current: np.ndarray
) -> tuple[tuple[int, int, int, int], float, float, float, np.ndarray] | None:
    """Box within the region, mean difference, fill, aspect and mean colour of one blob; None when nothing is left."""
    y, x = np.nonzero(inside)
    if not len(x):
        return None
    box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
    values = difference[y, x]
    variance_x, variance_y = x.var() + 1 / 12, y.var() + 1 / 12  # a pixel is a square, not a point
    mixed = float(((x - x.mean()) * (y - y.mean())).mean())
    middle, swing = (variance_x + variance_y) / 2, np.hypot((variance_x - variance_y) / 2, mixed)
    longer, shorter = 4 * np.sqrt(middle + swing), 4 * np.sqrt(max(middle - swing, 1 / 12))  # axes of the ellipse
    fill = min(1.0, len(x) / (np.pi / 4 * longer * shorter))
    return box, float(values.mean()), fill, float(longer / shorter), current[y, x].mean(axis=0)


def _bustle(crowd: np.ndarray, box: tuple[int, int, int, int], own: tuple[int, int, int, int]) -> float:
    """Share of moving pixels in the box grown by its size on each side, its own piece left out."""
    height, width = crowd.shape[0] - 1, crowd.shape[1] - 1
    margin = max(6, round(1.5 * max(box[2] - box[0], box[3] - box[1])))
    x1, y1 = max(0, box[0] - margin), max(0, box[1] - margin)
    x2, y2 = min(width, box[2] + margin), min(height, box[3] + margin)

    def moving(a: int, b: int, c: int, d: int) -> int:
        return int(crowd[d, c]) - int(crowd[b, c]) - int(crowd[d, a]) + int(crowd[b, a])

    around = (x2 - x1) * (y2 - y1) - (own[2] - own[0]) * (own[3] - own[1])
    return (moving(x1, y1, x2, y2) - moving(*own)) / around if around > 0 else 1.0
