"""What can be asked of the synthetic clips, and the sports and difficulties they are made of, as data.

Imports nothing heavy: the scripts take their defaults from here. World coordinates are metres: x along the near touch
line, y away from the camera, z up; the play is around the origin.
"""

import hashlib
from dataclasses import dataclass

from labels.records.errors import InputError

SOURCE = "synthetic"  # of the videos table

MIXED = "mixed"
MIN_WIDTH, MIN_HEIGHT, MAX_SIDE, MAX_FRAMES = 64, 48, 3840, 100_000


@dataclass(frozen=True)
class SceneSettings:
    """One clip. The same settings give the same bytes."""

    seed: int
    sport: str = "soccer"
    difficulty: str = "medium"
    width: int = 320  # pixels, even
    height: int = 180  # pixels, even
    fps: float = 25.0
    frame_count: int = 60

    def __post_init__(self) -> None:
        _check(self.sport in SPORTS, f"sport '{self.sport}': the sports are {', '.join(SPORTS)}")
        _check_picture(self.difficulty, self.width, self.height, self.fps, self.frame_count)


@dataclass(frozen=True)
class SyntheticSettings:
    """A set of clips: `clips` to train on and `held_out` to judge by, whose seeds never meet."""

    clips: int = 12
    held_out: int = 4
    seed: int = 0
    sport: str = MIXED  # mixed: the sports take turns
    difficulty: str = "medium"
    width: int = 320
    height: int = 180
    fps: float = 25.0
    frame_count: int = 60

    def __post_init__(self) -> None:
        known = (*SPORTS, MIXED)
        _check(self.sport in known, f"sport '{self.sport}': the sports are {', '.join(known)}")
        _check(self.clips >= 0 and self.held_out >= 0, f"clips {self.clips}, held out {self.held_out}: not below 0")
        _check(self.clips + self.held_out > 0, "no synthetic clip was asked for")
        _check_picture(self.difficulty, self.width, self.height, self.fps, self.frame_count)

    def scenes(self) -> dict[str, SceneSettings]:
        """The clips by video_id, those to train on first."""
        named = {}
        for held_out, count in ((False, self.clips), (True, self.held_out)):
            for index in range(count):
                sport = tuple(SPORTS)[index % len(SPORTS)] if self.sport == MIXED else self.sport
                video_id = f"synthetic_{'held_out_' if held_out else ''}{index:04d}_{sport}"
                named[video_id] = SceneSettings(
                    seed=scene_seed(self.seed, index, held_out),
                    sport=sport,
                    difficulty=self.difficulty,
                    width=self.width,
                    height=self.height,
                    fps=self.fps,
                    frame_count=self.frame_count,
                )
        return named


def scene_seed(seed: int, index: int, held_out: bool) -> int:
    """The seed of one clip: odd for held-out clips and even for the others, so the two never meet."""
    digest = hashlib.blake2b(f"{seed}|{index}".encode(), digest_size=7).digest()
    return 2 * int.from_bytes(digest, "big") + int(held_out)


def _check_picture(difficulty: str, width: int, height: int, fps: float, frame_count: int) -> None:
    _check(difficulty in DIFFICULTIES, f"difficulty '{difficulty}': it is one of {', '.join(DIFFICULTIES)}")
    fits = MIN_WIDTH <= width <= MAX_SIDE and MIN_HEIGHT <= height <= MAX_SIDE and not (width % 2 or height % 2)
    _check(fits, f"size {width}x{height}: even numbers from {MIN_WIDTH}x{MIN_HEIGHT} to {MAX_SIDE}")
    _check(1 <= fps <= 240, f"fps {fps:g}: from 1 to 240")
    _check(1 <= frame_count <= MAX_FRAMES, f"frame count {frame_count}: from 1 to {MAX_FRAMES}")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(f"synthetic clips: {message}")


Colour = tuple[int, int, int]  # RGB
Range = tuple[float, float]


