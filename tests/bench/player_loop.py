"""Synthetic players, a tenth of the clips labelled: one student of these alone, against rounds of the loop.

    python tests/bench/player_loop.py --seeds 0 [--clips 60 --held-out 20 --share 0.1 --rounds 2 --keep FOLDER]

Players' places are those of the truth (tracks are not judged here). Prints, for the student of each round, macro-F1 and
accuracy on the held-out clips, and how many of the labels that the round kept are right and how much of the time they
cover, in the clips whose human labels were held back.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from loop_runs import stage

WINDOWS = ["--window-frames", "8", "--window-seconds", "0.64"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=20)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--difficulty", default="easy")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, nargs=2, default=[15, 6], help="of round 0, and of the later rounds")
    parser.add_argument("--keep", type=Path, help="keep the work folders here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            work = (args.keep or Path(scratch)) / f"players{seed}"
            clips = ["--clips", args.clips, "--held-out", args.held_out, "--frames", args.frames]
            clips += ["--difficulty", args.difficulty, "--seed", seed]
            stage("dataset_downloader.py", work, "--from", "synthetic", *map(str, clips))
            for number in range(args.rounds + 1):
                started = time.monotonic()
                named = ["--round", str(number)]
                labeller = ["--recogniser", "human"] if number == 0 else []
                stage("dataset_processor.py", work, *named, *labeller, "--human-share", str(args.share))
                stage("dataset_cleaner.py", work, *named)
                epochs = str(args.epochs[min(number, 1)])
                stage("train.py", work, *named, *WINDOWS, "--epochs", epochs, "--seed", str(seed))
                folder = work / "rounds" / f"{number:02d}"
                test = json.loads((folder / "trained/actions/metrics.json").read_text())["test"]
                kept = json.loads((folder / "cleaned/actions/run.json").read_text())["counts"]["quality"]
                print(
                    f"seed {seed} round {number}: "
                    f"held-out macro-F1 {test['macro_f1']:.3f} {test['macro_f1_interval']}, "
                    f"top-1 {test['top1']:.3f}; labels kept in training clips: {kept.get('training', {}).get('kept')}; "
                    f"{(time.monotonic() - started) / 60:.1f} minutes",
                    flush=True,
                )


if __name__ == "__main__":
    main()
