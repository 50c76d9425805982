"""Pairs of boxes that share a frame and a class, in arrays: who overlaps whom, which of two versions is the same."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.geometry import area_of, centre_of

PAIRS_AT_ONCE = 2_000_000


def frame_keys(*parts: pd.DataFrame) -> list[np.ndarray]:
    """A number for each (frame, class) that is the same in all tables: one int64 array a table."""
    names = sorted(set().union(*(part["class_name"].unique() for part in parts)))
    number = {name: place for place, name in enumerate(names)}
    return [
        part["frame_index"].to_numpy() * max(len(names), 1) + part["class_name"].map(number).to_numpy(dtype=np.int64)
        for part in parts
    ]


def pairs_between(first_key: np.ndarray, second_key: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair (i, j) with first_key[i] == second_key[j], as index arrays, in blocks."""
    order = np.argsort(second_key, kind="stable")
    low = np.searchsorted(second_key[order], first_key, side="left")
    count = np.searchsorted(second_key[order], first_key, side="right") - low
    ends = np.cumsum(count)
    start = 0
    while start < len(first_key):
        done = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")), start + 1)
        here = count[start:end]
        first = np.repeat(np.arange(start, end), here)
        within = np.arange(len(first)) - np.repeat(np.cumsum(here) - here, here)
        yield first, order[np.repeat(low[start:end], here) + within]
        start = end


def shared_area(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area that each of (N, 4) shares with its partner of (N, 4): (N,)."""
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=1)


def pair_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    shared = shared_area(first, second)
    return shared / np.maximum(area_of(first) + area_of(second) - shared, 1e-9)


def overlap_with_better(
    boxes: pd.DataFrame, preference: np.ndarray, usable: np.ndarray, max_overlap: float, max_inside: float
) -> np.ndarray:
    """How much each box is covered by a better one of its frame and class that itself stands. (N,)

    The value is the IoU, or the covered share of the smaller one scaled so that `max_inside` reads as `max_overlap`;
    above `max_overlap` the box is a duplicate. The same as greedy non-maximum suppression in the order of `preference`.
    """
    covered = np.zeros(len(boxes))
    rows = np.flatnonzero(usable)
    (key,) = frame_keys(boxes)
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    better, worse, value = [], [], []
    for one, two in pairs_between(key[rows], key[rows]):
        one, two = rows[one], rows[two]
        ahead = (preference[one] > preference[two]) | ((preference[one] == preference[two]) & (one < two))
        one, two = one[ahead], two[ahead]
        shared = shared_area(xyxy[one], xyxy[two])
        smaller = np.minimum(area_of(xyxy[one]), area_of(xyxy[two]))
        inside = shared / np.maximum(smaller, 1e-9)
        measure = np.maximum(pair_iou(xyxy[one], xyxy[two]), inside * max_overlap / max_inside)
        touching = measure > 0
        better.append(one[touching])
        worse.append(two[touching])
        value.append(measure[touching])
    if not better:
        return covered
    better_row, worse_row, measure = np.concatenate(better), np.concatenate(worse), np.concatenate(value)
    heavy = measure > max_overlap
    stands, settled = np.ones(len(boxes), dtype=bool), np.ones(len(boxes), dtype=bool)
    settled[worse_row[heavy]] = False
    while not settled.all():
        # A box whose better neighbours are all settled can be settled: it falls if one of them stands.
        waits = np.zeros(len(boxes), dtype=bool)
        waits[worse_row[heavy & ~settled[better_row]]] = True
        falls = np.zeros(len(boxes), dtype=bool)
        falls[worse_row[heavy & settled[better_row] & stands[better_row]]] = True
        ready = ~settled & (~waits | falls)
        stands[ready & falls] = False
        settled[ready] = True
    counts = stands[better_row]
    np.maximum.at(covered, worse_row[counts], measure[counts])
    return covered


def same_objects(
    new: pd.DataFrame, old: pd.DataFrame, match_iou: float, match_distance_sizes: float
) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one matches of two tables: rows of `new` and the rows of `old` that mean the same. The nearest first."""
    new_key, old_key = frame_keys(new, old)
    new_xyxy = new[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    old_xyxy = old[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    found_new, found_old, found_closeness = [], [], []
    for one, two in pairs_between(new_key, old_key):
        overlap = pair_iou(new_xyxy[one], old_xyxy[two])
        size = np.sqrt(area_of(new_xyxy[one])), np.sqrt(area_of(old_xyxy[two]))
        distance = np.linalg.norm(centre_of(new_xyxy[one]) - centre_of(old_xyxy[two]), axis=1)
        distance = distance / np.maximum((size[0] + size[1]) / 2, 1e-9)
        alike = np.maximum(size[0], size[1]) <= 2.0 * np.minimum(size[0], size[1])
        same = (overlap >= match_iou) | ((distance <= match_distance_sizes) & alike)
        found_new.append(one[same])
        found_old.append(two[same])
        found_closeness.append((overlap - distance)[same])
    if not found_new:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    one, two, closeness = np.concatenate(found_new), np.concatenate(found_old), np.concatenate(found_closeness)
    order = np.lexsort([two, one, -closeness])
    new_free, old_free = np.ones(len(new), dtype=bool), np.ones(len(old), dtype=bool)
    chosen = []
    for place in order:
        if new_free[one[place]] and old_free[two[place]]:
            new_free[one[place]] = old_free[two[place]] = False
            chosen.append(place)
    taken = np.array(chosen, dtype=np.int64)
    return one[taken], two[taken]
