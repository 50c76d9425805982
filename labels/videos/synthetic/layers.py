"""Putting things over each other, far to near, and keeping count of what of each can still be seen."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Patch:
    """Something drawn: `rgb` (h, w, 3) float32 already times `alpha` (h, w) in 0-1, its corner at pixel (left, top).

    It may reach beyond the frame. `body` is the part of alpha that counts for the box; None: all of it.
    """

    left: int
    top: int
    rgb: np.ndarray
    alpha: np.ndarray
    body: np.ndarray | None = None


@dataclass
class Seen:
    """What became of an object in one frame."""

    class_name: str
    track_id: int
    xyxy: np.ndarray  # (4,) float, of what lies inside the frame
    area: float  # pixels, also beyond the frame
    left: int = 0
    top: int = 0
    mask: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # what is still in sight

    def visibility(self) -> float:
        return float(np.clip(self.mask.sum() / max(self.area, 1e-6), 0, 1))


class Canvas:
    """One frame while it is drawn: (H, W, 3) uint8, and the objects whose visibility is followed."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture
        self.seen: list[Seen] = []

    def put(self, patch: Patch, seen: Seen | None = None) -> None:
        """Draw a patch over everything so far; `seen` is followed from now on."""
        height, width = self.picture.shape[:2]
        y0, x0 = max(patch.top, 0), max(patch.left, 0)
        y1, x1 = min(patch.top + patch.alpha.shape[0], height), min(patch.left + patch.alpha.shape[1], width)
        if y1 <= y0 or x1 <= x0:
            return
        inside = (slice(y0 - patch.top, y1 - patch.top), slice(x0 - patch.left, x1 - patch.left))
        alpha = patch.alpha[inside]
        here = self.picture[y0:y1, x0:x1]
        here[:] = np.clip(here * (1 - alpha[..., None]) + patch.rgb[inside] + 0.5, 0, 255).astype(np.uint8)
        self._cover(y0, x0, alpha)
        if seen is not None:
            seen.left, seen.top = x0, y0
            seen.mask = (alpha if patch.body is None else patch.body[inside]).copy()
            self.seen.append(seen)

    def _cover(self, top: int, left: int, alpha: np.ndarray) -> None:
        bottom, right = top + alpha.shape[0], left + alpha.shape[1]
        for seen in self.seen:
            y0, y1 = max(top, seen.top), min(bottom, seen.top + seen.mask.shape[0])
            x0, x1 = max(left, seen.left), min(right, seen.left + seen.mask.shape[1])
            if y0 < y1 and x0 < x1:
                over = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
                seen.mask[y0 - seen.top : y1 - seen.top, x0 - seen.left : x1 - seen.left] *= 1 - over


def box_of(
    mask: np.ndarray, threshold: float, fine: int, corner: np.ndarray, frame: tuple[int, int]
) -> np.ndarray | None:
    """The tight box (4,) xyxy, in frame pixels, of what a mask shows inside the frame; None when that is nothing.

    The mask is drawn `fine` times as large and lies at pixel `corner` (2,) of a frame of (width, height). It shows
    where it reaches `threshold`.
    """
    x0, y0 = (max(0, -int(at)) for at in corner)
    x1, y1 = (max(0, side - int(at)) for side, at in zip(frame, corner, strict=True))
    reached = mask[y0 * fine : y1 * fine, x0 * fine : x1 * fine] >= threshold
    rows, columns = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
    if not len(rows):
        return None
    xyxy = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float) / fine
    return xyxy + np.tile([corner[0] + x0, corner[1] + y0], 2)


def mean_patch(patches: list[Patch]) -> Patch:
    """The mean of several patches, as a shutter that is open for a while sees them."""
    left, top = min(patch.left for patch in patches), min(patch.top for patch in patches)
    right = max(patch.left + patch.alpha.shape[1] for patch in patches)
    bottom = max(patch.top + patch.alpha.shape[0] for patch in patches)
    rgb = np.zeros((bottom - top, right - left, 3), np.float32)
    alpha, body = np.zeros(rgb.shape[:2], np.float32), np.zeros(rgb.shape[:2], np.float32)
    for patch in patches:
        y, x = patch.top - top, patch.left - left
        inside = (slice(y, y + patch.alpha.shape[0]), slice(x, x + patch.alpha.shape[1]))
        rgb[inside] += patch.rgb
        alpha[inside] += patch.alpha
        body[inside] += patch.alpha if patch.body is None else patch.body
    share = np.float32(1 / len(patches))
    return Patch(left, top, rgb * share, alpha * share, body * share)
