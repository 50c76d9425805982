r"""How good the labels of rounds 0, 1 and 2 are on synthetic clips of several seeds; usually those of `make demo`.

    python tests/bench/rounds_by_seed.py --seeds 1 2 3 [--keep FOLDER]
    python tests/bench/rounds_by_seed.py --seeds 1 --difficulty hard --clips 40 --frames 60 --width 640 --epochs 12 \
        --more-views

Prints precision, recall and F1 (centre in the box) of the kept labels against the truth, on the clips that are trained
on, on the held-out ones and on all; where balls lie about, also of the balls in play alone, which are all that
`--set max_per_frame=1` asks for. About 8 minutes a seed on two cores, and half an hour for the second of these.
"""

import argparse
import tempfile
import time
from pathlib import Path

from loop_runs import figures, kept_counts, run_rounds, stage

from labels.records.matching import MatchCounts
from labels.records.work_folder import WorkFolder

# The Makefile's demo says the same.
CLIPS = ["--set", "sport=volleyball", "--held-out", "10"]
DIFFICULTY, COUNT, FRAMES, WIDTH, EPOCHS = "easy", 32, 30, 320, 6
MOTION = ["--detector", "motion"]
CLEANING = ["--set", "max_per_frame=1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--difficulty", default=DIFFICULTY)
    parser.add_argument("--clips", type=int, default=COUNT, help="to train on")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of a clip")
    parser.add_argument("--width", type=int, default=WIDTH, help="of a frame that is 16:9, a multiple of 32")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument(
        "--more-views", action="store_true", help="later rounds: motion too, and the student in a mirror"
    )
    parser.add_argument("--keep", type=Path, help="keep the work folders here")
    args = parser.parse_args()
    if args.width % 32:
        parser.error(f"--width {args.width}: not a multiple of 32")
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            work = (args.keep or Path(scratch)) / f"seed{seed}"
            started = time.monotonic()
            sizes = {"frames": args.frames, "width": args.width, "height": args.width * 9 // 16}
            clips = ["--clips", str(args.clips), "--seed", str(seed), *CLIPS, "--set", f"difficulty={args.difficulty}"]
            clips += [word for name, size in sizes.items() for word in ("--set", f"{name}={size}")]
            stage("dataset_downloader.py", work, "--from", "synthetic", *clips)
            later = ["--detector", "student", *MOTION, "--mirrored"] if args.more_views else []
            run_rounds(work, MOTION, CLEANING, ["--epochs", str(args.epochs), "--from-scratch"], later=later)
            held_out = WorkFolder(work).usable_videos().set_index("video_id")["split"] == "test"
            for number in WorkFolder(work).round_numbers():
                for balls in ("all balls", "in play") if args.difficulty != DIFFICULTY else ("",):
                    counts = kept_counts(work, number, in_play=balls == "in play")
                    for name, wanted in (("training", [False]), ("held out", [True]), ("together", [False, True])):
                        total = sum((one for key, one in counts.items() if held_out[key] in wanted), MatchCounts())
                        print(f"seed {seed}  round {number}  {name:9} {figures(total)}  {balls}", flush=True)
            print(f"seed {seed}  {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
