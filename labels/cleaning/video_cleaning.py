"""One video through stage 3: merge with the round before, find the paths, decide on every row. A pure function."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from labels.cleaning.evidence import add_overlap, add_paths, add_quality, add_rank, add_stays, shape_evidence, sobered
from labels.cleaning.gap_filling import fill_gaps, matching, place_old_gap_boxes
from labels.cleaning.human_verdicts import Verdict
from labels.cleaning.keyframes import between_drawn
from labels.cleaning.likeness import find_anchors, likeness
from labels.cleaning.look_fusion import fuse_looks
from labels.cleaning.outliers import UsualLooks, outlier_factors
from labels.cleaning.round_merging import HUMAN_NO, LINEAGE, MergeCounts, merge_rounds, with_lineage, with_verdicts
from labels.cleaning.rules import judge
from labels.cleaning.scores import LIMIT, Scales, calibrated
from labels.cleaning.self_agreement import Share, agreement_of_looks, agreement_of_paths, backward_paths
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.shadows import add_shadow
from labels.cleaning.verdict_use import hear
from labels.records import tables
from labels.tracks.candidates import make_timeline
from labels.tracks.settings import PathSettings, PlayerSettings
from labels.tracks.trajectories import PLAYER_CLASSES


@dataclass
class CleanedVideo:
    """`boxes`: the decided table with lineage. Rows: kept + ignored + dropped = labelled + merged in + interpolated."""

    boxes: pd.DataFrame
    merged: MergeCounts
    interpolated: int
    believed: int = 0  # boxes of this round that its labeller is sure of, players aside
    kept_believed: int = 0
    kept_balls: int = 0  # of whatever class is no player's
    is_anchored: bool = True  # something surely flies as a ball does, or frames are too far apart to say
    from_verdicts: int = 0  # of the labelled: boxes that a human saw or drew and this labeller did not give
    agreement: dict[str, Share] = field(default_factory=dict)  # of the labels with themselves, by measure
    decisions: dict[str, int] = field(default_factory=dict)
    evidence: pd.DataFrame = field(default_factory=pd.DataFrame)  # what the rules saw, by label_uid; not interpolated

    def __post_init__(self) -> None:
        found = self.boxes["decision"].value_counts()
        self.decisions = {decision: int(found.get(decision, 0)) for decision in tables.DECISIONS}
        rows_in = self.merged.labelled + self.merged.merged_in + self.interpolated
        if sum(self.decisions.values()) != rows_in:
            raise AssertionError(f"{self.decisions} do not add up to {self.merged} + {self.interpolated} interpolated")


def clean_video(
    labelled: pd.DataFrame,
    round_number: int,
    scales: Scales,
    settings: CleaningSettings,
    old: pd.DataFrame | None = None,
    camera: pd.DataFrame | None = None,
    verdicts: Mapping[str, Verdict] | None = None,
    path_settings: PathSettings | None = None,
    player_settings: PlayerSettings | None = None,
    usual: UsualLooks | None = None,
) -> CleanedVideo:
    """Decide on every box of one video.

    Args:
        labelled: the boxes of stage 2; its `attrs` hold the shard's metadata (frame_count, stride, fps, width, height).
        old: the decided boxes of the round before.
        scales: how the scores of each source and class are read.
        verdicts: what a human said of labels, by label_uid; also those of other videos.
        usual: how the tracks look that the round before kept in all videos.
    """
    meta = dict(labelled.attrs)
    old = old if "merging" not in settings.without else None
    camera = camera if "camera" not in settings.without else None
    # Rows that stage 3 itself made are made anew: cleaning what was cleaned gives the same.
    detected = labelled[labelled["origin"] != "interpolated"]
    detected = detected.assign(**{name: detected.get(name, "") for name in tables.SEEN})
    detected.attrs = meta
    if old is not None:
        old = old.assign(**{name: old.get(name, "") for name in tables.SEEN})
    heard = hear(detected, old, verdicts or {}, round_number, settings)
    detected, old, words = heard.new, heard.old, heard.words
    boxes = with_lineage(detected, calibrated(detected, scales))
    merged, old_gap_boxes = MergeCounts(labelled=len(boxes)), boxes.iloc[:0]
    if old is not None:
        boxes, old_gap_boxes, merged = merge_rounds(boxes, old, settings, words)
    boxes.attrs = {}
    labelled_frames = np.arange(0, int(meta["frame_count"]), int(meta["stride"]))
    both = pd.concat([boxes[["frame_index", "time_s"]], old_gap_boxes[["frame_index", "time_s"]]], ignore_index=True)
    timeline = make_timeline(labelled_frames, meta["fps"], meta["width"], meta["height"], both, camera)
    said = _human_says(boxes, words)
    boxes["origin"] = boxes["origin"].where(said != "y", "human")

    evidence = shape_evidence(boxes, timeline)
    evidence["rounds_lost"] = boxes["rounds_lost"].to_numpy()
    evidence[["overlap", "scene_stay", "screen_stay"]] = 0.0
    usable = (judge(evidence, settings, needs_paths=False)[0] == "keep") & (said != "n")
    if "overlap" not in settings.without:
        add_overlap(evidence, boxes, usable, settings)
    if "stays" not in settings.without:
        add_stays(evidence, boxes, usable & ~(evidence["overlap"] > settings.max_overlap).to_numpy(), timeline)
    early, early_reason = judge(evidence, settings, needs_paths=False)
    covered = usable & (evidence["overlap"] > settings.max_overlap).to_numpy()
    usable = (early == "keep") & (said != "n")
    sure = (boxes["log_odds"] >= 0) & (boxes["rounds_lost"] == 0) & (evidence["overlap"] <= settings.max_overlap)
    believed = set(boxes["label_uid"][sure & ~evidence["is_player"]])
    boxes, evidence["looks"] = fuse_looks(boxes, usable, covered, settings)
    said_odds = boxes["log_odds"].to_numpy(dtype=np.float64)
    sober = settings if "sobering" not in settings.without else replace(settings, max_sobering=0.0)
    boxes["log_odds"] = sobered(boxes, evidence, usable, len(labelled_frames), sober)
    how = (path_settings or PathSettings(), player_settings or PlayerSettings(), settings)
    linked = usable & ("paths" not in settings.without)
    gaps = add_paths(evidence, boxes, linked, timeline, *how)
    add_quality(evidence, timeline.step_s, settings)
    anchors = usable & find_anchors(evidence, settings)
    if old is not None:  # what a student alone sees here is not proof yet
        anchors &= (boxes["old_decision"] == "keep").to_numpy() | evidence["human"].to_numpy()
    evidence["likeness"] = likeness(evidence, boxes, anchors, settings) if "likeness" not in settings.without else 0.0
    if (evidence["likeness"] != 0).any():
        agreed = (evidence["looks"] >= settings.agreeing_looks).to_numpy()
        surer = np.where(agreed, said_odds, boxes["log_odds"]) + evidence["likeness"].to_numpy()
        evidence["log_odds"] = np.where(evidence["human"], evidence["log_odds"], np.clip(surer, -LIMIT, LIMIT))
        # The next round is told all that this one saw, not one look's word.
        boxes["log_odds"] = np.clip(surer, -LIMIT, LIMIT).astype(np.float32)
        gaps = add_paths(evidence, boxes, linked, timeline, *how)
        add_quality(evidence, timeline.step_s, settings)
    add_shadow(evidence, boxes, usable, timeline, settings)
    shadows = (evidence["shadow"] > settings.max_shadow_flatness).to_numpy() & ("shadow" not in settings.without)
    add_rank(evidence, boxes, usable & ~shadows)
    evidence["outlier"] = outlier_factors(usual, evidence, boxes, find_anchors(evidence, settings))
    late, late_reason = judge(evidence, settings, needs_paths=True)
    decision = np.where(said == "n", "drop", np.where(usable, late, early))
    reason = np.where(said == "n", HUMAN_NO, np.where(usable, late_reason, early_reason))
    boxes["track_id"] = np.where(evidence["path"] >= 0, evidence["path"], tables.NO_TRACK).astype(np.int64)
    quality = np.where(said == "n", 0.0, np.where(usable, evidence["quality"], 0.0))
    decided = boxes.drop(columns="old_decision").assign(
        quality=quality.astype(np.float32),
        decision=decision.astype(object),
        reason=reason.astype(object),
    )
    filled = fill_gaps(decided, gaps if "gaps" not in settings.without else gaps[:0], timeline, round_number, settings)
    drawn = between_drawn(decided, timeline, round_number, settings)
    drawn = drawn.drop(drawn.index[matching(drawn, filled, settings)])
    filled = pd.concat([filled, drawn], ignore_index=True) if len(drawn) else filled
    there = decided[(said == "n") | (decision != "drop").astype(bool)]
    for taken in (there, heard.left):
        filled = filled.drop(filled.index[matching(filled, taken, settings)]).reset_index(drop=True)
    filled = filled[~filled["label_uid"].isin(decided["label_uid"])].reset_index(drop=True)
    decided, filled, merged = place_old_gap_boxes(decided, filled, old_gap_boxes, merged, settings)
    result = tables.concatenate([decided, filled], tables.BOXES | tables.DECIDED | LINEAGE | tables.SEEN)
    for name in ("decision", "reason", "label_uid", "origin", "class_name", "video_id", *tables.SEEN):
        result[name] = result[name].astype("str")
    columns = [*tables.BOXES, *tables.DECIDED, *LINEAGE, *tables.SEEN]
    result = with_verdicts(tables.sort_boxes(result)[columns], words)
    tables.check_boxes(result, f"cleaned boxes of {meta.get('video_id')}", decided=True)
    result.attrs = meta
    lost = set(boxes["label_uid"]) - set(result["label_uid"])
    if lost:
        raise AssertionError(f"{len(lost)} boxes of {meta.get('video_id')} got lost, among them {min(lost)}")
    backward = backward_paths(evidence, boxes, linked, timeline, *how)
    is_kept = decision == "keep"
    agreement = {
        "paths": agreement_of_paths(boxes["frame_index"].to_numpy(), evidence["path"].to_numpy(), backward, is_kept),
        "looks": agreement_of_looks(evidence["looks"].to_numpy(), is_kept & usable, detected["source"].nunique()),
        "survival": Share(merged.found_again, merged.old_kept),
    }
    is_anchored = bool(anchors.any()) or timeline.step_s >= settings.sparse_step_s
    kept = result[(result["decision"] == "keep") & ~result["class_name"].isin(PLAYER_CLASSES)]
    return CleanedVideo(
        boxes=result,
        merged=merged,
        interpolated=len(filled),
        believed=len(believed),
        kept_believed=int(kept["label_uid"].isin(believed).sum()),
        kept_balls=len(kept),
        is_anchored=is_anchored,
        from_verdicts=heard.added,
        agreement=agreement,
        evidence=evidence.set_axis(pd.Index(boxes["label_uid"]), axis="index"),
    )


def _human_says(boxes: pd.DataFrame, verdicts: Mapping[str, str]) -> np.ndarray:
    """ "y", "n" or "" for each row (N,); what was said in an earlier round still stands."""
    before = np.where(boxes["old_decision"] == "human no", "n", "") if "old_decision" in boxes else ""
    now = boxes["label_uid"].map(lambda uid: verdicts.get(uid, "")).to_numpy(dtype=object)
    return np.where(now != "", now, before).astype(object)
