"""The same stages on every engine: are the files the same, how long did it take, and what does dispatch alone cost?

    python tests/bench/engines.py                     # 200 small clips, 100,000 items that are no work
    python tests/bench/engines.py --clips 20 --items 2000
    LABELS_REAL_DATA=FOLDER python tests/bench/engines.py --only real

Labels (`motion`) and cleans small clips by the stage scripts in one process, in four, in four shares at a time, and on
a Ray cluster of this machine, if Ray is installed. Seconds are of the whole command, start included, and say little on
a busy machine: its load is printed. `real`: stage 2 on real clips by two workers of one thread against one.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine_work import Nothing
from test_engine_stages import work_of, written

from labels.engine.placement import Placement
from labels.engine.runner import run
from labels.records.work_folder import WorkFolder

ROOT = Path(__file__).resolve().parents[2]
TESTS = str(ROOT / "tests")
LABEL = ("dataset_processor.py", "--detector", "motion", "--force")
CLEAN = ("dataset_cleaner.py", "--set", "max_per_frame=1", "--force")
PARTS = ("small", "items", "real")
SHARES = 4


def begin(work: Path, script: str, *words: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / script), str(work), "--round", "0", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait(*running: subprocess.Popen) -> None:
    for process in running:
        _, said = process.communicate()
        if process.returncode:
            sys.exit(f"{' '.join(map(str, process.args))}: {said[-2000:]}")


def small_clips(count: int) -> None:
    engines = {
        "one process": ("--on", "processes:1"),
        "4 processes": ("--on", "processes:4"),
        f"{SHARES} shares at a time": (),
        "Ray": ("--on", "ray"),
    }
    if find_spec("ray") is None:
        engines.pop("Ray")
    with tempfile.TemporaryDirectory() as root:
        clips = work_of(Path(root) / "clips", count)
        expected: dict[str, bytes] = {}
        for name, options in engines.items():
            work = Path(root) / "work"
            shutil.copytree(clips.root, work)
            started = time.monotonic()
            for stage in (LABEL, CLEAN):
                if not options:
                    wait(*(begin(work, *stage, "--shard", f"{at}/{SHARES}") for at in range(1, SHARES + 1)))
                wait(begin(work, *stage, *options))
            seconds = time.monotonic() - started
            found = written(WorkFolder(work))
            expected = expected or found
            differ = sum(found.get(path) != data for path, data in expected.items()) + len(found.keys() - expected)
            same = "the same" if not differ else f"{differ} DIFFER"
            print(f"{count} clips, {name:<20} {seconds:7.1f} s   {len(found)} files: {same}{loaded()}", flush=True)
            shutil.rmtree(work)


def items(count: int) -> None:
    if find_spec("ray") is None:
        print("Ray is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        outcome = run(Nothing(Path(folder)), [f"item_{number:07d}" for number in range(count)], Placement(ray="ray"))
        seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{outcome.made} items of no work on Ray: {seconds:.1f} s with its start; driver {peak:.0f} MB{loaded()}")


def real_clips(frames: int) -> None:
    """Where LABELS_REAL_DATA says; the labels are not looked at."""
    if not (source := os.environ.get("LABELS_REAL_DATA")):
        print("no real clips: LABELS_REAL_DATA is not set")
        return
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
    with tempfile.TemporaryDirectory() as root:
        work = Path(root) / "work"
        bring = [sys.executable, str(ROOT / "dataset_downloader.py"), str(work), "--from", "folder", "--path", source]
        subprocess.run(bring, check=True, capture_output=True)
        taken: dict[int, float] = {}
        for processes in (1, 2):
            shutil.rmtree(work / "rounds", ignore_errors=True)
            shutil.rmtree(work / "frames", ignore_errors=True)
            started = time.monotonic()
            wait(begin(work, *LABEL, "--on", f"processes:{processes}", "--stride", str(frames)))
            taken[processes] = time.monotonic() - started
            print(f"real clips, {processes} workers of one thread: {taken[processes]:.1f} s{loaded()}", flush=True)
        print(f"two workers against one: {taken[1] / taken[2]:.2f} times as fast")


def loaded() -> str:
    return f"   (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--stride", type=int, default=1, help="of the real clips")
    parser.add_argument("--only", choices=PARTS)
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])  # for actors
    parts = PARTS if args.only is None else (args.only,)
    if "items" in parts:  # first: the peak is of the whole process
        items(args.items)
    if "small" in parts:
        small_clips(args.clips)
    if "real" in parts:
        real_clips(args.stride)


if __name__ == "__main__":
    main()
