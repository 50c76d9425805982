"""Boxes as arrays: `xyxy` is (N, 4) float32, pixels, half-open, so width is x2 - x1."""

import numpy as np


def as_xyxy(boxes: object) -> np.ndarray:
    """Any (N, 4) array-like, also an empty one, as float32 (N, 4)."""
    xyxy = np.asarray(boxes, dtype=np.float32)
    if xyxy.size == 0:
        return xyxy.reshape(0, 4)
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise ValueError(f"boxes must be (N, 4), not {xyxy.shape}")
    return xyxy


def xyxy_to_xywh(xyxy: np.ndarray) -> np.ndarray:
    return np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)


def centre_of(xyxy: np.ndarray) -> np.ndarray:
    """Box centres, (N, 2)."""
    return (xyxy[:, :2] + xyxy[:, 2:]) / 2


def size_of(xyxy: np.ndarray) -> np.ndarray:
    """Box widths and heights, (N, 2)."""
    return xyxy[:, 2:] - xyxy[:, :2]


def area_of(xyxy: np.ndarray) -> np.ndarray:
    """Box areas, (N,); an inverted box has area 0."""
    return np.prod(np.clip(size_of(xyxy), 0, None), axis=1)


def clip_boxes(xyxy: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.clip(xyxy, 0, np.array([width, height, width, height], dtype=xyxy.dtype))


def iou_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of each of (N, 4) with each of (M, 4): (N, M). Two empty boxes have IoU 0."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = area_of(first)[:, None] + area_of(second)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def contains_matrix(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which of (M, 2) points lie in which of (N, 4) boxes: (N, M) bool, borders included."""
    inside = (points[None] >= boxes[:, None, :2]) & (points[None] <= boxes[:, None, 2:])
    return np.all(inside, axis=2)
