"""Everything the rules look at, as one table: a row for each box, numbers only. NaN where a question has no answer."""

import numpy as np
import pandas as pd

from labels.cleaning.box_pairs import overlap_with_better
from labels.cleaning.scores import LIMIT
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.geometry import size_of
from labels.tracks.candidates import Timeline, make_candidates
from labels.tracks.still_things import find_stays
from labels.tracks.trajectories import PLAYER_CLASSES

HUMAN_LOG_ODDS = 6.0
BARELY, CLEARLY = 1.0, 2.0  # log-odds


def shape_evidence(boxes: pd.DataFrame, timeline: Timeline) -> pd.DataFrame:
    """What each box says alone: side lengths, aspect, size against the frame."""
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    sides = size_of(xyxy)
    size = np.sqrt(np.prod(sides, axis=1))
    cut_off = (xyxy[:, :2] <= 1).any(axis=1) | (xyxy[:, 2:] >= [timeline.width - 1, timeline.height - 1]).any(axis=1)
    human = (boxes["origin"] == "human").to_numpy()
    return pd.DataFrame(
        {
            "is_player": boxes["class_name"].isin(PLAYER_CLASSES).to_numpy(),
            "human": human,
            "log_odds": np.where(human, HUMAN_LOG_ODDS, boxes["log_odds"].to_numpy(dtype=np.float64)),
            "size": size,
            # The frame's edge cuts balls into any shape.
            "aspect": np.where(cut_off, np.nan, sides.max(axis=1) / np.maximum(sides.min(axis=1), 1e-6)),
            "frame_share": size / min(timeline.width, timeline.height),
        }
    )


def add_overlap(evidence: pd.DataFrame, boxes: pd.DataFrame, usable: np.ndarray, settings: CleaningSettings) -> None:
    """Adds `overlap`, the share of each box that a better one of its class covers. A human's box is the best."""
    evidence["overlap"] = overlap_with_better(
        boxes, evidence["log_odds"].to_numpy(), usable, settings.max_overlap, settings.max_inside
    )


def add_stays(evidence: pd.DataFrame, boxes: pd.DataFrame, usable: np.ndarray, timeline: Timeline) -> None:
    """Adds `scene_stay` and `screen_stay`, the share of the time around it that something like it is in its place."""
    evidence["scene_stay"] = evidence["screen_stay"] = 0.0
    for class_name in boxes["class_name"].unique():
        if class_name in PLAYER_CLASSES:
            continue
        rows = np.flatnonzero(usable & (boxes["class_name"] == class_name).to_numpy())
        candidates = make_candidates(boxes, evidence["log_odds"].to_numpy(), rows, timeline)
        stays = find_stays(candidates, timeline)
        evidence.loc[candidates.row, "scene_stay"] = stays.in_scene
        evidence.loc[candidates.row, "screen_stay"] = stays.on_screen


def sobered(
    boxes: pd.DataFrame, evidence: pd.DataFrame, usable: np.ndarray, frames: int, settings: CleaningSettings
) -> np.ndarray:
    """Log-odds (N,) float32 in which a labeller that sees balls everywhere in this video is believed less.

    Games are played with few balls. Where more than `max_believed_per_frame` boxes a frame are above the working
    threshold, and most of them barely, it was set for other footage: here the threshold is the score that so many boxes
    a frame reach. Also put into `evidence`. Labels of earlier rounds that this one did not find, and people, keep what
    they had.
    """
    log_odds = boxes["log_odds"].to_numpy(dtype=np.float64)
    fresh = ~evidence["human"].to_numpy() & ~evidence["is_player"].to_numpy() & (boxes["rounds_lost"] == 0).to_numpy()
    for class_name in boxes["class_name"][fresh].unique():
        asked = fresh & (boxes["class_name"] == class_name).to_numpy()
        best_first = np.sort(log_odds[asked & usable])[::-1]
        believed = int(np.ceil(settings.max_believed_per_frame * frames))
        excess = float(best_first[believed]) if len(best_first) > believed else 0.0
        barely, clearly = ((best_first >= 0) & (best_first < BARELY)).sum(), (best_first >= CLEARLY).sum()
        if clearly >= barely:  # what it finds stands out from what it does not: there are many balls
            continue
        log_odds[asked] -= np.clip(excess, 0.0, settings.max_sobering)
    log_odds = np.clip(log_odds, -LIMIT, LIMIT).astype(np.float32)
    evidence["log_odds"] = np.where(evidence["human"], evidence["log_odds"], log_odds)
    return log_odds
