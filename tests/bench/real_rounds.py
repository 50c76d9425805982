"""Rounds 0, 1 and 2 on real clips, labelled first by a small real detector, beside that detector alone.

    LABELS_REAL_DATA=FOLDER python tests/bench/real_rounds.py [--clips] [--keep FOLDER]

Prints, for each clip with truth, F1 (centre in the box) of the detector's best single look (a scale or tiles) at the
threshold that is best for that clip, which nobody knows without truth, and of the kept labels by round. With --clips it
goes through the clips without truth instead, one look and motion, and prints how many labels each round keeps.
"""

import argparse
import os
import tempfile
from pathlib import Path

from loop_runs import BALL, figures, kept_counts, run_rounds, stage

from labels.records.matching import count_matches
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder

# One setting for all clips: the detector at four scales and in tiles, of balls and of players, and what moves.
LOOKS = ["--input-size", "320,640,960,1280", "--tiles", "480", "--classes", "sports ball,person"]
LOOKS += ["--detector", "motion"]
LATER = ["--detector", "student", "--detector", "motion"]


def best_single_threshold(work: Path, video_id: str) -> str:
    folder = WorkFolder(work)
    boxes, truth = read_parquet(folder.round(0).boxes("labelled", video_id)), folder.read_truth(video_id)
    best = (0.0, "nothing")
    for source, found in boxes[boxes["source"] != "motion"].groupby("source"):
        for limit in sorted({round(float(score), 2) for score in found["score"]}):
            counts = count_matches(found[found["score"] >= limit], truth, class_names=BALL)
            best = max(best, (counts.f1, f"{figures(counts)} with {source} at {limit}"))
    return best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="keep the work folder here")
    parser.add_argument("--clips", action="store_true", help="the clips without truth")
    args = parser.parse_args()
    real = Path(os.environ["LABELS_REAL_DATA"])
    teacher = ["--detector", str(real / "detectors" / "yolox_nano.onnx")]
    with tempfile.TemporaryDirectory() as scratch:
        work = args.keep or Path(scratch) / "real"
        stage(
            "dataset_downloader.py",
            work,
            "--from",
            "folder",
            "--path",
            str(real / ("clips" if args.clips else "balls")),
        )
        run_rounds(work, [*teacher, *(("--detector", "motion") if args.clips else LOOKS)], [], [], later=LATER)
        if args.clips:
            print_kept(work)
            return
        for video_id in kept_counts(work, 0):
            print(f"{video_id:20} detector  {best_single_threshold(work, video_id)}")
            for number in WorkFolder(work).round_numbers():
                print(f"{video_id:20} round {number}   {figures(kept_counts(work, number)[video_id])}", flush=True)


def print_kept(work: Path) -> None:
    folder = WorkFolder(work)
    for video in folder.usable_videos().itertuples():
        shards = [read_parquet(folder.round(at).boxes("cleaned", video.video_id)) for at in folder.round_numbers()]
        kept = ", ".join(str(int((boxes["decision"] == "keep").sum())) for boxes in shards)
        print(f"{video.video_id:20} {video.frame_count:4} frames, kept by round: {kept}")


if __name__ == "__main__":
    main()
