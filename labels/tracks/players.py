"""Tracks of large, slow things (people): overlap with the predicted box, sure boxes first, the rest second.

The two rounds of matching are ByteTrack's (Zhang et al., 2022); the assignment is the Hungarian one; prediction is a
Kalman filter with fixed gain in camera-steady coordinates, so a panning camera moves nobody.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from labels.records.geometry import iou_matrix
from labels.tracks.best_paths import Path
from labels.tracks.candidates import Candidates
from labels.tracks.settings import PlayerSettings

POSITION_GAIN, SPEED_GAIN = 0.7, 0.3


class _Track:
    """One player while the video is gone through."""

    def __init__(self, candidates: Candidates, node: int) -> None:
        self.nodes = [node]
        self.place = candidates.steady[node].copy()
        self.speed = np.zeros(2)
        self.extent = candidates.extent[node].copy()
        self.time_s = float(candidates.time_s[node])

    def predicted(self, time_s: float) -> np.ndarray:
        place = self.place + self.speed * (time_s - self.time_s)
        return np.concatenate([place - self.extent / 2, place + self.extent / 2])

    def take(self, candidates: Candidates, node: int) -> None:
        elapsed = float(candidates.time_s[node]) - self.time_s
        forecast = self.place + self.speed * elapsed
        residual = candidates.steady[node] - forecast
        self.place = forecast + POSITION_GAIN * residual
        self.speed = self.speed + SPEED_GAIN * residual / max(elapsed, 1e-6)
        self.extent = 0.7 * self.extent + 0.3 * candidates.extent[node]
        self.time_s += elapsed
        self.nodes.append(node)


def player_paths(candidates: Candidates, settings: PlayerSettings) -> list[Path]:
    """Disjoint tracks of at least two boxes, in the order they began."""
    if not len(candidates):
        return []
    active: list[_Track] = []
    ended: list[_Track] = []
    shot = -1
    starts = np.flatnonzero(np.diff(candidates.step, prepend=-1))
    boxes = np.concatenate(
        [candidates.steady - candidates.extent / 2, candidates.steady + candidates.extent / 2], axis=1
    )
    for low, high in zip(starts, np.append(starts[1:], len(candidates)), strict=True):
        time_s = float(candidates.time_s[low])
        if candidates.shot_index[low] != shot:
            shot = int(candidates.shot_index[low])
            ended, active = ended + active, []
        ended += [track for track in active if time_s - track.time_s > settings.max_gap_s]
        active = [track for track in active if time_s - track.time_s <= settings.max_gap_s]
        here = np.arange(low, high)
        sure = candidates.evidence[here] >= settings.sure_log_odds
        waiting, new = _match(active, here[sure], boxes, candidates, time_s, settings)
        _match(waiting, here[~sure], boxes, candidates, time_s, settings)
        active += [_Track(candidates, int(node)) for node in new]
    tracks = [np.array(track.nodes) for track in ended + active if len(track.nodes) >= 2]
    tracks.sort(key=lambda nodes: int(nodes[0]))
    return [Path(nodes, np.zeros(len(nodes), bool), float(candidates.evidence[nodes].sum())) for nodes in tracks]


def _match(
    tracks: list[_Track],
    nodes: np.ndarray,
    boxes: np.ndarray,
    candidates: Candidates,
    time_s: float,
    settings: PlayerSettings,
) -> tuple[list[_Track], np.ndarray]:
    """Give `nodes` to `tracks`. Returns the tracks and the nodes that are left."""
    if not tracks or not len(nodes):
        return tracks, nodes
    overlap = iou_matrix(np.array([track.predicted(time_s) for track in tracks]), boxes[nodes])
    chosen = linear_sum_assignment(-overlap)
    matched = [(track, node) for track, node in zip(*chosen, strict=True) if overlap[track, node] >= settings.min_iou]
    for track, node in matched:
        tracks[track].take(candidates, int(nodes[node]))
    taken_tracks = {track for track, _ in matched}
    left = np.ones(len(nodes), dtype=bool)
    left[[node for _, node in matched]] = False
    return [track for place, track in enumerate(tracks) if place not in taken_tracks], nodes[left]
