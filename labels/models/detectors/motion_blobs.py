"""Moving blobs: the first half of the `motion` detector finds what differs from the background of one shot.

Each frame is compared with its neighbours, aligned to it (`tracks.camera_motion`). The background of a pixel is the
median of the neighbours there, so that a passing object leaves no ghost and a slow ball is seen whole. A pixel differs
by as much as it lies outside the background's range in its 3 x 3 neighbourhood: edges half a pixel off do not count.

Blobs are connected components of the difference at several thresholds: a ball that touches a runner at the lowest one
separates at a higher one. The motion around a blob is measured too: a ball flies alone, a hand or a foot does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from labels.models.settings import MotionSettings
from labels.records.geometry import centre_of, size_of

BELOW, ABOVE, LEFT, RIGHT = (0, 1), (0, -1), (-1, 0), (1, 0)
# Where something may move with a blob: the way there, and from where to where beyond its edge, in its sizes. A body
# hangs below a head.
PLACES = (
    (BELOW, 0.2, 1.2),
    (BELOW, 1.2, 2.4),
    (BELOW, 2.4, 4.0),
    (ABOVE, 0.2, 1.2),
    (LEFT, 0.2, 1.2),
    (RIGHT, 0.2, 1.2),
)
LEAST_SIZE = 4.0  # pixels: the places of smaller blobs are as large as those of a blob of this size


def bustle_of(moving: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Share of moving pixels in each box grown by 1.5 times its size on each side, the box itself left out, (N,).

    `moving` (H, W) is 1 where something moves; `box` (N, 4) whole pixels.
    """
    sums = cv2.integral(moving)
    height, width = moving.shape
    margin = np.maximum(6, 1.5 * (box[:, 2:] - box[:, :2]).max(axis=1, initial=0)).astype(np.int64)
    limit = np.array([width, height, width, height])

    def moving_and_area(grow: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        side = np.broadcast_to(grow, len(box))[:, None] * np.array([-1, -1, 1, 1])
        corners = np.clip(box + side, 0, limit).T
        return _sum_within(sums, *corners), (corners[2] - corners[0]) * (corners[3] - corners[1])

    around, area = moving_and_area(margin)
    own, own_area = moving_and_area(1)
    return (around - own) / np.maximum(area - own_area, 1)


def shares_around(long_run: np.ndarray, box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Share of each of `PLACES` that moves in the long run, (N, 6). What lies outside the frame does not.

    The places below and above are two sizes wide, those beside one size high.

    Args:
        long_run: (h, w), 1 where something moves.
        box: (N, 4) pixels of an image of `shape` (H, W) that shows the same.
    """
    sums = cv2.integral(long_run)
    limit = np.array(long_run.shape)[::-1]
    scale = limit / shape[::-1]
    centre, half = centre_of(box), size_of(box) / 2
    size = np.maximum(2 * np.sqrt(half.prod(axis=1)), LEAST_SIZE)[:, None]
    shares = np.zeros((len(box), len(PLACES)))
    for at, (way, near, far) in enumerate(PLACES):
        side = np.array(way)
        across = (side == 0) * size * (0.5 if side[0] else 1)
        ends = [centre + side * (half + reach * size) for reach in (near, far)]
        (x1, y1), (x2, y2) = (
            np.clip(np.round(corner * scale), 0, limit).astype(int).T
            for corner in (np.minimum(*ends) - across, np.maximum(*ends) + across)
        )
        shares[:, at] = _sum_within(sums, x1, y1, x2, y2) / np.maximum((x2 - x1) * (y2 - y1), 1)
    return shares


def _sum_within(sums: np.ndarray, x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray) -> np.ndarray:
    """Of an integral image, in each of N boxes of whole pixels."""
    return sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]


STILL_PIXELS = 0.1  # a shift below is no shift
KERNEL = np.ones((3, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Blobs:
    """N moving blobs of one frame; pixels of the reduced copy, grey levels 0-255."""

    xyxy: np.ndarray  # (N, 4) float32
    centre: np.ndarray  # (N, 2) centre of the box
    size: np.ndarray  # (N,) square root of the box's area
    contrast: np.ndarray  # (N,) mean difference from the background's range
    fill: np.ndarray  # (N,) area over that of the ellipse with the same second moments; a disc or an ellipse has 1
    aspect: np.ndarray  # (N,) longer over shorter axis of that ellipse, at least 1
    bustle: np.ndarray  # (N,) share of the surroundings that moves too, 0-1
    around: np.ndarray  # (N, 6) share of each of `motion_surroundings.PLACES` that moves in the long run, 0-1
    edges: np.ndarray  # (N,) how much the background changes from pixel to pixel there
    shade: np.ndarray  # (N,) 1 for what darkens the background evenly, as a shadow does; 0 for what does not
    colour: np.ndarray  # (N, 3) mean colour

    def __len__(self) -> int:
        return len(self.size)

    def where(self, chosen: np.ndarray) -> "Blobs":
        """The blobs that a boolean mask (N,) or an index array picks."""
        return Blobs(**{name: values[chosen] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Background:
    """What the neighbours of a frame show: the range that a pixel may lie in, (H, W, 3) uint8 each."""

    darkest: np.ndarray
    brightest: np.ndarray

    @classmethod
    def of(cls, neighbours: Sequence[np.ndarray]) -> "Background":
        """From at least one neighbour, laid over the frame: the middle, two middle ones of an even number."""
        layers = list(neighbours)
        for last in range(len(layers) - 1, 0, -1):  # a sorting network over whole images
            for first in range(last):
                low, high = cv2.min(layers[first], layers[first + 1]), cv2.max(layers[first], layers[first + 1])
                layers[first], layers[first + 1] = low, high
        return cls(
            cv2.erode(layers[(len(layers) - 1) // 2], KERNEL),
            cv2.dilate(layers[len(layers) // 2], KERNEL),
        )

    def difference(self, current: np.ndarray) -> np.ndarray:
        """How far each pixel of `current` lies outside the range, (H, W) uint8, the strongest channel."""
        outside = cv2.max(cv2.subtract(current, self.brightest), cv2.subtract(self.darkest, current))
        red, green, blue = cv2.split(outside)
        return cv2.max(cv2.max(red, green), blue)


def reduced_copy(rgb: np.ndarray, long_side: int) -> tuple[np.ndarray, float]:
    """The frame at most `long_side` long, and its scale against the frame."""
    height, width = rgb.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return rgb, scale


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


def threshold_of(difference: np.ndarray, settings: MotionSettings) -> float:
    """The difference above which a pixel moves, from the frame's own noise."""
    noise = float(np.minimum(difference, 3 * settings.min_difference).mean())
    return max(settings.min_difference, settings.noise_factor * noise)


def what_moves(current: np.ndarray, background: Background, settings: MotionSettings) -> np.ndarray:
    """The pixels of a frame that move, (H, W) uint8 0 or 1."""
    difference = background.difference(current)
    return (difference > threshold_of(difference, settings)).astype(np.uint8)


def find_blobs(
    current: np.ndarray, background: Background | None, settings: MotionSettings, long_run: np.ndarray | None = None
) -> Blobs:
    """The blobs of a frame; none without a background.

    `long_run` is what moves there in the long run, (h, w) uint8 0 or 1, at any scale; without it, what moves now.
    """
    if background is None:
        return NO_BLOBS
    difference = background.difference(current)
    threshold = threshold_of(difference, settings)
    moving = (difference > threshold).astype(np.uint8)
    longest = settings.max_side_share * difference.shape[0]
    lower: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # the level below: labels, which fit, their child
    parts = []
    for level in range(settings.levels):
        floor = threshold * 2**level
        mask = moving if level == 0 else (difference > floor).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, KERNEL) if level == 0 else mask
        count, labelled, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        fits = (stats[:, cv2.CC_STAT_AREA] >= settings.min_area) & (stats[:, 2:4].max(axis=1) <= longest)
        fits[0] = False
        y, x = np.nonzero(mask)
        own = labelled[y, x]
        new = fits.copy()
        if lower is not None:
            parent = np.zeros(count, dtype=np.int64)
            parent[own] = lower[0][y, x]
            children = np.bincount(parent[stats[:, cv2.CC_STAT_AREA] >= settings.min_area], minlength=len(lower[1]))
            new &= ~(lower[1][parent] & (children[parent] < 2))  # the only piece of a piece is that piece again
        lower = (labelled, fits, new)
        inside = new[own]
        if inside.any():
            parts.append(_measure(own[inside], y[inside], x[inside], current, background, difference, floor, settings))
    table = np.concatenate(parts) if parts else np.zeros((0, 14))
    return _measured(table, moving, moving if long_run is None else long_run)


def _measure(
    own: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    current: np.ndarray,
    background: Background,
    difference: np.ndarray,
    floor: float,
    settings: MotionSettings,
) -> np.ndarray:
    """One row for each blob: box, contrast, fill, aspect, edges, mean colour, mean colour of the background.

    `own` (P,) says to which blob each of the pixels (y, x) belongs. A blob's edge is drawn where its difference falls
    below a share of its own strongest one: compression spreads a faint seam around everything.
    """
    order = np.argsort(own, kind="stable")
    own, y, x = own[order], y[order], x[order]
    strength = difference[y, x].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, own[1:] != own[:-1]])
    peak = np.repeat(np.maximum.reduceat(strength, starts), np.diff(np.r_[starts, len(own)]))
    within = strength >= np.maximum(floor, settings.rim_share * peak)
    own, y, x, strength = own[within], y[within], x[within], strength[within]
    starts = np.flatnonzero(np.r_[True, own[1:] != own[:-1]])
    area = np.diff(np.r_[starts, len(own)]).astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.add.reduceat(values.astype(np.float64), starts, axis=0)
        return sums / (area[:, None] if sums.ndim == 2 else area)

    mean_x, mean_y = mean(x), mean(y)
    variance_x = mean(x * x) - mean_x**2 + 1 / 12  # a pixel is a square, not a point
    variance_y = mean(y * y) - mean_y**2 + 1 / 12
    mixed = mean(x * y) - mean_x * mean_y
    middle, swing = (variance_x + variance_y) / 2, np.hypot((variance_x - variance_y) / 2, mixed)
    longer, shorter = 4 * np.sqrt(middle + swing), 4 * np.sqrt(np.maximum(middle - swing, 1 / 12))
    darkest, brightest = background.darkest[y, x].astype(np.float64), background.brightest[y, x].astype(np.float64)
    return np.column_stack(
        [
            np.minimum.reduceat(x, starts),
            np.minimum.reduceat(y, starts),
            np.maximum.reduceat(x, starts) + 1,
            np.maximum.reduceat(y, starts) + 1,
            mean(strength),
            np.minimum(1, area / (np.pi / 4 * longer * shorter)),
            longer / shorter,
            mean((brightest - darkest).max(axis=1)),
            mean(current[y, x]),
            mean((darkest + brightest) / 2),
        ]
    )


def _measured(table: np.ndarray, moving: np.ndarray, long_run: np.ndarray) -> Blobs:
    xyxy = table[:, :4]
    colour, behind = table[:, 8:11], table[:, 11:14]
    return Blobs(
        xyxy=xyxy.astype(np.float32),
        centre=(xyxy[:, :2] + xyxy[:, 2:]) / 2,
        size=np.sqrt(np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)),
        contrast=table[:, 4],
        fill=table[:, 5],
        aspect=table[:, 6],
        bustle=bustle_of(moving, xyxy.astype(np.int64)),
        around=shares_around(long_run, xyxy, moving.shape),
        edges=table[:, 7],
        shade=_shade(colour, behind),
        colour=colour,
    )


def _shade(colour: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """How like a shadow: darker than the background by the same factor in red, green and blue."""
    factor = (colour + 5) / (behind + 5)
    darker = np.clip((1 - factor.mean(axis=1)) / 0.1, 0, 1)
    return darker * np.exp(-((factor.std(axis=1) / 0.06) ** 2))


NOTHING = np.zeros((1, 1), dtype=np.uint8)
NO_BLOBS = _measured(np.zeros((0, 14)), NOTHING, NOTHING)
