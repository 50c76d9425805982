"""Synthetic players, a tenth of the clips labelled: one student of these alone, against rounds of the loop.

    python tests/bench/player_loop.py --seeds 0 [--clips 200 --held-out 100 --share 0.1 --rounds 2 --keep FOLDER]
    python tests/bench/player_loop.py --seeds 0 --architecture cnn3d        # from pixels: the clips are rendered
    python tests/bench/player_loop.py --seeds 0 --architecture cnn3d+pose   # from both

Players' places are those of the truth (tracks are not judged here), and so are the joints that `pose` looks at, as a
data set with motion capture brings them. Prints, for the student of each round, macro-F1 and accuracy on the held-out
clips, of a student of both also what each of its parts comes to alone, and how many of the labels that the round kept
are right and how much of the time they cover, in the clips whose human labels were held back.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from loop_runs import stage
from player_clips import make_players

# A quarter of the moves take less than 0.5 s.
WINDOWS = {
    "cnn3d": ["--set", "window_frames=8", "--set", "window_seconds=0.64"],
    "pose": ["--set", "window_frames=12", "--set", "window_seconds=0.48"],
    "cnn3d+pose": ["--set", "window_frames=8", "--set", "window_seconds=0.48"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--architecture", default="pose", choices=("pose", "pose_gru", "cnn3d", "cnn3d+pose"))
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--difficulty", default="easy")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=2)
    # An epoch of joints is of 64 steps where labels are few, and longer with more of them: with these epochs the first
    # student of 200 clips learns for about 3,000 steps, and so do the later ones. With fewer clips say more for those.
    # Of pixels an epoch is of 16 steps at least, so the first student learns for about 700.
    parser.add_argument("--epochs", type=int, nargs=2, default=[45, 16], help="of round 0, and of the later rounds")
    parser.add_argument("--folds", type=int, default=0, help="out-of-fold students a round")
    parser.add_argument("--keep", type=Path, help="keep the work folders here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            work = (args.keep or Path(scratch)) / f"players{seed}"
            make_clips(work, args, seed)
            for number in range(args.rounds + 1):
                started = time.monotonic()
                run_round(work, args, seed, number)
                folder = work / "rounds" / f"{number:02d}"
                metrics = json.loads((folder / "trained/actions/metrics.json").read_text())
                test = metrics["test"]
                kept = json.loads((folder / "cleaned/actions/run.json").read_text())["counts"]["quality"]
                alone = "".join(
                    f"{name} alone {part['test']['macro_f1']:.3f}, " for name, part in metrics.get("parts", {}).items()
                )
                print(
                    f"seed {seed} round {number}: "
                    f"held-out macro-F1 {test['macro_f1']:.3f} {test['macro_f1_interval']}, {alone}"
                    f"top-1 {test['top1']:.3f}; labels kept in training clips: {kept.get('training', {}).get('kept')}; "
                    f"{(time.monotonic() - started) / 60:.1f} minutes",
                    flush=True,
                )


def make_clips(work: Path, args: argparse.Namespace, seed: int) -> None:
    sizes = {"clips": args.clips, "held_out": args.held_out, "frame_count": args.frames}
    rendered = "cnn3d" in args.architecture
    make_players(work, rendered, **sizes, difficulty=args.difficulty, seed=seed)


def run_round(work: Path, args: argparse.Namespace, seed: int, number: int) -> None:
    named = ["--round", str(number)]
    labeller = ["--recogniser", "human"] if number == 0 else []
    stage("dataset_processor.py", work, *named, *labeller, "--set", f"human_share={args.share}")
    stage("dataset_cleaner.py", work, *named, "--force")
    training = ["--architecture", args.architecture, "--epochs", str(args.epochs[min(number, 1)]), "--seed", str(seed)]
    training += WINDOWS[args.architecture.removesuffix("_gru")]
    training += ["--folds", str(args.folds)] if args.folds else []
    stage("train.py", work, *named, *training)


if __name__ == "__main__":
    main()
