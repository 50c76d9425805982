"""Trains the ballnet that comes with the package, on rendered clips alone: labels/models/detectors/ballnet.pt.

    python tests/bench/pretrain_ballnet.py --keep FOLDER [--epochs 9]
    python tests/bench/pretrain_ballnet.py --judge WORK         # a work folder of filmed clips with truth

It is a detector of its own (`--detector ballnet`) and what students start from. The clips are those that `motion` is
fitted to; their truth takes the place of cleaned labels. About an hour on one core. --judge prints, for each clip, the
best F1 at a single threshold of the weights that are there, and F1 at 0.5, beside `motion` at its best threshold.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from loop_runs import BALL, figures, stage
from motion_weights import FITTED, LEAST_SEEN, rendered

from labels.models.checkpoints import BALLNET_WEIGHTS
from labels.models.detectors.loading import load_detector
from labels.records import tables
from labels.records.matching import count_matches
from labels.records.run_records import RunRecord, digest_of_files, write_run_record
from labels.records.video_labels import VideoFacts, VideoLabels, write_video_labels
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import decode_frames


def together(folder: Path, sources: list[WorkFolder]) -> WorkFolder:
    """One work folder with the clips of several, each under a name of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    work, rows = WorkFolder(folder), []
    for source in sources:
        for row in source.usable_videos().to_dict("records"):
            video_id = f"{source.root.name}_{row['video_id']}"
            file = video_id + Path(row["file"]).suffix
            for old, new in (
                (source.videos / row["file"], work.videos / file),
                (source.truth_boxes(row["video_id"]), work.truth_boxes(video_id)),
            ):
                new.parent.mkdir(parents=True, exist_ok=True)
                os.link(old, new)
            rows.append(row | {"video_id": video_id, "file": file, "group": video_id})
    work.write_videos(pd.DataFrame(rows).astype(sources[0].usable_videos().dtypes))
    return work


def label_with_truth(work: WorkFolder) -> None:
    """Cleaned labels of round 0 that are the truth; hardly visible balls are neither object nor background."""
    folder, paths = work.round(0), []
    for video in work.usable_videos().itertuples():
        truth = work.read_truth(video.video_id)
        balls = truth[truth["class_name"].isin(BALL) & (truth["x2"] > truth["x1"])]
        frame = balls["frame_index"].to_numpy()
        seen = balls["visibility"].to_numpy() >= LEAST_SEEN
        boxes = tables.make_boxes(
            video.video_id,
            0,
            frame,
            frame / video.fps,
            balls[tables.BOX_COLUMNS].to_numpy(),
            balls["class_name"].to_numpy(dtype=object),
            np.ones(len(balls)),
            origin="human",
            track_id=balls["track_id"].to_numpy(),
        ).assign(
            quality=np.float32(1),
            decision=np.where(seen, "keep", "ignore"),
            reason=np.where(seen, "", "hidden"),
        )
        facts = VideoFacts(video.video_id, int(video.frame_count), 1, video.fps, int(video.width), int(video.height))
        paths.append(folder.boxes("cleaned", video.video_id))
        boxes = tables.sort_boxes(boxes.drop_duplicates("label_uid"))
        write_video_labels(paths[-1], VideoLabels(boxes, facts))
    labeller = {"class_names": BALL, "sources": {}}
    output = digest_of_files(paths)
    write_run_record(folder, RunRecord("cleaned", 0, {}, {}, facts={"labeller": labeller}, output=output))


def judge(work: WorkFolder) -> None:
    for video in work.usable_videos().itertuples():
        truth = work.read_truth(video.video_id)
        if truth is None:
            continue
        said = []
        for name in ("ballnet", "motion"):
            parts = []
            for frame, found in load_detector(name).detect(decode_frames(work.videos / video.file)):
                frame_index, time_s = (np.full(len(found.score), value) for value in (frame.frame_index, frame.time_s))
                place = (video.video_id, 0, frame_index, time_s)
                parts.append(tables.make_boxes(*place, found.xyxy, found.class_name, found.score))
            boxes = tables.concatenate(parts, tables.BOXES)
            at = {limit: count_matches(boxes[boxes["score"] >= limit], truth, class_names=BALL) for limit in LIMITS}
            best = max(at, key=lambda limit: at[limit].f1)
            said.append(f"{name} at {best:.2f}: {figures(at[best])}, at 0.5 F1 {at[0.5].f1:.3f}")
        print(f"{video.video_id:22}", "; ".join(said), flush=True)


LIMITS = [round(0.05 * step, 2) for step in range(1, 19)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="keep the clips here")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--judge", type=Path, metavar="WORK")
    args = parser.parse_args()
    if args.judge:
        judge(WorkFolder(args.judge))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        work = together(folder / "together", [rendered(folder, clips) for clips in FITTED])
        label_with_truth(work)
        stage("train.py", work.root, "--round", "0", "--from-scratch", "--epochs", str(args.epochs))
        shutil.copyfile(work.round(0).detector, BALLNET_WEIGHTS)


if __name__ == "__main__":
    main()
