"""Drawing players and balls: limbs as shaded capsules over the projected skeleton, the ball as a shaded sphere.

A ball is smeared along its way while the shutter is open. The colours of players, ball and light are drawn here too.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from labels.videos.synthetic import poses as body
from labels.videos.synthetic.camera import Camera, Shot
from labels.videos.synthetic.layers import Patch, Seen, box_of
from labels.videos.synthetic.play import Ball, Player
from labels.videos.synthetic.settings import Colour, Sport

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


PLAIN: tuple[Colour, ...] = ((240, 240, 240), (28, 28, 34), (34, 44, 92), (176, 40, 44))
HEADS = ("hair", "hair", "hair", "bald", "cap", "bun")


@dataclass(frozen=True)
class Light:
    """Where light comes from and what shadow it throws."""

    towards: np.ndarray  # (3,) unit vector
    fall: np.ndarray  # (2,) how far a shadow falls along x and y for each metre of height
    shadow: float  # how much darker the shadow is
    is_sun: bool


def make_light(rng: np.random.Generator, is_outdoors: bool) -> Light:
    is_sun = is_outdoors and rng.random() < 0.65
    reach = 1.3 if is_sun else 0.25
    fall = rng.uniform(-reach, reach, 2)
    towards = np.array([fall[0], min(fall[1], 0.3) - 0.25, 1.0])
    shadow = rng.uniform(0.3, 0.5) if is_sun else rng.uniform(0.1, 0.25)
    return Light(towards / np.linalg.norm(towards), fall, shadow, is_sun)


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """A colour with a share of another in it."""
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def dress_players(rng: np.random.Generator, players: list[Player]) -> list[FigureLook]:
    """Two kits of different colours, and a body for each player."""
    kits, hue = [], rng.uniform(0, 180)
    for _ in range(2):
        strength, value = int(rng.choice([15, 120, 190])), int(rng.choice([60, 150, 200, 235]))
        tone = np.array([[[int(hue) % 180, strength, value]]], np.uint8)
        red, green, blue = (int(part) for part in cv2.cvtColor(tone, cv2.COLOR_HSV2RGB)[0, 0])
        shorts, socks, trim = (PLAIN[int(rng.integers(len(PLAIN)))] for _ in range(3))
        kits.append(((red, green, blue), trim, shorts, socks, float(rng.choice([0.0, 0.15, 0.3]))))
        hue += rng.uniform(50, 120)
    looks = []
    for player in players:
        shirt, trim, shorts, socks, stripe = kits[player.team]
        looks.append(
            FigureLook(
                skin=SKINS[int(rng.integers(len(SKINS)))],
                hair=HAIRS[int(rng.integers(len(HAIRS)))],
                shirt=shirt,
                trim=trim,
                shorts=shorts,
                socks=socks,
                shoes=SHOES[int(rng.integers(len(SHOES)))],
                head=str(rng.choice(HEADS)),
                long_sleeves=bool(rng.random() < 0.15),
                girth=rng.uniform(0.9, 1.15),
                stripe=stripe,
            )
        )
    return looks


STREAK_EDGE = 0.25  # the box of a smeared ball ends where it covers this share of the most it covers anywhere
MAX_SAMPLES = 24
AMBIENT = 0.55  # brightness of the side in the shade
GOLDEN = (1 + 5**0.5) / 2
PATCH_NORMALS = np.array(
    [p for a in (-1, 1) for b in (-GOLDEN, GOLDEN) for p in ((0, a, b), (a, b, 0), (b, 0, a))]
) / np.hypot(1, GOLDEN)  # the twelve corners of an icosahedron


@dataclass(frozen=True)
class BallLook:
    pattern: str
    colours: tuple[Colour, Colour, Colour]
    light: np.ndarray  # (3,) towards the light, in camera coordinates (right, down, forward)


def turn_matrix(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation (3, 3) by `angle` radians about a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def ball_sprite(look: BallLook, radius: float, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A ball of `radius` pixels in the middle of a square: colour times alpha (n, n, 3) and alpha (n, n), float32."""
    half = int(np.ceil(radius)) + 1
    grid = (np.arange(2 * half) - half + 0.5) / radius
    x, y = np.meshgrid(grid, grid)
    squared = x * x + y * y
    alpha = np.clip((1 - np.sqrt(squared)) * radius + 0.5, 0, 1).astype(np.float32)
    z = -np.sqrt(np.clip(1 - squared, 0, 1))
    normals = np.stack([x, y, z], axis=-1)
    own = normals @ rotation
    colours = np.array(look.colours, np.float32)[_pattern(look.pattern, own)]
    lit = np.clip(normals @ look.light, 0, 1)
    shade = AMBIENT + (1.12 - AMBIENT) * lit
    colours = np.clip(colours * shade[..., None] + 26 * (lit**12)[..., None], 0, 255).astype(np.float32)
    return colours * alpha[..., None], alpha


