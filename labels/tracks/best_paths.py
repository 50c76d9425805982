"""The set of paths with the most evidence: dynamic programming over links, best path first, with «no object» for free.

The evidence of a path is the sum of its candidates' log-odds, of the gains of its bends (or of a turn, where it bounced
or was hit) and of the weights of its links, less the cost of being born. A path that does not pay for its birth is not
made: that is the explicit «nothing here». Paths do not share candidates; after the best ones are taken the programme
runs again on what is left, which is the usual way to take the K best disjoint paths (Berclaz et al., 2011, solve the
same without the second-order term).
"""

from dataclasses import dataclass

import numpy as np

from labels.tracks.candidates import Candidates
from labels.tracks.links import Links
from labels.tracks.settings import PathSettings

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
