"""How the camera moved from frame to frame, and where one shot ends and the next begins.

A transform is a (2, 3) float64 matrix that takes full-resolution pixel coordinates (x, y, 1) of a frame to those of the
frame before: rotation, scale and shift, which is what panning, tilting, zooming and shaking come to. It is found on a
small grey copy: corners followed by pyramidal Lucas-Kanade flow, then RANSAC, so that players who run are outliers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from labels.records import tables

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
MATRIX_COLUMNS = ["a", "b", "tx", "c", "d", "ty"]


@dataclass(frozen=True)
class CameraSettings:
    """What `CameraMotion` goes by. Pixels are those of the small copy."""

    long_side: int = 320
    max_corners: int = 160
    min_corners: int = 12  # fewer: too little texture to say anything
    corner_quality: float = 0.01
    corner_distance: int = 7
    ransac_pixels: float = 1.0
    min_inlier_share: float = 0.3  # of all corners looked for; below, the flow has failed
    max_scale_step: float = 0.25  # a zoom of more than this in one frame is no zoom
    max_shift_share: float = 0.5  # of the long side
    cut_histogram: float = 0.25  # colour difference (0-1) that is a cut when the flow failed too
    cut_histogram_alone: float = 0.7  # colour difference that is a cut where nothing could be followed
    cut_correlation: float = 0.35  # aligned frames of one shot look more alike than this


class CameraStep(NamedTuple):
    """`matrix` (2, 3) takes this frame's pixels to the frame before; the identity at a cut and in the first frame."""

    matrix: np.ndarray
    is_cut: bool


