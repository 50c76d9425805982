"""What the benchmarks of the loop share: running its stages as a user does, and counting kept labels against truth."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from labels.records.matching import MatchCounts, count_matches  # noqa: E402
from labels.records.safe_writing import read_parquet  # noqa: E402
from labels.records.work_folder import WorkFolder  # noqa: E402
from labels.videos.synthetic.rendering import FIRST_BALL_TRACK  # noqa: E402

BALL = ["sports ball"]


def stage(script: str, work: Path, *arguments: str) -> None:
    """Run a stage script; what it prints is shown only when it fails."""
    ended = subprocess.run([sys.executable, ROOT / script, work, *arguments], capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{script} {' '.join(arguments)}: exit code {ended.returncode}\n{ended.stderr[-2000:]}")


def run_rounds(
    work: Path,
    labeller: list[str],
    cleaning: list[str],
    training: list[str],
    last: int = 2,
    later: Sequence[str] = (),
) -> None:
    """Rounds 0 to `last` of a work folder whose clips are there; `labeller` labels round 0, `later` the others."""
    for number in range(last + 1):
        named = ["--round", str(number)]
        stage("dataset_processor.py", work, *named, *(later if number else labeller))
        stage("dataset_cleaner.py", work, *named, *cleaning)
        if number < last:
            stage("train.py", work, *named, *training)


def kept_counts(
    work: Path, number: int, left_out: tuple[int, ...] = (), in_play: bool = False
) -> dict[str, MatchCounts]:
    """Kept balls of a round against truth, centre in the box: video_id -> counts, for the videos with truth.

    Frames that are `left_out` do not count. `in_play`: nor do the balls that lie about in a rendered clip.
    """
    folder, counts = WorkFolder(work), {}
    for video_id in folder.usable_videos()["video_id"]:
        truth = folder.read_truth(video_id)
        if truth is not None:
            truth = truth[~truth["frame_index"].isin(left_out)]
            if in_play:
                truth = truth.assign(visibility=truth["visibility"].where(truth["track_id"] <= FIRST_BALL_TRACK, 0))
            boxes = read_parquet(folder.round(number).boxes("cleaned", video_id))
            counts[video_id] = count_matches(boxes[boxes["decision"] == "keep"], truth, class_names=BALL)
    return counts


def figures(counts: MatchCounts) -> str:
    return f"P {counts.precision:.3f}  R {counts.recall:.3f}  F1 {counts.f1:.3f}"
