"""Everything the rules look at, as one table: a row for each box, numbers only. NaN where a question has no answer.

All that is known of each box of one video, brought together in the evidence table, in the order it builds up.

Shape and places first, then what several looks say together, then paths, then how like the balls on the surest paths a
box looks, and with that the paths once more.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from labels.cleaning.features.box_pairs import overlap_with_better
from labels.cleaning.features.on_player import add_worn
from labels.cleaning.features.outliers import outlier_factors
from labels.cleaning.features.paths import add_flying, add_paths, add_quality, add_rank
from labels.cleaning.features.scores import LIMIT, Scene
from labels.cleaning.features.shadow import add_shadow
from labels.cleaning.features.similarity import find_anchors, likeness
from labels.cleaning.features.size_prior import add_ground
from labels.cleaning.features.views import fuse_looks
from labels.cleaning.rules import is_no_ball, judge
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.geometry import size_of
from labels.tracks.candidates import Timeline, make_candidates
from labels.tracks.static import find_stays
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


@dataclass
class Weighed:
    """N boxes and what is known of them; arrays are (N,)."""

    boxes: pd.DataFrame  # where several looks see them, with the odds that all of them give
    evidence: pd.DataFrame
    usable: np.ndarray  # bool: not dropped before paths are sought, nor denied
    linked: np.ndarray  # bool: paths are sought among these
    anchors: np.ndarray  # bool: surely a ball
    decision: np.ndarray  # of the rules that need no paths
    reason: np.ndarray
    believed: set[str]  # label_uids of what this round's labeller is sure of, players aside
    gaps: pd.DataFrame  # boxes of the paths' gaps


def weigh(boxes: pd.DataFrame, denied: np.ndarray, scene: Scene) -> Weighed:
    """Args: boxes: merged, with lineage; denied: (N,) bool, a human said that it is none."""
    settings = scene.settings
    evidence = shape_evidence(boxes, scene.timeline)
    evidence["rounds_lost"] = boxes["rounds_lost"].to_numpy()
    evidence[["overlap", "scene_stay", "screen_stay"]] = 0.0
    usable = (judge(evidence, settings, needs_paths=False)[0] == "keep") & ~denied
    if scene.has("overlap"):
        add_overlap(evidence, boxes, usable, settings)
    is_covered = (evidence["overlap"] > settings.max_overlap).to_numpy()
    if scene.has("stays"):
        add_stays(evidence, boxes, usable & ~is_covered, scene.timeline)
    decision, reason = judge(evidence, settings, needs_paths=False)
    covered, usable = usable & is_covered, (decision == "keep") & ~denied
    sure = (boxes["log_odds"] >= 0) & (boxes["rounds_lost"] == 0) & ~is_covered & ~evidence["is_player"]
    boxes, evidence["looks"] = fuse_looks(boxes, usable, covered, settings)
    linked = usable & scene.has("paths")
    boxes, anchors, gaps = _follow(evidence, boxes, usable, linked, scene)
    surest = find_anchors(evidence, settings)
    add_flying(evidence, usable, surest, scene)
    add_shadow(evidence, boxes, usable, scene.timeline, settings)
    add_rank(evidence, boxes, usable & ~is_no_ball(evidence, settings))
    evidence["outlier"] = outlier_factors(scene.usual, evidence, boxes, surest)
    believed = set(boxes["label_uid"][sure])
    return Weighed(boxes, evidence, usable, linked, anchors, decision, reason, believed, gaps)


def _follow(
    evidence: pd.DataFrame, boxes: pd.DataFrame, usable: np.ndarray, linked: np.ndarray, scene: Scene
) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Adds what paths and likeness say to `evidence`. Returns the boxes with all their odds, the anchors, the gaps."""
    settings = scene.settings
    said = boxes["log_odds"].to_numpy(dtype=np.float64)
    sober = settings if scene.has("sobering") else replace(settings, max_sobering=0.0)
    boxes = boxes.assign(log_odds=sobered(boxes, evidence, usable, scene.labelled_frames, sober))
    gaps = along_paths(evidence, boxes, linked, scene)
    anchors = usable & find_anchors(evidence, settings)
    if scene.has_past:  # what a student alone sees here is not proof yet
        anchors &= (boxes["old_decision"] == "keep").to_numpy() | evidence["human"].to_numpy()
    evidence["likeness"] = likeness(evidence, boxes, anchors, settings) if scene.has("likeness") else 0.0
    if (evidence["likeness"] != 0).any():
        agreed = (evidence["looks"] >= settings.agreeing_looks).to_numpy()
        odds = np.where(agreed, said, boxes["log_odds"]) + evidence["likeness"].to_numpy() * _fresh(boxes, settings)
        odds = np.clip(odds, -LIMIT, LIMIT)
        evidence["log_odds"] = np.where(evidence["human"], evidence["log_odds"], odds)
        boxes = boxes.assign(log_odds=odds.astype(np.float32))  # the next round is told it, not one look's word
        gaps = along_paths(evidence, boxes, linked, scene)
    return boxes, anchors, gaps


def _fresh(boxes: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """How much of each box's odds (N,) is of this round: the round before weighed its own likeness in already."""
    seen_before = np.where(boxes["rounds_seen"] > 1, 1 - settings.old_share, 1.0)
    return np.where(boxes["rounds_lost"] > 0, 0.0, seen_before)


def along_paths(evidence: pd.DataFrame, boxes: pd.DataFrame, linked: np.ndarray, scene: Scene) -> pd.DataFrame:
    """Adds what paths say, also beside the players, and the quality that follows. Returns the boxes of the gaps."""
    gaps = add_paths(evidence, boxes, linked, scene)
    add_worn(evidence, boxes, linked, scene.settings)
    if not scene.has("worn"):
        evidence["worn"] = np.nan
    add_ground(evidence, boxes, linked & scene.has("ground"), scene.timeline, scene.settings)
    add_quality(evidence, scene.timeline.step_s, scene.settings)
    return gaps
