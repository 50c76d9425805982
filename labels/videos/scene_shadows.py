"""The shadows of players and balls on the ground of a synthetic clip."""

import cv2
import numpy as np

from labels.videos import scene_poses as body
from labels.videos.scene_camera import Camera
from labels.videos.scene_looks import Light

SHIFT = 3  # bits of sub-pixel precision in cv2's drawing
ONE_PX = 2**SHIFT
SHADOW_LIMBS = (
    (body.PELVIS, body.NECK, 0.3), (body.NECK, body.HEAD, 0.2), (body.L_SHOULDER, body.L_ELBOW, 0.1),
    (body.L_ELBOW, body.L_HAND, 0.08), (body.R_SHOULDER, body.R_ELBOW, 0.1), (body.R_ELBOW, body.R_HAND, 0.08),
    (body.L_HIP, body.L_KNEE, 0.16), (body.L_KNEE, body.L_TOE, 0.11), (body.R_HIP, body.R_KNEE, 0.16),
    (body.R_KNEE, body.R_TOE, 0.11),
)  # fmt: skip


SOFT_PX, SUN_SOFT_PX = 1.6, 0.5  # blur of a shadow's edge in a frame 320 wide


def lay_shadows(
    picture: np.ndarray,
    figures: list[np.ndarray],
    balls: list[np.ndarray],
    ball_radius_m: float,
    light: Light,
    camera: Camera,
) -> np.ndarray:
    """The picture (H, W, 3) uint8 with shadows. `figures` are joints (17, 3), `balls` centres (3,), in metres."""
    height, width = picture.shape[:2]
    mask: np.ndarray = np.zeros((height, width), np.uint8)
    for joints in figures:
        flat = joints.copy()
        flat[:, :2] -= joints[:, 2:] * light.fall
        flat[:, 2] = 0
        pixels, depth = camera.project(flat)
        if depth.min() < 1:
            continue
        per_m = camera.focal_px / float(depth.mean())
        spots = np.clip(pixels * ONE_PX, -(2**20), 2**20).astype(int).tolist()
        for first, second, thick_m in SHADOW_LIMBS:
            thick = max(1, round(thick_m * per_m * 0.6))
            cv2.line(mask, spots[first], spots[second], 255, thick, cv2.LINE_AA, SHIFT)
    for centre in balls:
        spot = np.array([*(centre[:2] - centre[2] * light.fall), 0.0])
        pixels, depth = camera.project(spot[None])
        if depth[0] < 1:
            continue
        wide = ONE_PX * camera.focal_px * ball_radius_m / float(depth[0])
        flattened = max(0.15, float(camera.position[2] / np.linalg.norm(camera.position - spot)))
        x, y = np.clip(pixels[0] * ONE_PX, -(2**20), 2**20).astype(int).tolist()
        axes = (max(ONE_PX // 2, int(wide)), max(ONE_PX // 2, int(wide * flattened)))
        cv2.ellipse(mask, (x, y), axes, 0, 0, 360, 255, -1, cv2.LINE_AA, SHIFT)
    soft = (SUN_SOFT_PX if light.is_sun else SOFT_PX) * width / 320
    mask = cv2.GaussianBlur(mask, (0, 0), soft)
    kept = cv2.LUT(mask, (1 - light.shadow * np.arange(256) / 255).astype(np.float32))
    return cv2.multiply(picture, cv2.merge([kept] * 3), dtype=cv2.CV_8U)
