"""The colours of a synthetic clip's players, ball and light."""

from dataclasses import dataclass

import cv2
import numpy as np

from labels.videos.scene_actors import Player
from labels.videos.scene_figures import HAIRS, SHOES, SKINS, FigureLook
from labels.videos.scene_sports import Colour

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
