"""All that is known of each box of one video, brought together in the evidence table, in the order it builds up.

Shape and places first, then what several looks say together, then paths, then how like the balls on the surest paths a
box looks, and with that the paths once more.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from labels.cleaning.evidence import add_overlap, add_stays, shape_evidence, sobered
from labels.cleaning.ground import add_ground
from labels.cleaning.likeness import find_anchors, likeness
from labels.cleaning.look_fusion import fuse_looks
from labels.cleaning.outliers import outlier_factors
from labels.cleaning.path_evidence import add_flying, add_paths, add_quality, add_rank
from labels.cleaning.rules import is_no_ball, judge
from labels.cleaning.scene import Scene
from labels.cleaning.scores import LIMIT
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.shadows import add_shadow
from labels.cleaning.worn_things import add_worn


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
