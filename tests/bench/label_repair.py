"""Who finds more planted label faults within the same review budget: this project's cleaning, or cleanlab's ObjectLab?

    pip install cleanlab
    python tests/bench/label_repair.py --work RENDERED [--work REAL] [--seeds 3]

Takes work folders with truth whose round 0 is labelled. True balls, places and sides as inexact as a person's, are the
labels to check. A tenth has a fault, as in Tkachenko et al. (2023), "ObjectLab", and Chachuła et al. (2022): *missing*,
*spurious* (a box where nothing is), *shifted* (by one to two of its sides) or *swapped* (it is called a person).

Both see the labels and the boxes of round 0's labeller. ObjectLab gets those as predictions, one for overlapping ones,
with probabilities by the scale that cleaning uses. Cleaning gets labels and boxes together; it looks at them over time,
which ObjectLab does not. A frame is as doubtful as its most doubtful label (1 less the quality of the best box of its
class there), or as the surest box that is kept where no label is. The most doubtful frames are reviewed, up to a share
of all. Recall: planted faults in reviewed frames; precision: reviewed frames with a fault. Intervals are of 95 %, by
drawing clips again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.object_detection.rank import get_label_quality_scores

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from labels.cleaning.features.scores import ScoreScale, calibrated, probability, scales_from  # noqa: E402
from labels.cleaning.settings import CleaningSettings  # noqa: E402
from labels.cleaning.video import clean_video  # noqa: E402
from labels.records import tables  # noqa: E402
from labels.records.class_lists import family_of  # noqa: E402
from labels.records.geometry import iou_matrix  # noqa: E402
from labels.records.matching import MIN_VISIBILITY  # noqa: E402
from labels.records.run_records import read_run_record  # noqa: E402
from labels.records.safe_writing import read_parquet  # noqa: E402
from labels.records.video_labels import VideoLabels, read_video_labels  # noqa: E402
from labels.records.work_folder import WorkFolder  # noqa: E402

BALL, PERSON = "sports ball", "person"
KINDS = ("missing", "spurious", "shifted", "swapped")
FAULTS = 0.1  # of the true balls
BUDGETS = (0.05, 0.1, 0.2, 0.3)  # of the frames
SAME = 0.3  # IoU from which two boxes are of one thing
GIVEN = "given"  # the source of the labels to check, beside the detectors
REDRAWN = 1000


def plant(truth: pd.DataFrame, video: VideoLabels, seed: int) -> tuple[pd.DataFrame, dict[int, list[str]]]:
    """The labels of one clip with faults, and the kinds of fault by frame."""
    rng = np.random.default_rng([seed, *video.video.video_id.encode()])
    size = np.array([video.video.width, video.video.height], dtype=float)
    rows, faults = [], {}
    for ball in truth.itertuples():
        centre, sides = (
            np.array([ball.x1 + ball.x2, ball.y1 + ball.y2]) / 2,
            np.array([ball.x2 - ball.x1, ball.y2 - ball.y1]),
        )
        kind = str(rng.choice(KINDS)) if rng.random() < FAULTS else ""
        centre = centre + rng.normal(0, 0.06, 2) * sides
        half = sides * np.exp(rng.normal(0, 0.08, 2)) / 2
        boxes = [(centre, PERSON if kind == "swapped" else BALL)]
        if kind == "missing":
            boxes = []
        elif kind == "spurious":
            boxes.append((rng.uniform(half, np.maximum(size - half, half + 1)), BALL))
        elif kind == "shifted":
            angle = rng.uniform(0, 2 * np.pi)
            way = rng.uniform(1, 2) * sides.max() * np.array([np.cos(angle), np.sin(angle)])
            boxes = [(np.clip(centre + way, half, size - half), BALL)]
        if kind:
            faults.setdefault(int(ball.frame_index), []).append(kind)
        rows += [(int(ball.frame_index), *(middle - half), *(middle + half), name) for middle, name in boxes]
    frame = np.array([row[0] for row in rows], dtype=int)
    xyxy = np.array([row[1:5] for row in rows]).reshape(-1, 4)
    names = np.array([row[5] for row in rows], dtype=object)
    made = tables.make_boxes(
        video.video.video_id, 0, frame, frame / video.video.fps, xyxy, names, np.full(len(rows), 0.75), source=GIVEN
    )
    return made.drop_duplicates("label_uid"), faults


def our_doubt(video: VideoLabels, labels: pd.DataFrame, frames: list[int], scales: dict) -> list[float]:
    """How doubtful each frame is to cleaning."""
    own = {(GIVEN, name): ScoreScale(0.5) for name in (BALL, PERSON)}
    both = video.with_boxes(pd.concat([video.boxes, labels], ignore_index=True))
    cleaned = clean_video(both, 0, scales | own, CleaningSettings(), None, video.camera).labels.boxes
    there = cleaned[cleaned["decision"] != "drop"]
    by_frame = dict(iter(there.groupby("frame_index")))
    said = dict(iter(labels.groupby("frame_index")))
    doubts = []
    for frame in frames:
        found, given = by_frame.get(frame, there[:0]), said.get(frame, labels[:0])
        overlap = iou_matrix(
            given[tables.BOX_COLUMNS].to_numpy(np.float64), found[tables.BOX_COLUMNS].to_numpy(np.float64)
        )
        same = overlap >= SAME
        same &= given["class_name"].to_numpy(object)[:, None] == found["class_name"].to_numpy(object)[None]
        quality = found["quality"].to_numpy(np.float64)
        of_labels = 1 - np.max(np.where(same, quality, 0.0), axis=1, initial=0.0)
        alone = ~same.any(axis=0) & (found["decision"] == "keep").to_numpy() & (found["class_name"] == BALL).to_numpy()
        doubts.append(float(max(of_labels.max(initial=0.0), quality[alone].max(initial=0.0))))
    return doubts


def as_predictions(video: VideoLabels, frames: list[int], scales: dict) -> list[np.ndarray]:
    """For each frame the balls that the labeller sees, as ObjectLab takes them: (K,) of (M, 5)."""
    boxes = video.boxes[video.boxes["class_name"] == BALL]
    boxes = boxes.assign(probability=probability(calibrated(boxes, scales)))
    by_frame = dict(iter(boxes.groupby("frame_index")))
    predictions = []
    for frame in frames:
        own = by_frame.get(frame, boxes[:0]).sort_values("probability", ascending=False)
        xyxy = own[tables.BOX_COLUMNS].to_numpy(np.float64)
        overlap, keep = iou_matrix(xyxy, xyxy), []
        for row in range(len(xyxy)):
            if not any(overlap[row, other] > 0.5 for other in keep):
                keep.append(row)
        balls = np.column_stack([xyxy, own["probability"].to_numpy()])[keep].reshape(-1, 5)
        of_classes = np.empty(2, dtype=object)
        of_classes[:] = [balls, np.zeros((0, 5))]
        predictions.append(of_classes)
    return predictions


def as_given(labels: pd.DataFrame, frames: list[int]) -> list[dict[str, np.ndarray]]:
    said = dict(iter(labels.groupby("frame_index")))
    given = (said.get(frame, labels[:0]) for frame in frames)
    return [
        {
            "bboxes": own[tables.BOX_COLUMNS].to_numpy(np.float64).reshape(-1, 4),
            "labels": (own["class_name"] == PERSON).to_numpy().astype(int),
        }
        for own in given
    ]


def judge(root: Path, seeds: int) -> None:
    work = WorkFolder(root)
    facts = read_run_record(work.round(0), "labelled").facts["labeller"]
    scales = scales_from(facts["sources"])
    rows = []
    for seed in range(seeds):
        given, predictions, doubts, places = [], [], [], []
        for video_id in work.usable_videos()["video_id"]:
            truth = work.read_truth(video_id)
            path = work.round(0).boxes("labelled", video_id)
            if truth is None or not path.is_file():
                continue
            video, camera = read_video_labels(path), work.round(0).camera(video_id)
            video.boxes["class_name"] = video.boxes["class_name"].map(family_of)
            video = VideoLabels(video.boxes, video.video, read_parquet(camera) if camera.is_file() else None)
            truth = truth[truth["class_name"].isin(["", BALL])]
            frames = sorted(set(truth["frame_index"]))
            seen = (truth["visibility"] >= MIN_VISIBILITY) & ~tables.is_empty_frame(truth) & ~tables.is_point(truth)
            labels, faults = plant(truth[seen], video, seed)
            given += as_given(labels, frames)
            predictions += as_predictions(video, frames, scales)
            doubts += our_doubt(video, labels, frames, scales)
            places += [(video_id, seed, len(faults.get(frame, [])), tuple(faults.get(frame, []))) for frame in frames]
        theirs = 1 - get_label_quality_scores(given, predictions, verbose=False)
        order = np.random.default_rng(seed).permutation(len(places))  # equals are in no order
        for name, doubt in (("cleaning", np.array(doubts)), ("ObjectLab", theirs)):
            rank = np.empty(len(places))
            rank[order[np.argsort(-doubt[order], kind="stable")]] = np.arange(len(places)) / len(places)
            rows += [(name, *place, share) for place, share in zip(places, rank, strict=True)]
    table = pd.DataFrame(rows, columns=["who", "video_id", "seed", "faults", "kinds", "rank"])
    report(root, table)


def report(root: Path, table: pd.DataFrame) -> None:
    half = table[table["who"] == "cleaning"]
    print(f"\n{root.name}: {half['video_id'].nunique()} clips, {len(half)} frames, {half['faults'].sum()} faults\n")
    print("| reviewed | " + " | ".join(f"{who}: recall, precision" for who in ("cleaning", "ObjectLab")) + " |")
    print("|---|---|---|")
    for budget in BUDGETS:
        cells = [measured(table[table["who"] == who], budget) for who in ("cleaning", "ObjectLab")]
        print(f"| {budget:.0%} | {' | '.join(cells)} |", flush=True)
    print("\nrecall by kind at 20 %:")
    for who, own in table.groupby("who"):
        counts = {kind: own["kinds"].map(lambda kinds, kind=kind: kinds.count(kind)) for kind in KINDS}
        shares = (
            f"{kind} {count[own['rank'] < 0.2].sum() / max(count.sum(), 1):.2f}" for kind, count in counts.items()
        )
        print(f"  {who:<10} {', '.join(shares)}")


def measured(own: pd.DataFrame, budget: float) -> str:
    reviewed = own["rank"] < budget
    sums = pd.DataFrame(
        {
            "found": own["faults"].where(reviewed, 0),
            "faults": own["faults"],
            "right": (own["faults"] > 0) & reviewed,
            "reviewed": reviewed,
        }
    )
    by_clip = sums.groupby(own["video_id"]).sum().to_numpy(np.float64)
    drawn = np.random.default_rng(0).integers(len(by_clip), size=(REDRAWN, len(by_clip)))
    cells = []
    for top, bottom in ((0, 1), (2, 3)):
        again = by_clip[drawn].sum(axis=1)
        shares = again[:, top] / np.maximum(again[:, bottom], 1)
        low, high = np.percentile(shares, [2.5, 97.5])
        total = by_clip.sum(axis=0)
        cells.append(f"{total[top] / max(total[bottom], 1):.2f} ({low:.2f} to {high:.2f})")
    return ", ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, action="append", required=True, help="may be repeated")
    parser.add_argument("--seeds", type=int, default=3, help="drawings of faults for each clip")
    args = parser.parse_args()
    for root in args.work:
        judge(root, args.seeds)


if __name__ == "__main__":
    main()
