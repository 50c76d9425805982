"""How good the labels of rounds 0, 1 and 2 are on synthetic clips of several seeds.

    python tests/bench/rounds_by_seed.py --seeds 1 2 3 [--keep FOLDER]

Runs what `make demo` runs, once a seed, and prints precision, recall and F1 (centre in the box) of the kept labels
against the truth, on the clips that are trained on and on the held-out ones. About 8 minutes a seed on two cores.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

ROUNDS = 3


def stage(script: str, work: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, ROOT / script, work, *arguments], check=True, stdout=subprocess.DEVNULL)


def run_rounds(work: Path, first_labeller: list[str]) -> None:
    """Rounds 0, 1 and 2 of a work folder whose clips are there."""
    for number in map(str, range(ROUNDS)):
        stage("dataset_processor.py", work, "--round", number, *(first_labeller if number == "0" else []))
        stage("dataset_cleaner.py", work, "--round", number)
        if int(number) < ROUNDS - 1:
            stage("train.py", work, "--round", number)


def print_quality(work: Path, heading: str) -> None:
    from labels.records.matching import MatchCounts, count_matches
    from labels.records.safe_writing import read_parquet
    from labels.records.work_folder import WorkFolder

    folder = WorkFolder(work)
    videos = folder.usable_videos()
    for number in folder.round_numbers():
        sums = {"training": MatchCounts(), "held out": MatchCounts()}
        for video in videos.itertuples():
            truth = folder.read_truth(video.video_id)
            if truth is None:
                continue
            boxes = read_parquet(folder.round(number).boxes("cleaned", video.video_id))
            kept = boxes[boxes["decision"] == "keep"]
            sums["held out" if video.split == "test" else "training"] += count_matches(
                kept, truth[truth["class_name"].isin(["sports ball", ""])]
            )
        for clips, counts in sums.items():
            if counts.right + counts.missed:
                figures = f"P {counts.precision:.3f}  R {counts.recall:.3f}  F1 {counts.f1:.3f}"
                print(f"{heading}  round {number}  {clips:9}  {figures}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--keep", type=Path, help="keep the work folders here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            work = (args.keep or Path(scratch)) / f"seed{seed}"
            started = time.monotonic()
            stage("dataset_downloader.py", work, "--from", "synthetic", "--seed", str(seed))
            run_rounds(work, ["--detector", "motion"])
            print_quality(work, f"seed {seed}")
            print(f"seed {seed}  {(time.monotonic() - started) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
