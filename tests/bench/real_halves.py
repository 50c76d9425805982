"""Rounds 0, 1 and 2 on two halves of the real clips, each cleaned by weights that were fitted without it.

    LABELS_REAL_DATA=FOLDER python tests/bench/real_halves.py --rendered WORK [WORK …] [--seeds 0 1 2] [--keep FOLDER]

For each half the weights of the quality are fitted, in a copy of the package, to rendered clips (work folders whose
round 0 is labelled) and to round 0 of the other half; then the half goes through three rounds for each seed of
training. `motion` and the ballnet that training starts from are those of the package. Prints F1 (centre in the box),
precision and wrong labels of each clip by round, and the mean over the clips in which a ball can be seen. On one core
about half an hour, and twenty minutes more for each seed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from loop_runs import ROOT, kept_counts
from real_rounds import LATER, LOOKS

from labels.records.matching import MatchCounts

HALVES = {  # the clips that this project had first, and those that came later
    "first": ("soccer_park", "baseball_field", "volleyball_beach", "basketball_court"),
    "later": ("volleyball_reel_g", "basketball_senatopal", "tennis_profgrass", "soccer_votball1"),
}
OTHER = {"first": "later", "later": "first"}
SPECKS = "baseball_field"  # its balls are too small to be seen: silence is right
ROUNDS = 3


def run(package: Path, script: str, *arguments: object) -> None:
    """A script of this copy of the package; what it prints is shown only when it fails."""
    command = [sys.executable, script, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(package)}
    ended = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True)
    if ended.returncode == 3:  # an alarm: the round is there, and its figures will say so
        print(ended.stderr.strip().splitlines()[-1], file=sys.stderr)
    elif ended.returncode:
        sys.exit(f"{' '.join(command)}: exit code {ended.returncode}\n{ended.stderr[-2000:]}")


def label(folder: Path, real: Path, names: tuple[str, ...]) -> Path:
    """A work folder of these clips with round 0 labelled."""
    clips, work = folder / "clips", folder / "labelled"
    clips.mkdir(parents=True, exist_ok=True)
    for path in (real / "balls").iterdir():
        if path.name.split(".")[0] in names and not (clips / path.name).exists():
            (clips / path.name).symlink_to(path)
    run(ROOT, "dataset_downloader.py", work, "--from", "folder", "--path", clips)
    run(ROOT, "dataset_processor.py", work, "--round", 0, "--detector", real / "detectors" / "yolox_nano.onnx", *LOOKS)
    return work


def fitted_package(folder: Path, rendered: list[Path], filmed: Path) -> Path:
    """A copy of the package with weights fitted to rendered clips and to these."""
    shutil.copytree(
        ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "site", "demo"), dirs_exist_ok=True
    )
    run(folder, "tests/bench/fit_quality.py", "--no-judging", "--work", *rendered, "--work", filmed)
    return folder


def go_round(package: Path, work: Path, seed: int) -> dict[str, list[MatchCounts]]:
    """All rounds of a folder whose round 0 is labelled: video_id -> counts by round."""
    for number in range(ROUNDS):
        if number:
            run(package, "train.py", work, "--round", number - 1, "--seed", seed)
            run(package, "dataset_processor.py", work, "--round", number, *LATER)
        run(package, "dataset_cleaner.py", work, "--round", number)
    by_round = [kept_counts(work, number) for number in range(ROUNDS)]
    return {video_id: [counts[video_id] for counts in by_round] for video_id in by_round[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rendered", type=Path, nargs="+", required=True, help="work folders of rendered clips")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of training")
    parser.add_argument("--keep", type=Path, help="keep the work folders here")
    args = parser.parse_args()
    real, rendered = Path(os.environ["LABELS_REAL_DATA"]).resolve(), [path.resolve() for path in args.rendered]
    with tempfile.TemporaryDirectory() as scratch:
        root = (args.keep or Path(scratch)).resolve()
        labelled = {half: label(root / half, real, names) for half, names in HALVES.items()}
        packages = {half: fitted_package(root / half / "package", rendered, labelled[OTHER[half]]) for half in HALVES}
        for seed in args.seeds:
            found: dict[str, list[MatchCounts]] = {}
            for half, work in labelled.items():
                loop = root / half / f"seed_{seed}"
                shutil.copytree(work, loop)
                found |= go_round(packages[half], loop, seed)
            for video_id, rounds in found.items():
                line = "  ".join(f"{one.f1:.3f} (P {one.precision:.2f}, {one.wrong} wrong)" for one in rounds)
                print(f"seed {seed} {video_id:22} {line}", flush=True)
            seen = [rounds for video_id, rounds in found.items() if video_id != SPECKS]
            means = (np.mean([rounds[number].f1 for rounds in seen]) for number in range(ROUNDS))
            print(f"seed {seed} mean of {len(seen):15} " + "  ".join(f"{mean:.3f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
