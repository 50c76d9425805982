"""How good the labels of each round are, what each part of cleaning is worth, and what simpler procedures would give.

    python tests/bench/label_quality.py --work FOLDER [FOLDER …] [--work REAL] [--parts paths still …]
    python tests/bench/label_quality.py --seeds 4 5 6 --keep FOLDER          # makes the work folders first
    LABELS_REAL_DATA=FOLDER python tests/bench/label_quality.py --real --keep FOLDER

Work folders of one `--work` are judged together. Their labelled rounds are cleaned again in memory, with the settings
they were cleaned with: the candidates stay the same, so that only cleaning is compared; what a student would have
learned from other labels is not in the table. Beside it, on the same candidates: one threshold at the value that is
best for these clips, which nobody knows without truth; and the procedure that this project replaces (score > 0.7,
overlap > 0.8 keeps the largest, aspect < 2, rounds merged frame by frame). Prints Markdown: precision / recall / F1
(centre in the box), and F1 at IoU 0.5. Nothing is written to the folders.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from loop_runs import BALL

from labels.cleaning.features.appearance import UsualTracks, kept_as_seen
from labels.cleaning.features.box_pairs import overlap_with_better
from labels.cleaning.features.scores import Scales, calibrated, scales_from
from labels.cleaning.rules import SWITCH_HELP
from labels.cleaning.settings import OPTIONS, CleaningSettings
from labels.cleaning.video import clean_video
from labels.records import tables
from labels.records.geometry import area_of, size_of
from labels.records.matching import MatchCounts, count_matches
from labels.records.run_records import read_run_record
from labels.records.safe_writing import read_parquet
from labels.records.video_labels import VideoFacts, VideoLabels, read_video_labels
from labels.records.work_folder import WorkFolder

BENCH = Path(__file__).resolve().parent
DUPLICATE_IOU = 0.5


@dataclass(frozen=True)
class Clip:
    """One video with truth: what each round's labeller gave, how its scores are read, the settings of its cleaning."""

    name: str
    labelled: list[pd.DataFrame]
    facts: list[VideoFacts]
    cameras: list[pd.DataFrame | None]
    scales: list[Scales]
    truth: pd.DataFrame
    settings: dict[str, float]


Method = Callable[[list[Clip]], Iterator[list[pd.DataFrame]]]  # of each round, the labels of each clip
Counts = list[dict[str, dict[str, MatchCounts]]]  # of each round: matching rule -> clip -> counts


def read_clips(folders: list[Path], most: int) -> list[Clip]:
    clips = []
    for root in folders:
        work = WorkFolder(root)
        numbers = [number for number in work.round_numbers() if read_run_record(work.round(number), "labelled")]
        records = [read_run_record(work.round(number), "labelled") for number in numbers]
        cleaned = read_run_record(work.round(0), "cleaned")
        arguments = cleaned.arguments if cleaned else {}
        for video_id in work.usable_videos()["video_id"][: most or None]:
            truth = work.read_truth(video_id)
            if truth is None:
                continue
            rounds = [work.round(number) for number in numbers]
            labels = [read_video_labels(folder.boxes("labelled", video_id)) for folder in rounds]
            cameras = [folder.camera(video_id) for folder in rounds]
            clips.append(
                Clip(
                    f"{root.name}/{video_id}",
                    [each.boxes for each in labels],
                    [each.video for each in labels],
                    [read_parquet(path) if path.is_file() else None for path in cameras],
                    [scales_from(record.facts["labeller"]["sources"]) for record in records],
                    truth[truth["class_name"].isin([*BALL, ""])],
                    {name: arguments[name] for name in OPTIONS if name in arguments},
                )
            )
    return clips


def cleaning(without: tuple[str, ...] = ()) -> Method:
    def labels(clips: list[Clip]) -> Iterator[list[pd.DataFrame]]:
        old: list[pd.DataFrame | None] = [None] * len(clips)
        for number in range(len(clips[0].labelled)):
            usual = None
            if number > 0 and "outlier" not in without:
                seen = zip(clips, old, strict=True)
                settings = CleaningSettings()
                kept = (kept_as_seen(clip.labelled[number], before, settings) for clip, before in seen)
                usual = UsualTracks(kept, settings)
            for place, clip in enumerate(clips):
                settings = CleaningSettings(without=without, **clip.settings)
                now, before = VideoLabels(clip.labelled[number], clip.facts[number]), old[place]
                merged_in = None if before is None else VideoLabels(before, clip.facts[number - 1])
                how = (clip.scales[number], settings, merged_in, clip.cameras[number])
                old[place] = clean_video(now, number, *how, usual=usual).boxes
            yield [boxes[boxes["decision"] == "keep"] for boxes in old]

    return labels


