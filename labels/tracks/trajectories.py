"""Trajectories: boxes linked over time, their residuals from the smoothed path, and boxes for the gaps.

`find_trajectories` is the one way in. It works offline, on the whole video in both directions, in coordinates from
which the camera's motion is taken out, and starts anew at scene cuts.

Paths are smoothed by a Kalman filter and a Rauch-Tung-Striebel smoother with a state of position and speed, driven by
random acceleration. The result is a cubic smoothing spline, which follows ballistic flight without knowing which way is
down. At a turn (a bounce, a hit) the speed is forgotten and learned anew, the position is not.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.ndimage import median_filter

from labels.records import tables
from labels.records.geometry import size_of
from labels.tracks.candidates import Candidates, Timeline, make_candidates
from labels.tracks.linking import Path, best_paths, make_links
from labels.tracks.players import player_paths
from labels.tracks.settings import PathSettings, PlayerSettings

FORGOTTEN_SPEED = 1e8  # variance, (pixels/s)²
ACCELERATION_LASTS_S = 0.1  # how long a random acceleration keeps its direction


@dataclass(frozen=True)
class SmoothPath:
    """`position` (K, 2), `speed` (K, 2, pixels/s) given all of the path; `deviation` (K,) of the position, pixels."""

    position: np.ndarray
    speed: np.ndarray
    deviation: np.ndarray


def smooth_path(
    time_s: np.ndarray, measured: np.ndarray, noise: np.ndarray, turns: np.ndarray, acceleration: np.ndarray
) -> SmoothPath:
    """Filter forwards, smooth backwards.

    Args:
        time_s: (K,) strictly ascending.
        measured: (K, 2) positions; a row of NaN is a time at which only the prediction is wanted.
        noise: (K,) standard deviation of each measurement, pixels.
        turns: (K,) bool, the speed starts anew after this time.
        acceleration: (K,) standard deviation of the acceleration, pixels/s².
    """
    count = len(time_s)
    state = np.zeros((count, 2, 2))  # (time, position or speed, x or y)
    covariance = np.zeros((count, 2, 2))  # the same for x and y
    predicted = np.zeros((count, 2, 2))
    predicted_covariance = np.zeros((count, 2, 2))
    steps = np.tile(np.eye(2), (count, 1, 1))
    known = np.isfinite(measured).all(axis=1)
    now = np.array([measured[np.flatnonzero(known)[0]], [0.0, 0.0]])
    spread = np.array([[FORGOTTEN_SPEED, 0.0], [0.0, FORGOTTEN_SPEED]])
    for place in range(count):
        if place:
            elapsed = time_s[place] - time_s[place - 1]
            step = np.array([[1.0, elapsed], [0.0, 1.0]])
            if turns[place - 1]:
                spread = spread + np.array([[0.0, 0.0], [0.0, FORGOTTEN_SPEED]])
            drive = acceleration[place] ** 2 * ACCELERATION_LASTS_S * elapsed
            drift = drive * np.array([[elapsed**2 / 3, elapsed / 2], [elapsed / 2, 1.0]])
            now, spread = step @ now, step @ spread @ step.T + drift
            steps[place] = step
        predicted[place], predicted_covariance[place] = now, spread
        if known[place]:
            gain = spread[:, 0] / (spread[0, 0] + noise[place] ** 2)
            now = now + gain[:, None] * (measured[place] - now[0])[None]
            keep = np.array([[1.0 - gain[0], 0.0], [-gain[1], 1.0]])
            spread = keep @ spread @ keep.T + noise[place] ** 2 * np.outer(gain, gain)
        state[place], covariance[place] = now, spread
    for place in range(count - 2, -1, -1):
        ahead = predicted_covariance[place + 1]
        before = covariance[place]
        if turns[place]:
            before = before + np.array([[0.0, 0.0], [0.0, FORGOTTEN_SPEED]])
        back = np.linalg.solve(ahead, steps[place + 1] @ before).T
        if turns[place]:
            # The speed after the turn says nothing of the speed before it: only the position is taken back.
            after = state[place].copy()
            after[0] += (back @ (state[place + 1] - predicted[place + 1]))[0]
            state[place] = after
            covariance[place, 0, 0] += (back @ (covariance[place + 1] - ahead) @ back.T)[0, 0]
        else:
            state[place] = state[place] + back @ (state[place + 1] - predicted[place + 1])
            covariance[place] = before + back @ (covariance[place + 1] - ahead) @ back.T
    deviation = np.sqrt(np.clip(covariance[:, 0, 0], 0, None))
    return SmoothPath(state[:, 0], state[:, 1], deviation)


PLAYER_CLASSES = frozenset({"person"})
SUPPORT_WINDOW_S = 0.3
DISPLACEMENT_WINDOW_S = 0.6
SIZE_WINDOW_BOXES = 15
LEAP_STEPS = 3


@dataclass
class Trajectories:
    """What the paths say of each row of a boxes table (arrays of its length N), and the boxes of their gaps."""

    path: np.ndarray  # number of the path, -1 when on none
    residual: np.ndarray  # distance from the smoothed path, in sizes; NaN when on none
    support: np.ndarray  # mean log-odds of the path around this box; NaN when on none
    size_ratio: np.ndarray  # size over the median size of the path around this box; NaN when on none
    displacement: np.ndarray  # how far the path gets around this box, in sizes; NaN when on none
    segment_displacement: np.ndarray  # the same of the smooth segment it is on
    segment_s: np.ndarray  # how long that segment lasts
    features: pd.DataFrame  # a row for each path, see _features
    gaps: pd.DataFrame = field(default_factory=pd.DataFrame)  # see _gap_boxes


def find_trajectories(
    boxes: pd.DataFrame,
    log_odds: np.ndarray,
    usable: np.ndarray,
    timeline: Timeline,
    class_name: str,
    path_settings: PathSettings,
    player_settings: PlayerSettings,
) -> Trajectories:
    """The trajectories of one class of one video.

    Args:
        boxes: a boxes table of one video; only the rows of `class_name` that `usable` (N,) names take part.
        log_odds: (N,) log-odds of each score against the labeller's working threshold.
    """
    rows = np.flatnonzero(usable & (boxes["class_name"] == class_name).to_numpy())
    candidates = make_candidates(boxes, log_odds, rows, timeline)
    is_player = class_name in PLAYER_CLASSES
    if is_player:
        paths = player_paths(candidates, player_settings)
        longest_gap_s, acceleration = player_settings.max_gap_s, player_settings.acceleration_sizes_s2
    else:
        paths = best_paths(candidates, make_links(candidates, timeline, path_settings), path_settings)
        longest_gap_s, acceleration = path_settings.max_gap_s, path_settings.acceleration_sizes_s2
    # Numbered by where they begin, so that the numbers do not depend on how they were found.
    paths.sort(key=lambda path: (int(path.nodes[0]), int(path.nodes[-1])))
    found = Trajectories(
        path=np.full(len(boxes), -1),
        residual=np.full(len(boxes), np.nan),
        support=np.full(len(boxes), np.nan),
        size_ratio=np.full(len(boxes), np.nan),
        displacement=np.full(len(boxes), np.nan),
        segment_displacement=np.full(len(boxes), np.nan),
        segment_s=np.full(len(boxes), np.nan),
        features=pd.DataFrame(),
    )
    features, gaps = [], []
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    for number, path in enumerate(paths):
        row = candidates.row[path.nodes]
        smoothed, deviation, residual, gap_steps = _smooth(candidates, path, timeline, longest_gap_s, acceleration)
        found.path[row], found.residual[row] = number, residual
        found.displacement[row] = _displacement(candidates, path.nodes)
        for segment in _segments(candidates, path):
            here = candidates.row[segment]
            found.support[here] = _support(candidates, segment)
            found.segment_displacement[here] = _displacement(candidates, segment)
            found.segment_s[here] = np.ptp(candidates.time_s[segment])
        size = candidates.size[path.nodes]
        found.size_ratio[row] = size / median_filter(size, min(SIZE_WINDOW_BOXES, len(size)), mode="nearest")
        features.append(_features(candidates, path, residual))
        if len(gap_steps):
            gaps.append(_gap_boxes(candidates, path, number, timeline, gap_steps, smoothed, deviation, xyxy))
    found.features = pd.DataFrame(features)
    if gaps:
        found.gaps = pd.concat(gaps, ignore_index=True)
    return found


def _smooth(
    candidates: Candidates, path: Path, timeline: Timeline, longest_gap_s: float, acceleration: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steady positions at the gaps' steps (G, 2), their deviation (G,), residual of each candidate (K,), those steps.

    Deviation and residual in sizes.
    """
    nodes = path.nodes
    step = candidates.step[nodes]
    every = np.arange(step[0], step[-1] + 1)
    before = np.searchsorted(step, every, side="right") - 1
    is_node = step[before] == every
    after = np.minimum(before + 1, len(step) - 1)
    bridged = candidates.time_s[nodes[after]] - candidates.time_s[nodes[before]] <= longest_gap_s + 1e-6
    wanted = is_node | bridged
    every, before, is_node = every[wanted], before[wanted], is_node[wanted]
    measured = np.full((len(every), 2), np.nan)
    measured[is_node] = candidates.steady[nodes]
    size = candidates.size[nodes][before]
    turns = np.zeros(len(every), dtype=bool)
    turns[is_node] = path.turns
    noise = np.maximum(0.8, 0.12 * size)
    smoothed = smooth_path(timeline.time_s[every], measured, noise, turns, acceleration * size)
    residual = np.linalg.norm(smoothed.position[is_node] - candidates.steady[nodes], axis=1) / candidates.size[nodes]
    deviation = smoothed.deviation[~is_node] / size[~is_node]
    return smoothed.position[~is_node], deviation, residual, every[~is_node]


