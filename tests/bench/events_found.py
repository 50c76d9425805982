"""How many rendered hits and bounces stage 3's events name, within one frame.

    python tests/bench/events_found.py                      # seeds that nothing was chosen by
    python tests/bench/events_found.py --first-seed 2000    # some that the limits were chosen by

The renderer knows when a ball is sent on and when it bounces. Its true boxes, each corner moved by noise and those
hidden for the most part left out, stand for a ball that is followed: what is measured is `labels/cleaning/events.py`
alone. An event counts if the ball is seen in two of four frames on either side.
"""

import argparse

import numpy as np
import pandas as pd

from labels.cleaning.audits import wilson_interval
from labels.cleaning.events import BOUNCE, HIT, events_in
from labels.records import tables
from labels.videos.synthetic.camera import STEP_S
from labels.videos.synthetic.play import LEAD_S, Play
from labels.videos.synthetic.rendering import Scene, truth_table
from labels.videos.synthetic.settings import SPORTS, SceneSettings

BALL_TRACK = 100
SEEN, NOISE = 0.3, 0.05
NEAR_FRAMES, SIDE_FRAMES = 1, 4


def true_events(play: Play, radius_m: float, fps: float, frame_count: int) -> list[tuple[int, str]]:
    """(frame, class) of the first ball, by frame: when it is sent on, and when its fall turns at the ground."""
    height = play.balls[0].path[:, 2]
    speed = np.diff(height) / STEP_S
    low = np.flatnonzero((speed[:-1] < -0.6) & (speed[1:] > 0.3) & (height[1:-1] < radius_m + 0.15)) + 1
    hits = [time_s for time_s, _ in play.hits]
    bounces = [step * STEP_S - LEAD_S for step in low]
    bounces = [time_s for time_s in bounces if min((abs(time_s - hit) for hit in hits), default=9) > 1.5 / fps]
    found = [(round(time_s * fps), name) for name, times in ((HIT, hits), (BOUNCE, bounces)) for time_s in times]
    return sorted(event for event in found if 0 <= event[0] < frame_count)


def followed(truth: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The true boxes as kept labels: hidden ones left out, corners moved by noise."""
    boxes = truth[(truth["visibility"] >= SEEN) & truth["x1"].notna()].reset_index(drop=True)
    corners = boxes[tables.BOX_COLUMNS].to_numpy(np.float64)
    side = np.sqrt(np.prod(corners[:, 2:] - corners[:, :2], axis=1))
    noise = np.random.default_rng(seed).normal(0, NOISE, corners.shape) * np.minimum(side, 20)[:, None]
    boxes[tables.BOX_COLUMNS] = corners + noise
    return boxes


def is_seen(frame: int, frames: np.ndarray) -> bool:
    before = ((frames < frame) & (frames >= frame - SIDE_FRAMES)).sum()
    return min(before, ((frames > frame) & (frames <= frame + SIDE_FRAMES)).sum()) >= 2


def measure(sport: str, seed: int, difficulty: str) -> dict[str, np.ndarray]:
    """By class: true, found, named, named rightly, (4,) each."""
    settings = SceneSettings(seed=seed, sport=sport, difficulty=difficulty, frame_count=100)
    scene = Scene(settings)
    truth = truth_table([frame.truth for frame in scene.frames()])
    boxes = followed(truth, seed)
    frames = boxes["frame_index"][boxes["track_id"] == BALL_TRACK].to_numpy()
    there = true_events(scene.play, scene.sport.ball_radius_m, settings.fps, settings.frame_count)
    none = tables.empty_table(tables.ACTIONS)
    events = events_in(boxes[boxes["track_id"] <= BALL_TRACK], none, "clip", settings.fps)
    counts = {}
    for name in (HIT, BOUNCE, "any"):
        own = [frame for frame, kind in there if name in (kind, "any") and is_seen(frame, frames)]
        everything = [frame for frame, kind in there if name in (kind, "any")]
        named = events["frame_index"][(events["class_name"] == name) | (name == "any")].to_numpy()
        found = sum(bool((np.abs(named - frame) <= NEAR_FRAMES).any()) for frame in own)
        right = sum(min((abs(frame - other) for other in everything), default=9) <= NEAR_FRAMES for frame in named)
        counts[name] = np.array([len(own), found, len(named), right])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-seed", type=int, default=3000)
    parser.add_argument("--clips", type=int, default=6, help="of each sport")
    parser.add_argument("--difficulty", default="medium")
    args = parser.parse_args()
    totals: dict[str, np.ndarray] = {}
    for sport in SPORTS:
        own: dict[str, np.ndarray] = {}
        for seed in range(args.first_seed, args.first_seed + args.clips):
            for name, counts in measure(sport, seed, args.difficulty).items():
                own[name] = own.get(name, 0) + counts
        for name, counts in own.items():
            totals[name] = totals.get(name, 0) + counts
            print(line(sport, name, counts), flush=True)
    for name, counts in totals.items():
        print(line("all", name, counts))


def line(sport: str, name: str, counts: np.ndarray) -> str:
    parts = []
    for word, count, right in (("recall", counts[0], counts[1]), ("precision", counts[2], counts[3])):
        low, high = wilson_interval(right / count, float(count)) if count else (0, 1)
        share = f"{right / count:.2f}" if count else "–"
        parts.append(f"{word} {share} ({low:.2f} to {high:.2f}; {right} of {count})")
    return f"{sport:<11}{name:<7} {'  '.join(parts)}"


if __name__ == "__main__":
    main()
