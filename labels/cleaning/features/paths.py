"""What the paths through a video say of its boxes, added to their evidence, and the quality that follows."""

import numpy as np
import pandas as pd

from labels.cleaning.features.scores import Scene, log_odds, probability
from labels.cleaning.settings import CleaningSettings
from labels.tracks.trajectories import Trajectories, find_trajectories

BALL_PRIOR = 5.2  # log-odds against a path about which nothing is known
LYING_WEIGHT = 1.2
SMALLEST_LYING, LARGEST_LYING = 0.03, 0.15  # of a player's height, as detectors box balls of tennis and basketball
PATH_FEATURES = ["duration_s", "hit_share", "mean_log_odds", "turn_share", "extent"]


def add_paths(evidence: pd.DataFrame, boxes: pd.DataFrame, usable: np.ndarray, scene: Scene) -> pd.DataFrame:
    """Adds what trajectories say of each box, and its `path`. Returns the boxes of the paths' gaps."""
    settings = scene.settings
    answers = (
        "path",
        "misfit",
        "support",
        "near_extent",
        "piece_extent",
        "piece_s",
        "path_size_ratio",
        "class_size_ratio",
    )
    for name in (*answers, *PATH_FEATURES):
        evidence[name] = np.nan
    evidence["path"] = -1
    gaps, paths = [], 0
    still = (evidence["scene_stay"] > settings.min_scene_stay).to_numpy() & ~evidence["is_player"].to_numpy()
    for class_name in sorted(boxes["class_name"].unique()):
        of_class = (boxes["class_name"] == class_name).to_numpy()
        for part in (~still, still):  # what lies still has paths of its own
            if not (usable & part & of_class).any():
                continue
            found = find_trajectories(
                boxes,
                evidence["log_odds"].to_numpy(),
                usable & part,
                scene.timeline,
                class_name,
                scene.path_settings,
                scene.player_settings,
            )
            _add_found(evidence, found, paths)
            if part is still:  # what lies is one thing all along: it is judged as a whole
                lying = evidence["path"] >= paths
                evidence.loc[lying, "support"] = evidence[lying].groupby("path")["support"].transform("mean")
            if len(found.gaps):
                gaps.append(found.gaps.assign(path=found.gaps["path"] + paths, class_name=class_name))
            paths += len(found.features)
        likely = of_class & usable & (evidence["log_odds"] >= 0).to_numpy() & (evidence["path"] >= 0).to_numpy()
        if likely.any():
            ratio = evidence["size"].to_numpy()[of_class] / np.median(evidence["size"].to_numpy()[likely])
            evidence.loc[of_class, "class_size_ratio"] = np.maximum(ratio, 1 / ratio)
    _vouch(evidence, settings)
    return pd.concat(gaps, ignore_index=True) if gaps else pd.DataFrame()


def _vouch(evidence: pd.DataFrame, settings: CleaningSettings) -> None:
    """What a human's box lies on the path of is what the human says, all along the path: adds `vouched`."""
    drawn = np.unique(evidence["path"].to_numpy()[evidence["human"].to_numpy()])
    vouched = np.isin(evidence["path"], drawn[drawn >= 0])
    evidence["vouched"] = vouched
    evidence.loc[vouched, "support"] = evidence["support"][vouched].clip(lower=settings.vouched_log_odds)


def _add_found(evidence: pd.DataFrame, found: Trajectories, first_path: int) -> None:
    on_path = np.flatnonzero(found.path >= 0)
    if not len(on_path):
        return
    number = found.path[on_path]
    evidence.loc[on_path, "path"] = number + first_path
    evidence.loc[on_path, "misfit"] = found.misfit[on_path]
    evidence.loc[on_path, "support"] = found.support[on_path]
    evidence.loc[on_path, "near_extent"] = found.extent[on_path]
    evidence.loc[on_path, "piece_extent"] = found.piece_extent[on_path]
    evidence.loc[on_path, "piece_s"] = found.piece_s[on_path]
    evidence.loc[on_path, "path_size_ratio"] = np.maximum(found.size_ratio, 1 / found.size_ratio)[on_path]
    evidence.loc[on_path, PATH_FEATURES] = found.features[PATH_FEATURES].to_numpy()[number]


def isolated_needs(evidence: pd.DataFrame, step_s: float, settings: CleaningSettings) -> np.ndarray:
    """The log-odds (N,) that a box on no path needs to be kept: less where frames are too far apart for paths."""
    sparse = np.clip(step_s / settings.sparse_step_s, 0, 1)
    ball = settings.isolated_log_odds + sparse * (settings.isolated_log_odds_sparse - settings.isolated_log_odds)
    return np.where(evidence["is_player"], settings.isolated_player_log_odds, ball)