def sureness(clip: Clip, number: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Candidates without duplicates, and how sure their labeller is: several sources on one scale."""
    labelled = clip.labelled[number]
    sure = calibrated(labelled, clip.scales[number])
    everything = np.ones(len(labelled), dtype=bool)
    alone = overlap_with_better(labelled, sure, everything, DUPLICATE_IOU, 1.0) <= DUPLICATE_IOU
    return labelled[alone], sure[alone]


def best_thresholds(clips: list[Clip], number: int) -> float:
    """The sureness from which candidates are labels, so that F1 over all clips is best: to within 2 % of the boxes."""
    found = [sureness(clip, number) for clip in clips]
    limits = np.unique(np.quantile(np.concatenate([sure for _, sure in found]), np.linspace(0, 1, 51)))
    totals = [
        sum(
            (
                count_matches(boxes[sure >= limit], clip.truth, class_names=BALL)
                for clip, (boxes, sure) in zip(clips, found, strict=True)
            ),
            MatchCounts(),
        ).f1
        for limit in limits
    ]
    return float(limits[int(np.argmax(totals))])


def one_threshold(clips: list[Clip]) -> Method:
    limits = [best_thresholds(clips, number) for number in range(len(clips[0].labelled))]

    def labels(clips: list[Clip]) -> Iterator[list[pd.DataFrame]]:
        for number, limit in enumerate(limits):
            found = [sureness(clip, number) for clip in clips]
            yield [boxes[sure >= limit] for boxes, sure in found]

    return labels


def replaced_procedure(clips: list[Clip]) -> Iterator[list[pd.DataFrame]]:
    """Score > 0.7, aspect < 2, with the round before; of boxes that overlap by more than 0.8 the largest stays."""
    before = [clip.labelled[0].iloc[:0] for clip in clips]
    for number in range(len(clips[0].labelled)):
        for place, clip in enumerate(clips):
            labelled = clip.labelled[number]
            sides = size_of(labelled[tables.BOX_COLUMNS].to_numpy(dtype=np.float64))
            fine = (labelled["score"] > 0.7).to_numpy() & (sides.max(axis=1) < 2 * sides.min(axis=1))
            merged = pd.concat([before[place], labelled[fine]], ignore_index=True)
            area = area_of(merged[tables.BOX_COLUMNS].to_numpy(dtype=np.float64))
            overlap = overlap_with_better(merged, area, np.ones(len(merged), dtype=bool), 0.8, 1.0)
            before[place] = merged[overlap <= 0.8].reset_index(drop=True)
        yield list(before)


def judge(clips: list[Clip], method: Method) -> Counts:
    rounds: Counts = [{"centre": {}, "iou": {}} for _ in clips[0].labelled]
    for of_round, labels in zip(rounds, method(clips), strict=True):
        for clip, found in zip(clips, labels, strict=True):
            for rule, of_clips in of_round.items():
                of_clips[clip.name] = count_matches(found, clip.truth, rule, BALL)
    return rounds


def cells(counts: Counts) -> list[str]:
    """Over all clips: precision / recall / F1, and F1 at IoU 0.5."""
    shown = []
    for of_round in counts:
        centre, iou = (sum(of_round[rule].values(), MatchCounts()) for rule in ("centre", "iou"))
        shown.append(f"{centre.precision:.3f} / {centre.recall:.3f} / {centre.f1:.3f} ({iou.f1:.3f})")
    return shown


def print_table(title: str, clips: list[Clip], parts: list[str]) -> None:
    rounds = range(len(clips[0].labelled))
    print(f"\n**{title}**, {len(clips)} clips: precision / recall / F1, centre in the box (F1 at IoU 0.5)\n")
    print("| labels | " + " | ".join(f"round {number}" for number in rounds) + " |")
    print("|---|" + "---|" * len(rounds))
    whole = judge(clips, cleaning())
    methods = {
        "one threshold, the best for these clips": one_threshold(clips),
        "what this replaces": replaced_procedure,
    }
    rows = {"cleaned": whole} | {name: judge(clips, method) for name, method in methods.items()}
    for name, counts in rows.items():
        print(f"| {name} | " + " | ".join(cells(counts)) + " |", flush=True)
    if len(clips) <= 10:
        for clip in clips:
            for name, counts in rows.items():
                f1 = [f"F1 {of_round['centre'][clip.name].f1:.3f}" for of_round in counts]
                print(f"| {clip.name.split('/')[-1]}: {name} | " + " | ".join(f1) + " |")
    for part in parts:
        print(f"| without {part} | " + " | ".join(cells(judge(clips, cleaning((part,))))) + " |", flush=True)


def make_folders(script: str, keep: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, str(BENCH / script), "--keep", str(keep), *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, nargs="+", action="append", default=[], help="folders that are there")
    parser.add_argument("--seeds", nargs="+", default=[], help="make folders of rendered clips, see rounds_by_seed.py")
    parser.add_argument("--real", action="store_true", help="make a folder of real clips, see real_rounds.py")
    parser.add_argument("--keep", type=Path, help="keep what was made here")
    parser.add_argument("--clips", type=int, default=0, help="at most so many of each folder; 0: all")
    every = list(SWITCH_HELP)
    parser.add_argument("--parts", nargs="*", choices=every, default=every, metavar="PART", help=", ".join(every))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        keep, sets = args.keep or Path(scratch), list(args.work)
        if args.seeds:
            make_folders("rounds_by_seed.py", keep, "--seeds", *args.seeds)
            sets.append([keep / f"seed{seed}" for seed in args.seeds])
        if args.real:
            make_folders("real_rounds.py", keep / "real")
            sets.append([keep / "real"])
        for folders in sets:
            print_table(", ".join(folder.name for folder in folders), read_clips(folders, args.clips), args.parts)


if __name__ == "__main__":
    main()
