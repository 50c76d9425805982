"""What can be asked of the synthetic clips. Imports nothing heavy: the scripts take their defaults from here."""

import hashlib
from dataclasses import dataclass

from labels.records.errors import InputError

SOURCE = "synthetic"  # of the videos table

SPORTS = ("soccer", "basketball", "tennis", "volleyball")
DIFFICULTIES = ("easy", "medium", "hard")
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
                sport = SPORTS[index % len(SPORTS)] if self.sport == MIXED else self.sport
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
