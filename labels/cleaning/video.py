"""One video through stage 3: apply verdicts, merge, compute features, score, decide, fill gaps. A pure function."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from labels.cleaning.agreement import Share, agreement_of
from labels.cleaning.decisions import decide
from labels.cleaning.features.appearance import UsualTracks
from labels.cleaning.features.box_pairs import same_objects
from labels.cleaning.features.compute import compute_features, feature_table
from labels.cleaning.features.feature import Columns, Scene
from labels.cleaning.features.scores import Scales, calibrated
from labels.cleaning.gap_filling import fill_gaps, place_old_gap_boxes
from labels.cleaning.merging import HUMAN_NO, LINEAGE, MergeCounts, merge_rounds, with_lineage, with_verdicts
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.verdict_use import apply_verdicts
from labels.records import tables
from labels.records.verdicts import Verdict
from labels.records.video_labels import VideoFacts, VideoLabels, in_stretches
from labels.tracks.candidates import Timeline, make_timeline
from labels.tracks.settings import PathSettings, PlayerSettings
from labels.tracks.trajectories import PLAYER_CLASSES

NOT_IN_PICTURE = "repeated: the frame before, which shows the same, has no such box"


@dataclass
class CleanedVideo:
    """`boxes`: the decided table with lineage. Rows: kept + ignored + dropped = labelled + merged in + interpolated."""

    boxes: pd.DataFrame
    video: VideoFacts
    merged: MergeCounts
    interpolated: int
    confident: int = 0  # boxes of this round from the labeller's working threshold on, players aside
    kept_confident: int = 0
    kept_balls: int = 0  # of whatever class is no player's
    has_confident_track: bool = True  # the video has a confident track, or frames are too far apart to say
    from_verdicts: int = 0  # of the labelled: boxes that a human saw or drew and this labeller did not give
    agreement: dict[str, Share] = field(default_factory=dict)  # of the labels with themselves, by measure
    decisions: dict[str, int] = field(default_factory=dict)
    evidence: pd.DataFrame = field(
        default_factory=pd.DataFrame
    )  # the features, by label_uid; not of interpolated boxes

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
    usual: UsualTracks | None = None,
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

    applied = apply_verdicts(detected, decided_before, verdicts or {}, round_number, settings, video)
    boxes = with_lineage(applied.new, calibrated(applied.new, scales))
    merged, old_gap_boxes = MergeCounts(labelled=len(boxes)), boxes.iloc[:0]
    if applied.old is not None:
        asked = {name for _, name in scales} or None
        boxes, old_gap_boxes, merged = merge_rounds(boxes, applied.old, settings, applied.words, asked)
    verdict = _verdict_of_rows(boxes, applied.words)
    boxes["origin"] = boxes["origin"].where(verdict != "y", "human")
    labelled_frames = video.labelled_frames
    shown = shown_frames(labelled_frames, video.repeated_frames, boxes["frame_index"][verdict != ""])
    is_repeat = boxes["frame_index"].isin(shown).to_numpy()
    boxes, repeats, verdict = boxes[~is_repeat].reset_index(drop=True), boxes[is_repeat], verdict[~is_repeat]
    labelled_frames = labelled_frames[~np.isin(labelled_frames, list(shown))]
    both = pd.concat([boxes[["frame_index", "time_s"]], old_gap_boxes[["frame_index", "time_s"]]], ignore_index=True)
    both = both[~both["frame_index"].isin(shown)]
    timeline = make_timeline(labelled_frames, video.fps, video.width, video.height, both, camera)
    scene = Scene(
        boxes=boxes,
        denied=verdict == "n",
        asked=in_stretches(boxes["frame_index"].to_numpy(), video.asked or ()),
        timeline=timeline.evened() if shown else timeline,
        labelled_frames=len(labelled_frames),
        has_past=applied.old is not None,
        usual=usual,
        settings=settings,
        path_settings=path_settings or PathSettings(),
        player_settings=player_settings or PlayerSettings(),
    )
    columns = compute_features(scene)
    decided = _decided(_scored(columns, scene), columns, scene)
    filled = fill_gaps(decided, columns["gaps"], applied.moved_away, scene, round_number)
    evidence = feature_table(columns, scene)
    if shown:
        filled["time_s"] = timeline.time_s[timeline.step_of(filled["frame_index"].to_numpy())]
        decided, filled, evidence = with_repeats(
            decided, filled, evidence, boxes, repeats, shown, timeline, round_number, settings
        )
        boxes = pd.concat([boxes, repeats])
    decided, filled, merged = place_old_gap_boxes(decided, filled, old_gap_boxes, merged, settings)

    result = tables.concatenate([decided, filled], tables.BOXES | tables.DECIDED | LINEAGE | tables.SEEN)
    for name in ("decision", "reason", "label_uid", "origin", "class_name", "video_id", *tables.SEEN):
        result[name] = result[name].astype("str")
    ordered = [*tables.BOXES, *tables.DECIDED, *LINEAGE, *tables.SEEN]
    result = with_verdicts(tables.sort_boxes(result)[ordered], applied.words)
    tables.check_boxes(result, f"cleaned boxes of {video.video_id}", decided=True)
    lost = set(boxes["label_uid"]) - set(result["label_uid"])
    if lost:
        raise AssertionError(f"{len(lost)} boxes of {video.video_id} got lost, among them {min(lost)}")
    is_kept = (decided["decision"].iloc[: len(scene)] == "keep").to_numpy()
    agreement = agreement_of(columns, scene, is_kept, applied.new["source"].nunique())
    agreement["survival"] = Share(merged.found_again, merged.old_kept)
    confident = set(scene.boxes["label_uid"][columns["labeller_confident"]])
    kept = result[(result["decision"] == "keep") & ~result["class_name"].isin(PLAYER_CLASSES)]
    return CleanedVideo(
        boxes=result,
        video=video,
        merged=merged,
        interpolated=len(filled),
        confident=len(confident),
        kept_confident=int(kept["label_uid"].isin(confident).sum()),
        kept_balls=len(kept),
        has_confident_track=bool(columns["reference"].any()) or scene.timeline.step_s >= settings.sparse_step_s,
        from_verdicts=applied.added,
        agreement=agreement,
        evidence=evidence,
    )


def _scored(columns: Columns, scene: Scene) -> pd.DataFrame:
    """The boxes where their views put them, with their paths, what the next round is told, and their quality."""
    quality = np.where(columns["usable"], columns["quality"], 0.0)  # a denied box is not usable
    return scene.boxes_at(columns["xyxy"]).assign(
        log_odds=columns["row_log_odds"],
        track_id=np.where(columns["path"] >= 0, columns["path"], tables.NO_TRACK).astype(np.int64),
        quality=quality.astype(np.float32),
    )


def _decided(scored: pd.DataFrame, columns: Columns, scene: Scene) -> pd.DataFrame:
    """The scored boxes with decision and reason; a human's no is above the rules."""
    decision, reason = decide(columns, scene.settings)
    return scored.drop(columns="old_decision").assign(
        decision=np.where(scene.denied, "drop", decision).astype(object),
        reason=np.where(scene.denied, HUMAN_NO, reason).astype(object),
    )


