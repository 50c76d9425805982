"""Boxes between two that a human drew: few frames are drawn, and what hardly moves between them is there in between.

As annotation tools do it between key frames, along a straight line, but in coordinates from which the camera's motion
is taken out, and only where the two boxes are near and alike enough to be surely the same thing.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from labels.cleaning.evidence import HUMAN_LOG_ODDS
from labels.cleaning.gap_filling import GAP_SCORE
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.geometry import size_of
from labels.tracks.candidates import Candidates, Timeline, make_candidates

FAR = 1e6  # the cost of two boxes that cannot be the same thing


def between_drawn(
    decided: pd.DataFrame, timeline: Timeline, round_number: int, settings: CleaningSettings
) -> pd.DataFrame:
    """Kept rows, interpolated, for the labelled frames between a human's boxes of the same thing."""
    drawn = ((decided["origin"] == "human") & (decided["decision"] == "keep")).to_numpy()
    made = [decided.iloc[:0]]
    for class_name in decided["class_name"][drawn].unique():
        rows = np.flatnonzero(drawn & (decided["class_name"] == class_name).to_numpy())
        candidates = make_candidates(decided, np.zeros(len(decided)), rows, timeline)
        frames = np.unique(candidates.step)
        for before, after in pairwise(frames):
            pairs = _same_things(candidates, before, after, settings)
            made += [_line(decided, candidates, one, two, timeline, round_number) for one, two in pairs]
    return pd.concat(made, ignore_index=True) if len(made) > 1 else made[0]


def _same_things(candidates: Candidates, before: int, after: int, settings: CleaningSettings) -> list[tuple[int, int]]:
    """Which candidates at the first step are which at the second: the nearest ones, all in all (Hungarian method)."""
    first, second = np.flatnonzero(candidates.step == before), np.flatnonzero(candidates.step == after)
    pause = candidates.time_s[second[0]] - candidates.time_s[first[0]]
    if after - before < 2 or pause > settings.drawn_gap_s:
        return []
    apart = np.linalg.norm(candidates.steady[first][:, None] - candidates.steady[second][None], axis=2)
    sizes = candidates.size[first][:, None], candidates.size[second][None]
    far = apart / np.minimum(*sizes)
    unlike = np.maximum(*sizes) / np.minimum(*sizes)
    other_shot = candidates.shot_index[first][:, None] != candidates.shot_index[second][None]
    cost = np.where((far > settings.drawn_gap_sizes) | (unlike > settings.max_path_size_ratio) | other_shot, FAR, far)
    rows, columns = linear_sum_assignment(cost)
    return [
        (int(first[row]), int(second[column]))
        for row, column in zip(rows, columns, strict=True)
        if cost[row, column] < FAR
    ]


def _line(
    decided: pd.DataFrame, candidates: Candidates, one: int, two: int, timeline: Timeline, round_number: int
) -> pd.DataFrame:
    step = np.arange(candidates.step[one] + 1, candidates.step[two])
    done = (timeline.time_s[step] - candidates.time_s[one]) / (candidates.time_s[two] - candidates.time_s[one])
    steady = candidates.steady[one] + done[:, None] * (candidates.steady[two] - candidates.steady[one])
    ends = decided.iloc[[candidates.row[one], candidates.row[two]]]
    sides = size_of(ends[tables.BOX_COLUMNS].to_numpy(dtype=np.float64))
    half = (sides[0] + done[:, None] * (sides[1] - sides[0])) / 2
    centre = timeline.to_screen(step, steady)
    return tables.make_boxes(
        str(ends["video_id"].iloc[0]),
        round_number,
        timeline.frame_index[step],
        timeline.time_s[step],
        np.concatenate([centre - half, centre + half], axis=1),
        np.full(len(step), ends["class_name"].iloc[0], dtype=object),
        np.full(len(step), GAP_SCORE, dtype=np.float32),
        origin="interpolated",
    ).assign(
        log_odds=np.float32(HUMAN_LOG_ODDS),
        rounds_seen=np.int64(0),
        rounds_lost=np.int64(0),
        quality=np.float32(GAP_SCORE),
        decision="keep",
        reason="",
    )
