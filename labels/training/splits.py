"""Which group trains and which validates: decided once, in round 0, and kept in `split.csv` for every later round.

A group is what must not be split: clips of one source video, players or scenes. Official splits of the clips' list are
respected, and what it calls test is neither trained nor validated on; where it has no validation, some of its training
groups validate. Clips whose files are the same bytes are one group, whatever they are called.
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, write_text
from labels.training.settings import SplitSettings

T = TypeVar("T")

TRAIN, VAL, TEST = "train", "val", "test"
STRICTEST_FIRST = (TEST, VAL, TRAIN)  # a group that its list calls both is what is further from training


def split_videos(
    table: Path,
    videos: pd.DataFrame,
    labelled: set[str],
    round_number: int,
    settings: SplitSettings,
) -> dict[str, str]:
    """`train`, `val` or `test` for each video_id, by the frozen table, to which groups that are new are added.

    Args:
        table: `WorkFolder.split_table`, columns `group,split,round`; made when absent.
        videos: usable rows of the videos table.
        labelled: video_ids that hold labels worth training on. Training and validation are both given groups that have
            some; with a single one, nothing validates yet, and who is undecided is `train` without a line in the table.

    Raises InputError when no group is left to train on, and when the table is no such table.
    """
    linked, own = linked_groups(videos), _own_groups(videos)
    frozen = read_split_table(table)
    decided: dict[str, str] = {}  # linked group -> split
    for video_id, group in own.items():
        if group in frozen:
            decided[linked[video_id]] = _stricter(frozen[group][0], decided.get(linked[video_id], TRAIN))
    new = sorted(set(linked.values()) - set(decided))
    official = {group: split for group, split in _official_splits(videos, linked).items() if group in new}
    decided |= official
    new = [group for group in new if group not in official]
    if VAL not in decided.values():
        with_labels = {linked[video_id] for video_id in labelled}
        trained = any(split == TRAIN for group, split in decided.items() if group not in official)
        free = sorted([*new, *(group for group, split in official.items() if split == TRAIN)])
        chosen = _first_validation_groups(free, with_labels, trained, settings)
        if not chosen:  # decided now, the groups without labels could not validate later
            new = [group for group in new if group in with_labels]
            decided = {group: split for group, split in decided.items() if group not in free or group in with_labels}
    elif frozen:
        chosen = {group for group in new if _draw(group) < settings.validation_share}
    else:
        chosen = set()  # the list says what validates
    decided |= dict.fromkeys(new, TRAIN) | dict.fromkeys(chosen, VAL)
    for video_id, group in own.items():
        if linked[video_id] in decided:
            frozen.setdefault(group, (decided[linked[video_id]], round_number))
    splits = {video_id: frozen[group][0] if group in frozen else TRAIN for video_id, group in own.items()}
    if TRAIN not in splits.values():
        raise InputError(
            f"{table.parent}: all clips are held out or validate, and none is left to train on; add clips of another "
            "source with dataset_downloader.py"
        )
    require_no_leak(splits, videos)
    _write_split_table(table, frozen)
    return splits


def require_no_leak(splits: dict[str, str], videos: pd.DataFrame) -> None:
    """Raise InputError if a group, or the bytes of a file, are on both sides, or a test clip is on any."""
    for column in ("group", "sha256"):
        side_of: dict[str, tuple[str, str]] = {}
        for video_id, value in zip(videos["video_id"], videos[column], strict=True):
            if not value or video_id not in splits:
                continue
            split, other = side_of.setdefault(value, (splits[video_id], video_id))
            if split != splits[video_id]:
                raise InputError(
                    f"split.csv: the {column} of {video_id} ({splits[video_id]}) is also that of {other} ({split}): "
                    "validation would be on what was trained on; take one of the two clips away"
                )
    official_test = set(videos["video_id"][videos["split"] == TEST])
    leaked = sorted(video_id for video_id in official_test if splits.get(video_id, TEST) != TEST)
    if leaked:
        raise InputError(
            f"split.csv: {leaked[0]} is a test clip of its list and must not be {splits[leaked[0]]}; take the clip "
            f"away, or make its group {_own_groups(videos)[leaked[0]]} test in split.csv and train from round 0 again"
        )


def linked_groups(videos: pd.DataFrame) -> dict[str, str]:
    """The group of each video_id; groups that share a file's bytes are one, named as the first of them."""
    first: dict[str, str] = {}  # group -> a group it is one with

    def root(group: str) -> str:
        while first.setdefault(group, group) != group:
            group = first[group]
        return group

    own = _own_groups(videos)
    with_bytes: dict[str, str] = {}
    for group, sha256 in zip(own.values(), videos["sha256"], strict=True):
        if sha256:
            pair = sorted((root(group), root(with_bytes.setdefault(sha256, group))))
            first[pair[1]] = pair[0]
    return {video_id: root(group) for video_id, group in own.items()}


