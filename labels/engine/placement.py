"""Placement: where a stage's work runs (this process, several, or a Ray cluster) and which share of it.

Imports nothing heavy.
"""

import argparse
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TypeVar

from labels.records.errors import InputError

Item = TypeVar("Item")
MOST_PROCESSES = 512
ANSWER_S = 3.0


@dataclass(frozen=True)
class Placement:
    """`processes`: 0 for as many as pay. `shard` of `shards`, from 1: the share of the items that is worked on.

    `ray`: empty for none; `ray` for the cluster this machine is of, or one of its own; or `ray://HOST:PORT`.
    """

    processes: int = 0
    shard: int = 1
    shards: int = 1
    ray: str = ""

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


RAY = "ray"


def placement(text: str) -> Placement:
    """Argument type of `--on`."""
    name, colon, rest = text.partition(":")
    if name == "processes" and rest.isascii() and rest.isdecimal() and 0 < int(rest) <= MOST_PROCESSES:
        return Placement(int(rest))
    if name == RAY and (not colon or (rest.startswith("//") and len(rest) > 2)):
        return Placement(ray=text)
    raise argparse.ArgumentTypeError(
        f"processes:N, N from 1 to {MOST_PROCESSES}, or ray, or ray://HOST:PORT, not '{text}'"
    )


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
    text = f"so many processes, or the actors of a Ray cluster (default: {usual})"
    group.add_argument("--on", type=placement, default=None, metavar="processes:N|ray|ray://HOST:PORT", help=text)
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
    """InputError when Ray is asked for and not installed, or nothing answers where its cluster is said to be."""
    where: Placement = args.on or Placement()
    if where.ray and find_spec(RAY) is None:
        raise InputError(f'--on {where.ray}: Ray is not installed: pip install "rally-labels[ray]"')
    if where.ray not in ("", RAY):
        if find_spec("grpc") is None:
            raise InputError(f'--on {where.ray}: needs Ray\'s client: pip install "ray[client]"')
        if not answers(where.ray.removeprefix("ray://")):
            raise InputError(f"--on {where.ray}: nothing answers there")
    return replace(where, shard=args.shard[0], shards=args.shard[1])


def answers(address: str) -> bool:
    """Whether anything takes a connection at HOST:PORT within seconds; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def refuse_placement(args: argparse.Namespace, why: str) -> None:
    """InputError where there is nothing to divide."""
    given = [option for option, is_given in (("--on", args.on), ("--shard", args.shard != (1, 1))) if is_given]
    if given:
        raise InputError(f"{', '.join(given)}: {why}; leave it out")