def add_quality(evidence: pd.DataFrame, step_s: float, settings: CleaningSettings) -> None:
    """Adds `isolated_needs`, `has_ball_size` and `quality`, the probability that a label is right, (N,) in 0-1.

    On a path it is what the labeller says of the boxes around (so that a weak box on a sure path is sure), how long the
    path is, and for balls that they fly: what moves many times its own size on a smooth path is seldom anything else;
    or, where they lie, that they are no larger beside the players than balls are.
    Off a path the labeller's word alone counts, and it counts less.
    """
    evidence["isolated_needs"] = isolated_needs(evidence, step_s, settings)
    keep, ignore = log_odds(np.array([settings.keep_quality, settings.ignore_quality])).tolist()
    alone = evidence["log_odds"] - evidence["isolated_needs"] + keep
    lasting = evidence["duration_s"].clip(upper=1.0)
    # The weights are those of a logistic regression on rendered, filmed and simulated scenes, rounded.
    flying = (
        1.1 * evidence["support"]
        + 1.5 * _travelled(evidence["piece_extent"])
        + 4.0 * _travelled(evidence["extent"])
        + 1.2 * evidence["piece_s"].clip(upper=0.5)
        + 1.0 * lasting
        - 20.0 * (evidence["turn_share"] - 0.1).clip(lower=0)
        - BALL_PRIOR
    )
    lying = LYING_WEIGHT * (evidence["support"] - settings.sure_still_log_odds) + keep
    ball = np.maximum(np.maximum(flying, lying), alone)  # to be on a path is never held against a box
    # But to lie and be too large is, though what a labeller is sure of is not dropped for it. These weights are of a
    # regression on what a small detector saw in rendered clips.
    beside = evidence["ground"].where(evidence["ground"] >= SMALLEST_LYING)  # NaN where no player tells
    by_size = 0.8 + 0.4 * evidence["support"] - 8.0 * np.log((beside / LARGEST_LYING).clip(lower=1))
    evidence["has_ball_size"] = by_size >= keep
    ball = np.maximum(by_size, np.minimum(ball, ignore + 0.01)).fillna(ball)
    player = 1.2 * evidence["support"] + 0.3 * evidence["log_odds"] + lasting.clip(upper=0.5)
    odds = np.where(evidence["path"] < 0, alone, np.where(evidence["is_player"], player, ball))
    evidence["quality"] = np.where(evidence["human"], 1.0, probability(odds))


def add_flying(evidence: pd.DataFrame, usable: np.ndarray, anchors: np.ndarray, scene: Scene) -> None:
    """Adds `flying`: how many boxes of the video surely fly; NaN where a human drew some, or no flight can be seen."""
    unknown = evidence["human"].any() or scene.timeline.step_s >= scene.settings.sparse_step_s
    evidence["flying"] = np.nan if unknown else float((usable & anchors).sum())


def add_rank(evidence: pd.DataFrame, boxes: pd.DataFrame, usable: np.ndarray) -> None:
    """Adds `rank`: 1 for the box on the strongest of the paths that span its frame, 2 for the next, and so on.

    A path is as strong as the number of its boxes that are expected to be right, so that a frame's ball is not chosen
    by that frame alone; a gap in the strongest path is not an opening for another.
    """
    evidence["rank"] = np.nan
    for class_name in boxes["class_name"][usable].unique():
        rows = np.flatnonzero(usable & (boxes["class_name"] == class_name).to_numpy())
        frame = boxes["frame_index"].to_numpy()[rows]
        quality, path = evidence["quality"].to_numpy()[rows], evidence["path"].to_numpy()[rows]
        alone = path < 0
        path = np.where(alone, path.max(initial=0) + 1 + np.arange(len(rows)), path)  # each a path of its own
        paths, member = np.unique(path, return_inverse=True)
        strength = np.zeros(len(paths))
        np.add.at(strength, member, quality)
        first, last = np.full(len(paths), frame.max(initial=0) + 1), np.full(len(paths), -1)
        np.minimum.at(first, member, frame)
        np.maximum.at(last, member, frame)
        order = np.lexsort((first, -strength))  # the strongest first
        low, high = int(frame.min(initial=0)), int(frame.max(initial=0))
        spanned = np.zeros(high - low + 2, dtype=np.int64)
        rank_of = [np.empty(0, dtype=np.int64)] * len(paths)
        for number in order:
            span = slice(first[number] - low, last[number] - low + 1)
            rank_of[number] = spanned[span] + 1
            spanned[span] += 1
        rank = [rank_of[number][at - first[number]] for number, at in zip(member, frame, strict=True)]
        evidence.loc[rows, "rank"] = np.array(rank, dtype=np.float64)


def _travelled(extent: pd.Series) -> pd.Series:
    """0 for what stays, 1 for what gets 20 times its own size away."""
    return np.log1p(extent.clip(upper=20)) / np.log1p(20)
