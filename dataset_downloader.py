"""Stage 1: bring clips into a work folder.

Reads   a folder of video files of any codec; a clip list, whose clips are fetched with yt-dlp; a labelled archive on
        disk; or renders clips of its own whose truth is known
Writes  work/videos/<video_id>.<suffix>    the clips (hard links where the file system can)
        work/videos/truth/                 their truth, where there is any
        work/videos.parquet                a row for every clip asked for, also for those that cannot be used, and why
        work/ledger/*.jsonl                a line for every attempt to fetch a clip

    python dataset_downloader.py work --from folder --path ~/clips
    python dataset_downloader.py work --from synthetic --clips 12 --held-out 4 --seed 1
    python dataset_downloader.py work --from sports1m --path sports1m_json --classes sports1m_balls --per-class 100
    python dataset_downloader.py work --from kinetics --path kinetics700 --classes kinetics_dancing --short-side 256
    python dataset_downloader.py work --from urls --path my_list.csv          # columns url,start,end,label
    python dataset_downloader.py work --from ucf101 --path ~/UCF-101
    python dataset_downloader.py work --from cvat --path annotated                # clips with labels: they are truth
    python dataset_downloader.py work --import-labels annotations.xml             # labels for clips that are here

Run again, it looks only at what is new or has changed, and fetches only what is missing; what other sources brought
stays. Clips that are gone are not asked for again, unless by --retry failed or --retry private,geo. On several machines
run --shard 1/4 to 4/4, copy ledger/ and videos/ into one work folder, and run once more there without --shard.

A CSV of the same name beside a clip of a folder is its truth: frame_index,x1,y1,x2,y2[,class_name] or frame_index,x,y,
in pixels, frames counted from 0. Only the frames it names count; a row without coordinates: a frame without the object.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from labels.exchange.known_formats import LABELLED, OF_LABELS, add_import_arguments, import_hints
from labels.records.command_line import Summary, run_stage, stage_parser
from labels.videos.archives.known import ARCHIVES
from labels.videos.source_arguments import (
    LISTS,
    add_source_arguments,
    archive_settings,
    list_download,
    refuse_what_is_not_asked_of,
    synthetic_settings,
)

if TYPE_CHECKING:
    from labels.records.work_folder import WorkFolder

MOST_LINES = 20


def get_args(argv: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    add_source_arguments(parser, LABELLED)
    add_import_arguments(parser)
    args = parser.parse_args(argv)
    if (args.source is None) == (args.import_labels is None):
        parser.error("give either --from or --import-labels")
    if args.source is None:
        return args
    if args.source != "synthetic" and args.path is None:
        parser.error(f"--from {args.source} needs --path")
    refuse_what_is_not_asked_of(parser, args, OF_LABELS)
    return args


def add_clips(work: "WorkFolder", args: argparse.Namespace) -> Summary:
    """Clips that lie on disk or are rendered."""
    from labels.videos.folder import add_folder_clips
    from labels.videos.synthetic.rendering import add_synthetic_clips
    from labels.videos.videos_table import VideosTable

    with VideosTable(work) as table:
        if args.source == "synthetic":
            rows = add_synthetic_clips(work, synthetic_settings(args))
            table.add(rows)
            return Summary("download", "clips", len(rows), len(rows))
        if args.source in LABELLED:
            from labels.exchange.labelled_clips import add_labelled_clips

            until_damage = args.damaged == "until"
            return add_labelled_clips(work, table, args.source, args.path, args.copy, import_hints(args), until_damage)
        if args.source in ARCHIVES:
            result = ARCHIVES[args.source](work, archive_settings(args), table)
            return Summary("download", "clips", result.found, result.used, dict(result.refused), result.lines)
        report = add_folder_clips(work, args.path, table, args.copy, args.damaged == "until")
    lines = report.lines[:MOST_LINES]
    if len(report.lines) > MOST_LINES:
        lines.append(f"and {len(report.lines) - MOST_LINES} more; column reason of {work.videos_table} says all")
    return Summary("download", "files", report.found, report.used, report.skipped, lines)


def download(args: argparse.Namespace) -> Summary:
    from labels.labelling.action_intervals import begins_with_actions
    from labels.records import next_command
    from labels.records.run_records import out_of_date
    from labels.records.work_folder import WorkFolder

    work = WorkFolder(args.work)
    if args.import_labels is not None:
        from labels.cleaning.label_import import import_stage

        return import_stage(work, args.import_labels, args.format, args.confirm, import_hints(args))
    if args.dry_run:
        from labels.videos.download.source import download_list

        return download_list(work, list_download(args))
    with work.writing():
        if args.source in LISTS:
            from labels.videos.download.source import download_list

            summary = download_list(work, list_download(args))
        else:
            summary = add_clips(work, args)
        if work.videos_table.is_file() and (work.read_videos()["status"] == "ok").any():
            summary.lines += out_of_date(work)
            command = next_command.label_actions if begins_with_actions(work) else next_command.label_boxes
            summary.next_command = command(work, 0)
    return summary


def main(argv: list[str] | None = None) -> int:
    args = get_args(argv)
    return run_stage(lambda: download(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
