"""Stage 3, clean: decide which of a round's boxes and actions are labels, which are doubtful and which are wrong.

Reads   rounds/NN/labelled/, the cleaned round before, what a human said (verdicts.csv, filled audits)
Writes  rounds/NN/cleaned/   boxes/<video_id>.parquet   every row with quality, decision (keep | ignore | drop), reason
                             dataset/                   annotations.json (COCO) and images/, to train on
                             run.json                   counts, and quality against truth where there is truth
                             actions/                   the same of actions, where the round has some
                             events/                    hits and bounces: events.csv, and SoccerNet's JSON

    python dataset_cleaner.py work --round 0
    python dataset_cleaner.py work --round 1                            # merged with round 0
    python dataset_cleaner.py work --round 0 --keep 0.7 --ignore 0.3
    python dataset_cleaner.py work --round 0 --without still --without flat
    python dataset_cleaner.py work --round 0 --shard 2/8                # one of eight shares, beside the others
    python dataset_cleaner.py work --round 0 --export cvat              # what is cleaned, in a foreign format
    python dataset_cleaner.py work --round 0 --export hf --push me/balls  # and on Hugging Face, private

Boxes are linked to paths over time, in coordinates from which the camera's motion is taken out. Cleaning keeps a weak
box on a confident track, needs a high score of one on no path, and interpolates short gaps. Nothing is deleted: a
dropped row keeps the rule, the value and the limit that dropped it. Fast: change a threshold, run it again. Where the
loop seems to feed on its own mistakes, the stage says so and ends with exit code 3, unless --force.
"""

import argparse
import sys
from collections import Counter
from dataclasses import replace

from labels.cleaning.rules import SWITCH_HELP, switch_name
from labels.cleaning.settings import add_threshold_arguments, box_options_given, settings_from
from labels.engine.placement import add_placement_arguments, placement_of
from labels.exchange.known_formats import add_export_argument
from labels.records.command_line import Summary, add_force, round_number, run_stage, stage_parser


def get_args(argv: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--round", type=round_number, required=True, help="the round to clean")
    parser.add_argument("--task", choices=("boxes", "actions"), help="of a round that has both: what to clean")
    listed = (f"  {name:<20}{meaning}" for name, meaning in SWITCH_HELP.items())
    parser.epilog = "\n".join(["parts of cleaning and rules, for --without:", *listed])
    off = "switch off a part of cleaning or a rule, of those listed below; may be repeated"
    parser.add_argument("--without", action="append", type=switch_name, default=[], metavar="RULE", help=off)
    add_export_argument(parser)
    add_force(parser, ", or the round looks as if it collapses")
    add_threshold_arguments(parser)
    add_placement_arguments(parser, "as many processes as pay")
    return parser.parse_args(argv)


def clean(args: argparse.Namespace) -> Summary:
    """Clean one round, its actions or its boxes, or write a cleaned one in a foreign format."""
    if args.export is not None or args.push is not None:
        from labels.cleaning.label_export import export_stage

        return export_stage(args.work, args.round, args.export, args.push)
    from labels.cleaning.actions.round import clean_actions_of, wants_actions
    from labels.cleaning.events import write_events
    from labels.records import next_command
    from labels.records.work_folder import WorkFolder
    from labels.videos.videos_table import refuse_replaced_clips

    work = WorkFolder(args.work)
    if wants_actions(work, args.round, args.task):
        refuse_replaced_clips(work, args.force)
        summary = clean_actions_of(args, box_options_given(args))
        with work.writing():
            lines = [*summary.lines, *write_events(work, args.round)]
        return replace(summary, lines=lines, next_command=next_command.train(work, args.round, actions=True))
    from labels.cleaning.box_round import clean_videos, finish_round, finished_record, round_inputs
    from labels.cleaning.quality_estimate import summary_lines
    from labels.records.run_records import out_of_date

    settings, where = settings_from(args), placement_of(args)
    work.read_videos()
    relabelling = next_command.label_boxes(work, args.round)
    replaced = refuse_replaced_clips(work, args.force, args.round, "labelled", relabelling)
    with work.writing(where.name):
        inputs = round_inputs(work, args.round)
        record = finished_record(inputs, settings)
        lines = [f"round {args.round} is cleaned and up to date; nothing was done"] if record is not None else []
        if record is None:
            outcome = clean_videos(inputs, settings, where)
            if where.is_share:
                return outcome.summary(f"clean round {args.round}", outcome.lines("cleaned"), where)
            record = finish_round(inputs, settings, outcome)
            lines = write_events(work, args.round)
        lines = [*lines, *summary_lines(record.counts), *inputs.audits, *replaced, *out_of_date(work)]
        lines += [f"alarm, but --force: {alarm}" for alarm in record.counts["alarms"] if args.force]
    return Summary(
        stage=f"clean round {args.round}",
        unit="videos",
        found=len(inputs.videos),
        used=record.counts["videos"],
        skipped=dict(Counter(record.counts["skipped"].values())),
        lines=lines,
        next_command=next_command.train(work, args.round),
        alarms=[] if args.force else record.counts["alarms"],
    )


def main(argv: list[str] | None = None) -> int:
    args = get_args(argv)
    return run_stage(lambda: clean(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
