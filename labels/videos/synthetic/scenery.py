"""What stands still behind the players: ground, backdrop and net, painted once a clip and warped into every frame."""

from dataclasses import dataclass

import cv2
import numpy as np

from labels.videos.synthetic.camera import Camera
from labels.videos.synthetic.layers import Patch
from labels.videos.synthetic.settings import Colour, Difficulty, Sport

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
