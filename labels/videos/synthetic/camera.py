"""The camera of a synthetic clip: a pinhole that pans, tilts, zooms and shakes, and the cuts between shots."""

from dataclasses import dataclass

import numpy as np

from labels.videos.synthetic.settings import Difficulty, Sport

STEP_S = 0.005  # of the camera's and the ball's path
SHAKE_WAVES = 6


@dataclass(frozen=True)
class Camera:
    """A pinhole at one moment."""

    position: np.ndarray  # (3,) metres
    rotation: np.ndarray  # (3, 3) world to camera: right, down, forward
    focal_px: float
    centre_px: np.ndarray  # (2,)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (N, 3) to pixels (N, 2) and depths (N,) in metres; behind the camera depths are negative."""
        seen = (points - self.position) @ self.rotation.T
        depth = seen[:, 2]
        safe = np.where(np.abs(depth) < 1e-3, 1e-3, depth)
        return seen[:, :2] * (self.focal_px / safe)[:, None] + self.centre_px, depth

    def plane_to_image(self, origin: np.ndarray, along: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Homography (3, 3) that takes plane coordinates (a, b) at origin + a * along + b * up to pixels."""
        intrinsics = np.array(
            [[self.focal_px, 0, self.centre_px[0]], [0, self.focal_px, self.centre_px[1]], [0, 0, 1.0]]
        )
        axes = np.column_stack([along, up, origin - self.position])
        return intrinsics @ self.rotation @ axes


@dataclass(frozen=True)
class Shot:
    """One camera from cut to cut. `path` is (N, 4): yaw, pitch, roll in radians and focal length in pixels."""

    start_frame: int
    end_frame: int
    position: np.ndarray
    path: np.ndarray
    path_start_s: float
    centre_px: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frame."""
        return round(2 * self.centre_px[0]), round(2 * self.centre_px[1])

    def at(self, time_s: float) -> Camera:
        place = min(max((time_s - self.path_start_s) / STEP_S, 0.0), len(self.path) - 1.001)
        before = int(place)
        share = place - before
        yaw, pitch, roll, focal = self.path[before] * (1 - share) + self.path[before + 1] * share
        return Camera(self.position, look_rotation(yaw, pitch, roll), float(focal), self.centre_px)


def look_rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """World to camera (3, 3). At zero the camera looks along y; yaw turns it to x, pitch up, roll clockwise."""
    sy, cy, sp, cp = np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)
    forward = np.array([sy * cp, cy * cp, sp])
    right = np.array([cy, -sy, 0.0])
    down = np.cross(forward, right)
    sr, cr = np.sin(roll), np.cos(roll)
    return np.stack([cr * right + sr * down, cr * down - sr * right, forward])


def smooth(values: np.ndarray, sigma_steps: float) -> np.ndarray:
    """Gaussian smoothing of (N, D) along the first axis; the ends are held."""
    if sigma_steps < 0.3:
        return values
    reach = int(3 * sigma_steps) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_steps) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)


def plan_shots(
    rng: np.random.Generator,
    sport: Sport,
    difficulty: Difficulty,
    ball_path: np.ndarray,
    path_start_s: float,
    frame_count: int,
    fps: float,
    size: tuple[int, int],
) -> list[Shot]:
    """The shots of a clip that follow `ball_path`, (N, 3) metres every STEP_S; `size` is (width, height)."""
    starts = [0]
    for frame in range(1, frame_count):
        far_enough = frame - starts[-1] >= 0.6 * fps and frame_count - frame >= 0.4 * fps
        if rng.random() < difficulty.cut_chance / fps and far_enough:
            starts.append(frame)
    ends = [*starts[1:], frame_count]
    return [
        _plan_shot(rng, sport, difficulty, ball_path, path_start_s, (start, end), size)
        for start, end in zip(starts, ends, strict=True)
    ]


def _plan_shot(
    rng: np.random.Generator,
    sport: Sport,
    difficulty: Difficulty,
    ball_path: np.ndarray,
    path_start_s: float,
    frames: tuple[int, int],
    size: tuple[int, int],
) -> Shot:
    width, height = size
    scale = width / 320
    distance = rng.uniform(14, 30)
    azimuth = rng.uniform(-0.45, 0.45)
    height_m = rng.uniform(1.7, 5.0) if rng.random() < 0.4 else rng.uniform(4.0, 10.0)
    if sport.net_z_m:  # from behind the base line, high enough to see both sides
        height_m = rng.uniform(4.0, 10.0)
        azimuth *= 0.7
    position = np.array([distance * np.sin(azimuth), -distance * np.cos(azimuth), height_m])
    focal = rng.uniform(*sport.ball_px) * scale * distance / (2 * sport.ball_radius_m)

    steps = len(ball_path)
    time_s = path_start_s + STEP_S * np.arange(steps)
    aim = smooth(ball_path, rng.uniform(*difficulty.follow_s) / STEP_S)
    centre = np.array([0.0, 0.0, rng.uniform(0.9, 1.4)])
    share = rng.uniform(*difficulty.follow_share) * np.array([1.0, 0.6, 0.5])
    aim = np.clip(centre + share * (aim - centre), [-9, -6, 0.6], [9, 8, 2.4])
    towards = aim - position
    yaw = np.arctan2(towards[:, 0], towards[:, 1])
    pitch = np.arctan2(towards[:, 2], np.hypot(towards[:, 0], towards[:, 1]))
    roll = np.full(steps, rng.normal(0, 0.006))
    zoom = 1 + rng.uniform(*difficulty.zoom_share) * np.sin(2 * np.pi * time_s / rng.uniform(2, 6) + rng.uniform(0, 6))
    shake = rng.uniform(*difficulty.shake_px) * scale / focal
    yaw = yaw + shake * _waves(rng, time_s)
    pitch = pitch + shake * _waves(rng, time_s)
    roll = roll + 0.5 * shake * _waves(rng, time_s)
    return Shot(
        *frames, position, np.stack([yaw, pitch, roll, focal * zoom], axis=1), path_start_s,
        np.array([width / 2, height / 2]),
    )  # fmt: skip


def _waves(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """Smooth noise of about unit variance: a few waves of 0.7 to 8 Hz, the slow ones larger."""
    hertz = np.exp(rng.uniform(np.log(0.7), np.log(8.0), SHAKE_WAVES))
    size = hertz**-0.5
    size *= np.sqrt(2 / np.sum(size**2))
    phase = rng.uniform(0, 2 * np.pi, SHAKE_WAVES)
    return (size * np.sin(2 * np.pi * hertz * time_s[:, None] + phase)).sum(axis=1)
