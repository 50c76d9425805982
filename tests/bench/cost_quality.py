"""What labels cost and how good they are: F1 against CPU seconds for 1,000 frames, for several ways to get them.

    python tests/bench/cost_quality.py --keep FOLDER [--picture docs/cost_quality.png]
    LABELS_REAL_DATA=FOLDER python tests/bench/cost_quality.py --keep FOLDER      # with a real detector too

On rendered clips with truth, each teacher labels round 0. Of what it found: one threshold, the best for these clips,
which nobody knows without truth; the procedure that this project replaces (see label_quality.py); and what cleaning
keeps. A right label has its centre in the ball's box.

CPU seconds are those of all processes of a stage (user + system, as the operating system counts them), less those of
the same command run again, when it has nothing left to do: what it takes to start. The first two cost what stage 2
costs, cleaned labels what stages 2 and 3 cost together.

With --keep, teachers that an earlier run measured are not measured again.

Human boxes take 7 s each by extreme clicking and 35 s drawn in the usual way (Papadopoulos et al. 2017,
arxiv.org/abs/1708.02750); they stand at F1 1, which no one measured here.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
from label_quality import judge, one_threshold, read_clips, replaced_procedure
from loop_runs import kept_counts, stage

from labels.records.matching import MatchCounts
from labels.records.work_folder import WorkFolder

RENDERED = ["--from", "synthetic", "--held-out", "0", "--set", "difficulty=hard"]
RENDERED += ["--set", "width=640", "--set", "height=360"]
OWN = {
    "motion": ["--detector", "motion"],
    "ballnet": ["--detector", "ballnet"],
    "ballnet and motion": ["--detector", "ballnet", "--detector", "motion"],
}
ONE_VIEW = ["--input-size", "640"]
ALL_VIEWS = ["--input-size", "320,640,960,1280", "--tiles", "480", "--detector", "motion"]
SECONDS_A_BOX = {"a person, extreme clicking": 7.0, "a person, boxes drawn": 35.0}
MARKERS = {"one threshold": "x", "replaced procedure": "s", "cleaned": "o"}


def teachers(real: str | None) -> dict[str, list[str]]:
    if real is None:
        return OWN
    detector = ["--detector", str(Path(real) / "detectors" / "yolox_nano.onnx")]
    return OWN | {"YOLOX-nano, one view": [*detector, *ONE_VIEW], "YOLOX-nano, all views": [*detector, *ALL_VIEWS]}


def cpu_seconds(script: str, work: Path, *arguments: str) -> float:
    """Of a stage and its children, without what it takes to start."""
    spent = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        stage(script, work, *arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return max(0.0, spent[0] - spent[1])


def measure(name: str, labeller: list[str], clips: Path, work: Path) -> list[dict[str, object]]:
    """A row for each way to use what one teacher finds."""
    shutil.rmtree(work, ignore_errors=True)  # what an earlier run left half done
    shutil.copytree(clips, work)
    round_0 = ["--round", "0"]
    label_s = cpu_seconds("dataset_processor.py", work, *round_0, *labeller)
    clean_s = cpu_seconds("dataset_cleaner.py", work, *round_0)
    frames = int(WorkFolder(work).usable_videos()["frame_count"].sum())
    judged = read_clips([work], 0)
    found = {
        "one threshold": (judge(judged, one_threshold(judged))[0]["centre"], label_s),
        "replaced procedure": (judge(judged, replaced_procedure)[0]["centre"], label_s),
        "cleaned": (kept_counts(work, 0), label_s + clean_s),
    }
    rows: list[dict[str, object]] = []
    for way, (of_clips, seconds) in found.items():
        counts = sum(of_clips.values(), MatchCounts())
        quality = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
        balls = (counts.right + counts.missed) / frames
        rows.append({"teacher": name, "labels": way, "seconds": 1000 * seconds / frames, **quality, "balls": balls})
    return rows


def print_table(rows: pd.DataFrame, balls: float) -> None:
    print("| labeller | labels | CPU s for 1,000 frames | precision | recall | F1 | right boxes an hour |")
    print("|---|---|---|---|---|---|---|")
    for row in rows.itertuples():
        right = 3600 / max(row.seconds, 1e-9) * 1000 * balls * row.recall
        quality = f"{row.precision:.2f} | {row.recall:.2f} | {row.f1:.2f}"
        print(f"| {row.teacher} | {row.labels} | {row.seconds:,.1f} | {quality} | {right:,.0f} |")
    for name, box_s in SECONDS_A_BOX.items():
        print(f"| {name} | {box_s:.0f} s a box | {1000 * box_s * balls:,.0f} | – | – | – | {3600 / box_s:,.0f} |")


def draw(rows: pd.DataFrame, balls: float, target: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), dpi=110)
    for colour, (teacher, own) in zip(plt.get_cmap("tab10").colors, rows.groupby("teacher", sort=False), strict=False):
        axes.plot(own["seconds"], own["f1"], color=colour, lw=0.6, alpha=0.5)
        axes.scatter([], [], marker="o", color=colour, label=teacher)
        for row in own.itertuples():
            axes.scatter(row.seconds, row.f1, marker=MARKERS[row.labels], color=colour, s=60)
    for way, marker in MARKERS.items():
        axes.scatter([], [], marker=marker, color="grey", label=way)
    for place, (name, box_s) in enumerate(SECONDS_A_BOX.items()):
        axes.scatter(1000 * box_s * balls, 1.0, marker="*", color="black", s=90)
        said = f"{name}\n{box_s:.0f} s a box"
        axes.annotate(said, (1000 * box_s * balls, 0.97 - 0.09 * place), ha="center", va="top", fontsize=8)
    axes.set(xscale="log", ylim=(0, 1.05), ylabel="F1")
    axes.set_xlim(right=5000 * max(SECONDS_A_BOX.values()) * balls)
    axes.set_xlabel("seconds for 1,000 frames: of one CPU core, or of a person")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=30, help="of a clip")
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="keep work folders and figures here, and go on from them")
    parser.add_argument("--picture", type=Path, help="draw F1 against cost into this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        clips, measured = folder / "clips", folder / "cost_quality.json"
        rows = json.loads(measured.read_text()) if measured.is_file() else []
        asked = ["--clips", str(args.clips), "--seed", str(args.seed), "--set", f"frames={args.frames}"]
        stage("dataset_downloader.py", clips, *RENDERED, *asked)
        for name, labeller in teachers(os.environ.get("LABELS_REAL_DATA")).items():
            if any(row["teacher"] == name for row in rows):
                continue  # by an earlier run
            rows += measure(name, labeller, clips, folder / name.replace(",", "").replace(" ", "_"))
            measured.write_text(json.dumps(rows, indent=1))
            print(f"{name}: measured", file=sys.stderr, flush=True)
        table = pd.DataFrame(rows)
        balls = float(table["balls"].iloc[0])
        print_table(table, balls)
        if args.picture:
            draw(table, balls, args.picture)


if __name__ == "__main__":
    main()
