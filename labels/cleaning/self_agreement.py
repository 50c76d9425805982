"""How far a video's labels agree with themselves: their paths with those gone through backwards, and several looks."""

from dataclasses import replace

import numpy as np

from labels.cleaning.agreement import Share
from labels.cleaning.path_evidence import add_paths
from labels.cleaning.scene import Scene
from labels.cleaning.weighing import Weighed
from labels.records import tables
from labels.tracks.candidates import Timeline


def agreement_of(weighed: Weighed, scene: Scene, kept: np.ndarray, sources: int) -> dict[str, Share]:
    """How far a video's labels agree on `paths` and `looks`; `kept` (N,) bool, `sources`: how many looks there were."""
    boxes, evidence = weighed.boxes, weighed.evidence
    frames, paths = boxes["frame_index"].to_numpy(), evidence["path"].to_numpy()
    return {
        "paths": agreement_of_paths(frames, paths, backward_paths(weighed, scene), kept),
        "looks": agreement_of_looks(evidence["looks"].to_numpy(), kept & weighed.usable, sources),
    }


def backward_paths(weighed: Weighed, scene: Scene) -> np.ndarray:
    """The path (N,) of each box when the clip is gone through from its end; -1 for none. Changes nothing."""
    boxes, timeline = weighed.boxes, scene.timeline
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
    columns = ["frame_index", "time_s", "class_name", *tables.BOX_COLUMNS]
    back = boxes[columns].assign(frame_index=last - boxes["frame_index"], time_s=end_s - boxes["time_s"])
    found = weighed.evidence.copy()
    add_paths(found, back, weighed.linked, replace(scene, timeline=turned))
    return found["path"].to_numpy()


def agreement_of_paths(frame_index: np.ndarray, path: np.ndarray, other: np.ndarray, kept: np.ndarray) -> Share:
    """Steps between kept boxes along `path` (N,) and along `other` (N,): twice those in both, of all in either."""
    steps = [_steps(frame_index, each, kept) for each in (path, other)]
    return Share(2 * len(steps[0] & steps[1]), len(steps[0]) + len(steps[1]))


def agreement_of_looks(looks: np.ndarray, kept: np.ndarray, sources: int) -> Share:
    """How many of the other looks see each kept box; `looks` (N,) counts those that see it, of `sources`."""
    if sources < 2:
        return Share()
    return Share(int((looks[kept] - 1).sum()), int(kept.sum()) * (sources - 1))


def _steps(frame_index: np.ndarray, path: np.ndarray, kept: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of rows that follow each other on a path, both kept; the earlier in the video first."""
    rows = np.flatnonzero(path >= 0)
    rows = rows[np.lexsort([frame_index[rows], path[rows]])]
    before, after = rows[:-1], rows[1:]
    wanted = (path[before] == path[after]) & kept[before] & kept[after]
    return set(zip(before[wanted].tolist(), after[wanted].tolist(), strict=True))
