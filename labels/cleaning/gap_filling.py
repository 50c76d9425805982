"""Interpolated boxes: for the frames that a path passes without one, and between the frames that a human drew.

Between drawn frames boxes lie on a straight line, as annotation tools do it between key frames, but in coordinates from
which the camera's motion is taken out, and only where the two boxes are near and alike enough to be surely the same
thing. Nothing is interpolated where something stands, or where a human denied it.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from labels.cleaning.features.box_pairs import same_objects
from labels.cleaning.features.feature import Scene
from labels.cleaning.features.single_boxes import HUMAN_LOG_ODDS
from labels.cleaning.merging import HUMAN_NO, MergeCounts
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.geometry import size_of
from labels.tracks.candidates import Candidates, Timeline, make_candidates

GAP_SCORE = 0.9  # share of the neighbours' score that an interpolated box gets


def fill_gaps(
    decided: pd.DataFrame, gaps: pd.DataFrame, moved_away: pd.DataFrame, scene: Scene, round_number: int
) -> pd.DataFrame:
    """Interpolated rows; `gaps` are the boxes of the paths' gaps, `moved_away` what a human moved away from there."""
    timeline, settings = scene.timeline, scene.settings
    filled = along_paths(decided, gaps if scene.has("gaps") else gaps[:0], timeline, round_number, settings)
    drawn = between_drawn(decided, timeline, round_number, settings)
    drawn = drawn.drop(drawn.index[matching(drawn, filled, settings)])
    filled = pd.concat([filled, drawn], ignore_index=True) if len(drawn) else filled
    there = decided[(decided["decision"] != "drop") | (decided["reason"] == HUMAN_NO)]
    for taken in (there, moved_away):
        filled = filled.drop(filled.index[matching(filled, taken, settings)]).reset_index(drop=True)
    return filled[~filled["label_uid"].isin(decided["label_uid"])].reset_index(drop=True)


def along_paths(
    decided: pd.DataFrame, gaps: pd.DataFrame, timeline: Timeline, round_number: int, settings: CleaningSettings
) -> pd.DataFrame:
    """Rows for the frames a path passes without a box, where both ends of the gap are kept or ignored."""
    if not len(gaps):
        return decided.iloc[:0]
    ends = [decided.iloc[gaps[side].to_numpy()] for side in ("row_before", "row_after")]
    fine = (ends[0]["decision"].to_numpy() != "drop") & (ends[1]["decision"].to_numpy() != "drop")
    gaps, ends = gaps[fine], [end[fine] for end in ends]
    if not len(gaps):
        return decided.iloc[:0]
    step = gaps["step"].to_numpy()
    made = tables.make_boxes(
        str(decided["video_id"].iloc[0]),
        round_number,
        timeline.frame_index[step],
        timeline.time_s[step],
        gaps[tables.BOX_COLUMNS].to_numpy(),
        gaps["class_name"].to_numpy(dtype=object),
        np.minimum(ends[0]["score"].to_numpy(), ends[1]["score"].to_numpy()) * np.float32(GAP_SCORE),
        origin="interpolated",
        track_id=gaps["path"].to_numpy(),
    )
    gap = gaps["gap"].to_numpy()
    both_kept = (ends[0]["decision"].to_numpy() == "keep") & (ends[1]["decision"].to_numpy() == "keep")
    deviation = gaps["deviation"].to_numpy()
    short, known = gap - 1 <= settings.sure_gap_steps, deviation <= settings.sure_gap_deviation_sizes
    keeps = both_kept & short & known
    reason = np.select(
        [keeps, ~both_kept, ~short],
        ["", "gap: an end is not kept", [f"gap: {missing} > {settings.sure_gap_steps}" for missing in gap - 1]],
        [f"gap: {value:.3g} > {settings.sure_gap_deviation_sizes} sizes" for value in deviation],
    ).astype(object)
    quality = np.minimum(ends[0]["quality"].to_numpy(), ends[1]["quality"].to_numpy()) * np.float32(GAP_SCORE)
    return made.assign(
        log_odds=np.minimum(ends[0]["log_odds"].to_numpy(), ends[1]["log_odds"].to_numpy()),
        rounds_seen=np.int64(0),
        rounds_lost=np.int64(0),
        quality=quality.astype(np.float32),
        decision=np.where(keeps, "keep", "ignore"),
        reason=reason,
    )


def matching(boxes: pd.DataFrame, others: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Places in `boxes` that mean what a row of `others` means: nothing is interpolated on what was found or denied."""
    return same_objects(boxes, others, settings.match_iou, settings.match_distance_sizes)[0]


def place_old_gap_boxes(
    decided: pd.DataFrame,
    filled: pd.DataFrame,
    old: pd.DataFrame,
    merged: MergeCounts,
    settings: CleaningSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, MergeCounts]:
    """Lay the round before's interpolated boxes beside what now stands there: fused with it, or ignored as lost."""
    if not len(old):
        return decided, filled, merged
    fused = 0
    left = np.ones(len(old), dtype=bool)
    parts = []
    for table in (filled, decided):
        standing = np.flatnonzero((table["decision"] != "drop").to_numpy())
        remaining = np.flatnonzero(left)
        here, there = same_objects(
            table.iloc[standing], old.iloc[remaining], settings.match_iou, settings.match_distance_sizes
        )
        rows, olds = standing[here], remaining[there]
        table = table.copy()
        # A detection keeps its own name; an interpolated box is the older one again.
        again = (table["origin"].to_numpy()[rows] == "interpolated") if len(rows) else np.zeros(0, dtype=bool)
        for name in ("label_uid", "round_born"):
            column = table[name].to_numpy(copy=True)
            column[rows[again]] = old[name].to_numpy()[olds[again]]
            table[name] = pd.Series(column, index=table.index).astype(old[name].dtype)
        left[olds] = False
        fused += len(olds)
        parts.append(table)
    filled, decided = parts
    lost = old[left].assign(
        decision="ignore",
        reason="lost: 1 > 0",
        rounds_lost=old["rounds_lost"][left] + 1,
        track_id=np.int64(tables.NO_TRACK),
        quality=np.minimum(old["quality"][left], np.float32(settings.keep_quality)),
    )
    decided = tables.concatenate([decided, lost[decided.columns]], tables.BOXES)
    counts = replace(merged, merged_in=merged.merged_in + len(lost), fused=merged.fused + fused)
    return decided, filled, counts


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
    size_ratio = np.maximum(*sizes) / np.minimum(*sizes)
    other_shot = candidates.shot_index[first][:, None] != candidates.shot_index[second][None]
    cost = np.where(
        (far > settings.drawn_gap_sizes) | (size_ratio > settings.max_path_size_ratio) | other_shot, FAR, far
    )
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
