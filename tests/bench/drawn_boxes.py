"""A clip in which no teacher sees the ball, and the boxes of a few of its frames: how far the loop gets from there.

    LABELS_REAL_DATA=FOLDER python tests/bench/drawn_boxes.py [--clip baseball_field] [--drawn 3] [--keep FOLDER]

Takes the truth of that many frames, evenly spread, for what a human drew, and prints precision, recall and F1 (centre
in the box) of the kept labels on all the other frames by round. About 10 minutes on two cores.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from loop_runs import figures, kept_counts, run_rounds, stage

from labels.records.tables import BOX_COLUMNS
from labels.records.work_folder import WorkFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default="baseball_field")
    parser.add_argument("--drawn", type=int, default=3, help="frames")
    parser.add_argument("--keep", type=Path, help="keep the work folder here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clips, work = Path(scratch) / "clips", args.keep or Path(scratch) / "work"
        clips.mkdir()
        for path in (Path(os.environ["LABELS_REAL_DATA"]) / "balls").glob(f"{args.clip}.*"):
            shutil.copy(path, clips)
        stage("dataset_downloader.py", work, "--from", "folder", "--path", str(clips))
        truth = WorkFolder(work).read_truth(args.clip)
        assert truth is not None
        frames = sorted(truth["frame_index"].unique())
        drawn = tuple(int(frames[(2 * at + 1) * len(frames) // (2 * args.drawn)]) for at in range(args.drawn))
        boxes = truth[truth["frame_index"].isin(drawn)].assign(video_id=args.clip)
        boxes[["video_id", "frame_index", *BOX_COLUMNS, "class_name"]].to_csv(clips / "drawn.csv", index=False)
        stage("dataset_downloader.py", work, "--import-labels", str(clips / "drawn.csv"))
        run_rounds(work, ["--detector", "human"], [], [])
        for number in WorkFolder(work).round_numbers():
            counts = kept_counts(work, number, left_out=drawn)[args.clip]
            print(f"{args.clip} from frames {drawn}  round {number}  {figures(counts)}", flush=True)


if __name__ == "__main__":
    main()
