"""The arguments of `dataset_downloader.py`, by source, and the settings they make. Imports nothing heavy."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labels.engine.placement import share
from labels.records.command_line import positive_number
from labels.videos.archives.known import ARCHIVES, ArchiveSettings
from labels.videos.download.outcomes import FAILED, OUTCOMES
from labels.videos.download.requests import ListFilters, wanted_classes
from labels.videos.settings import DownloadSettings
from labels.videos.synthetic.settings import DIFFICULTIES, MIXED, SPORTS, SyntheticSettings

if TYPE_CHECKING:
    from labels.videos.download.source import ListDownload

LISTS = ("sports1m", "kinetics", "urls")
LIST_ARGUMENTS = (
    *("labels", "min_height", "max_duration", "shard", "dry_run", "short_side", "max_height", "max_size"),
    *("workers", "rate_limit", "per_hour", "pause", "retries", "retry"),
)
SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said with `--from sports1m`, `kinetics` and `urls`, beside what all sources share."""
    choose = parser.add_argument_group("--from sports1m, kinetics, urls: what is wanted, further")
    choose.add_argument("--labels", type=Path, help="Sports-1M's labels.txt (default: beside the list)")
    choose.add_argument("--min-height", type=positive_number, default=ListFilters.min_height, help="pixels")
    choose.add_argument("--max-duration", type=_seconds, help="of a clip, seconds")
    choose.add_argument("--shard", type=share, default=(1, 1), metavar="I/N", help="part I of N, for N machines")
    choose.add_argument("--dry-run", action="store_true", help="say by class what would be fetched; fetch nothing")
    fetch = parser.add_argument_group("--from sports1m, kinetics, urls: how it is fetched")
    fetch.add_argument(
        "--short-side", type=positive_number, help="of the clips, pixels (256 for actions; default: as they come)"
    )
    fetch.add_argument(
        "--max-height", type=positive_number, default=DownloadSettings.max_height, help="preferred, pixels"
    )
    fetch.add_argument("--max-size", type=_size, default=DownloadSettings.max_bytes, help="of a video: 500M, 2G")
    fetch.add_argument(
        "--workers", type=positive_number, default=DownloadSettings.workers, help="videos fetched at a time"
    )
    fetch.add_argument("--rate-limit", type=_size, default=0, help="bytes a second of all workers: 5M (0: none)")
    fetch.add_argument("--per-hour", type=int, default=DownloadSettings.per_hour, help="videos an hour (0: no limit)")
    fetch.add_argument("--pause", type=_seconds, default=DownloadSettings.pause_s, help="seconds to wait when blocked")
    fetch.add_argument("--retries", type=int, default=DownloadSettings.retries, help="of what is transient")
    told = f"try again what ended so in earlier runs: {FAILED} (all of it), or {','.join(OUTCOMES[1:])}"
    fetch.add_argument("--retry", metavar="OUTCOMES", help=told)


def list_download(args: argparse.Namespace) -> "ListDownload":
    """What the arguments ask for. Raises InputError."""
    from labels.videos.download.source import ListDownload, check_retry

    filters = ListFilters(
        classes=wanted_classes(args.classes),
        splits=tuple(args.split or ()),
        limit=args.limit,
        per_class=args.per_class,
        min_height=args.min_height,
        max_duration_s=args.max_duration,
        seed=args.seed,
        shard=args.shard,
    )
    settings = replace(
        DownloadSettings(),
        short_side=args.short_side,
        max_height=args.max_height,
        max_bytes=args.max_size,
        workers=args.workers,
        bytes_per_s=args.rate_limit,
        per_hour=max(0, args.per_hour),
        pause_s=args.pause,
        retries=max(0, args.retries),
    )
    retry = check_retry(args.retry or "")
    return ListDownload(args.source, args.path, args.labels, filters, settings, retry, args.dry_run)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 10**7:
        raise argparse.ArgumentTypeError(f"seconds, more than 0, not '{text}'")
    return value


def _size(text: str) -> int:
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    try:
        return round(float(number) * SIZES[unit])
    except (KeyError, ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"bytes such as 500K, 20M or 2G, not '{text}'") from None


SOURCES = ("folder", "synthetic", *LISTS, *ARCHIVES)
SPLITS = ("train", "val", "test")


