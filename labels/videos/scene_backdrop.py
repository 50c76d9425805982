"""What stands behind the ground of a synthetic clip, as a texture: stands with a crowd, a hall, trees; and boards."""

import cv2
import numpy as np

from labels.videos.scene_ground import HALF_WIDTH_M, cloud, near
from labels.videos.scene_sports import Colour, Difficulty

BACKDROP_TOP_M = 16.0
BOARD_M = 0.9
WORDS = ("SPORT", "ARENA", "NORD", "AQUA", "VOLT", "ATLAS", "LUMEN", "DELTA", "PRIMA", "CITY")


def paint_backdrop(
    rng: np.random.Generator, kind: str, difficulty: Difficulty, per_m: float, ball_colour: Colour
) -> tuple[np.ndarray, np.ndarray]:
    """The texture, and where flashes may go off: (N, 2) x and z in metres."""
    width, height = int(2 * HALF_WIDTH_M * per_m), int(BACKDROP_TOP_M * per_m)
    picture: np.ndarray = np.zeros((height, width, 3), np.uint8)
    if kind == "stands":
        _paint_stands(rng, picture, per_m)
    elif kind == "hall":
        _paint_hall(rng, picture, per_m)
    else:
        _paint_trees(rng, picture, per_m)
    if kind != "trees" or rng.random() < 0.5:
        _paint_boards(rng, picture, per_m, difficulty, ball_colour)
    softness = rng.uniform(0.2, 1.6) * per_m / 25
    if softness > 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), softness)
    flashes = np.stack([rng.uniform(-10, 10, 12), rng.uniform(1.5, 6.0, 12)], axis=1)
    return picture, flashes if kind == "stands" else flashes[:0]


def _paint_stands(rng: np.random.Generator, picture: np.ndarray, per_m: float) -> None:
    height, width = picture.shape[:2]
    dark = rng.uniform(25, 90)
    picture[:] = near(rng, (int(dark), int(dark), int(dark * 1.1)), 8)
    fans = [near(rng, colour, 30) for colour in ((190, 60, 60), (60, 80, 170), (220, 220, 220), (60, 60, 66))]
    light = rng.uniform(0.45, 0.95)
    for row_z in np.arange(1.1, BACKDROP_TOP_M, 0.62)[::-1]:
        for x in np.arange(0, width, 0.56 * per_m):
            if rng.random() < 0.8:
                at = (int(x + rng.normal(0, 0.08) * per_m), int(height - (row_z + rng.normal(0, 0.05)) * per_m))
                shirt = np.array(fans[int(rng.integers(4))]) * light * rng.uniform(0.6, 1.1)
                skin = np.array((214, 168, 136)) * light * rng.uniform(0.45, 1.05)
                body = (int(0.22 * per_m), int(0.3 * per_m))
                cv2.ellipse(picture, at, body, 0, 0, 360, np.clip(shirt, 0, 255).tolist(), -1, cv2.LINE_AA)
                head = (at[0], int(at[1] - 0.38 * per_m))
                cv2.circle(picture, head, max(1, int(0.12 * per_m)), np.clip(skin, 0, 255).tolist(), -1, cv2.LINE_AA)