@dataclass(frozen=True)
class Sport:
    """What makes a sport look and move as it does."""

    ball_radius_m: float
    ball_colours: tuple[tuple[Colour, Colour, Colour], ...]  # base, second and third colour of the pattern
    ball_pattern: str  # patches | seams | panels | felt
    restitution: float  # vertical speed after a bounce over the speed before
    rolling_ms2: float  # what rolling loses
    drag: float  # deceleration is drag * speed^2, 1/m
    pass_ms: Range  # horizontal speed of a pass
    bounce_share: float  # how many passes touch the ground before they arrive
    bounce_at: Range  # when they first do, as a share of the flight
    strikes: tuple[str, ...]  # the moves of `poses` that send the ball on; one stands twice when it is frequent
    carry: str  # feet | hands | none: what a player does between receiving and sending
    carry_s: Range
    arrive_z_m: Range  # height at which a pass that does not bounce is taken
    players: tuple[int, int]  # at least, at most
    area_m: tuple[float, float]  # half length (x), half depth (y) of where they play
    grounds: tuple[str, ...]
    backdrops: tuple[str, ...]
    net_z_m: Range | None  # bottom and top of a net along x at y = 0, with a team on each side
    ball_px: Range  # ball diameter where the camera looks, in a frame 320 wide
    lines: tuple[tuple[float, ...], ...]  # (x1, y1, x2, y2) segments and (x, y, radius) circles
    racket: bool = False


