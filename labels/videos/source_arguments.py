"""The arguments of `dataset_downloader.py`, by source, and the settings they make. Imports nothing heavy."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labels.engine.placement import share
from labels.records.command_line import StageParser, positive_number
from labels.videos.archives.known import ARCHIVES, ArchiveSettings
from labels.videos.download.outcomes import FAILED, OUTCOMES
from labels.videos.download.requests import ListFilters, wanted_classes
from labels.videos.settings import DownloadSettings
from labels.videos.synthetic.settings import DIFFICULTIES, MIXED, SPORTS, SyntheticSettings

if TYPE_CHECKING:
    from labels.videos.download.source import ListDownload

LISTS = ("sports1m", "kinetics", "urls")
LIST_ARGUMENTS = (
    *("min_height", "max_duration", "shard", "dry_run", "short_side", "max_height", "max_size"),
    *("workers", "rate_limit", "per_hour", "pause", "retries", "retry"),
)
SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def add_list_arguments(parser: StageParser) -> None:
    """What can be said with `--from sports1m`, `kinetics` and `urls`, beside what all sources share."""
    group = parser.add_argument_group(f"--from {', '.join(LISTS)}")
    group.add_argument("--shard", type=share, default=(1, 1), metavar="I/N", help="part I of N, for N machines")
    group.add_argument("--dry-run", action="store_true", help="say by class what would be fetched; fetch nothing")
    group.add_argument(
        "--short-side", type=positive_number, help="of the clips, pixels (256 for actions; default: as they come)"
    )
    text = f"try again what ended so in earlier runs: {FAILED} (all of it), or {','.join(OUTCOMES[1:])}"
    group.add_argument("--retry", metavar="OUTCOMES", help=text)


def add_list_settings(parser: StageParser) -> None:
    usual = DownloadSettings
    rows: tuple[tuple[str, Callable[[str], Any], Any, str], ...] = (
        ("min_height", positive_number, ListFilters.min_height, "of what is wanted, pixels"),
        ("max_duration", _seconds, None, "of a clip, seconds"),
        ("max_height", positive_number, usual.max_height, "preferred, pixels"),
        ("max_size", _size, usual.max_bytes, "of a video: 500M, 2G"),
        ("workers", positive_number, usual.workers, "videos fetched at a time"),
        ("rate_limit", _size, 0, "bytes a second of all workers: 5M; 0: none"),
        ("per_hour", int, usual.per_hour, "videos an hour; 0: no limit"),
        ("pause", _seconds, usual.pause_s, "seconds to wait when blocked"),
        ("retries", int, usual.retries, "of what is transient"),
    )
    for name, kind, default, meaning in rows:
        parser.add_setting(name, kind, default, meaning, heading=f"--from {', '.join(LISTS)}")


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
    return ListDownload(args.source, args.path, args.annotations, filters, settings, retry, args.dry_run)


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
DAMAGED = ("until", "skip")


def add_source_arguments(parser: StageParser, further: tuple[str, ...] = ()) -> None:
    """Everything that says where clips come from and which are wanted; `further` sources are other rooms'."""
    parser.add_argument("--from", dest="source", choices=(*SOURCES, *further), help="the source")
    parser.add_argument("--path", type=Path, help="the folder, list or archive; not for synthetic clips")
    parser.add_argument("--seed", type=int, default=SyntheticSettings.seed, help="the same seed gives the same clips")
    choose = parser.add_argument_group("from lists and archives: what is wanted")
    choose.add_argument("--classes", help="a class list, or names and globs: '*dancing*'")
    choose.add_argument("--split", action="append", choices=SPLITS, help="this split only; may be given twice")
    choose.add_argument("--limit", type=positive_number, help="at most so many clips, drawn by --seed")
    choose.add_argument("--per-class", type=positive_number, help="at most so many clips of a class, drawn by --seed")
    choose.add_argument(
        "--annotations",
        type=Path,
        help="an archive's lists of clips, or Sports-1M's labels.txt (default: in and beside --path)",
    )
    add_list_arguments(parser)
    scene = parser.add_argument_group("--from synthetic")
    scene.add_argument("--clips", type=int, default=SyntheticSettings.clips, help="clips to train on")
    scene.add_argument("--held-out", type=int, default=SyntheticSettings.held_out, help="clips to judge by")
    _add_source_settings(parser)


def _add_source_settings(parser: StageParser) -> None:
    on_disk = "clips on disk"
    parser.add_setting("copy", bool, False, "copy clips instead of linking them", heading=on_disk)
    text = "a damaged or cut-off clip is taken until the damage, or skipped"
    parser.add_setting("damaged", str, DAMAGED[0], text, DAMAGED, on_disk)
    add_list_settings(parser)
    archives, usual = f"--from {', '.join(ARCHIVES)}", SyntheticSettings
    parser.add_setting("split_number", int, ArchiveSettings.split_number, "of the official ones", (1, 2, 3), archives)
    parser.add_setting("with_copies", bool, False, "SpaceJam: flipped and moved copies too", heading=archives)
    scene = "--from synthetic"
    parser.add_setting("sport", str, usual.sport, "what is played", (MIXED, *SPORTS), scene)
    parser.add_setting("difficulty", str, usual.difficulty, "how hard to see", tuple(DIFFICULTIES), scene)
    parser.add_setting("width", int, usual.width, "pixels", heading=scene)
    parser.add_setting("height", int, usual.height, "pixels", heading=scene)
    parser.add_setting("frames", int, usual.frame_count, "frames in each clip", heading=scene)
    text = f"frames a second ({usual.fps:g} where nobody says); of labels: how they count frames"
    parser.add_setting("fps", float, None, text, heading=scene)


# Which sources an argument is for, where it is not for all.
OWN_SOURCES = {
    **dict.fromkeys(("classes", "split", "limit", "per_class"), (*LISTS, *ARCHIVES)),
    **dict.fromkeys(LIST_ARGUMENTS, LISTS),
    "annotations": ("sports1m", *ARCHIVES),
    **dict.fromkeys(("split_number", "with_copies"), tuple(ARCHIVES)),
    **dict.fromkeys(("clips", "held_out", "sport", "difficulty", "width", "height", "frames"), ("synthetic",)),
}


def refuse_what_is_not_asked_of(
    parser: StageParser, args: argparse.Namespace, further: Mapping[str, tuple[str, ...]]
) -> None:
    """Exit with a usage error when an argument was given that the source has no use for: it would be ignored.

    `further` are arguments of other rooms and their sources. A damaged download is always skipped, to be tried again.
    """
    for name in ("copy", "damaged"):
        if args.source in ("synthetic", *LISTS) and getattr(args, name) != parser.get_default(name):
            parser.error(f"{parser.option_of(name)} is of clips on disk; with --from {args.source} leave it out")
    for name, sources in (OWN_SOURCES | dict(further)).items():
        if args.source not in sources and getattr(args, name) != parser.get_default(name):
            parser.error(
                f"{parser.option_of(name)} is of --from {', '.join(sources)}; with --from {args.source} leave it out"
            )


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
        until_damage=args.damaged == "until",
    )
