"""Stage 1: bring clips into a work folder.

Reads   a folder of video files of any codec, or renders clips of its own whose truth is known
Writes  work/videos/<video_id>.<suffix>    the clips (hard links where the file system can)
        work/videos/truth/                 their truth, where there is any
        work/videos.parquet                a row for every file found; for those that cannot be used, the reason

    python dataset_downloader.py work --from folder --path ~/clips
    python dataset_downloader.py work --from folder --path ~/more_clips --copy
    python dataset_downloader.py work --from synthetic --clips 12 --held-out 4 --seed 1

Run again, it looks only at what is new or has changed; what other sources brought stays. A CSV of the same name beside
a clip is its truth: frame_index,x1,y1,x2,y2[,class_name] or frame_index,x,y, in pixels, frames counted from 0. Only the
frames it names count, and a row without coordinates is a frame without the object.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labels.records.command_line import Summary, run_stage, stage_parser
from labels.records.errors import InputError
from labels.videos.synthetic_settings import DIFFICULTIES, MIXED, SPORTS, SyntheticSettings

if TYPE_CHECKING:
    from labels.records.work_folder import WorkFolder
    from labels.videos.folder_source import SourceReport
    from labels.videos.videos_table import VideosTable

MOST_LINES = 20


def get_args(argv: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--from", dest="source", choices=("folder", "synthetic"), required=True, help="the source")
    folder = parser.add_argument_group("--from folder")
    folder.add_argument("--path", type=Path, help="the folder; everything below it is looked at")
    folder.add_argument("--copy", action="store_true", help="copy the clips instead of linking them")
    scene = parser.add_argument_group("--from synthetic")
    scene.add_argument("--clips", type=int, default=SyntheticSettings.clips, help="clips to train on")
    scene.add_argument("--held-out", type=int, default=SyntheticSettings.held_out, help="clips to judge by")
    scene.add_argument("--seed", type=int, default=SyntheticSettings.seed, help="the same seed gives the same clips")
    scene.add_argument("--sport", choices=(MIXED, *SPORTS), default=SyntheticSettings.sport, help="what is played")
    scene.add_argument(
        "--difficulty", choices=DIFFICULTIES, default=SyntheticSettings.difficulty, help="how hard to see"
    )
    scene.add_argument("--width", type=int, default=SyntheticSettings.width, help="pixels")
    scene.add_argument("--height", type=int, default=SyntheticSettings.height, help="pixels")
    scene.add_argument("--fps", type=float, default=SyntheticSettings.fps, help="frames a second")
    scene.add_argument("--frames", type=int, default=SyntheticSettings.frame_count, help="frames in each clip")
    args = parser.parse_args(argv)
    if args.source == "folder" and args.path is None:
        parser.error("--from folder needs --path DIR")
    return args


def add_synthetic(work: "WorkFolder", args: argparse.Namespace, table: "VideosTable") -> "SourceReport":
    from labels.videos.folder_source import SourceReport
    from labels.videos.synthetic_source import add_synthetic_clips

    settings = SyntheticSettings(
        clips=args.clips,
        held_out=args.held_out,
        seed=args.seed,
        sport=args.sport,
        difficulty=args.difficulty,
        width=args.width,
        height=args.height,
        fps=args.fps,
        frame_count=args.frames,
    )
    rows = add_synthetic_clips(work, settings)
    table.add(rows)
    return SourceReport(found=len(rows), used=len(rows))


def download(args: argparse.Namespace) -> Summary:
    from labels.records.run_records import out_of_date
    from labels.records.work_folder import WorkFolder
    from labels.videos.folder_source import add_folder_clips
    from labels.videos.videos_table import VideosTable

    work = WorkFolder(args.work)
    try:
        with work.writing(), VideosTable(work) as table:
            if args.source == "folder":
                report = add_folder_clips(work, args.path, table, args.copy)
            else:
                report = add_synthetic(work, args, table)
    except OSError as error:
        raise InputError(
            f"{error.filename or work.root}: {error.strerror or error}; nothing finished is lost"
        ) from None
    summary = Summary(
        "download", "files" if args.source == "folder" else "clips", report.found, report.used, report.skipped
    )
    summary.lines = report.lines[:MOST_LINES]
    if len(report.lines) > MOST_LINES:
        summary.lines.append(
            f"and {len(report.lines) - MOST_LINES} more; column reason of {work.videos_table} says all"
        )
    if table.has_usable():
        summary.lines += out_of_date(work)
        summary.next_command = f"python dataset_processor.py {args.work} --round 0"
    return summary


def main(argv: list[str] | None = None) -> int:
    args = get_args(argv)
    return run_stage(lambda: download(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
