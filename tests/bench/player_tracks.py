"""Players' tracks judged by HOTA on the truth of rendered clips, whose boxes are made as bad as a detector's.

    python tests/bench/player_tracks.py --work FOLDER [FOLDER …] [--miss 0.15 --stray 0.5 --jitter 0.05]

Of the true boxes of players a share is missed (hidden ones oftener), the others are shifted and stretched, weak where
they are hidden, and stray boxes come in. Camera motion is as round 0 measured it. Prints HOTA, DetA and AssA over all
clips of the folder, of the tracks with their short gaps filled, as the cleaner fills them, and of the tracks as they
are; beside what perfect association of the same boxes would reach.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from hota import hota  # noqa: E402

from labels.cleaning.features.scores import probability  # noqa: E402
from labels.records import tables  # noqa: E402
from labels.records.safe_writing import read_parquet  # noqa: E402
from labels.records.work_folder import WorkFolder  # noqa: E402
from labels.tracks.candidates import make_timeline  # noqa: E402
from labels.tracks.settings import PathSettings, PlayerSettings  # noqa: E402
from labels.tracks.trajectories import find_trajectories  # noqa: E402

MIN_VISIBILITY = 0.25
COLUMNS = ["frame_index", "track_id", *tables.BOX_COLUMNS]


def as_detected(truth: pd.DataFrame, video, rng: np.random.Generator, args: argparse.Namespace) -> pd.DataFrame:
    """What a detector might say of the players: boxes with log_odds and the true track (-1: stray)."""
    hidden = 1 - truth["visibility"].to_numpy()
    seen = truth[rng.random(len(truth)) >= np.clip(args.miss * (0.5 + 2 * hidden), 0, 0.95)]
    xyxy = seen[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    sides = xyxy[:, 2:] - xyxy[:, :2]
    noise = rng.normal(0, args.jitter, (len(xyxy), 4)) * np.tile(sides, 2)
    odds = rng.normal(2.0 - 3.0 * (1 - seen["visibility"].to_numpy()), 1.0)
    count = rng.poisson(args.stray * video.frame_count)
    frames = rng.integers(0, video.frame_count, count)
    low = rng.uniform([0, 0], [video.width, video.height], (count, 2))
    stray = np.concatenate([low, low + rng.choice(sides, count)], axis=1) if len(sides) else np.zeros((0, 4))
    boxes = pd.DataFrame(np.concatenate([xyxy + noise, stray[:count]]), columns=tables.BOX_COLUMNS)
    boxes["frame_index"] = np.concatenate([seen["frame_index"], frames]).astype(int)
    boxes["log_odds"] = np.concatenate([odds, rng.normal(-0.5, 1.0, count)])
    boxes["true_track"] = np.concatenate([seen["track_id"], np.full(count, -1)]).astype(int)
    boxes["time_s"], boxes["class_name"] = boxes["frame_index"] / video.fps, "person"
    boxes["score"] = probability(boxes["log_odds"].to_numpy())
    fine = ((boxes["x2"] - boxes["x1"]) >= 2) & ((boxes["y2"] - boxes["y1"]) >= 2)
    return boxes[fine].sort_values("frame_index", kind="stable", ignore_index=True)


def tracked(boxes: pd.DataFrame, video, camera: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    frames = np.arange(video.frame_count)
    timeline = make_timeline(frames, video.fps, video.width, video.height, boxes[["frame_index", "time_s"]], camera)
    every = np.ones(len(boxes), dtype=bool)
    settings = PathSettings(), PlayerSettings()
    found = find_trajectories(boxes, boxes["log_odds"].to_numpy(), every, timeline, "person", *settings)
    tracks = boxes.assign(track_id=found.path)[found.path >= 0][COLUMNS]
    gaps = found.gaps
    filled = tracks
    if len(gaps):
        gaps = gaps.assign(frame_index=timeline.frame_index[gaps["step"]], track_id=gaps["path"])
        filled = pd.concat([tracks, gaps[COLUMNS]], ignore_index=True)
    right = boxes[boxes["true_track"] >= 0]
    return {"gaps filled": filled, "as linked": tracks, "perfectly linked": right.assign(track_id=right["true_track"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, nargs="+", required=True)
    parser.add_argument("--miss", type=float, default=0.15)
    parser.add_argument("--stray", type=float, default=0.5, help="stray boxes a frame")
    parser.add_argument("--jitter", type=float, default=0.05, help="of the sides")
    args = parser.parse_args()
    for root in args.work:
        work, rng = WorkFolder(root), np.random.default_rng(0)
        truths: list[pd.DataFrame] = []
        kinds: dict[str, list[pd.DataFrame]] = {}
        for number, video in enumerate(work.usable_videos().itertuples()):
            truth = work.read_truth(video.video_id)
            truth = truth[(truth["class_name"] == "person") & (truth["visibility"] >= MIN_VISIBILITY)]
            path = work.round(0).camera(video.video_id)
            boxes = as_detected(truth, video, rng, args)
            # Clips lie one after the other, so that frames and tracks of different ones never meet.
            apart = {"frame_index": 100_000 * number, "track_id": 100_000 * number}
            truths.append(truth.assign(**{name: truth[name] + shift for name, shift in apart.items()}))
            for kind, found in tracked(boxes, video, read_parquet(path) if path.is_file() else None).items():
                kinds.setdefault(kind, []).append(
                    found.assign(**{name: found[name] + shift for name, shift in apart.items()})
                )
        true = pd.concat(truths, ignore_index=True)
        print(f"\n{root}: {true['track_id'].nunique()} players, {len(true):,} boxes")
        for kind, found in kinds.items():
            every = pd.concat(found, ignore_index=True)
            said = hota(true, every)
            tracks = every["track_id"].nunique()
            print(
                f"  {kind:17} HOTA {said.hota:.3f}  DetA {said.det_a:.3f}  AssA {said.ass_a:.3f}  {tracks} tracks",
                flush=True,
            )


if __name__ == "__main__":
    main()