def fold_of(groups: Sequence[str], folds: int) -> dict[str, int]:
    """The fold of each group: in turn, those with most entries first, so that the folds are alike in size."""
    counts = Counter(groups)
    order = sorted(counts, key=lambda group: (-counts[group], digest_of(group)))
    return {group: place % folds for place, group in enumerate(order)}


def folds_of(items: Sequence[T], groups: Sequence[str], folds: int) -> Iterator[tuple[list[T], list[T]]]:
    """Of each fold the items of its groups, and all others; `groups` are those of the items."""
    fold_by_group = fold_of(groups, folds)
    of_item = [fold_by_group[group] for group in groups]
    for fold in range(folds):
        yield (
            [item for item, other in zip(items, of_item, strict=True) if other == fold],
            [item for item, other in zip(items, of_item, strict=True) if other != fold],
        )


def require_groups(groups: Collection[str], folds: int) -> None:
    """InputError where so many folds cannot be made of these groups; 0 asks for none."""
    if folds == 1:
        raise InputError("--folds 1: two at least")
    if len(set(groups)) < folds:
        raise InputError(
            f"--folds {folds}: fewer groups than that are trained on ({len(set(groups))}); add clips of other sources"
        )


def _own_groups(videos: pd.DataFrame) -> dict[str, str]:
    """The group each video_id came with; a clip without one is its own."""
    return {video: group or video for video, group in zip(videos["video_id"], videos["group"], strict=True)}


def _stricter(split: str, other: str) -> str:
    return min(split, other, key=STRICTEST_FIRST.index)


def read_split_table(table: Path) -> dict[str, tuple[str, int]]:
    """group -> (split, round in which it was decided); empty when there is no table yet."""
    if not table.is_file():
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
        decided = {row["group"]: (row["split"], int(row["round"])) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise InputError(
            f"{table}: must have the columns group,split,round; put the file that was there back"
        ) from None
    unknown = {split for split, _ in decided.values()} - set(STRICTEST_FIRST)
    if unknown or not rows or len(decided) < len(rows):
        raise InputError(f"{table}: each group stands once, as {', '.join(STRICTEST_FIRST)}; put the old file back")
    return decided


def _write_split_table(table: Path, frozen: dict[str, tuple[str, int]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "split", "round"])
    writer.writerows([group, *frozen[group]] for group in sorted(frozen))
    if not table.is_file() or table.read_text(encoding="utf-8") != text.getvalue():
        write_text(table, text.getvalue())


def _official_splits(videos: pd.DataFrame, group_of: dict[str, str]) -> dict[str, str]:
    named: dict[str, set[str]] = {}
    for video_id, split in zip(videos["video_id"], videos["split"], strict=True):
        named.setdefault(group_of[video_id], set()).add(split)
    found = {group: next((split for split in STRICTEST_FIRST if split in named[group]), "") for group in named}
    return {group: split for group, split in found.items() if split}


def _first_validation_groups(
    free: list[str], with_labels: set[str], trained: bool, settings: SplitSettings
) -> set[str]:
    """The groups to validate on, among those with labels, in an order that depends on their names alone.

    Args:
        free: the groups that may be drawn, of which one is left to train on unless `trained`: others train already.
    """
    drawn = sorted((group for group in free if group in with_labels), key=_draw)
    count = max(1, round(settings.validation_share * len(drawn)))
    return set(drawn[: max(0, min(count, len(drawn) - (not trained)))])


def _draw(group: str) -> float:
    """A number in 0-1 that depends on the group's name alone."""
    return int.from_bytes(hashlib.blake2b(group.encode(), digest_size=6).digest()) / 2**48


def require_no_group_twice(training: Sequence[Any], held_out: Sequence[Any]) -> None:
    """AssertionError when a `group` or `video_id` is trained on and judged by: a leak is never a user's doing."""
    for name in ("group", "video_id"):
        both = {getattr(window, name) for window in training} & {getattr(window, name) for window in held_out}
        if both:
            raise AssertionError(
                f"the {name} {min(both)} is trained on and judged by: the figures would be worth nothing"
            )
