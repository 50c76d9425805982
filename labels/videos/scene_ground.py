"""The ground of a synthetic clip as a texture: grass, planks, clay, sand or paint, worn, mown, shaded, with lines."""

import cv2
import numpy as np

from labels.videos.scene_sports import Colour, Sport

HALF_WIDTH_M = 24.0  # of the ground and of the backdrop
NEAR_M = -12.0  # where the ground ends on the camera's side
BEHIND_M = 0.5  # how far it reaches under the backdrop
GROUNDS: dict[str, tuple[Colour, ...]] = {
    "grass": ((74, 122, 48), (92, 132, 60), (58, 104, 46), (104, 140, 70)),
    "turf": ((52, 116, 62), (44, 128, 58), (76, 134, 80)),
    "wood": ((196, 148, 96), (176, 122, 76), (212, 172, 124), (158, 108, 72)),
    "hard": ((58, 92, 142), (96, 82, 140), (70, 118, 96), (86, 90, 96), (146, 84, 68)),
    "clay": ((184, 104, 66), (170, 92, 62), (192, 118, 82)),
    "sand": ((206, 186, 146), (222, 206, 170), (190, 166, 124)),
}
LINE_COLOURS: tuple[Colour, ...] = ((236, 236, 232), (236, 236, 232), (226, 214, 150), (40, 44, 60))
GRAIN = {"grass": 0.085, "turf": 0.05, "clay": 0.05, "sand": 0.085, "wood": 0.02, "hard": 0.02}
OUTDOORS = ("grass", "turf", "clay", "sand")


def cloud(rng: np.random.Generator, size: tuple[int, int], cells: float) -> np.ndarray:
    """Smooth noise of about unit variance, (h, w) float32; `cells` lumps along the width."""
    width, height = size
    small = rng.normal(size=(max(2, round(cells * height / width)), max(2, round(cells)))).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def near(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """A colour not far from another."""
    moved = np.clip(np.array(colour) + rng.normal(0, spread) + rng.normal(0, spread / 2, 3), 0, 255)
    return (int(moved[0]), int(moved[1]), int(moved[2]))


def paint_ground(
    rng: np.random.Generator, sport: Sport, kind: str, colour: Colour, scale: np.ndarray, far_m: float
) -> np.ndarray:
    """The texture (h, w, 3) uint8, `scale` (2,) pixels to a metre, seen from above with far on top."""
    width = int(2 * HALF_WIDTH_M * scale[0])
    height = int((far_m + BEHIND_M - NEAR_M) * scale[1])
    size = (width, height)
    x_m = (np.arange(width) / scale[0] - HALF_WIDTH_M)[None]
    y_m = (far_m + BEHIND_M - np.arange(height) / scale[1])[:, None]
    shade: np.ndarray = 1 + 0.05 * cloud(rng, size, 9) + 0.03 * cloud(rng, size, 60)
    shade += GRAIN[kind] * rng.normal(size=(height, width)).astype(np.float32)
    if kind in ("grass", "turf"):
        stripe = rng.uniform(1.6, 4.0)
        band = np.sign(np.sin(np.pi * (x_m if rng.random() < 0.6 else y_m) / stripe + rng.uniform(0, 6)))
        shade += (rng.uniform(0.0, 0.09) * band).astype(np.float32)
        shade += 0.06 * cloud(rng, size, 200)
    if kind == "wood":
        planks = rng.normal(0, 0.05, size=(int((far_m - NEAR_M) / 0.11) + 8, 14))
        row = ((y_m - NEAR_M) / 0.11).astype(int)
        column = ((x_m + HALF_WIDTH_M + 0.9 * (row % 3)) / 4.2).astype(int)
        shade += planks[row, column].astype(np.float32)
        shade += rng.uniform(0.05, 0.2) * np.exp(-(((x_m - rng.uniform(-5, 5)) / 3.0) ** 2)).astype(np.float32)
    picture: np.ndarray = np.empty((height, width, 3), np.float32)
    picture[:] = colour
    if (kind in ("hard", "wood", "clay") and sport.net_z_m) or (kind == "hard" and rng.random() < 0.5):
        apron = near(rng, GROUNDS[kind][int(rng.integers(len(GROUNDS[kind])))], 8)
        inside = (np.abs(x_m) < sport.area_m[0] + 1.3) & (np.abs(y_m) < 6.0)
        picture[~inside] = apron
    if kind in ("grass", "clay", "sand"):
        worn = np.clip(cloud(rng, size, 14) - 1.1, 0, 1)[..., None] * rng.uniform(0.2, 0.6)
        picture = picture * (1 - worn) + np.array((150, 126, 88), np.float32) * worn
    _paint_lines(rng, sport, picture, scale, far_m)
    if kind in OUTDOORS and rng.random() < 0.4:  # the shadow of a roof or a tree
        edge = x_m * rng.uniform(-0.5, 0.5) + y_m - rng.uniform(0, 5) + 0.7 * cloud(rng, size, 40)
        shade *= np.where(edge > 0, rng.uniform(0.55, 0.8), 1.0).astype(np.float32)
    return np.clip(picture * shade[..., None], 0, 255).astype(np.uint8)


def _paint_lines(rng: np.random.Generator, sport: Sport, picture: np.ndarray, scale: np.ndarray, far_m: float) -> None:
    colour = LINE_COLOURS[int(rng.integers(len(LINE_COLOURS)))] if sport.carry != "feet" else LINE_COLOURS[0]
    offset = np.zeros(2) if sport.net_z_m else rng.uniform((-6, -1.5), (6, 1.5))

    def pixel(x_m: float, y_m: float) -> tuple[int, int]:
        x, y = x_m + offset[0] + HALF_WIDTH_M, far_m + BEHIND_M - y_m - offset[1]
        return int(16 * x * scale[0]), int(16 * y * scale[1])

    thick = max(1, round(0.09 * float(scale.mean())))
    for line in sport.lines:
        if len(line) == 4:
            cv2.line(picture, pixel(*line[:2]), pixel(*line[2:]), colour, thick, cv2.LINE_AA, 4)
        else:
            axes = (int(16 * line[2] * scale[0]), int(16 * line[2] * scale[1]))
            cv2.ellipse(picture, pixel(*line[:2]), axes, 0, 0, 360, colour, thick, cv2.LINE_AA, 4)
