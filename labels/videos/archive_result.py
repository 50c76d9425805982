"""What became of an archive's clips, in tables and in lines for the one who asked."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from labels.videos.archive_choice import groups_in_two_splits
from labels.videos.archive_clips import FAILED
from labels.videos.videos_table import Row

TWO_LABELS = "same content under two labels"
EXAMPLES = 3  # of each kind of failure that the closing lines name


@dataclass
class ArchiveResult:
    """What became of an archive's clips: found = used + refused."""

    videos: pd.DataFrame  # of the table videos, for the clips of this run
    actions: pd.DataFrame  # their human labels
    refused: Counter[str] = field(default_factory=Counter)  # reason -> clips
    lines: list[str] = field(default_factory=list)

    @property
    def found(self) -> int:
        return len(self.videos)

    @property
    def used(self) -> int:
        return self.found - sum(self.refused.values())


def refusal_lines(rows: list[Row], kinds: dict[str, str]) -> Iterator[str]:
    """The first few of each kind of failure; `kinds` names the kind by video_id."""
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        kind = kinds.get(row["video_id"], "")
        if row["status"] == FAILED or kind == TWO_LABELS:
            examples[kind].append(f"{row['source']}: {row['reason']}")
    for kind, named in sorted(examples.items()):
        yield from named[:EXAMPLES]
        if len(named) > EXAMPLES:
            yield f"… and {len(named) - EXAMPLES} more: {kind}"


def split_lines(rows: list[Row]) -> Iterator[str]:
    """How many clips of each split are used, and groups that an official split tears apart."""
    used = [row for row in rows if row["status"] == "ok"]
    if mixed := groups_in_two_splits(used):
        count = sum(row["group"] in mixed for row in used)
        yield (
            f"{len(mixed)} groups ({count} clips) have clips in two official splits, such as {min(mixed)}; the splits "
            "are kept as published, so results on them are too good by what these clips share"
        )
    by_split = Counter(row["split"] or "no split" for row in used)
    told = ", ".join(f"{count} {split}" for split, count in sorted(by_split.items()))
    groups, classes = ({row[name] for row in used} for name in ("group", "class_name"))
    if used:
        yield f"{len(used)} labelled clips of {len(classes)} classes in {len(groups)} groups ({told})"