SPORTS: dict[str, Sport] = {
    "soccer": Sport(
        ball_radius_m=0.11,
        ball_colours=(
            ((242, 242, 240), (35, 35, 40), (35, 35, 40)),
            ((240, 240, 235), (200, 40, 50), (30, 60, 160)),
            ((235, 225, 60), (40, 60, 150), (40, 60, 150)),
            ((240, 140, 50), (40, 40, 50), (40, 40, 50)),
        ),
        ball_pattern="patches",
        restitution=0.62,
        rolling_ms2=1.2,
        drag=0.012,
        pass_ms=(6.0, 12.0),
        bounce_share=0.7,
        bounce_at=(0.12, 0.8),
        strikes=("kick", "kick", "kick", "throw"),
        carry="feet",
        carry_s=(0.1, 0.5),
        arrive_z_m=(0.15, 1.0),
        players=(3, 6),
        area_m=(5.5, 4.0),
        grounds=("grass", "grass", "turf"),
        backdrops=("stands", "stands", "trees"),
        net_z_m=None,
        ball_px=(5.5, 8.5),
        lines=((-40, -5, 40, -5), (0, -40, 0, 40), (0, 2, 6.0), (9, -30, 9, 6), (9, 6, 30, 6)),
    ),
    "basketball": Sport(
        ball_radius_m=0.12,
        ball_colours=(
            ((206, 108, 46), (45, 30, 25), (45, 30, 25)),
            ((178, 84, 44), (35, 25, 22), (35, 25, 22)),
            ((190, 96, 40), (40, 30, 25), (230, 215, 170)),
        ),
        ball_pattern="seams",
        restitution=0.76,
        rolling_ms2=0.5,
        drag=0.006,
        pass_ms=(5.0, 10.0),
        bounce_share=0.4,
        bounce_at=(0.45, 0.7),
        strikes=("throw", "push", "push", "push"),
        carry="hands",
        carry_s=(0.2, 0.8),
        arrive_z_m=(1.0, 2.1),
        players=(3, 6),
        area_m=(5.0, 3.5),
        grounds=("wood", "wood", "hard"),
        backdrops=("hall", "stands"),
        net_z_m=None,
        ball_px=(6.0, 9.5),
        lines=((-14, -6, 14, -6), (-14, 7, 14, 7), (0, -6, 0, 7), (0, 0, 1.8), (5, -2.4, 14, -2.4), (5, 2.4, 14, 2.4),
               (5, -2.4, 5, 2.4), (5, 0, 1.8), (-6.7, 0, 3.0)),
    ),
    # A true tennis ball (0.033 m) is 1 to 2 pixels in a frame 320 wide, which nobody could label: this one is larger.
    "tennis": Sport(
        ball_radius_m=0.065,
        ball_colours=(
            ((215, 235, 70), (240, 240, 225), (240, 240, 225)),
            ((195, 215, 55), (230, 230, 210), (230, 230, 210)),
            ((235, 150, 50), (225, 225, 70), (240, 240, 225)),
        ),
        ball_pattern="felt",
        restitution=0.73,
        rolling_ms2=0.8,
        drag=0.02,
        pass_ms=(9.0, 15.0),
        bounce_share=0.8,
        bounce_at=(0.6, 0.75),
        strikes=("swing", "swing", "swing", "smash"),
        carry="none",
        carry_s=(0.0, 0.0),
        arrive_z_m=(0.6, 1.6),
        players=(2, 4),
        area_m=(3.0, 4.2),
        grounds=("hard", "hard", "clay", "grass"),
        backdrops=("stands", "hall", "trees"),
        net_z_m=(0.0, 0.95),
        ball_px=(4.6, 6.4),
        lines=((-4.1, -6, 4.1, -6), (-4.1, 6, 4.1, 6), (-4.1, -6, -4.1, 6), (4.1, -6, 4.1, 6), (-3.2, -6, -3.2, 6),
               (3.2, -6, 3.2, 6), (-3.2, -3.3, 3.2, -3.3), (-3.2, 3.3, 3.2, 3.3), (0, -3.3, 0, 3.3)),
        racket=True,
    ),
    "volleyball": Sport(
        ball_radius_m=0.105,
        ball_colours=(
            ((240, 240, 235), (235, 200, 60), (45, 80, 165)),
            ((238, 238, 238), (225, 225, 220), (205, 205, 205)),
            ((235, 205, 70), (50, 75, 160), (50, 75, 160)),
            ((240, 235, 230), (200, 50, 50), (50, 140, 80)),
        ),
        ball_pattern="panels",
        restitution=0.6,
        rolling_ms2=0.8,
        drag=0.02,
        pass_ms=(3.0, 7.0),
        bounce_share=0.08,
        bounce_at=(0.8, 0.9),
        strikes=("smash", "push", "push", "swing"),
        carry="none",
        carry_s=(0.0, 0.0),
        arrive_z_m=(0.9, 2.6),
        players=(3, 6),
        area_m=(4.0, 4.2),
        grounds=("wood", "hard", "sand"),
        backdrops=("hall", "stands", "trees"),
        net_z_m=(1.4, 2.4),
        ball_px=(5.5, 9.0),
        lines=((-4.5, -6, 4.5, -6), (-4.5, 6, 4.5, 6), (-4.5, -6, -4.5, 6), (4.5, -6, 4.5, 6), (-4.5, -2, 4.5, -2),
               (-4.5, 2, 4.5, 2), (-4.5, 0, 4.5, 0)),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Difficulty:
    """How hard a clip is to label. Ranges are drawn from once a clip."""

    follow_s: Range  # how far the camera lags behind the ball
    follow_share: Range  # how much of the ball's way the camera makes
    zoom_share: Range  # how much the focal length swings
    shake_px: Range  # in a frame 320 wide
    cut_chance: float  # for each second of video
    exposure: Range  # share of the frame interval that the shutter is open
    optics_px: Range  # blur of the lens, standard deviation, in a frame 320 wide
    noise: Range  # sensor noise, standard deviation in grey levels
    ball_fade: Range  # how much of the ball's colour is the ground's
    still_balls: tuple[int, ...]  # how many lie about; one of these is drawn
    extra_players: tuple[int, int]
    logos: Range  # round logos on a metre of board
    flashes: float  # chance of a camera flash in the stands, each frame
    overlay: float  # chance of a scoreboard
    crf: tuple[int, int]  # of the H.264 encoder, higher is worse
    idle_every_s: float = 3.0  # how often a player thinks of a move without the ball
    idle_share: float = 0.45  # of these that are made, where there is time


DIFFICULTIES: dict[str, Difficulty] = {
    "easy": Difficulty(
        follow_s=(0.8, 1.2), follow_share=(0.0, 0.3), zoom_share=(0.0, 0.01), shake_px=(0.0, 0.05), cut_chance=0.0,
        exposure=(0.08, 0.2), optics_px=(0.3, 0.45), noise=(0.8, 1.6), ball_fade=(0.0, 0.0), still_balls=(0,),
        extra_players=(-2, -1), logos=(0.0, 0.08), flashes=0.0, overlay=0.3, crf=(18, 21),
    ),
    "medium": Difficulty(
        follow_s=(0.5, 1.0), follow_share=(0.3, 0.9), zoom_share=(0.0, 0.05), shake_px=(0.05, 0.4), cut_chance=0.12,
        exposure=(0.2, 0.45), optics_px=(0.35, 0.55), noise=(1.5, 3.5), ball_fade=(0.0, 0.12),
        still_balls=(0, 0, 0, 0, 0, 0, 1), extra_players=(0, 1), logos=(0.05, 0.2), flashes=0.02, overlay=0.6,
        crf=(20, 25),
    ),
    "hard": Difficulty(
        follow_s=(0.3, 0.8), follow_share=(0.6, 1.0), zoom_share=(0.03, 0.12), shake_px=(0.3, 1.2), cut_chance=0.3,
        exposure=(0.35, 0.7), optics_px=(0.45, 0.75), noise=(3.0, 6.5), ball_fade=(0.1, 0.3),
        still_balls=(0, 1, 1, 2, 3), extra_players=(1, 3), logos=(0.15, 0.35), flashes=0.08, overlay=0.8, crf=(24, 29),
    ),
}  # fmt: skip
