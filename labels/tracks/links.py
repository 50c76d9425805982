"""Which candidate may follow which, and how well a third fits the motion of two. All in arrays, in bounded memory.

A *link* joins two candidates of one shot that one object could be. Two links that share a candidate make a *bend*; how
much likelier the third candidate is where the first two predict it than by chance is the gain of the bend.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labels.tracks.candidates import Candidates, Timeline
from labels.tracks.settings import PathSettings

PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Links:
    """E links sorted by the step of `after`, and B bends sorted by `second` (each an index into the links)."""

    before: np.ndarray  # (E,) candidate
    after: np.ndarray  # (E,) candidate
    weight: np.ndarray  # (E,) change of size and missed frames, nats, at most 0
    turn_gain: np.ndarray  # (E,) nats for taking this link in whatever direction the path came
    first: np.ndarray  # (B,) link
    second: np.ndarray  # (B,) link
    gain: np.ndarray  # (B,) nats


def make_links(candidates: Candidates, timeline: Timeline, settings: PathSettings) -> Links:
    before, after = _possible_links(candidates, timeline, settings)
    elapsed = candidates.time_s[after] - candidates.time_s[before]
    gap = candidates.step[after] - candidates.step[before]
    density = _clutter_density(candidates, timeline)
    growth = np.log(candidates.size[after] / candidates.size[before])
    weight = np.maximum(-0.5 * (growth / settings.size_noise) ** 2, -2.0) - settings.miss_cost * (gap - 1)
    reach = _reach(candidates.size[before], elapsed, timeline, settings)
    chance_finds = np.maximum(np.pi * reach**2 * density, 1e-3)
    turn_gain = np.minimum(np.log(settings.turn_probability) - np.log(chance_finds), -1.0)
    turn_gain[gap > settings.turn_gap_steps] = -np.inf
    first, second, gain = _bends(candidates, before, after, turn_gain, density, settings)
    return Links(before, after, weight, turn_gain, first, second, gain)


def _clutter_density(candidates: Candidates, timeline: Timeline) -> float:
    """Candidates a square pixel and frame."""
    return max(len(candidates) / max(len(timeline), 1), 0.5) / (timeline.width * timeline.height)


def _reach(size: np.ndarray, elapsed: np.ndarray, timeline: Timeline, settings: PathSettings) -> np.ndarray:
    """How far an object may get, pixels."""
    by_frame = settings.max_speed_diagonals_s * np.hypot(timeline.width, timeline.height)
    return np.minimum(by_frame, settings.max_speed_sizes_s * size) * elapsed + size


def _possible_links(
    candidates: Candidates, timeline: Timeline, settings: PathSettings
) -> tuple[np.ndarray, np.ndarray]:
    count = np.bincount(candidates.step, minlength=len(timeline))
    first = np.concatenate([[0], np.cumsum(count)])
    by_time = round(settings.max_gap_s / max(timeline.step_s, 1e-6))
    max_gap = int(np.clip(by_time, settings.min_gap_steps, settings.max_gap_steps))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for gap in range(1, max_gap + 1):
        for before, after in _pairs(first, count, gap):
            elapsed = candidates.time_s[after] - candidates.time_s[before]
            distance = np.linalg.norm(candidates.steady[after] - candidates.steady[before], axis=1)
            ratio = candidates.size[after] / candidates.size[before]
            fits = (
                (distance <= _reach(candidates.size[before], elapsed, timeline, settings))
                & (candidates.shot_index[after] == candidates.shot_index[before])
                & (np.maximum(ratio, 1 / ratio) <= settings.max_size_ratio)
            )
            before, after, distance = before[fits], after[fits], distance[fits]
            order = np.lexsort([after, distance, before])
            before, after = before[order], after[order]
            rank = np.arange(len(before)) - np.searchsorted(before, before)
            near = rank < settings.max_links
            found.append((before[near], after[near]))
    if not found:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    before = np.concatenate([pair[0] for pair in found])
    after = np.concatenate([pair[1] for pair in found])
    order = np.lexsort([before, after])  # candidates are sorted by step, so this is by the step of `after`
    return before[order], after[order]


def _pairs(first: np.ndarray, count: np.ndarray, gap: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of candidates `gap` steps apart, in blocks."""
    if gap >= len(count):
        return
    pairs = np.cumsum(count[:-gap] * count[gap:])
    start, steps = 0, len(pairs)
    while start < steps:
        done = pairs[start - 1] if start else 0
        end = max(int(np.searchsorted(pairs, done + PAIRS_AT_ONCE, side="right")), start + 1)
        here = np.arange(first[start], first[end])  # every candidate of steps start to end
        step = np.searchsorted(first, here, side="right") - 1
        partners = count[step + gap]
        before = np.repeat(here, partners)
        within = np.arange(len(before)) - np.repeat(np.cumsum(partners) - partners, partners)
        yield before, np.repeat(first[step + gap], partners) + within
        start = end


def _bends(
    candidates: Candidates,
    before: np.ndarray,
    after: np.ndarray,
    turn_gain: np.ndarray,
    density: float,
    settings: PathSettings,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bends that say more than a turn does: (first link, second link, gain)."""
    into_first = np.searchsorted(after, np.arange(len(candidates)))  # links are sorted by `after`
    into_count = np.bincount(after, minlength=len(candidates))
    bends = into_count[before]
    ends = np.cumsum(bends)
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))]
    start = 0
    while start < len(before):
        done = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")), start + 1)
        second = np.repeat(np.arange(start, end), bends[start:end])
        offset = np.repeat(ends[start:end] - bends[start:end] - done, bends[start:end])
        first = np.repeat(into_first[before[start:end]], bends[start:end]) + np.arange(len(second)) - offset
        gain = _bend_gain(candidates, before[first], after[first], after[second], density, settings)
        worth = gain > turn_gain[second]
        worth &= gain > -6.0
        found.append((first[worth], second[worth], gain[worth]))
        start = end
    return (
        np.concatenate([part[0] for part in found]),
        np.concatenate([part[1] for part in found]),
        np.concatenate([part[2] for part in found]),
    )


def _bend_gain(
    candidates: Candidates,
    one: np.ndarray,
    two: np.ndarray,
    three: np.ndarray,
    density: float,
    settings: PathSettings,
) -> np.ndarray:
    """Log of (density of the third candidate where the first two predict it) over (density of chance finds)."""
    elapsed = candidates.time_s[two] - candidates.time_s[one]
    ahead = candidates.time_s[three] - candidates.time_s[two]
    ratio = (ahead / elapsed)[:, None]
    moved = candidates.steady[two] - candidates.steady[one]
    residual = candidates.steady[three] - candidates.steady[two] - moved * ratio
    size = candidates.size[two]
    noise = np.maximum(settings.position_noise_pixels, settings.position_noise_sizes * size)
    step = np.linalg.norm(moved, axis=1) * ratio[:, 0]
    spread = (
        noise**2 * (1 + (1 + ratio[:, 0]) ** 2 + ratio[:, 0] ** 2)
        + (settings.acceleration_sizes_s2 * size * ahead * (elapsed + ahead) / 2) ** 2
        + (settings.speed_noise * step) ** 2
    )
    likelihood = -0.5 * (residual**2).sum(axis=1) / spread - np.log(2 * np.pi * spread)
    # Capped after the misfit is taken off: the cap stands for finds by chance that move together.
    best = np.minimum(-np.log(2 * np.pi * spread) - np.log(density), settings.smooth_gain)
    return np.minimum(likelihood - np.log(density), best - 0.5 * (residual**2).sum(axis=1) / spread)
