"""From a synthetic scene to its picture: layers from far to near, then lens, exposure, noise and overlay.

Laying one patch over another also keeps count of what of each object can still be seen.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from labels.videos.synthetic.settings import Colour, Difficulty


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


NOISE_FRAMES = 4
TEAMS = ("RED", "NOR", "ATL", "UNI", "LYO", "KIE", "BAY", "OSL")


class Lens:
    """Vignette, tint, softness and noise, drawn once a clip and laid on each frame."""

    def __init__(self, rng: np.random.Generator, difficulty: Difficulty, size: tuple[int, int]) -> None:
        width, height = size
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        falloff = 1 - rng.uniform(0.02, 0.2) * (x * x + y * y) / 2 + rng.uniform(-0.06, 0.06) * x
        tint = 1 + rng.normal(0, 0.035, 3)
        self.gain = (rng.uniform(0.82, 1.12) * falloff[..., None] * tint).astype(np.float32)
        self.optics_px = rng.uniform(*difficulty.optics_px) * (width / 320) ** 0.5  # larger frames are sharper
        self.flicker = rng.uniform(0, 0.012)
        noise = rng.uniform(*difficulty.noise)
        shape = (NOISE_FRAMES, height + 32, width + 32, 3)
        grain = rng.standard_normal(shape, dtype=np.float32) * np.float32(noise * 0.55)
        grain += rng.standard_normal((*shape[:3], 1), dtype=np.float32) * np.float32(noise * 0.85)
        self.grain = np.round(grain).astype(np.int16)

    def expose(self, rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
        """The frame (H, W, 3) uint8 as the sensor gives it."""
        height, width = picture.shape[:2]
        picture = cv2.GaussianBlur(picture, (0, 0), self.optics_px)
        light = float(1 + self.flicker * rng.normal())
        picture = cv2.multiply(picture, self.gain, scale=light, dtype=cv2.CV_8U)
        sheet, top, left = rng.integers(NOISE_FRAMES), rng.integers(32), rng.integers(32)
        grain = self.grain[sheet, top : top + height, left : left + width]
        return cv2.add(picture, grain, dtype=cv2.CV_8U)


def pan_blur(picture: np.ndarray, way_px: np.ndarray) -> np.ndarray:
    """Smear a picture along (2,) pixels, what the camera moved while the shutter was open."""
    reach = float(np.hypot(*way_px))
    if reach < 1.0:
        return picture
    half = int(np.ceil(np.abs(way_px).max() / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    ends = [tuple(round(float(half + sign * part / 2) * 16) for part in way_px) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, 4)
    return cv2.filter2D(picture, -1, kernel / max(float(kernel.sum()), 1e-6))


@dataclass
class Overlay:
    """A scoreboard with a running clock, and a round station logo in a corner."""

    plate: np.ndarray  # (h, w, 3) uint8 without the clock
    corner: tuple[int, int]  # left, top
    opacity: float
    ink: Colour
    start_s: int
    logo: Patch | None
    _shown: tuple[int, Patch] | None = None

    def patches(self, time_s: float) -> list[Patch]:
        second = self.start_s + int(time_s)
        if self._shown is None or self._shown[0] != second:
            self._shown = (second, self._plate_at(second))
        return [self._shown[1]] + ([self.logo] if self.logo else [])

    def _plate_at(self, second: int) -> Patch:
        plate = self.plate.copy()
        height, width = plate.shape[:2]
        clock = f"{second // 60:02d}:{second % 60:02d}"
        _write(plate, clock, (int(0.77 * width), int(0.7 * height)), height * 0.017, self.ink)
        alpha = np.full((height, width), self.opacity, np.float32)
        return Patch(*self.corner, plate.astype(np.float32) * np.float32(self.opacity), alpha)


def make_overlay(
    rng: np.random.Generator, difficulty: Difficulty, size: tuple[int, int], ball_colour: Colour
) -> Overlay | None:
    """The overlay of a clip, or None: not every clip has one."""
    if rng.random() > difficulty.overlay:
        return None
    width, height = size
    wide, high = int(rng.uniform(0.27, 0.42) * width), max(9, int(rng.uniform(0.06, 0.085) * height))
    back = ((16, 20, 34), (240, 240, 240), (20, 60, 120), (120, 20, 30))[int(rng.integers(4))]
    ink: Colour = (245, 245, 245) if sum(back) < 400 else (20, 24, 40)
    plate = np.full((high, wide, 3), back, np.uint8)
    home, away = rng.choice(len(TEAMS), 2, replace=False)
    score = f"{TEAMS[home]} {rng.integers(0, 90)}-{rng.integers(0, 90)} {TEAMS[away]}"
    cv2.rectangle(plate, (0, 0), (max(1, wide // 40), high), (230, 60, 40), -1)
    cv2.circle(plate, (int(0.09 * wide), high // 2), max(2, int(0.28 * high)), ball_colour, -1, cv2.LINE_AA)
    _write(plate, score, (int(0.16 * wide), int(0.7 * high)), high * 0.017, ink)
    cv2.rectangle(plate, (int(0.74 * wide), 0), (wide, high), tuple(int(0.75 * part) for part in back), -1)
    margin = int(0.04 * width)
    left = margin if rng.random() < 0.6 else width - wide - margin
    top = int(0.05 * height) if rng.random() < 0.6 else height - high - int(0.05 * height)
    logo = None
    if rng.random() < 0.5:
        radius = max(3, int(0.022 * width))
        disc = np.zeros((2 * radius + 2, 2 * radius + 2), np.uint8)
        cv2.circle(disc, (radius, radius), radius, 255, -1, cv2.LINE_AA)
        cv2.circle(disc, (radius, radius), radius // 2, 120, max(1, radius // 4), cv2.LINE_AA)
        alpha = disc.astype(np.float32) * np.float32(rng.uniform(0.4, 0.9) / 255)
        at = width - 2 * radius - margin if left == margin else margin
        logo = Patch(at, int(0.06 * height), alpha[..., None] * np.array((240, 240, 240), np.float32), alpha)
    return Overlay(plate, (left, top), rng.uniform(0.75, 1.0), ink, int(rng.integers(5000)), logo)


def _write(picture: np.ndarray, text: str, at: tuple[int, int], size: float, ink: Colour) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, ink, max(1, round(size * 1.6)), cv2.LINE_AA)