def shown_frames(frames: np.ndarray, repeated: Sequence[int], spoken_of: Iterable[int]) -> dict[int, int]:
    """Of the labelled `frames` (F,), ascending, each repeated one and the frame whose picture it shows.

    One that a human spoke of is judged by itself.
    """
    again = np.isin(frames, list(repeated)) & ~np.isin(frames, list(spoken_of))
    again[:1] = False
    shown = frames[np.maximum.accumulate(np.where(again, 0, np.arange(len(frames))))]
    return dict(zip(frames[again].tolist(), shown[again].tolist(), strict=True))


def with_repeats(
    decided: pd.DataFrame,
    filled: pd.DataFrame,
    evidence: pd.DataFrame,
    boxes: pd.DataFrame,
    repeats: pd.DataFrame,
    shown: Mapping[int, int],
    timeline: Timeline,
    round_number: int,
    settings: CleaningSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Decided and interpolated boxes and evidence, those of repeated frames among them: what is decided of a box is
    decided of it in all frames that show the same picture. Nothing is interpolated into a picture seen before.

    Args:
        boxes: as they were before `decided`, its rows in its order.
        repeats: the boxes of repeated frames.
        shown: for each repeated frame, the frame whose picture it shows.
        timeline: of the frames that are not repeated.
    """
    frame = repeats["frame_index"].to_numpy()
    original = np.array([shown[index] for index in frame.tolist()], dtype=np.int64)
    columns = [*tables.BOX_COLUMNS, "log_odds", "track_id", "quality", "decision", "reason"]
    rows = repeats.drop(columns="old_decision").assign(
        track_id=np.int64(tables.NO_TRACK), quality=np.float32(0), decision="ignore", reason=NOT_IN_PICTURE
    )
    rows = rows[decided.columns].reset_index(drop=True)
    parts = [evidence]
    for later in np.unique(frame - original):  # a picture may be shown more than twice
        here = np.flatnonzero(frame - original == later)
        moved = rows.iloc[here].assign(frame_index=original[here])
        again, of = same_objects(moved, boxes, settings.match_iou, settings.match_distance_sizes)
        rows.loc[here[again], columns] = decided[columns].iloc[of].to_numpy()
        parts.append(evidence.iloc[of].set_axis(rows["label_uid"].iloc[here[again]], axis=0))
    rows = rows.astype(decided.dtypes)
    copies = [filled]
    for index, picture in shown.items():
        of_picture = filled[filled["frame_index"] == picture]
        if len(of_picture):
            time_s = np.interp(index, timeline.frame_index, timeline.time_s)
            uids = tables.box_uids(
                str(decided["video_id"].iloc[0]),
                round_number,
                np.full(len(of_picture), index),
                of_picture["class_name"].to_numpy(),
                of_picture[tables.BOX_COLUMNS].to_numpy(),
                "interpolated",
            )
            copies.append(of_picture.assign(frame_index=index, time_s=time_s, label_uid=uids))
    return pd.concat([decided, rows], ignore_index=True), pd.concat(copies, ignore_index=True), pd.concat(parts)


def _verdict_of_rows(boxes: pd.DataFrame, verdicts: Mapping[str, str]) -> np.ndarray:
    """ "y", "n" or "" for each row (N,); what was said in an earlier round still stands."""
    before = np.where(boxes["old_decision"] == "human no", "n", "") if "old_decision" in boxes else ""
    now = boxes["label_uid"].map(lambda uid: verdicts.get(uid, "")).to_numpy(dtype=object)
    return np.where(now != "", now, before).astype(object)