def _segments(candidates: Candidates, path: Path) -> list[np.ndarray]:
    """The candidates of a path's segments: between bounces, hits and long gaps. What is sure of one segment says little
    of the next: behind a gap a path may have gone over to another object.
    """
    leap = np.diff(candidates.step[path.nodes]) > LEAP_STEPS
    return np.split(path.nodes, np.flatnonzero(path.turns[:-1] | leap) + 1)


def _support(candidates: Candidates, nodes: np.ndarray) -> np.ndarray:
    """Mean log-odds of the candidates within half a window of each of `nodes` (K,), the nearer the heavier. (K,)"""
    time_s, evidence = candidates.time_s[nodes], candidates.evidence[nodes]
    support = np.empty(len(time_s))
    low = np.searchsorted(time_s, time_s - SUPPORT_WINDOW_S, side="left")
    high = np.searchsorted(time_s, time_s + SUPPORT_WINDOW_S, side="right")
    for place in range(len(time_s)):
        near = slice(low[place], high[place])
        weight = 1.0 - np.abs(time_s[near] - time_s[place]) / (SUPPORT_WINDOW_S * 1.01)
        support[place] = weight @ evidence[near] / weight.sum()
    return support


def _displacement(candidates: Candidates, nodes: np.ndarray) -> np.ndarray:
    """How far apart the places are that are visited within a window around each of `nodes` (K,), in sizes. (K,)"""
    time_s, steady = candidates.time_s[nodes], candidates.steady[nodes]
    low = np.searchsorted(time_s, time_s - DISPLACEMENT_WINDOW_S, side="left")
    high = np.searchsorted(time_s, time_s + DISPLACEMENT_WINDOW_S, side="right")
    displacement = np.array([_spread(steady[low[place] : high[place]]) for place in range(len(time_s))])
    return displacement / candidates.size[nodes]


