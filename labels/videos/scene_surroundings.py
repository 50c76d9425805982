"""What stands still behind the players: the ground and the backdrop, painted once a clip, warped into every frame."""

from dataclasses import dataclass

import cv2
import numpy as np

from labels.videos.scene_backdrop import BACKDROP_TOP_M, paint_backdrop
from labels.videos.scene_camera import Camera
from labels.videos.scene_ground import BEHIND_M, GROUNDS, HALF_WIDTH_M, OUTDOORS, near, paint_ground
from labels.videos.scene_sports import Colour, Difficulty, Sport

MAX_TEXTURE = 4600  # pixels across


@dataclass(frozen=True)
class Plane:
    """A texture on a plane: `to_plane` takes its pixels to metres along the plane's axes."""

    texture: np.ndarray  # (h, w, 3) uint8
    to_plane: np.ndarray  # (3, 3)
    origin: np.ndarray
    along: np.ndarray
    up: np.ndarray

    def homography(self, camera: Camera) -> np.ndarray:
        return camera.plane_to_image(self.origin, self.along, self.up) @ self.to_plane


@dataclass(frozen=True)
class Surroundings:
    ground: Plane
    backdrop: Plane
    ground_colour: Colour
    is_outdoors: bool
    lights_xz: np.ndarray  # (N, 2) x and z of what may flash in the backdrop


def draw_surroundings(surroundings: Surroundings, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """The empty scene as RGB (H, W, 3) uint8; `size` is (width, height)."""
    ground, backdrop = surroundings.ground, surroundings.backdrop
    # Not a reflecting border: cv2 would count the reflections one by one for each pixel near the horizon.
    picture = cv2.warpPerspective(
        ground.texture, ground.homography(camera), size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cv2.warpPerspective(
        backdrop.texture, backdrop.homography(camera), size, picture, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT
    )
    return picture


def flash(rng: np.random.Generator, surroundings: Surroundings, camera: Camera, picture: np.ndarray) -> None:
    """A camera's flash somewhere in the stands, where there are any, painted into `picture`."""
    if not len(surroundings.lights_xz):
        return
    x, z = surroundings.lights_xz[int(rng.integers(len(surroundings.lights_xz)))]
    pixels, _ = camera.project(np.array([[x, surroundings.backdrop.origin[1], z]]))
    left, top = (int(part) for part in np.clip(np.round(pixels[0]), -99, 9999))
    cv2.circle(picture, (left, top), max(1, round(picture.shape[1] / 130)), (255, 255, 255), -1, cv2.LINE_AA)


def make_surroundings(
    rng: np.random.Generator, sport: Sport, difficulty: Difficulty, cameras: list[Camera], ball_colour: Colour
) -> Surroundings:
    """Paint the surroundings at the resolution these cameras ask for."""
    across = max(camera.focal_px / np.hypot(camera.position[1], camera.position[2]) for camera in cameras)
    slope = max(min(camera.position[2] / np.hypot(*camera.position[:2]), 1.0) for camera in cameras)
    across = min(across * 1.1, MAX_TEXTURE / (2 * HALF_WIDTH_M))
    far_m = rng.uniform(9.0, 16.0)
    kind, backdrop_kind = str(rng.choice(sport.grounds)), str(rng.choice(sport.backdrops))
    if kind in ("wood",) and backdrop_kind == "trees":
        backdrop_kind = "hall"
    if kind in ("grass", "sand") and backdrop_kind == "hall":
        backdrop_kind = "trees"
    outdoors = backdrop_kind == "trees" or kind in OUTDOORS
    colour = near(rng, GROUNDS[kind][int(rng.integers(len(GROUNDS[kind])))], 10)
    scale = np.array([across, max(across * min(1.6 * slope + 0.12, 1.0), 4.0)])
    ground = paint_ground(rng, sport, kind, colour, scale, far_m)
    to_ground = np.array([[1 / scale[0], 0, -HALF_WIDTH_M], [0, -1 / scale[1], far_m + BEHIND_M], [0, 0, 1.0]])
    per_m = across * 0.75
    backdrop, lights_xz = paint_backdrop(rng, backdrop_kind, difficulty, per_m, ball_colour)
    to_wall = np.array([[1 / per_m, 0, -HALF_WIDTH_M], [0, -1 / per_m, BACKDROP_TOP_M], [0, 0, 1.0]])
    x_axis, y_axis, z_axis = np.eye(3)
    return Surroundings(
        Plane(ground, to_ground, np.zeros(3), x_axis, y_axis),
        Plane(backdrop, to_wall, np.array([0, far_m, 0.0]), x_axis, z_axis),
        colour,
        outdoors,
        lights_xz,
    )
