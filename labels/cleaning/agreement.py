"""Self-agreement: how far a round's labels agree with themselves, for where there is no truth.

Agreement is not accuracy: all that is compared here may make the same mistake. But what does not even agree with itself
is not right.

- `paths`: the same candidates linked from the last frame to the first. Of the steps that kept labels make along their
  paths, how many are made both ways (F1 of the steps).
- `views`: where there are several views (detectors, scales), the share of the others that see what is kept.
- `survival`: of the labels that the round before kept, those that this round's labeller finds again.
- `folds`: of what is kept, what students find that were trained on other groups (F1; `training.boxes.round`).

Each with an interval from drawing whole groups of videos anew (percentile bootstrap over clusters, Efron and
Tibshirani, 1993), because the frames of one video are alike.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.features.feature import Columns, Scene
from labels.cleaning.features.paths import paths
from labels.records.old_names import new_name
from labels.tracks.candidates import Timeline

FOLDS = "folds"
MEASURES = ("paths", "views", "survival", FOLDS)
RESAMPLES, CONFIDENCE = 1000, 0.95


@dataclass(frozen=True)
class Share:
    """`agreed` of `asked`; those of several videos add up."""

    agreed: int = 0
    asked: int = 0


class SelfAgreement:
    """Adds up the videos of a round."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, int, int]] = []

    def add(self, group: str, shares: dict[str, Share]) -> None:
        """What one video of `group` says of each measure."""
        self._rows += [(measure, group, share.agreed, share.asked) for measure, share in shares.items() if share.asked]

    def as_counts(self) -> dict[str, Any]:
        """For run.json: measure -> value, its interval (none from a single group), agreed, asked, groups."""
        rows = pd.DataFrame(self._rows, columns=["measure", "group", "agreed", "asked"])
        result = {}
        for measure in MEASURES:
            of_groups = rows[rows["measure"] == measure].groupby("group")[["agreed", "asked"]].sum().sort_index()
            if not len(of_groups):
                continue
            agreed, asked = of_groups.sum()
            interval = _interval(of_groups.to_numpy(dtype=np.float64))
            result[measure] = {
                "value": round(float(agreed / asked), 4),
                "interval": interval,
                "agreed": int(agreed),
                "asked": int(asked),
                "groups": len(of_groups),
            }
        return result


def _interval(of_groups: np.ndarray) -> list[float] | None:
    """The 95 % interval of the share that (G, 2) agreed and asked give together."""
    size = len(of_groups)
    if size < 2:
        return None
    draws = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES) @ of_groups
    ends = np.quantile(draws[:, 0] / draws[:, 1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return [round(float(end), 4) for end in ends]


def agreement_lines(agreement: dict[str, Any]) -> list[str]:
    """A line to print: what agrees with what."""
    meanings = {
        "paths": "paths both ways",
        "views": "views that see what is kept",
        "survival": "kept labels found again",
        FOLDS: "students that never saw the labels' groups",
    }
    parts = []
    for measure, found in agreement.items():
        interval = "" if found["interval"] is None else " ({:.2f} to {:.2f})".format(*found["interval"])
        parts.append(f"{meanings[new_name(measure)]} {found['value']:.3f}{interval}")
    return [f"agreement, not accuracy: {'; '.join(parts)}"] if parts else []


def agreement_of(columns: Columns, scene: Scene, kept: np.ndarray, sources: int) -> dict[str, Share]:
    """How far a video's labels agree on `paths` and `views`; `kept` (N,) bool, `sources`: how many views there were."""
    return {
        "paths": agreement_of_paths(scene.frame_index, columns["path"], backward_paths(columns, scene), kept),
        "views": agreement_of_views(columns["views"], kept & columns["usable"], sources),
    }


def backward_paths(columns: Columns, scene: Scene) -> np.ndarray:
    """The path (N,) of each box when the clip is gone through from its end; -1 for none."""
    boxes, timeline = scene.boxes, scene.timeline
    if not len(timeline):
        return np.full(len(boxes), -1)
    last, end_s = timeline.frame_index[-1], timeline.time_s[-1]
    turned = Timeline(
        last - timeline.frame_index[::-1],
        end_s - timeline.time_s[::-1],
        timeline.shot_index.max() - timeline.shot_index[::-1],
        timeline.to_shot[::-1],
        timeline.width,
        timeline.height,
    )
    back = boxes.assign(frame_index=last - boxes["frame_index"], time_s=end_s - boxes["time_s"])
    return np.asarray(paths(columns, replace(scene, boxes=back, timeline=turned))["path"])


def agreement_of_paths(frame_index: np.ndarray, path: np.ndarray, other: np.ndarray, kept: np.ndarray) -> Share:
    """Steps between kept boxes along `path` (N,) and along `other` (N,): twice those in both, of all in either."""
    steps = [_steps(frame_index, each, kept) for each in (path, other)]
    return Share(2 * len(steps[0] & steps[1]), len(steps[0]) + len(steps[1]))


def agreement_of_views(views: np.ndarray, kept: np.ndarray, sources: int) -> Share:
    """How many of the other views see each kept box; `views` (N,) counts those that see it, of `sources`."""
    if sources < 2:
        return Share()
    return Share(int((views[kept] - 1).sum()), int(kept.sum()) * (sources - 1))


def _steps(frame_index: np.ndarray, path: np.ndarray, kept: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of rows that follow each other on a path, both kept; the earlier in the video first."""
    rows = np.flatnonzero(path >= 0)
    rows = rows[np.lexsort([frame_index[rows], path[rows]])]
    before, after = rows[:-1], rows[1:]
    wanted = (path[before] == path[after]) & kept[before] & kept[after]
    return set(zip(before[wanted].tolist(), after[wanted].tolist(), strict=True))