def add_source_arguments(parser: argparse.ArgumentParser, further: tuple[str, ...] = ()) -> None:
    """Everything that says where clips come from and which are wanted; `further` sources are other rooms'."""
    parser.add_argument("--from", dest="source", choices=(*SOURCES, *further), help="the source")
    parser.add_argument("--path", type=Path, help="the folder, list or archive; not for synthetic clips")
    parser.add_argument("--seed", type=int, default=SyntheticSettings.seed, help="the same seed gives the same clips")
    parser.add_argument("--copy", action="store_true", help="copy clips that lie on disk instead of linking them")
    choose = parser.add_argument_group("from lists and archives: what is wanted")
    choose.add_argument("--classes", help="a class list, or names and globs: '*dancing*'")
    choose.add_argument("--split", action="append", choices=SPLITS, help="this split only; may be given twice")
    choose.add_argument("--limit", type=positive_number, help="at most so many clips, drawn by --seed")
    choose.add_argument("--per-class", type=positive_number, help="at most so many clips of a class, drawn by --seed")
    add_list_arguments(parser)
    archive = parser.add_argument_group(f"--from {', '.join(ARCHIVES)}")
    archive.add_argument("--annotations", type=Path, help="the lists of clips (default: in and beside --path)")
    archive.add_argument(
        "--split-number", type=int, choices=(1, 2, 3), default=ArchiveSettings.split_number, help="of the official ones"
    )
    archive.add_argument("--with-copies", action="store_true", help="SpaceJam: flipped and moved copies too")
    scene = parser.add_argument_group("--from synthetic")
    scene.add_argument("--clips", type=int, default=SyntheticSettings.clips, help="clips to train on")
    scene.add_argument("--held-out", type=int, default=SyntheticSettings.held_out, help="clips to judge by")
    scene.add_argument("--sport", choices=(MIXED, *SPORTS), default=SyntheticSettings.sport, help="what is played")
    scene.add_argument(
        "--difficulty", choices=DIFFICULTIES, default=SyntheticSettings.difficulty, help="how hard to see"
    )
    scene.add_argument("--width", type=int, default=SyntheticSettings.width, help="pixels")
    scene.add_argument("--height", type=int, default=SyntheticSettings.height, help="pixels")
    scene.add_argument(
        "--fps",
        type=float,
        help=f"frames a second (default: {SyntheticSettings.fps:g}); of labels: how they count frames",
    )
    scene.add_argument("--frames", type=int, default=SyntheticSettings.frame_count, help="frames in each clip")


# Which sources an argument is for, where it is not for all.
OWN_SOURCES = {
    **dict.fromkeys(("classes", "split", "limit", "per_class"), (*LISTS, *ARCHIVES)),
    **dict.fromkeys(LIST_ARGUMENTS, LISTS),
    **dict.fromkeys(("annotations", "split_number", "with_copies"), tuple(ARCHIVES)),
    **dict.fromkeys(("clips", "held_out", "sport", "difficulty", "width", "height", "frames"), ("synthetic",)),
}


def refuse_what_is_not_asked_of(
    parser: argparse.ArgumentParser, args: argparse.Namespace, further: Mapping[str, tuple[str, ...]]
) -> None:
    """Exit with a usage error when an argument was given that the source has no use for: it would be ignored.

    `further` are arguments of other rooms and their sources.
    """
    for name, sources in (OWN_SOURCES | dict(further)).items():
        if args.source not in sources and getattr(args, name) != parser.get_default(name):
            option = f"--{name.replace('_', '-')}"
            parser.error(f"{option} is of --from {', '.join(sources)}; with --from {args.source} leave it out")


def synthetic_settings(args: argparse.Namespace) -> SyntheticSettings:
    """Raises InputError for what cannot be rendered."""
    return SyntheticSettings(
        clips=args.clips,
        held_out=args.held_out,
        seed=args.seed,
        sport=args.sport,
        difficulty=args.difficulty,
        width=args.width,
        height=args.height,
        fps=SyntheticSettings.fps if args.fps is None else args.fps,
        frame_count=args.frames,
    )


def archive_settings(args: argparse.Namespace) -> ArchiveSettings:
    """Raises InputError for a class list that cannot be read."""
    return ArchiveSettings(
        path=args.path,
        annotations=args.annotations,
        classes=wanted_classes(args.classes),
        splits=tuple(args.split or ()),
        split_number=args.split_number,
        limit=args.limit,
        per_class=args.per_class,
        seed=args.seed,
        with_copies=args.with_copies,
        copy=args.copy,
    )
