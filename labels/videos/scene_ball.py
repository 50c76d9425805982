"""Drawing a ball: a shaded, turning, patterned sphere, smeared along its way while the shutter is open."""

from dataclasses import dataclass

import cv2
import numpy as np

from labels.videos.scene_actors import Ball
from labels.videos.scene_camera import Camera, Shot
from labels.videos.scene_layers import Patch, Seen, box_of
from labels.videos.scene_sports import Colour, Sport

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
