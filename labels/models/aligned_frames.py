"""A frame between its neighbours, which are laid over it as if the camera had stood still.

What then differs is what moved by itself: a ball is a small thing that is in this frame and in neither neighbour. When
the camera pans and shakes, neighbours that are not laid over show a background that moves everywhere.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from labels.tracks.camera_motion import CameraMotion

CHANNELS = 5  # red, green and blue now, grey before, grey after
Given = TypeVar("Given")


class SmallFrame(NamedTuple):
    """A frame at its working size."""

    rgb: np.ndarray  # (h, w, 3) uint8
    grey: np.ndarray  # (h, w) uint8
    to_before: np.ndarray | None  # (2, 3), takes its pixels to those of the frame before; None: a cut, or the first


def working_size(width: int, height: int, long_side: int) -> tuple[int, int]:
    """(width, height) at which the network looks at a frame: reduced to the long side, never enlarged."""
    scale = min(1.0, long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def to_working(rgb: np.ndarray, long_side: int) -> np.ndarray:
    """A frame (H, W, 3) uint8 at its working size. One way for training and for detecting."""
    size = working_size(rgb.shape[1], rgb.shape[0], long_side)
    return rgb if size == (rgb.shape[1], rgb.shape[0]) else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


class FrameFollower:
    """Makes `SmallFrame`s of working-size frames of one video, given in order without gaps."""

    def __init__(self) -> None:
        self._camera, self._size = CameraMotion(), (0, 0)

    def follow(self, rgb: np.ndarray) -> SmallFrame:
        is_first = rgb.shape[:2] != self._size  # a video that changes its size starts anew
        if is_first:
            self._camera, self._size = CameraMotion(), rgb.shape[:2]
        step = self._camera.update(rgb)
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        return SmallFrame(rgb, grey, None if is_first or step.is_cut else step.matrix)


def align(before: SmallFrame | None, now: SmallFrame, after: SmallFrame | None) -> Tensor:
    """(5, h, w) uint8 of a frame and its neighbours; None: there is none.

    A neighbour that is missing or of another shot is replaced by the other one: what is here and not there stays
    visible. Without either, the frame is its own neighbour.
    """
    laid_before = laid_after = None
    if before is not None and now.to_before is not None:
        laid_before = _lay_over(before.grey, now.grey, now.to_before)
    if after is not None and after.to_before is not None:
        laid_after = _lay_over(after.grey, now.grey, cv2.invertAffineTransform(after.to_before))
    if laid_before is None:
        laid_before = now.grey if laid_after is None else laid_after
    if laid_after is None:
        laid_after = laid_before
    return torch.from_numpy(np.stack([*np.moveaxis(now.rgb, 2, 0), laid_before, laid_after]))


def aligned_stream(frames: Iterable[tuple[Given, np.ndarray]]) -> Iterator[tuple[Given, Tensor]]:
    """`align` for each working-size frame of one video, one frame late; what came with a frame goes along with it."""
    follower = FrameFollower()
    before: SmallFrame | None = None
    waiting: tuple[Given, SmallFrame] | None = None
    for given, rgb in frames:
        now = follower.follow(rgb)
        if waiting is not None:
            yield waiting[0], align(before, waiting[1], now)
            before = waiting[1]
        waiting = (given, now)
    if waiting is not None:
        yield waiting[0], align(before, waiting[1], None)


def _lay_over(neighbour: np.ndarray, grey: np.ndarray, to_neighbour: np.ndarray) -> np.ndarray:
    """The neighbour (h, w) as seen by the camera of `grey`; where it does not reach, nothing differs."""
    return cv2.warpAffine(
        neighbour,
        to_neighbour,
        (grey.shape[1], grey.shape[0]),
        dst=grey.copy(),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
