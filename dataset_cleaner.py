"""Stage 3, clean: decide which of a round's boxes and actions are labels, which are doubtful and which are wrong.

Reads   rounds/NN/labelled/, the cleaned round before, verdicts.csv (label_uid,verdict: y or n) where there is one
Writes  rounds/NN/cleaned/   boxes/<video_id>.parquet   every row with quality, decision (keep | ignore | drop), reason
                             dataset/                   annotations.json (COCO) and images/, to train on
                             run.json                   counts, and quality against truth where there is truth
                             actions/                   the same of actions, where the round has some

    python dataset_cleaner.py work --round 0
    python dataset_cleaner.py work --round 1                            # merged with round 0
    python dataset_cleaner.py work --round 0 --keep 0.7 --ignore 0.3
    python dataset_cleaner.py work --round 0 --without still --without misfit

Boxes are linked to paths over time in coordinates from which the camera's motion is taken out; what moves like a ball
is believed though single scores are low, what is on no path needs a high score, short gaps are interpolated. Nothing is
deleted: a dropped row keeps the rule, the value and the limit that dropped it. Fast: change a threshold, run it again.
"""

import argparse
import math
import sys
from collections import Counter
from typing import Any

from labels.cleaning.settings import RULE_NAMES, CleaningSettings
from labels.records.command_line import Summary, round_number, run_stage, stage_parser

# The thresholds people change; the others are in labels/cleaning/settings.py.
OPTIONS = {
    "keep_quality": ("--keep", "quality from which a label is trained on"),
    "ignore_quality": ("--ignore", "quality from which it is neither trained on nor background"),
    "max_per_frame": ("--max-per-frame", "balls in play at once, where you know it; 0: not known"),
    "max_overlap": ("--max-overlap", "IoU with a better box of its class"),
    "max_aspect": ("--max-aspect", "longer over shorter side of a ball's box"),
    "min_size_pixels": ("--min-size", "square root of the area in pixels"),
    "max_frame_share": ("--max-frame-share", "size of a ball over the frame's shorter side"),
}


def get_args(argv: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--round", type=round_number, required=True, help="the round to clean")
    parser.add_argument("--task", choices=("boxes", "actions"), help="of a round that has both: what to clean")
    rules = f"switch a rule off, may be repeated: {', '.join(RULE_NAMES)}"
    parser.add_argument("--without", action="append", choices=RULE_NAMES, default=[], metavar="RULE", help=rules)
    thresholds = parser.add_argument_group("thresholds")
    for name, (option, meaning) in OPTIONS.items():
        default = getattr(CleaningSettings, name)
        thresholds.add_argument(option, dest=name, type=type(default), default=default, metavar="X", help=meaning)
    return parser.parse_args(argv)


def settings_from(args: argparse.Namespace) -> CleaningSettings:
    from labels.records.errors import InputError

    settings = CleaningSettings(without=tuple(args.without), **{name: getattr(args, name) for name in OPTIONS})
    if not 0 <= settings.ignore_quality <= settings.keep_quality <= 1:
        raise InputError("--ignore and --keep are qualities: 0 <= ignore <= keep <= 1")
    for name, (option, _) in OPTIONS.items():
        value = getattr(settings, name)
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{option}: a number from 0, not {value}")
    return settings


def clean(args: argparse.Namespace) -> Summary:
    """Clean one round: its actions where it has some, its boxes where it has some."""
    from labels.cleaning.action_stage import clean_actions_of, wants_actions
    from labels.records.work_folder import WorkFolder

    if wants_actions(WorkFolder(args.work), args.round, args.task):
        return clean_actions_of(args)
    from tqdm import tqdm

    from labels.cleaning.round_cleaning import clean_round, finished_record, round_inputs
    from labels.records.run_records import out_of_date

    settings = settings_from(args)
    work = WorkFolder(args.work)
    work.read_videos()
    with work.writing():
        inputs = round_inputs(work, args.round)
        record = finished_record(inputs, settings)
        lines = [f"round {args.round} is cleaned and up to date; nothing was done"] if record is not None else []
        if record is None:
            videos = range(len(inputs.videos))
            with tqdm(videos, desc="cleaning", unit="video", file=sys.stderr) as progress:
                record = clean_round(inputs, settings, progress)
        lines += [*summary_lines(record.counts), *out_of_date(work)]
    return Summary(
        stage=f"clean round {args.round}",
        unit="videos",
        found=len(inputs.videos),
        used=record.counts["videos"],
        skipped=dict(Counter(record.counts["skipped"].values())),
        lines=lines,
        next_command=f"python train.py {args.work} --round {args.round}",
    )


def summary_lines(counts: dict[str, Any]) -> list[str]:
    """The accounts, the decisions by reason, and the quality against truth."""
    from labels.cleaning.human_verdicts import verdict_lines
    from labels.cleaning.quality_estimate import quality_lines

    lines = [
        f"{counts['keep']} kept + {counts['ignore']} ignored + {counts['drop']} dropped"
        f" = {counts['labelled']} labelled + {counts['merged_in']} merged in + {counts['interpolated']} interpolated"
        f" ({counts['fused']} fused with the round before, {counts['left_behind']} of its dropped stay there)"
    ]
    most_first = sorted(counts["reasons"].items(), key=lambda item: (item[0].split()[0], -item[1]))
    lines += [f"  {reason.split()[0]:<7} {reason.split()[1]:<13} {count:>8}" for reason, count in most_first]
    lines.append(f"dataset: {counts['images']} images")
    return [*lines, *verdict_lines(counts), *quality_lines(counts["quality"])]


def main(argv: list[str] | None = None) -> int:
    args = get_args(argv)
    return run_stage(lambda: clean(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
