"""What moves around the blobs of the `motion` labeller: a ball flies alone, a head, a hand or a foot does not."""

import cv2
import numpy as np

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
