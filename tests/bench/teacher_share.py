r"""What a teacher on a sample costs and gives, beside the same teacher on every frame.

    python tests/bench/teacher_share.py --share 0.1 [--ask 0.05] [--from-scratch] [--keep FOLDER]

Rendered clips; the teacher is their truth with noise: it misses balls, jitters, and sees balls that are not there.
Prints for each of the two, round by round, the F1 of the kept labels (centre in the box) on the clips that are trained
on and on the held-out ones, and how many frames the teacher was given, which is counted where it is called. With the
defaults about a quarter of an hour on one core that does nothing else.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from loop_runs import figures, kept_counts

import dataset_cleaner
import dataset_downloader
import dataset_processor
import train
from labels.labelling.sample import bill_lines, read_bill
from labels.models.detectors import ensemble
from labels.records.detections import Detections
from labels.records.matching import MatchCounts
from labels.records.safe_writing import digest_of
from labels.records.tables import BOX_COLUMNS
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import Frame, decode_frames

TEACHER = "truth-with-noise"
MISS, STRAY, JITTER = 0.2, 0.5, 0.08  # share of balls, boxes a frame, shares of a side
RIGHT, WRONG = (1.0, 1.2), (-1.2, 1.0)  # mean and spread of the log-odds of its scores
CLIPS = ["--set", "sport=volleyball", "--set", "difficulty=medium"]


class NoisyTruth:
    """Knows each frame of a work folder by its pixels, and is given the frames that it counts."""

    name, digest, class_names, every_frame, describes = TEACHER, TEACHER, ("sports ball",), False, False
    working_threshold = {"sports ball": 0.5}  # noqa: RUF012
    score_slope: dict[str, float] = {}  # noqa: RUF012

    def __init__(self, work: WorkFolder) -> None:
        self.calls = 0
        self._truth: dict[bytes, np.ndarray] = {}
        for video in work.usable_rows().values():
            truth = work.read_truth(video.video_id)
            truth = truth[(truth["class_name"] == "sports ball") & (truth["visibility"] > 0)]
            of_frame = {index: rows[BOX_COLUMNS].to_numpy() for index, rows in truth.groupby("frame_index")}
            for frame in decode_frames(work.videos / video.file):
                self._truth[self._known_by(frame)] = of_frame.get(frame.frame_index, np.zeros((0, 4)))

    @staticmethod
    def _known_by(frame: Frame) -> bytes:
        return digest_of(frame.rgb.tobytes().hex()).encode()

    def detect(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Detections]]:
        for frame in frames:
            self.calls += 1
            known = self._known_by(frame)
            rng = np.random.default_rng(list(known))
            height, width = frame.rgb.shape[:2]
            true = self._truth[known]
            true = true[rng.random(len(true)) >= MISS]
            sides = np.tile(true[:, 2:] - true[:, :2], 2)
            found = true + rng.normal(0, JITTER, true.shape) * sides
            strays = int(rng.poisson(STRAY))
            side = np.exp(rng.uniform(np.log(4), np.log(16), (strays, 1)))
            corner = rng.uniform(0, [width - 16, height - 16], (strays, 2))
            odds = np.concatenate([rng.normal(*RIGHT, len(true)), rng.normal(*WRONG, strays)])
            boxes = np.concatenate([found, np.concatenate([corner, corner + side], axis=1)])
            yield frame, Detections(boxes, 1 / (1 + np.exp(-odds)), ["sports ball"] * len(boxes))


def stage(main: object, *arguments: object) -> None:
    """A stage in this process; what it prints is shown only when it fails."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main([str(each) for each in arguments])  # type: ignore[operator]
    if code:
        sys.exit(f"{arguments}: exit code {code}\n{said.getvalue()[-3000:]}")


def run(work: Path, args: argparse.Namespace, share: float | None) -> tuple[dict[str, float], int]:
    """F1 of round 2 by part of the clips, of all frames, and the frames that the teacher was given."""
    name = "everywhere" if share is None else f"share {share:g}"
    f1: dict[str, float] = {}
    started, folder = time.monotonic(), WorkFolder(work)
    sizes = [f"--set=frames={args.frames}", "--set=width=320", "--set=height=192"]
    stage(dataset_downloader.main, work, "--from", "synthetic", "--clips", args.clips, "--held-out", args.held_out,
          "--seed", args.seed, *CLIPS, *sizes)  # fmt: skip
    teacher, load = NoisyTruth(folder), ensemble.load_detector
    ensemble.load_detector = lambda named, *more: teacher if named == TEACHER else load(named, *more)
    try:
        for number in range(3):
            said = ["--detector", TEACHER] if not number else []
            if share is not None and not number:
                said += ["--share", share]
            if share is not None and number == 2 and args.ask:
                said += ["--ask", TEACHER, "--share", args.ask]
            stage(dataset_processor.main, work, "--round", number, *said)
            stage(dataset_cleaner.main, work, "--round", number, "--set", "max_per_frame=1", "--force")
            if number < 2:
                scratch = ["--from-scratch"] if args.from_scratch else []
                stage(train.main, work, "--round", number, "--epochs", args.epochs, *scratch)
            held_out = folder.usable_videos().set_index("video_id")["split"] == "test"
            counts = kept_counts(work, number)
            for part, wanted in (("training", [False]), ("held out", [True]), ("together", [False, True])):
                total = sum((each for video_id, each in counts.items() if held_out[video_id] in wanted), MatchCounts())
                print(f"{name:<12} round {number}  {part:9} {figures(total)}  calls {teacher.calls}", flush=True)
                f1[part] = total.f1
    finally:
        ensemble.load_detector = load
    print(*bill_lines(read_bill(folder)), sep="\n")
    print(f"{name}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    return f1, teacher.calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--ask", type=float, default=0.0, help="of round 2, beside the student")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--held-out", type=int, default=8)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from-scratch", action="store_true", help="students that have seen no rendered clip before")
    parser.add_argument("--keep", type=Path, help="keep the work folders here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        (sampled, calls), (whole, all_calls) = (
            run(folder / name, args, share) for name, share in (("share", args.share), ("everywhere", None))
        )
    print(f"calls: {calls} of {all_calls}, {calls / all_calls:.3f}")
    for part, f1 in sampled.items():
        print(f"{part:9} F1 of round 2: {f1:.3f} of {whole[part]:.3f}, {f1 / whole[part]:.3f}")


if __name__ == "__main__":
    main()
