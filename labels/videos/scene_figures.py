"""Drawing a player: limbs as shaded capsules over the projected skeleton, clothes, hair, shoes, a racket, a shadow."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from labels.videos import scene_poses as body
from labels.videos.scene_camera import Camera
from labels.videos.scene_layers import Patch, Seen, box_of
from labels.videos.scene_sports import Colour

SKINS: tuple[Colour, ...] = ((232, 190, 160), (214, 164, 128), (176, 122, 88), (132, 88, 62), (92, 62, 46))
HAIRS: tuple[Colour, ...] = ((30, 24, 22), (62, 42, 28), (120, 84, 50), (190, 160, 104), (150, 150, 150))
SHOES: tuple[Colour, ...] = ((244, 244, 240), (238, 238, 236), (34, 34, 38), (236, 220, 60), (230, 90, 50))
SHIFT = 3  # bits of sub-pixel precision in cv2's drawing
ONE_PX = 2**SHIFT
STROKES = ((0.66, 1.0, 0.0), (0.92, 0.72, 0.12), (1.1, 0.34, 0.24))  # shade, share of the width, shift to the light
FINE_STROKE_PX = 13.0  # a thinner limb has no third shade
RING = np.array([(np.cos(turn), np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 9)])
DRAWN_PX = 260  # about how large a figure is drawn before it is scaled down


@dataclass(frozen=True)
class FigureLook:
    """The colours of one player."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trim: Colour
    shorts: Colour
    socks: Colour
    shoes: Colour
    head: str  # hair | bald | cap | bun
    long_sleeves: bool
    girth: float
    stripe: float  # half width of what is on the shirt, as a share of the shoulders; 0 for a plain shirt


