"""Features of a box before paths are sought: shape, overlap, whether it is static, the log-odds of its score."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from labels.cleaning.decisions import rejected_by
from labels.cleaning.features.box_pairs import frame_keys, overlap_with_better, pair_iou, pairs_between
from labels.cleaning.features.feature import Columns, Scene, feature
from labels.cleaning.features.scores import LIMIT, probability
from labels.cleaning.rules import BOX_RULES, SHAPE_RULES, values_read
from labels.records.geometry import size_of
from labels.tracks.candidates import Candidates, Timeline
from labels.tracks.trajectories import PLAYER_CLASSES

HUMAN_LOG_ODDS = 6.0
BARELY, CLEARLY = 1.0, 2.0  # log-odds
NEAR_SIZES = 0.25  # static: the same place
SIMILAR_OCTAVES = 0.75  # static: the same size


@feature(
    writes=("is_player", "human", "score_log_odds", "size", "aspect", "frame_share", "rounds_lost"),
)
def shape(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Side lengths, aspect and size against the frame. `aspect` is NaN where the frame's edge cuts the box."""
    boxes, timeline = scene.boxes, scene.timeline
    xyxy = scene.xyxy.astype(np.float64)
    sides = size_of(xyxy)
    size = np.sqrt(np.prod(sides, axis=1))
    cut_off = (xyxy[:, :2] <= 1).any(axis=1) | (xyxy[:, 2:] >= [timeline.width - 1, timeline.height - 1]).any(axis=1)
    human = (boxes["origin"] == "human").to_numpy()
    return {
        "is_player": boxes["class_name"].isin(PLAYER_CLASSES).to_numpy(),
        "human": human,
        "score_log_odds": np.where(human, HUMAN_LOG_ODDS, boxes["log_odds"].to_numpy(dtype=np.float64)),
        "size": size,
        "aspect": np.where(cut_off, np.nan, sides.max(axis=1) / np.maximum(sides.min(axis=1), 1e-6)),
        "frame_share": size / min(timeline.width, timeline.height),
        "rounds_lost": boxes["rounds_lost"].to_numpy(),
    }


