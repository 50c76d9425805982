"""Tracks of people, and the square crop that follows one player over every frame of its track.

Boxes are matched with predicted ones by overlap in ByteTrack's two rounds (Zhang et al., 2022), confident boxes first,
with the Hungarian method. The prediction is a Kalman filter with fixed gain in camera-steady coordinates, so that a
panning camera moves nobody.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from labels.records.geometry import as_xyxy, centre_of, iou_matrix, size_of
from labels.tracks.candidates import Candidates
from labels.tracks.linking import Path
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


@dataclass(frozen=True)
class CropSettings:
    room: float = 1.25  # side of the crop over the longer side of the player's box
    steady_frames: float = 4.0  # standard deviation of the smoothing over time
    hidden_s: float = 0.5  # without a box that is not bridged: the player was out of sight
    hidden_steps: int = 3  # and so many usual steps from box to box


@dataclass(frozen=True)
class CropPath:
    """The crop of one track in each frame from `first_frame` on: `squares` (F, 3), centre x and y, side; pixels.

    `boxes` (F, 4) are the player's own, not smoothed, where they are known. `in_sight` are the runs of frames, from the
    first to before the end, in which the player is seen; none named: all along.
    """

    track_id: int
    first_frame: int
    squares: np.ndarray
    boxes: np.ndarray | None = None
    in_sight: tuple[tuple[int, int], ...] = ()

    @property
    def end_frame(self) -> int:
        """The first frame after the track."""
        return self.first_frame + len(self.squares)

    @property
    def sights(self) -> tuple[tuple[int, int], ...]:
        """What `in_sight` means, at least one."""
        return self.in_sight or ((self.first_frame, self.end_frame),)

    @property
    def frames_in_sight(self) -> int:
        return sum(end - first for first, end in self.sights)

    def sight_at(self, frame_index: int) -> tuple[int, int] | None:
        """The run of frames in sight that holds a frame; None where the player is out of sight."""
        return next(((first, end) for first, end in self.sights if first <= frame_index < end), None)


def crop_path(
    track_id: int, frame_index: np.ndarray, xyxy: np.ndarray, fps: float, settings: CropSettings | None = None
) -> CropPath:
    """The crops of a track from its boxes: between boxes by straight lines, then smoothed.

    Args:
        frame_index: (N,) of its boxes, N at least 1, in any order, none twice.
        xyxy: (N, 4) pixels.
        fps: frames a second, by which it is told when the player was out of sight.
    """
    settings = settings or CropSettings()
    order = np.argsort(frame_index)
    frames, boxes = np.asarray(frame_index)[order], as_xyxy(xyxy)[order].astype(np.float64)
    if not len(frames) or (np.diff(frames) == 0).any():
        raise ValueError(f"track {track_id}: needs boxes, and one a frame, not {len(frames)} in {len(set(frames))}")
    known = np.column_stack([centre_of(boxes), size_of(boxes).max(axis=1) * settings.room])
    every = np.arange(frames[0], frames[-1] + 1)
    squares = np.column_stack([np.interp(every, frames, known[:, column]) for column in range(3)])
    between = np.column_stack([np.interp(every, frames, boxes[:, column]) for column in range(4)])
    steps = np.diff(frames)
    usual = float(np.median(steps)) if len(steps) else 1.0
    hidden = np.flatnonzero(steps > max(settings.hidden_s * fps, settings.hidden_steps * usual))
    ends = [*(frames[hidden] + 1).tolist(), int(frames[-1]) + 1]
    in_sight = tuple(zip([int(frames[0]), *frames[hidden + 1].tolist()], ends, strict=True))
    return CropPath(track_id, int(frames[0]), smooth(squares, settings.steady_frames), between, in_sight)


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Values (F, C) smoothed over time by a Gaussian; at the ends the rest of it counts for all."""
    reach = int(np.ceil(3 * deviation))
    if reach < 1 or len(values) < 2:
        return values
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    total = np.convolve(np.ones(len(values)), weight)[reach : reach + len(values)]
    sums = [np.convolve(column, weight)[reach : reach + len(values)] for column in values.T]
    return np.column_stack(sums) / total[:, None]
