"""Static things: what stays in its place in the scene (a lamp, a ball that lies) or on the screen (a logo).

Computed before paths are sought, so that a path does not jump from a ball onto a lamp it flies past.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from labels.tracks.candidates import Candidates, Timeline

NEAR_SIZES = 0.25  # the same place
SIMILAR_OCTAVES = 0.75  # the same size


@dataclass(frozen=True)
class StaticShares:
    """For each candidate (N,), the share of the labelled frames around it in which its like is in its place."""

    in_scene: np.ndarray
    on_screen: np.ndarray  # only frames in which that place showed another part of the scene


def static_shares(
    candidates: Candidates, timeline: Timeline, scene_window_s: float = 0.6, screen_window_s: float = 1.5
) -> StaticShares:
    """Of each candidate, by what lies within the windows before and after it."""
    shares = StaticShares(np.zeros(len(candidates)), np.zeros(len(candidates)))
    octave = np.log2(np.maximum(candidates.size, 1e-3))
    for level in np.unique(octave.round()):
        similar = np.flatnonzero(np.abs(octave - level) <= SIMILAR_OCTAVES)
        own = octave[similar].round() == level
        size = 2.0**level
        for places, window_s, share in (
            (candidates.steady, scene_window_s, shares.in_scene),
            (candidates.screen, screen_window_s, shares.on_screen),
        ):
            unit = np.array([NEAR_SIZES * size, NEAR_SIZES * size, window_s, 0.5])
            points = np.column_stack([places, candidates.time_s, candidates.shot_index])[similar] / unit
            pairs = cKDTree(points).query_pairs(1.0, p=np.inf, output_type="ndarray")
            one, two = similar[pairs[:, 0]], similar[pairs[:, 1]]
            differs = candidates.step[one] != candidates.step[two]
            if share is shares.on_screen:
                moved = np.linalg.norm(candidates.steady[one] - candidates.steady[two], axis=1)
                differs &= moved > size
            share[similar[own]] = _frames_met(candidates, one[differs], two[differs], timeline, window_s)[similar[own]]
    return shares


def _frames_met(
    candidates: Candidates, one: np.ndarray, two: np.ndarray, timeline: Timeline, window_s: float
) -> np.ndarray:
    """Share of the frames in the window in which a candidate has a partner, (N,); each frame counts once."""
    who, where = np.concatenate([one, two]), candidates.step[np.concatenate([two, one])]
    met = np.unique(who * np.int64(len(timeline)) + where) // max(len(timeline), 1)
    low = np.searchsorted(timeline.time_s, candidates.time_s - window_s - 1e-6)
    high = np.searchsorted(timeline.time_s, candidates.time_s + window_s + 1e-6)
    return np.bincount(met, minlength=len(candidates)) / np.maximum(high - low - 1, 3)
