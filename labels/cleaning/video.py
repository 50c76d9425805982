"""One video through stage 3: merge with the round before, find the paths, decide on every row. A pure function."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from labels.cleaning.agreement import Share, agreement_of
from labels.cleaning.features.evidence import weigh
from labels.cleaning.features.outliers import UsualLooks
from labels.cleaning.features.scores import Scales, Scene, calibrated
from labels.cleaning.gap_filling import between_drawn, fill_gaps, matching, place_old_gap_boxes
from labels.cleaning.merging import HUMAN_NO, LINEAGE, MergeCounts, merge_rounds, with_lineage, with_verdicts
from labels.cleaning.rules import judge
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.verdict_use import hear
from labels.records import tables
from labels.records.verdicts import Verdict
from labels.records.video_labels import VideoFacts, VideoLabels
from labels.tracks.candidates import make_timeline
from labels.tracks.settings import PathSettings, PlayerSettings
from labels.tracks.trajectories import PLAYER_CLASSES


@dataclass
class CleanedVideo:
    """`boxes`: the decided table with lineage. Rows: kept + ignored + dropped = labelled + merged in + interpolated."""

    boxes: pd.DataFrame
    video: VideoFacts
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

    @property
    def labels(self) -> VideoLabels:
        """The decided boxes as the round after takes them."""
        return VideoLabels(self.boxes, self.video)

    def __post_init__(self) -> None:
        found = self.boxes["decision"].value_counts()
        self.decisions = {decision: int(found.get(decision, 0)) for decision in tables.DECISIONS}
        rows_in = self.merged.labelled + self.merged.merged_in + self.interpolated
        if sum(self.decisions.values()) != rows_in:
            raise AssertionError(f"{self.decisions} do not add up to {self.merged} + {self.interpolated} interpolated")


def clean_video(
    labelled: VideoLabels,
    round_number: int,
    scales: Scales,
    settings: CleaningSettings,
    old: VideoLabels | None = None,
    camera: pd.DataFrame | None = None,
    verdicts: Mapping[str, Verdict] | None = None,
    path_settings: PathSettings | None = None,
    player_settings: PlayerSettings | None = None,
    usual: UsualLooks | None = None,
) -> CleanedVideo:
    """Decide on every box of one video.

    Args:
        labelled: the boxes of stage 2.
        old: the decided boxes of the round before.
        scales: how the scores of each source and class are read.
        verdicts: what a human said of labels, by label_uid; also those of other videos.
        usual: how the tracks look that the round before kept in all videos.
    """
    video = labelled.video
    before = old if "merging" not in settings.without else None
    camera = camera if "camera" not in settings.without else None
    # Rows that stage 3 itself made are made anew: cleaning what was cleaned gives the same.
    detected = labelled.boxes[labelled.boxes["origin"] != "interpolated"]
    detected = detected.assign(**{name: detected.get(name, "") for name in tables.SEEN})
    decided_before = None
    if before is not None:
        compares = (before.video.described_by or "") == (video.described_by or "")
        seen = {name: before.boxes.get(name, "") for name in tables.SEEN}
        decided_before = before.boxes.assign(**seen | ({} if compares else {"appearance": ""}))
    heard = hear(detected, decided_before, verdicts or {}, round_number, settings, video)
    detected, decided_before, words = heard.new, heard.old, heard.words
    boxes = with_lineage(detected, calibrated(detected, scales))
    merged, old_gap_boxes = MergeCounts(labelled=len(boxes)), boxes.iloc[:0]
    if decided_before is not None:
        boxes, old_gap_boxes, merged = merge_rounds(boxes, decided_before, settings, words)
    labelled_frames = np.arange(0, video.frame_count, video.stride)
    both = pd.concat([boxes[["frame_index", "time_s"]], old_gap_boxes[["frame_index", "time_s"]]], ignore_index=True)
    timeline = make_timeline(labelled_frames, video.fps, video.width, video.height, both, camera)
    said = _human_says(boxes, words)
    boxes["origin"] = boxes["origin"].where(said != "y", "human")

    scene = Scene(
        timeline, len(labelled_frames), before is not None, usual, settings,
        path_settings or PathSettings(), player_settings or PlayerSettings(),
    )  # fmt: skip
    weighed = weigh(boxes, said == "n", scene)
    boxes, evidence, usable = weighed.boxes, weighed.evidence, weighed.usable
    late, late_reason = judge(evidence, settings, needs_paths=True)
    decision = np.where(said == "n", "drop", np.where(usable, late, weighed.decision))
    reason = np.where(said == "n", HUMAN_NO, np.where(usable, late_reason, weighed.reason))
    quality = np.where(said == "n", 0.0, np.where(usable, evidence["quality"], 0.0))
    decided = boxes.drop(columns="old_decision").assign(
        track_id=np.where(evidence["path"] >= 0, evidence["path"], tables.NO_TRACK).astype(np.int64),
        quality=quality.astype(np.float32),
        decision=decision.astype(object),
        reason=reason.astype(object),
    )
    filled = _filled(decided, weighed.gaps, heard.left, scene, round_number)
    decided, filled, merged = place_old_gap_boxes(decided, filled, old_gap_boxes, merged, settings)
    result = tables.concatenate([decided, filled], tables.BOXES | tables.DECIDED | LINEAGE | tables.SEEN)
    for name in ("decision", "reason", "label_uid", "origin", "class_name", "video_id", *tables.SEEN):
        result[name] = result[name].astype("str")
    columns = [*tables.BOXES, *tables.DECIDED, *LINEAGE, *tables.SEEN]
    result = with_verdicts(tables.sort_boxes(result)[columns], words)
    tables.check_boxes(result, f"cleaned boxes of {video.video_id}", decided=True)
    lost = set(boxes["label_uid"]) - set(result["label_uid"])
    if lost:
        raise AssertionError(f"{len(lost)} boxes of {video.video_id} got lost, among them {min(lost)}")
    agreement = agreement_of(weighed, scene, decision == "keep", detected["source"].nunique())
    agreement["survival"] = Share(merged.found_again, merged.old_kept)
    is_anchored = bool(weighed.anchors.any()) or timeline.step_s >= settings.sparse_step_s
    kept = result[(result["decision"] == "keep") & ~result["class_name"].isin(PLAYER_CLASSES)]
    return CleanedVideo(
        boxes=result,
        video=video,
        merged=merged,
        interpolated=len(filled),
        believed=len(weighed.believed),
        kept_believed=int(kept["label_uid"].isin(weighed.believed).sum()),
        kept_balls=len(kept),
        is_anchored=is_anchored,
        from_verdicts=heard.added,
        agreement=agreement,
        evidence=evidence.set_axis(pd.Index(boxes["label_uid"]), axis="index"),
    )


def _filled(
    decided: pd.DataFrame, gaps: pd.DataFrame, left: pd.DataFrame, scene: Scene, round_number: int
) -> pd.DataFrame:
    """Interpolated rows for what is surely there between boxes; none where something stands or a human denied it."""
    timeline, settings = scene.timeline, scene.settings
    filled = fill_gaps(decided, gaps if scene.has("gaps") else gaps[:0], timeline, round_number, settings)
    drawn = between_drawn(decided, timeline, round_number, settings)
    drawn = drawn.drop(drawn.index[matching(drawn, filled, settings)])
    filled = pd.concat([filled, drawn], ignore_index=True) if len(drawn) else filled
    there = decided[(decided["decision"] != "drop") | (decided["reason"] == HUMAN_NO)]
    for taken in (there, left):
        filled = filled.drop(filled.index[matching(filled, taken, settings)]).reset_index(drop=True)
    return filled[~filled["label_uid"].isin(decided["label_uid"])].reset_index(drop=True)


def _human_says(boxes: pd.DataFrame, verdicts: Mapping[str, str]) -> np.ndarray:
    """ "y", "n" or "" for each row (N,); what was said in an earlier round still stands."""
    before = np.where(boxes["old_decision"] == "human no", "n", "") if "old_decision" in boxes else ""
    now = boxes["label_uid"].map(lambda uid: verdicts.get(uid, "")).to_numpy(dtype=object)
    return np.where(now != "", now, before).astype(object)
