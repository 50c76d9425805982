"""The net across a synthetic court: a plane at y = 0 that can be seen through."""

from dataclasses import dataclass

import cv2
import numpy as np

from labels.videos.scene_camera import Camera
from labels.videos.scene_layers import Patch
from labels.videos.scene_sports import Sport

OVERHANG_M = 1.6  # the net is this much wider than the court on each side
TEXTURE_PX_PER_M = 60
THREAD_OPACITY = 0.32  # of the mesh as a whole, seen from far


@dataclass(frozen=True)
class Net:
    texture: np.ndarray  # (h, w, 4) uint8, already times alpha
    half_width_m: float
    top_m: float


def make_net(rng: np.random.Generator, sport: Sport) -> Net | None:
    """The net of a sport, None where it has none."""
    if sport.net_z_m is None:
        return None
    low_m, high_m = sport.net_z_m
    half = sport.area_m[0] + OVERHANG_M
    width, height = int(2 * half * TEXTURE_PX_PER_M), int(high_m * TEXTURE_PX_PER_M)
    texture = np.zeros((height, width, 4), np.uint8)
    bottom = int((high_m - low_m) * TEXTURE_PX_PER_M)
    tone = int(rng.choice([25, 40, 215]))
    mesh = float(rng.uniform(0.5, 1.0)) * THREAD_OPACITY
    texture[:bottom] = [int(tone * mesh)] * 3 + [int(255 * mesh)]
    step = TEXTURE_PX_PER_M // 6
    for x in range(0, width, step):
        cv2.line(texture, (x, 0), (x, bottom), (tone, tone, tone, 255), 1)
    for y in range(0, bottom, step):
        cv2.line(texture, (0, y), (width, y), (tone, tone, tone, 255), 1)
    band = int(0.08 * TEXTURE_PX_PER_M)
    texture[:band] = (238, 238, 234, 255)
    if low_m > 0:
        texture[bottom - band // 2 : bottom] = (238, 238, 234, 255)
    post = int(0.09 * TEXTURE_PX_PER_M)
    pole = [int(v) for v in rng.choice([(60, 62, 70), (210, 190, 60), (200, 202, 206)])] + [255]
    texture[:, :post] = pole
    texture[:, -post:] = pole
    return Net(texture, half, high_m)


def draw_net(net: Net, camera: Camera) -> tuple[Patch, float]:
    """The net as the camera sees it, and its depth in metres."""
    height, width = net.texture.shape[:2]
    x_axis, _, z_axis = np.eye(3)
    half, top = net.half_width_m, net.top_m
    to_plane = np.array([[2 * half / width, 0, -half], [0, -top / height, top], [0, 0, 1.0]])
    corners, depth = camera.project(np.array([[x, 0.0, z] for x in (-half, half) for z in (0.0, top)]))
    frame = (2 * camera.centre_px).astype(int)
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, frame - 1)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, low + 1, frame)
    into_patch = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]])
    matrix = into_patch @ camera.plane_to_image(np.zeros(3), x_axis, z_axis) @ to_plane
    shrink = TEXTURE_PX_PER_M * float(depth.mean()) / camera.focal_px
    texture = net.texture if shrink < 1.5 else cv2.GaussianBlur(net.texture, (0, 0), 0.35 * shrink)
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    drawn = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR)
    alpha = drawn[..., 3].astype(np.float32) / 255
    return Patch(int(low[0]), int(low[1]), drawn[..., :3].astype(np.float32), alpha), float(depth.mean())
