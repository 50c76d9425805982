"""Placement: where a stage's work runs (this process or several) and which share of it. Imports nothing heavy."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from labels.records.errors import InputError

Item = TypeVar("Item")
MOST_PROCESSES = 512


@dataclass(frozen=True)
class Placement:
    """`processes`: 0 for as many as pay. `shard` of `shards`, from 1: the share of the items that is worked on."""

    processes: int = 0
    shard: int = 1
    shards: int = 1

    @property
    def is_share(self) -> bool:
        return self.shards > 1

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Every `shards`th item: shares are disjoint, make up the whole, and differ by at most one item."""
        return list(items[self.shard - 1 :: self.shards])

    @property
    def name(self) -> str:
        """Of the share, also as part of a file's name; empty for the whole."""
        return f"shard-{self.shard}-of-{self.shards}" if self.is_share else ""


def placement(text: str) -> int:
    """Argument type of `--on`: how many processes."""
    name, _, count = text.partition(":")
    if name == "processes" and count.isascii() and count.isdecimal() and 0 < int(count) <= MOST_PROCESSES:
        return int(count)
    raise argparse.ArgumentTypeError(f"processes:N, N from 1 to {MOST_PROCESSES}, not '{text}'")


def share(text: str) -> tuple[int, int]:
    """Argument type of `--shard`: I/N, I from 1 to N."""
    first, slash, second = text.partition("/")
    if slash and all(part.isascii() and part.isdecimal() and len(part) < 7 for part in (first, second)):
        shard, shards = int(first), int(second)
        if 1 <= shard <= shards:
            return shard, shards
    raise argparse.ArgumentTypeError(f"I/N, I from 1 to N, such as 2/8, not '{text}'")


def add_placement_arguments(parser: argparse.ArgumentParser, usual: str) -> None:
    """`--on` and `--shard`; `usual` says where the work is done without `--on`."""
    group = parser.add_argument_group("where the work is done; the result is the same")
    group.add_argument("--on", type=placement, default=0, metavar="processes:N", help=f"(default: {usual})")
    group.add_argument(
        "--shard",
        type=share,
        default=(1, 1),
        metavar="I/N",
        help="do one of N shares, at the same time as others do theirs, on this machine or on others that see the work "
        "folder; when all are done, the same command without --shard looks whether anything is missing and ends the "
        "stage",
    )


def placement_of(args: argparse.Namespace) -> Placement:
    return Placement(args.on, *args.shard)


def refuse_placement(args: argparse.Namespace, why: str) -> None:
    """InputError where there is nothing to divide."""
    given = [option for option, is_given in (("--on", args.on), ("--shard", args.shard != (1, 1))) if is_given]
    if given:
        raise InputError(f"{', '.join(given)}: {why}; leave it out")