def draw_figure(
    joints: np.ndarray, track_id: int, camera: Camera, look: FigureLook, light_px: np.ndarray, racket: bool,
    left_handed: bool,
) -> tuple[Patch, Seen, float] | None:  # fmt: skip
    """A player from joints (17, 3) in the world; None when outside the frame. `light_px` (2,) points to the light.

    The truth box is that of the body with clothes, not of the racket. The last value is the depth in metres.
    """
    pixels, depth = camera.project(joints)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    px_per_m = camera.focal_px / max(float(depth[body.PELVIS]), 0.5)
    margin = 0.3 * px_per_m + (0.6 * px_per_m if racket else 0)
    frame = 2 * camera.centre_px
    if depth.min() < 1 or np.any(high + margin < 0) or np.any(low - margin > frame):
        return None
    corner = np.floor(low - margin).astype(int)
    span = np.ceil(high + margin).astype(int) - corner
    fine = int(np.clip(DRAWN_PX // max(int(span.max()), 1), 2, 4))
    picture = np.zeros((span[1] * fine, span[0] * fine, 4), np.uint8)
    pen = _Pen(picture, (pixels - corner) * fine, px_per_m * fine * look.girth, light_px)
    _draw_body(pen, depth, look)
    mask = picture[..., 3].copy() if racket else picture[..., 3]
    if racket:
        _draw_racket(pen, joints, camera, corner, fine, left_handed, look.shoes)
    small = picture if fine == 1 else cv2.resize(picture, (int(span[0]), int(span[1])), interpolation=cv2.INTER_AREA)
    coverage = mask if fine == 1 else cv2.resize(mask, (int(span[0]), int(span[1])), interpolation=cv2.INTER_AREA)
    alpha, person = small[..., 3].astype(np.float32) / 255, coverage.astype(np.float32) / 255
    box = box_of(mask, 128, fine, corner, (int(frame[0]), int(frame[1])))
    if box is None:
        return None
    patch = Patch(int(corner[0]), int(corner[1]), small[..., :3].astype(np.float32), alpha, person)
    return patch, Seen("person", track_id, box, float(person.sum())), float(depth[body.PELVIS])


class _Pen:
    """Draws capsules between joints, with a lit side. Works on plain numbers: numpy would double the time."""

    def __init__(self, picture: np.ndarray, joints: np.ndarray, px_per_m: float, light_px: np.ndarray) -> None:
        self.picture, self.joints, self.px_per_m = picture, joints, px_per_m
        self.points: list[list[float]] = joints.tolist()
        self.light_px = light_px
        self.light_x, self.light_y = float(light_px[0]), float(light_px[1])

    def stroke(self, x0: float, y0: float, x1: float, y1: float, thick_m: float, colour: Colour) -> None:
        thick = max(1.0, thick_m * self.px_per_m)
        for shade, width, off in STROKES if thick > FINE_STROKE_PX else STROKES[:2]:
            dx, dy = self.light_x * thick * off, self.light_y * thick * off
            start = (int((x0 + dx) * ONE_PX), int((y0 + dy) * ONE_PX))
            end = (int((x1 + dx) * ONE_PX), int((y1 + dy) * ONE_PX))
            cv2.line(self.picture, start, end, _tone(colour, shade), max(1, round(thick * width)), 8, SHIFT)

    def limb(self, first: int, second: int, thick_m: float, colour: Colour, start: float = 0, end: float = 1) -> None:
        """A capsule along a part of the way from one joint to another."""
        (ax, ay), (bx, by) = self.points[first], self.points[second]
        dx, dy = bx - ax, by - ay
        self.stroke(ax + start * dx, ay + start * dy, ax + end * dx, ay + end * dy, thick_m, colour)

    def fill(self, points: np.ndarray, colour: Colour, shade: float) -> None:
        hull = cv2.convexHull(np.round(points * ONE_PX).astype(np.int32))
        cv2.fillConvexPoly(self.picture, hull, _tone(colour, shade), 8, SHIFT)


@cache
def _tone(colour: Colour, shade: float) -> tuple[float, float, float, float]:
    red, green, blue = (min(255.0, part * shade) for part in colour)
    return (red, green, blue, 255.0)


def _draw_body(pen: _Pen, depth: np.ndarray, look: FigureLook) -> None:
    """Parts from far to near, so that an arm is before or behind the chest as it is in the world."""
    chest = float(depth[[body.NECK, body.PELVIS]].mean())
    parts = [(chest, 0), (float(depth[body.HEAD]) - 0.02, 1)]
    parts += [(float(depth[elbow]), 2 + elbow) for elbow in (body.L_ELBOW, body.R_ELBOW)]
    parts += [(float(depth[knee]) + 0.03, 2 + knee) for knee in (body.L_KNEE, body.R_KNEE)]
    for _, part in sorted(parts, reverse=True):
        if part == 0:
            _draw_chest(pen, look)
        elif part == 1:
            _draw_head(pen, look)
        elif part - 2 in (body.L_KNEE, body.R_KNEE):
            _draw_leg(pen, part - 2, look)
        else:
            elbow = part - 2
            pen.limb(elbow, elbow + 1, 0.075, look.shirt if look.long_sleeves else look.skin)
            pen.limb(elbow - 1, elbow, 0.09, look.shirt if look.long_sleeves else look.skin)
            pen.limb(elbow - 1, elbow, 0.125, look.shirt, 0, 0.6)
            pen.limb(elbow + 1, elbow + 1, 0.096, look.skin)


def _draw_leg(pen: _Pen, knee: int, look: FigureLook) -> None:
    pen.limb(knee, knee + 1, 0.1, look.skin)
    pen.limb(knee, knee + 1, 0.105, look.socks, 0.35, 1)
    pen.limb(knee - 1, knee, 0.14, look.skin)
    pen.limb(knee - 1, knee, 0.19, look.shorts, 0, 0.62)
    pen.limb(knee + 1, knee + 2, 0.095, look.shoes)


def _draw_chest(pen: _Pen, look: FigureLook) -> None:
    joints, half = pen.joints, 0.075 * pen.px_per_m
    corners = joints[[body.L_SHOULDER, body.R_SHOULDER, body.R_HIP, body.L_HIP]]
    waist = corners[2:] + 0.12 * (corners[:2][::-1] - corners[2:])
    ring = RING * half
    pen.fill((corners[2:, None] + ring * 1.25).reshape(-1, 2), look.shorts, 0.75)
    outline = np.concatenate([corners[:2], waist])
    pen.fill((outline[:, None] + ring).reshape(-1, 2), look.shirt, 0.7)
    lit = pen.light_px * half * 0.5
    pen.fill((outline[:, None] + ring * 0.7 + lit).reshape(-1, 2), look.shirt, 0.92)
    pen.fill((outline[:, None] + ring * 0.3 + lit * 1.7).reshape(-1, 2), look.shirt, 1.06)
    if look.stripe > 0:  # a number or a band down the chest
        top, bottom = corners[:2].mean(axis=0), waist.mean(axis=0)
        across = (corners[0] - corners[1]) * look.stripe
        low, high = top + 0.3 * (bottom - top), top + 0.75 * (bottom - top)
        pen.fill(np.stack([low + across, low - across, high - across, high + across]), look.trim, 0.95)
    pen.limb(body.NECK, body.HEAD, 0.1, look.skin, -0.1, 0.6)


def _draw_head(pen: _Pen, look: FigureLook) -> None:
    (nx, ny), (hx, hy) = pen.points[body.NECK], pen.points[body.HEAD]
    length = max(float(np.hypot(hx - nx, hy - ny)), 1e-6)
    ux, uy = (hx - nx) / length, (hy - ny) / length
    radius = 0.105 * pen.px_per_m
    low, high = -0.25 * radius, 0.2 * radius
    pen.stroke(hx + ux * low, hy + uy * low, hx + ux * high, hy + uy * high, 0.205, look.skin)
    if look.head == "bald":
        return
    colour = look.trim if look.head == "cap" else look.hair
    x, y = hx + 0.5 * ux * radius, hy + 0.5 * uy * radius
    pen.stroke(x - 0.2 * radius, y, x + 0.15 * radius, y, 0.165, colour)
    if look.head == "bun":
        x, y = hx + 1.1 * ux * radius, hy + 1.1 * uy * radius
        pen.stroke(x, y, x, y, 0.13, look.hair)


def _draw_racket(
    pen: _Pen, joints: np.ndarray, camera: Camera, corner: np.ndarray, fine: int, left_handed: bool, colour: Colour
) -> None:
    hand, elbow = (body.L_HAND, body.L_ELBOW) if left_handed else (body.R_HAND, body.R_ELBOW)
    forearm = joints[hand] - joints[elbow]
    forearm /= max(float(np.linalg.norm(forearm)), 1e-6)
    spots, _ = camera.project(joints[hand] + np.array([[0.0], [0.28], [0.6]]) * forearm)
    (gx, gy), (tx, ty), (x, y) = ((spots - corner) * fine * ONE_PX).tolist()
    thick = max(1, round(0.022 * pen.px_per_m))
    cv2.line(pen.picture, (int(gx), int(gy)), (int(tx), int(ty)), _tone((46, 46, 52), 1.0), thick + 1, 8, SHIFT)
    half = float(np.hypot(x - tx, y - ty)) / 2
    axes = (max(ONE_PX, int(half)), max(ONE_PX, int(0.4 * half + 0.06 * pen.px_per_m * ONE_PX)))
    angle = float(np.degrees(np.arctan2(y - ty, x - tx)))
    middle = (int((x + tx) / 2), int((y + ty) / 2))
    cv2.ellipse(pen.picture, middle, axes, angle, 0, 360, _tone(colour, 1.0), thick, 8, SHIFT)
