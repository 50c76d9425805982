"""The arguments of `dataset_downloader.py` for clip lists. Imports nothing heavy."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labels.records.command_line import positive_number
from labels.videos.download_outcomes import OK, OUTCOMES
from labels.videos.download_settings import DownloadSettings
from labels.videos.list_filters import ListFilters, parse_shard, wanted_classes

if TYPE_CHECKING:
    from labels.videos.list_source import ListDownload

LISTS = ("sports1m", "kinetics", "urls")
LIST_ARGUMENTS = (
    *("labels", "min_height", "max_duration", "shard", "dry_run", "short_side", "max_height", "max_size"),
    *("workers", "rate_limit", "per_hour", "pause", "retries", "retry_failed", "retry"),
)
SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said with `--from sports1m`, `kinetics` and `urls`, beside what all sources share."""
    choose = parser.add_argument_group("--from sports1m, kinetics, urls: what is wanted, further")
    choose.add_argument("--labels", type=Path, help="Sports-1M's labels.txt (default: beside the list)")
    choose.add_argument("--min-height", type=positive_number, default=ListFilters.min_height, help="pixels")
    choose.add_argument("--max-duration", type=_seconds, help="of a clip, seconds")
    choose.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="part I of N, for N machines")
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
    again = fetch.add_mutually_exclusive_group()
    again.add_argument("--retry-failed", action="store_true", help="try again everything that failed in earlier runs")
    again.add_argument("--retry", metavar="OUTCOMES", help=f"try again these: {','.join(OUTCOMES[1:])}")


def list_download(args: argparse.Namespace) -> "ListDownload":
    """What the arguments ask for. Raises InputError."""
    from labels.videos.list_source import ListDownload, check_retry

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
    retry = frozenset(OUTCOMES) - {OK} if args.retry_failed else check_retry(args.retry or "")
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


def _shard(text: str) -> tuple[int, int]:
    try:
        return parse_shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