class CameraMotion:
    """Give it the frames of one video in order; one object a video."""

    def __init__(self, settings: CameraSettings = CameraSettings()) -> None:
        self._settings = settings
        self._grey: np.ndarray | None = None
        self._histogram = np.zeros(0)

    def update(self, rgb: np.ndarray) -> CameraStep:
        """The step from the last frame given to this one. `rgb` is (H, W, 3) uint8."""
        height, width = rgb.shape[:2]
        shrink = min(1.0, self._settings.long_side / max(height, width))
        small_size = (max(8, round(width * shrink)), max(8, round(height * shrink)))
        if shrink <= 0.5:  # a quick first step spares most of the cost of averaging
            half = 2 if shrink > 0.25 else 4
            rgb = cv2.resize(rgb, (max(1, width // half), max(1, height // half)), interpolation=cv2.INTER_LINEAR)
        small = cv2.resize(rgb, small_size, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        histogram = _colour_histogram(small)
        before, histogram_before = self._grey, self._histogram
        self._grey, self._histogram = grey, histogram
        if before is None or before.shape != grey.shape:
            return CameraStep(IDENTITY.copy(), before is not None)
        difference = float(np.abs(histogram - histogram_before).sum() / 2)
        matrix, enough_texture = self._follow(before, grey)
        if self._is_cut(before, grey, matrix, enough_texture, difference):
            return CameraStep(IDENTITY.copy(), True)
        if matrix is None:
            return CameraStep(IDENTITY.copy(), False)
        return CameraStep(_to_full_size(matrix, small_size[0] / width, small_size[1] / height), False)

    def _follow(self, before: np.ndarray, grey: np.ndarray) -> tuple[np.ndarray | None, bool]:
        """The small copies' transform, grey to before, or None; and whether there was texture to find one."""
        settings = self._settings
        corners = cv2.goodFeaturesToTrack(
            before, settings.max_corners, settings.corner_quality, settings.corner_distance
        )
        if corners is None or len(corners) < settings.min_corners:
            return None, False
        moved, found, _ = cv2.calcOpticalFlowPyrLK(
            before, grey, corners, np.zeros_like(corners), winSize=(15, 15), maxLevel=3
        )
        followed = found.reshape(-1) == 1
        if followed.sum() < settings.min_corners // 2:
            return None, True
        matrix, inliers = cv2.estimateAffinePartial2D(
            moved.reshape(-1, 2)[followed],
            corners.reshape(-1, 2)[followed],
            ransacReprojThreshold=settings.ransac_pixels,
            maxIters=300,
            confidence=0.99,
        )
        if matrix is None or inliers.sum() < settings.min_inlier_share * len(corners):
            return None, True
        scale = np.hypot(matrix[0, 0], matrix[1, 0])
        centre = np.array([grey.shape[1] / 2, grey.shape[0] / 2])
        shift = np.linalg.norm(matrix[:, :2] @ centre + matrix[:, 2] - centre)
        if abs(scale - 1) > settings.max_scale_step or shift > settings.max_shift_share * max(grey.shape):
            return None, True
        return matrix, True

    def _is_cut(
        self, before: np.ndarray, grey: np.ndarray, matrix: np.ndarray | None, textured: bool, difference: float
    ) -> bool:
        if matrix is not None:
            return difference > self._settings.cut_histogram and (
                _aligned_correlation(before, grey, matrix) < self._settings.cut_correlation
            )
        if not textured:
            return difference > self._settings.cut_histogram_alone
        unlike = _aligned_correlation(before, grey, IDENTITY) < self._settings.cut_correlation
        return unlike or difference > self._settings.cut_histogram


def _colour_histogram(small: np.ndarray) -> np.ndarray:
    """Share of pixels in each of 6 x 6 x 6 colours, blurred so that a small change of light is a small change."""
    histogram = cv2.calcHist([small], [0, 1, 2], None, [6, 6, 6], [0, 256, 0, 256, 0, 256]).reshape(6, 6, 6)
    for axis in range(3):
        padded = np.pad(histogram, [(1, 1) if other == axis else (0, 0) for other in range(3)], mode="edge")
        low, high = np.take(padded, range(0, 6), axis), np.take(padded, range(2, 8), axis)
        histogram = (low + 2 * histogram + high) / 4
    return histogram / histogram.sum()


def _aligned_correlation(before: np.ndarray, grey: np.ndarray, matrix: np.ndarray) -> float:
    """Correlation (-1 to 1) of the frame before with this one laid over it, coarse structure only."""
    height, width = grey.shape
    laid_over = cv2.warpAffine(grey, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    first, second = (cv2.blur(image, (9, 9)).astype(np.float32).ravel() for image in (before, laid_over))
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / spread if spread > 1e-3 else 1.0


def _to_full_size(matrix: np.ndarray, shrink_x: float, shrink_y: float) -> np.ndarray:
    """From pixel indices of the small copy to half-open full-resolution coordinates, whose pixel centres lie at .5."""
    half = np.array([0.5, 0.5])
    shift = matrix[:, 2] + half - matrix[:, :2] @ half
    grow = np.array([1 / shrink_x, 1 / shrink_y])
    return np.column_stack([matrix[:, :2] * grow[:, None] / grow[None], shift * grow])


def camera_table(frame_index: Sequence[int] | np.ndarray, steps: Sequence[CameraStep]) -> pd.DataFrame:
    """The CAMERA table of the frames that were analysed, in order; each step leads to the analysed frame before."""
    matrices = np.array([step.matrix for step in steps], dtype=np.float64).reshape(-1, 6)
    values: dict[str, object] = {
        "frame_index": np.asarray(frame_index, dtype=np.int64),
        "shot_index": np.cumsum([step.is_cut for step in steps], dtype=np.int64),
    }
    return tables.make_table(
        tables.CAMERA, values | {name: matrices[:, column] for column, name in enumerate(MATRIX_COLUMNS)}
    )


def shot_transforms(camera: pd.DataFrame) -> np.ndarray:
    """For each row the transform (N, 2, 3) from that frame's pixels to those of its shot's first frame."""
    steps = camera[MATRIX_COLUMNS].to_numpy().reshape(-1, 2, 3)
    shot_index = camera["shot_index"].to_numpy()
    starts = np.ones(len(camera), dtype=bool)
    starts[1:] = shot_index[1:] != shot_index[:-1]
    result = np.empty((len(camera), 2, 3))
    for row in range(len(camera)):
        if starts[row]:
            result[row] = IDENTITY
        else:
            linear, shift = result[row - 1, :, :2], result[row - 1, :, 2]
            result[row] = np.column_stack([linear @ steps[row, :, :2], linear @ steps[row, :, 2] + shift])
    return result


def apply_transforms(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) each through its own matrix of (N, 2, 3), or all through one (2, 3): (N, 2) float64."""
    points = np.asarray(points, dtype=np.float64)
    if matrices.ndim == 2:
        return points @ matrices[:, :2].T + matrices[:, 2]
    return np.einsum("nij,nj->ni", matrices[:, :, :2], points) + matrices[:, :, 2]