def _paint_hall(rng: np.random.Generator, picture: np.ndarray, per_m: float) -> None:
    height = picture.shape[0]
    wall = near(rng, ((206, 196, 176), (170, 178, 188), (120, 126, 136), (188, 176, 150))[int(rng.integers(4))], 12)
    picture[:] = wall
    pad_z = rng.uniform(1.2, 2.4)
    picture[int(height - pad_z * per_m) :] = near(
        rng, ((52, 70, 110), (110, 60, 54), (70, 96, 84))[rng.integers(3)], 15
    )
    step = rng.uniform(2.5, 6)
    for x in np.arange(rng.uniform(0, step), 2 * HALF_WIDTH_M, step):  # pillars, doors, windows
        left, what = int(x * per_m), rng.random()
        if what < 0.35:
            cv2.rectangle(picture, (left, 0), (left + int(0.35 * per_m), height), [int(c * 0.85) for c in wall], -1)
        elif what < 0.6:
            cv2.rectangle(
                picture, (left, int(height - 2.1 * per_m)), (left + int(1.1 * per_m), height), (92, 74, 60), -1
            )
        elif what < 0.85:
            top = int(height - rng.uniform(5.2, 6.4) * per_m)
            cv2.rectangle(picture, (left, top), (left + int(1.6 * per_m), top + int(1.4 * per_m)), (236, 240, 244), -1)
        else:  # a clock or a sign, round
            at = (left, int(height - rng.uniform(2.6, 4.6) * per_m))
            cv2.circle(picture, at, int(0.22 * per_m), (238, 238, 230), -1, cv2.LINE_AA)
            cv2.circle(picture, at, int(0.22 * per_m), (40, 40, 44), max(1, int(0.04 * per_m)), cv2.LINE_AA)
    lamp_z = rng.uniform(4.0, 8.0)
    for x in np.arange(0, 2 * HALF_WIDTH_M, rng.uniform(1.5, 4)):
        at = (int(x * per_m), int(height - lamp_z * per_m))
        cv2.circle(picture, at, max(1, int(0.16 * per_m)), (252, 250, 240), -1, cv2.LINE_AA)


def _paint_trees(rng: np.random.Generator, picture: np.ndarray, per_m: float) -> None:
    height, width = picture.shape[:2]
    sky = np.array(((150, 186, 226), (204, 212, 222), (120, 160, 214))[int(rng.integers(3))], np.float32)
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    painted = sky * (1 - 0.1 * rows) + 14 * cloud(rng, (width, height), 10)[..., None]
    crown = rng.uniform(3.0, 8.0) + 1.2 * cloud(rng, (width, 1), 24)[0] + 0.4 * cloud(rng, (width, 1), 120)[0]
    is_tree = (BACKDROP_TOP_M - np.arange(height)[:, None] / per_m) < crown[None]
    leaf = np.array(near(rng, (58, 84, 44), 10), np.float32)
    dapple = 1 + 0.28 * cloud(rng, (width, height), 70) + 0.25 * cloud(rng, (width, height), 260)
    painted = np.where(is_tree[..., None], leaf * np.clip(dapple, 0.2, 2.4)[..., None], painted)
    picture[:] = np.clip(painted, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:  # a fence
        post = near(rng, (120, 124, 126), 20)
        for x in np.arange(0, width, 0.5 * per_m):
            cv2.line(picture, (int(x), int(height - 2.2 * per_m)), (int(x), height), post, 1, cv2.LINE_AA)


def _paint_boards(
    rng: np.random.Generator, picture: np.ndarray, per_m: float, difficulty: Difficulty, ball_colour: Colour
) -> None:
    height, width = picture.shape[:2]
    top, logos = int(height - BOARD_M * per_m), rng.uniform(*difficulty.logos)
    x = 0
    while x < width:
        length = int(rng.uniform(1.5, 5.0) * per_m)
        colour = near(
            rng, ((24, 40, 110), (170, 30, 36), (230, 230, 226), (20, 24, 28), (20, 110, 70))[rng.integers(5)], 14
        )
        cv2.rectangle(picture, (x, top), (x + length, height), colour, -1)
        ink = (235, 235, 235) if sum(colour) < 380 else (30, 34, 60)
        word = WORDS[int(rng.integers(len(WORDS)))]
        letter = 0.5 * BOARD_M * per_m / 22
        cv2.putText(
            picture, word, (x + int(0.25 * per_m), int(height - 0.28 * per_m)), cv2.FONT_HERSHEY_SIMPLEX, letter, ink,
            max(1, round(letter * 2)), cv2.LINE_AA,
        )  # fmt: skip
        for _ in range(rng.poisson(logos * length / per_m)):
            disc = ball_colour if rng.random() < 0.5 else near(rng, (230, 200, 90), 40)
            at = (x + int(rng.uniform(0, 1) * length), int(height - rng.uniform(0.3, 0.65) * per_m))
            cv2.circle(picture, at, max(2, int(rng.uniform(0.09, 0.2) * per_m)), disc, -1, cv2.LINE_AA)
        x += length
    cv2.line(picture, (0, top), (width, top), (40, 42, 46), max(1, int(0.05 * per_m)))
