"""A feature: a pure function that turns columns into columns, and the order in which features are computed.

A column is an array with a row for each box, (N,) or (N, 4). A feature says which columns it reads and which it writes;
it is given those it reads and no others, and must give all those it writes. The order follows from that. What is no
column (the boxes themselves, the timeline, the settings) is in the `Scene`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.tracks.candidates import Candidates, Timeline, make_candidates
from labels.tracks.settings import PathSettings, PlayerSettings

if TYPE_CHECKING:
    from labels.cleaning.features.appearance import UsualTracks

Columns = dict[str, Any]  # name -> array; `gaps` alone is a table


@dataclass(frozen=True)
class Scene:
    """One video while it is cleaned.

    Attributes:
        boxes: N rows, merged, with lineage; nothing changes them.
        denied: (N,) bool, a human said that there is no such thing.
        asked: (N,) bool, in a stretch in which a teacher looked beside the student.
        labelled_frames: how many frames the labeller looked at.
        has_past: a round before is merged in.
        usual: how the tracks look that the round before kept in all videos.
    """

    boxes: pd.DataFrame
    denied: np.ndarray
    asked: np.ndarray
    timeline: Timeline
    labelled_frames: int
    has_past: bool
    usual: "UsualTracks | None"
    settings: CleaningSettings
    path_settings: PathSettings
    player_settings: PlayerSettings

    def __len__(self) -> int:
        return len(self.boxes)

    def has(self, part: str) -> bool:
        """Whether this part of cleaning is switched on."""
        return part not in self.settings.without

    @cached_property
    def frame_index(self) -> np.ndarray:
        """(N,) int64."""
        return self.boxes["frame_index"].to_numpy()

    @cached_property
    def class_name(self) -> np.ndarray:
        """(N,) str."""
        return self.boxes["class_name"].to_numpy(dtype=object)

    @cached_property
    def xyxy(self) -> np.ndarray:
        """(N, 4) float32: the boxes as they were labelled."""
        return self.boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float32)

    def of_class(self, name: str) -> np.ndarray:
        """(N,) bool."""
        return self.class_name == name

    def boxes_at(self, xyxy: np.ndarray) -> pd.DataFrame:
        """The boxes moved to `xyxy` (N, 4)."""
        return self.boxes.assign(**{name: xyxy[:, column] for column, name in enumerate(tables.BOX_COLUMNS)})

    def candidates(self, xyxy: np.ndarray, log_odds: np.ndarray, rows: np.ndarray) -> Candidates:
        """The rows as candidates of paths: `xyxy` (N, 4) and `log_odds` (N,) are of all boxes."""
        return make_candidates(self.boxes_at(xyxy), log_odds, rows, self.timeline)


Compute = Callable[[Mapping[str, Any], Scene], Columns]


@dataclass(frozen=True)
class Feature:
    """`compute(columns, scene)` reads the columns `reads` and returns the columns `writes`."""

    name: str
    compute: Compute
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def __call__(self, columns: Mapping[str, Any], scene: Scene) -> Columns:
        """The columns this feature writes. ValueError when they are not the ones it declares."""
        found = self.compute({name: columns[name] for name in self.reads}, scene)
        if set(found) != set(self.writes):
            raise ValueError(f"feature {self.name}: declares {sorted(self.writes)}, but gives {sorted(found)}")
        return found


def feature(reads: Iterable[str] = (), writes: Iterable[str] = ()) -> Callable[[Compute], Feature]:
    """Decorator: the function becomes a `Feature` of its name."""
    return lambda compute: Feature(compute.__name__, compute, tuple(reads), tuple(writes))


def in_order(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """The features, each after those whose columns it reads.

    ValueError when two write one column or nobody writes what one reads; graphlib.CycleError when they wait for each
    other.
    """
    listed = tuple(features)
    writer: dict[str, Feature] = {}
    for one in listed:
        for column in one.writes:
            if column in writer:
                raise ValueError(f"column {column}: is written by {writer[column].name} and by {one.name}")
            writer[column] = one
    for one in listed:
        for column in one.reads:
            if column not in writer:
                raise ValueError(f"feature {one.name}: reads {column}, which no feature writes")
    graph = {one: [writer[column] for column in one.reads] for one in listed}
    return tuple(TopologicalSorter(graph).static_order())


def needed_for(column: str, ordered: Iterable[Feature]) -> tuple[Feature, ...]:
    """Of features in order, those it takes to compute a column."""
    wanted, found = {column}, []
    for one in reversed(tuple(ordered)):
        if wanted.intersection(one.writes):
            wanted.update(one.reads)
            found.append(one)
    return tuple(reversed(found))


def following_from(column: str, ordered: Iterable[Feature]) -> tuple[Feature, ...]:
    """Of features in order, those that change when a column does; not the one that writes it."""
    changed, found = {column}, []
    for one in ordered:
        if changed.intersection(one.reads):
            changed.update(one.writes)
            found.append(one)
    return tuple(found)