def _pattern(pattern: str, own: np.ndarray) -> np.ndarray:
    """Which of the three colours each point of the sphere has, from its own normals (..., 3)."""
    x, y, z = own[..., 0], own[..., 1], own[..., 2]
    if pattern == "patches":
        return ((own @ PATCH_NORMALS.T).max(axis=-1) > 0.935).astype(int)
    if pattern == "seams":
        seam = np.minimum(np.minimum(np.abs(x), np.abs(y)), np.abs(np.abs(z) - 0.62 + 0.3 * x * x))
        return (seam < 0.05).astype(int)
    if pattern == "felt":
        return (np.abs(z - 0.62 * (x * x - y * y)) < 0.07).astype(int)
    widest = np.argmax(np.abs(own), axis=-1)  # panels: six faces, three stripes on each
    across = np.take_along_axis(own, ((widest + 1) % 3)[..., None], axis=-1)[..., 0]
    return np.where(across > 0.22, 1, np.where(across < -0.22, 2, 0))


def draw_ball(
    ball: Ball, track_id: int, look: BallLook, sport: Sport, shot: Shot, time_s: float, exposure_s: float
) -> tuple[Patch, Seen, float] | None:
    """A ball with its motion blur, what of it counts as truth, and its depth in metres; None when it cannot be seen.

    The truth box is that of the visible streak: all the ball covered while the shutter was open, but for the faint
    ends of a long streak (see STREAK_EDGE). A ball that does not move has the box of its disc.
    """
    opens, shuts = time_s - exposure_s / 2, time_s + exposure_s / 2
    first, _, _ = _project(shot.at(opens), ball.at(opens), sport.ball_radius_m)
    last, radius, depth = _project(shot.at(shuts), ball.at(shuts), sport.ball_radius_m)
    way = float(np.hypot(*(last - first)))
    centre = shot.centre_px
    if depth < 1 or np.any(np.abs(first - centre) > 2 * centre + way + 2 * radius + 8) or radius > 4 * centre[0]:
        return None
    count = int(np.clip(np.ceil(1.5 * way), 1, MAX_SAMPLES))
    times = [time_s] if count == 1 else np.linspace(opens, shuts, count).tolist()
    samples = [_project(shot.at(moment), ball.at(moment), sport.ball_radius_m) for moment in times]
    spots = np.array([spot for spot, _, _ in samples])
    radius = max(radius for _, radius, _ in samples)
    fine = 4 if radius < 6 else (2 if radius < 16 else 1)
    camera = shot.at(time_s)
    turn = camera.rotation @ turn_matrix(ball.axis, ball.turn_at(time_s))
    rgb, alpha = ball_sprite(look, radius * fine, turn)
    half = alpha.shape[0] / 2
    low = np.floor(spots.min(axis=0) - radius - 2).astype(int)
    high = np.ceil(spots.max(axis=0) + radius + 2).astype(int)
    size = ((high - low) * fine).tolist()
    sprite = np.dstack([rgb, alpha])
    total = np.zeros((size[1], size[0], 4), np.float32)
    for spot in spots:
        shift = (spot - low) * fine - half
        whole = np.floor(shift).astype(int)
        rest = shift - whole
        n = alpha.shape[0] + 1
        move = np.array([[1, 0, rest[0]], [0, 1, rest[1]]])
        total[whole[1] : whole[1] + n, whole[0] : whole[0] + n] += cv2.warpAffine(sprite, move, (n, n))
    total /= count
    box = box_of(total[..., 3], STREAK_EDGE * float(total[..., 3].max()), fine, low, shot.size)
    if box is None:
        return None
    small = cv2.resize(total, (size[0] // fine, size[1] // fine), interpolation=cv2.INTER_AREA) if fine > 1 else total
    patch = Patch(int(low[0]), int(low[1]), small[..., :3], small[..., 3])
    seen = Seen("sports ball", track_id, box, float(small[..., 3].sum()))
    return patch, seen, _project(camera, ball.at(time_s), sport.ball_radius_m)[2]


def _project(camera: Camera, spot: np.ndarray, radius_m: float) -> tuple[np.ndarray, float, float]:
    pixels, depth = camera.project(spot[None])
    return pixels[0], camera.focal_px * radius_m / max(float(depth[0]), 0.1), float(depth[0])
