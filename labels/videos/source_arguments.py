"""The arguments of `dataset_downloader.py`, by source, and the settings they make. Imports nothing heavy."""

import argparse
from pathlib import Path

from labels.records.command_line import positive_number
from labels.videos.archives import ARCHIVES, ArchiveSettings
from labels.videos.download_arguments import LIST_ARGUMENTS, LISTS, add_list_arguments
from labels.videos.list_filters import wanted_classes
from labels.videos.synthetic_settings import DIFFICULTIES, MIXED, SPORTS, SyntheticSettings

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
    scene.add_argument("--fps", type=float, default=SyntheticSettings.fps, help="frames a second")
    scene.add_argument("--frames", type=int, default=SyntheticSettings.frame_count, help="frames in each clip")


# Which sources an argument is for, where it is not for all.
OWN_SOURCES = {
    **dict.fromkeys(("classes", "split", "limit", "per_class"), (*LISTS, *ARCHIVES)),
    **dict.fromkeys(LIST_ARGUMENTS, LISTS),
    **dict.fromkeys(("annotations", "split_number", "with_copies"), tuple(ARCHIVES)),
    **dict.fromkeys(("clips", "held_out", "sport", "difficulty", "width", "height", "fps", "frames"), ("synthetic",)),
}


def refuse_what_is_not_asked_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with a usage error when an argument was given that the source has no use for: it would be ignored."""
    for name, sources in OWN_SOURCES.items():
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
        fps=args.fps,
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