def _features(candidates: Candidates, path: Path, residual: np.ndarray) -> dict[str, float]:
    nodes = path.nodes
    size = float(np.median(candidates.size[nodes]))
    step, time_s = candidates.step[nodes], candidates.time_s[nodes]
    moved = np.linalg.norm(np.diff(candidates.steady[nodes], axis=0), axis=1)
    return {
        "boxes": float(len(nodes)),
        "first_step": float(step[0]),
        "last_step": float(step[-1]),
        "duration_s": float(time_s[-1] - time_s[0]),
        "hit_share": len(nodes) / float(step[-1] - step[0] + 1),
        "evidence": path.evidence,
        "top_log_odds": float(np.quantile(candidates.evidence[nodes], 0.8)),
        "size": size,
        "residual": float(np.median(residual)),
        "turn_share": float(path.turns.mean()),
        "displacement": max(_spread(candidates.steady[segment]) for segment in _segments(candidates, path)) / size,
        "speed": float(np.median(moved / np.diff(time_s))) / size,
    }


def _spread(points: np.ndarray) -> float:
    """How far apart the places are that were visited, without the wildest tenth. Pixels."""
    ordered = np.sort(points, axis=0)
    cut = len(points) // 20
    low, high = ordered[cut], ordered[len(points) - 1 - cut]
    return float(np.hypot(*(high - low)))


def _gap_boxes(
    candidates: Candidates,
    path: Path,
    number: int,
    timeline: Timeline,
    gap_steps: np.ndarray,
    steady: np.ndarray,
    deviation: np.ndarray,
    xyxy: np.ndarray,
) -> pd.DataFrame:
    """Boxes for the frames a path passes without a candidate; those that would leave the frame are not made."""
    row, step = candidates.row[path.nodes], candidates.step[path.nodes]
    after = np.searchsorted(step, gap_steps)
    share = (gap_steps - step[after - 1]) / (step[after] - step[after - 1])
    log_size = np.log(size_of(xyxy[row]))
    size = np.exp(log_size[after - 1] * (1 - share)[:, None] + log_size[after] * share[:, None])
    centre = timeline.to_screen(gap_steps, steady)
    low, high = centre - size / 2, centre + size / 2
    inside = ((centre >= 0) & (centre < [timeline.width, timeline.height])).all(axis=1)
    return pd.DataFrame(
        {
            "step": gap_steps,
            "path": number,
            "x1": low[:, 0],
            "y1": low[:, 1],
            "x2": high[:, 0],
            "y2": high[:, 1],
            "row_before": row[after - 1],
            "row_after": row[after],
            "gap": step[after] - step[after - 1],
            "deviation": deviation,
        }
    )[inside]