@feature(reads=("human", *values_read(SHAPE_RULES)), writes=("well_shaped",))
def well_shaped(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Boxes (bool) that no rule on shape drops and no human denied."""
    return {"well_shaped": ~rejected_by(SHAPE_RULES, columns, scene.settings) & ~scene.denied}


@feature(reads=("well_shaped", "score_log_odds"), writes=("overlap",))
def overlap(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """The share of each box that a better one of its class covers. A human's box is the best."""
    if not scene.has("overlap"):
        return {"overlap": np.zeros(len(scene))}
    limits = scene.settings.max_overlap, scene.settings.max_inside
    return {
        "overlap": overlap_with_better(scene.boxes, columns["score_log_odds"], columns["well_shaped"], *limits),
    }


@feature(reads=("well_shaped", "overlap", "score_log_odds"), writes=("static_in_scene", "static_on_screen"))
def static(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """The share of the time around each box in which something like it is in its place. Players are left out."""
    in_scene, on_screen = np.zeros(len(scene)), np.zeros(len(scene))
    asked = columns["well_shaped"] & ~(columns["overlap"] > scene.settings.max_overlap)
    for class_name in scene.boxes["class_name"].unique() if scene.has("static") else ():
        if class_name in PLAYER_CLASSES:
            continue
        rows = np.flatnonzero(asked & scene.of_class(class_name))
        candidates = scene.candidates(scene.xyxy, columns["score_log_odds"], rows)
        shares = static_shares(candidates, scene.timeline)
        in_scene[candidates.row], on_screen[candidates.row] = shares.in_scene, shares.on_screen
    return {"static_in_scene": in_scene, "static_on_screen": on_screen}


@feature(
    reads=("well_shaped", "human", "is_player", *values_read(BOX_RULES)),
    writes=("usable", "covered", "labeller_confident"),
)
def usable(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Three masks (N,) bool: `usable` boxes may be on paths, `covered` ones lie under a better one, and
    `labeller_confident` are this round's boxes from the working threshold on, players aside.
    """
    is_covered = columns["overlap"] > scene.settings.max_overlap
    found_now = ((scene.boxes["log_odds"] >= 0) & (scene.boxes["rounds_lost"] == 0)).to_numpy()
    return {
        "usable": ~rejected_by(BOX_RULES, columns, scene.settings) & ~scene.denied,
        "covered": columns["well_shaped"] & is_covered,
        "labeller_confident": found_now & ~is_covered & ~columns["is_player"],
    }


@feature(reads=("usable", "covered", "human"), writes=("views", "xyxy"))
def views(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Weighted boxes fusion (Solovyev 2021): several views of one frame, by detectors or scales, become one box each.

    Of the boxes that mean the same thing, the best stands for all, at their mean place, weighted by how likely each is.
    The others stay in the table, dropped as overlapping it. `views` counts those that see a box, `xyxy` is its place.
    Rows of one source are never fused: a source that finds a thing twice has not seen it in two views.
    """
    boxes = scene.boxes
    count = np.ones(len(boxes), dtype=np.int64)
    if boxes["source"].nunique() < 2 or not scene.has("views"):
        return {"views": count, "xyxy": scene.xyxy}
    leads, others = np.flatnonzero(columns["usable"]), np.flatnonzero(columns["covered"])
    (key,) = frame_keys(boxes)
    source = np.unique(boxes["source"].to_numpy(dtype=str), return_inverse=True)[1]
    xyxy = scene.xyxy.astype(np.float64)
    weight = probability(boxes["log_odds"].to_numpy(dtype=np.float64))
    total, place = weight.copy(), xyxy * weight[:, None]
    agreed = [np.zeros((0, 2), dtype=np.int64)]
    for one, two in pairs_between(key[leads], key[others]):
        lead, other = leads[one], others[two]
        same = (source[lead] != source[other]) & (pair_iou(xyxy[lead], xyxy[other]) >= scene.settings.same_view_iou)
        lead, other = lead[same], other[same]
        np.add.at(total, lead, weight[other])
        np.add.at(place, lead, xyxy[other] * weight[other, None])
        agreed.append(np.column_stack([lead, source[other]]))
    np.add.at(count, np.unique(np.concatenate(agreed), axis=0)[:, 0], 1)
    moved = np.flatnonzero((count > 1) & ~columns["human"])
    fused = scene.xyxy.copy()
    fused[moved] = (place[moved] / total[moved, None]).astype(np.float32)
    return {"views": count, "xyxy": fused}


@feature(reads=("human", "is_player", "usable", "score_log_odds"), writes=("row_log_odds", "log_odds", "appearance"))
def recalibration(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Log-odds that count for less where a labeller sees balls everywhere in this video.

    Games are played with few balls. Where more than `max_confident_per_frame` boxes a frame are above the working
    threshold, and most of them barely, it was set for other footage: here the threshold is the score that so many boxes
    a frame reach. Labels of earlier rounds that this one did not find, and people, keep what they had.

    `row_log_odds` (float32) is what the next round is told of a box, `log_odds` what paths are sought with.
    `appearance` is 0 until it is known how similar a box is to those on confident tracks (`with_similarity`).
    """
    boxes, settings = scene.boxes, scene.settings
    log_odds = boxes["log_odds"].to_numpy(dtype=np.float64, copy=True)
    fresh = ~columns["human"] & ~columns["is_player"] & (boxes["rounds_lost"] == 0).to_numpy()
    for class_name in boxes["class_name"][fresh].unique() if scene.has("recalibration") else ():
        asked = fresh & scene.of_class(class_name)
        best_first = np.sort(log_odds[asked & columns["usable"]])[::-1]
        expected = int(np.ceil(settings.max_confident_per_frame * scene.labelled_frames))
        excess = float(best_first[expected]) if len(best_first) > expected else 0.0
        barely, clearly = ((best_first >= 0) & (best_first < BARELY)).sum(), (best_first >= CLEARLY).sum()
        if clearly >= barely:  # what it finds stands out from what it does not: there are many balls
            continue
        log_odds[asked] -= np.clip(excess, 0.0, settings.max_recalibration)
    row_log_odds = np.clip(log_odds, -LIMIT, LIMIT).astype(np.float32)
    return {
        "appearance": np.zeros(len(scene)),
        "row_log_odds": row_log_odds,
        "log_odds": np.where(columns["human"], columns["score_log_odds"], row_log_odds),
    }


@dataclass(frozen=True)
class StaticShares:
    """For each candidate (N,), the share of the labelled frames around it in which its like is in its place."""

    in_scene: np.ndarray
    on_screen: np.ndarray  # only frames in which that place showed another part of the scene


def static_shares(
    candidates: Candidates, timeline: Timeline, scene_window_s: float = 0.6, screen_window_s: float = 1.5
) -> StaticShares:
    """Of each candidate, by what lies within the windows before and after it."""
    shares = StaticShares(np.zeros(len(candidates)), np.zeros(len(candidates)))
    octave = np.log2(np.maximum(candidates.size, 1e-3))
    for level in np.unique(octave.round()):
        similar = np.flatnonzero(np.abs(octave - level) <= SIMILAR_OCTAVES)
        own = octave[similar].round() == level
        size = 2.0**level
        for places, window_s, share in (
            (candidates.steady, scene_window_s, shares.in_scene),
            (candidates.screen, screen_window_s, shares.on_screen),
        ):
            unit = np.array([NEAR_SIZES * size, NEAR_SIZES * size, window_s, 0.5])
            points = np.column_stack([places, candidates.time_s, candidates.shot_index])[similar] / unit
            pairs = cKDTree(points).query_pairs(1.0, p=np.inf, output_type="ndarray")
            one, two = similar[pairs[:, 0]], similar[pairs[:, 1]]
            differs = candidates.step[one] != candidates.step[two]
            if share is shares.on_screen:
                moved = np.linalg.norm(candidates.steady[one] - candidates.steady[two], axis=1)
                differs &= moved > size
            share[similar[own]] = _frames_met(candidates, one[differs], two[differs], timeline, window_s)[similar[own]]
    return shares


def _frames_met(
    candidates: Candidates, one: np.ndarray, two: np.ndarray, timeline: Timeline, window_s: float
) -> np.ndarray:
    """Share of the frames in the window in which a candidate has a partner, (N,); each frame counts once."""
    who, where = np.concatenate([one, two]), candidates.step[np.concatenate([two, one])]
    met = np.unique(who * np.int64(len(timeline)) + where) // max(len(timeline), 1)
    low = np.searchsorted(timeline.time_s, candidates.time_s - window_s - 1e-6)
    high = np.searchsorted(timeline.time_s, candidates.time_s + window_s + 1e-6)
    return np.bincount(met, minlength=len(candidates)) / np.maximum(high - low - 1, 3)
