"""Linking: the disjoint paths through a video's candidates that have the most evidence, by dynamic programming.

A *link* joins two candidates of one shot that one object could be. Two links that share a candidate make a *bend*. The
gain of a bend is how much likelier the third candidate is where the first two predict it than by chance.

The evidence of a path is the sum of its candidates' log-odds, of the gains of its bends (or of a turn, where it bounced
or was hit) and of the weights of its links, less a cost of birth. A path that does not pay for its birth is not made:
that is the explicit «nothing here». Paths do not share candidates. After the best are taken the programme runs again on
what is left, the usual greedy way to the K best disjoint paths (Berclaz et al., 2011, solve it exactly, but without the
second-order term). Everything is in arrays, in bounded memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from labels.tracks.candidates import Candidates, Timeline
from labels.tracks.settings import PathSettings

PAIRS_AT_ONCE = 2_000_000
BENDS_AT_ONCE = 200_000  # they stay in the processor's cache
LEAST_GAIN = -6.0  # nats; a bend that is worth less is no motion of one object


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
    bend_gain = _bend_gains(candidates, before, after, np.maximum(turn_gain, LEAST_GAIN), density, settings)
    start = 0
    while start < len(before):
        done = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, done + BENDS_AT_ONCE, side="right")), start + 1)
        second = np.repeat(np.arange(start, end), bends[start:end])
        first_bend = into_first[before[start:end]] - (ends[start:end] - bends[start:end] - done)
        first = np.repeat(first_bend, bends[start:end]) + np.arange(len(second))
        found.append(bend_gain(first, second))
        start = end
    return (
        np.concatenate([part[0] for part in found]),
        np.concatenate([part[1] for part in found]),
        np.concatenate([part[2] for part in found]),
    )


def _bend_gains(
    candidates: Candidates,
    before: np.ndarray,
    after: np.ndarray,
    least: np.ndarray,
    density: float,
    settings: PathSettings,
) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A function of first and second links, which gives those bends that gain more than `least` of the second.

    The gain is the log of (density of the third candidate where the first two predict it) over (density of chance
    finds), capped before the residual is taken off: the cap stands for finds by chance that move together. There are a
    thousand bends to a box, so what can be said of a link alone is said once, and logarithms are left to the few that
    fit.
    """
    elapsed = candidates.time_s[after] - candidates.time_s[before]
    moved_x, moved_y = (candidates.steady[after] - candidates.steady[before]).T.copy()
    length = np.hypot(moved_x, moved_y)
    size = candidates.size[before]
    noise = np.maximum(settings.position_noise_pixels, settings.position_noise_sizes * size) ** 2
    swerve = (settings.acceleration_sizes_s2 * size * elapsed / 2) ** 2
    worst = 2 * (settings.smooth_gain - least)  # squared residual over its spread, beyond which no bend is worth it

    def gains(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        earlier, later = elapsed[first], elapsed[second]
        ratio = later / earlier
        residual = (moved_x[second] - moved_x[first] * ratio) ** 2 + (moved_y[second] - moved_y[first] * ratio) ** 2
        spread = noise[second] * (1 + (1 + ratio) ** 2 + ratio**2) + swerve[second] * (earlier + later) ** 2
        spread += (settings.speed_noise * length[first] * ratio) ** 2
        near = np.flatnonzero(residual < worst[second] * spread)
        first, second, spread = first[near], second[near], spread[near]
        cap = np.minimum(-np.log(2 * np.pi * spread) - np.log(density), settings.smooth_gain)
        gain = cap - 0.5 * residual[near] / spread
        worth = gain > least[second]
        return first[worth], second[worth], gain[worth]

    return gains


START, BY_TURN, BY_BEND = 0, 1, 2
SLOW_SIZES_S = 8.0


@dataclass(frozen=True)
class Path:
    """`nodes` (K,) candidates in time; `turns` (K,) bool: the motion starts anew there; `evidence` in nats."""

    nodes: np.ndarray
    turns: np.ndarray
    evidence: float


def best_paths(candidates: Candidates, links: Links, settings: PathSettings) -> list[Path]:
    """All disjoint paths worth their birth, in the order of their evidence as they were found."""
    free = np.ones(len(candidates), dtype=bool)
    paths: list[Path] = []
    for _ in range(settings.max_passes):
        links = _without_taken(links, free)
        if not len(links.before):
            break
        taken = _take_paths(_Programme(candidates, links, settings), free, settings)
        if not taken:
            break
        paths += [path for path in taken if len(path.nodes) >= settings.min_path_boxes]
    return paths


class _Programme:
    """One run over all links: the best evidence of a path that ends with each link, and how it came there."""

    def __init__(self, candidates: Candidates, links: Links, settings: PathSettings) -> None:
        self.links = links
        self.total = np.full(len(links.before), -np.inf)
        self.how = np.zeros(len(links.before), dtype=np.int8)
        self.link_before = np.full(len(links.before), -1)
        self.best_into = np.full(len(candidates), -1)  # for each candidate the best link that ends there
        evidence = candidates.evidence
        best_at = np.full(len(candidates), -np.inf)
        step = candidates.step[links.after]
        speed = _log_speed(candidates, links)
        starts = np.flatnonzero(np.diff(step, prepend=-1))
        bounds = np.append(starts, len(step))
        bend_bounds = np.searchsorted(links.second, bounds)
        to_node, to_link = _Groups(links.after), _Groups(links.second)
        for place in range(len(starts)):
            low, high = bounds[place], bounds[place + 1]
            before, after = links.before[low:high], links.after[low:high]
            total = evidence[before] - settings.birth_cost
            how = np.zeros(high - low, dtype=np.int8)
            link_before = np.full(high - low, -1)
            # A bounce keeps most of the speed; a path that turns from rest to flight has likely changed its object.
            change = speed[low:high] - speed[self.best_into[before]]
            turned = best_at[before] + links.turn_gain[low:high]
            turned -= np.minimum(0.5 * (change / settings.turn_speed_change) ** 2, settings.turn_speed_cost)
            better = turned > total
            total[better], how[better], link_before[better] = (
                turned[better],
                BY_TURN,
                self.best_into[before[better]],
            )
            bend_low, bend_high = bend_bounds[place], bend_bounds[place + 1]
            if bend_high > bend_low:
                first, second = links.first[bend_low:bend_high], links.second[bend_low:bend_high] - low
                bent = self.total[first] + links.gain[bend_low:bend_high]
                edges, group = to_link.within(bend_low, bend_high)
                best = np.maximum.reduceat(bent, edges)
                is_best = np.flatnonzero(bent == best[group])[::-1]
                winner = np.empty(len(edges), dtype=np.int64)
                winner[group[is_best]] = is_best  # the first of equals
                link = second[edges]
                better = best > total[link]
                link, winner = link[better], winner[better]
                total[link], how[link], link_before[link] = bent[winner], BY_BEND, first[winner]
            total = total + evidence[after] + links.weight[low:high]
            self.total[low:high], self.how[low:high], self.link_before[low:high] = total, how, link_before
            edges, group = to_node.within(low, high)
            best = np.maximum.reduceat(total, edges)
            is_best = np.flatnonzero(total == best[group])[::-1]
            nodes = after[edges]
            best_at[nodes] = best
            self.best_into[nodes[group[is_best]]] = low + is_best
        self.best_at = best_at

    def trace(self, link: int, free: np.ndarray) -> tuple[list[int], list[bool]] | None:
        """The path that ends with `link`, in time; None when a better path took one of its candidates."""
        nodes, turns = [int(self.links.after[link])], []
        while True:
            if not free[nodes[-1]]:
                return None
            before = int(self.links.before[link])
            if not free[before]:
                return None
            nodes.append(before)
            how, earlier = self.how[link], int(self.link_before[link])
            turns.append(how == BY_TURN)
            if how == START:
                break
            link = earlier
        # turns[i] belongs to the candidate the link starts from, nodes[i + 1]
        return nodes[::-1], [*turns[::-1], False]


class _Groups:
    """Runs of equal numbers in an ascending array, of which slices are asked for that begin where a run begins."""

    def __init__(self, numbers: np.ndarray) -> None:
        starts = np.diff(numbers, prepend=-1) > 0
        self._starts, self._group = np.flatnonzero(starts), np.cumsum(starts) - 1

    def within(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the slice low:high, where its runs begin, and for each place the number of its run."""
        group = self._group[low:high]
        return self._starts[group[0] : group[-1] + 1] - low, group - group[0]


def _log_speed(candidates: Candidates, links: Links) -> np.ndarray:
    """Logarithm of each link's speed in sizes a second; slow is slow, however slow."""
    moved = np.linalg.norm(candidates.steady[links.after] - candidates.steady[links.before], axis=1)
    elapsed = candidates.time_s[links.after] - candidates.time_s[links.before]
    return np.log(moved / elapsed / candidates.size[links.before] + SLOW_SIZES_S)


def _take_paths(programme: _Programme, free: np.ndarray, settings: PathSettings) -> list[Path]:
    """Take the best path, then the next that shares nothing with those taken, and so on. Marks them in `free`."""
    taken = []
    order = np.argsort(-programme.best_at, kind="stable")
    for node in order[programme.best_at[order] >= settings.min_path_evidence]:
        if not free[node]:
            continue
        traced = programme.trace(int(programme.best_into[node]), free)
        if traced is None:
            continue
        nodes, turns = np.array(traced[0]), np.array(traced[1])
        free[nodes] = False
        taken.append(Path(nodes, turns, float(programme.best_at[node])))
    return taken


def _without_taken(links: Links, free: np.ndarray) -> Links:
    stays = free[links.before] & free[links.after]
    if stays.all():
        return links
    number = np.cumsum(stays) - 1
    bend_stays = stays[links.first] & stays[links.second]
    return Links(
        links.before[stays],
        links.after[stays],
        links.weight[stays],
        links.turn_gain[stays],
        number[links.first[bend_stays]],
        number[links.second[bend_stays]],
        links.gain[bend_stays],
    )
