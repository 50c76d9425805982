"""Everything the rules look at, as one table: a row for each box, numbers only. NaN where a question has no answer."""

import numpy as np
import pandas as pd

from labels.cleaning.box_pairs import overlap_with_better
from labels.cleaning.scores import log_odds, probability
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.geometry import size_of
from labels.tracks.candidates import Timeline
from labels.tracks.settings import PathSettings, PlayerSettings
from labels.tracks.trajectories import PLAYER_CLASSES, find_trajectories

HUMAN_LOG_ODDS = 6.0
PATH_FEATURES = ["duration_s", "hit_share", "mean_log_odds", "turn_share", "extent", "screen_extent", "camera_extent"]


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


def add_paths(
    evidence: pd.DataFrame,
    boxes: pd.DataFrame,
    usable: np.ndarray,
    timeline: Timeline,
    path_settings: PathSettings,
    player_settings: PlayerSettings,
) -> pd.DataFrame:
    """Adds what trajectories say of each box, and its `path`. Returns the boxes of the paths' gaps."""
    for name in ("path", "misfit", "support", "near_extent", "path_size_ratio", "class_size_ratio", *PATH_FEATURES):
        evidence[name] = np.nan
    evidence["path"] = -1
    gaps, paths = [], 0
    for class_name in sorted(boxes["class_name"].unique()):
        of_class = (boxes["class_name"] == class_name).to_numpy()
        found = find_trajectories(
            boxes, evidence["log_odds"].to_numpy(), usable, timeline, class_name, path_settings, player_settings
        )
        on_path = np.flatnonzero(found.path >= 0)
        number = found.path[on_path]
        evidence.loc[on_path, "path"] = number + paths
        evidence.loc[on_path, "misfit"] = found.misfit[on_path]
        evidence.loc[on_path, "support"] = found.support[on_path]
        evidence.loc[on_path, "near_extent"] = found.extent[on_path]
        evidence.loc[on_path, "path_size_ratio"] = np.maximum(found.size_ratio, 1 / found.size_ratio)[on_path]
        if len(on_path):
            evidence.loc[on_path, PATH_FEATURES] = found.features[PATH_FEATURES].to_numpy()[number]
        likely = of_class & usable & (evidence["log_odds"] >= 0).to_numpy() & (found.path >= 0)
        if likely.any():
            ratio = evidence["size"].to_numpy()[of_class] / np.median(evidence["size"].to_numpy()[likely])
            evidence.loc[of_class, "class_size_ratio"] = np.maximum(ratio, 1 / ratio)
        if len(found.gaps):
            gaps.append(found.gaps.assign(path=found.gaps["path"] + paths, class_name=class_name))
        paths += len(found.features)
    return pd.concat(gaps, ignore_index=True) if gaps else pd.DataFrame()


def isolated_needs(evidence: pd.DataFrame, step_s: float, settings: CleaningSettings) -> np.ndarray:
    """The log-odds (N,) that a box on no path needs to be kept: less where frames are too far apart for paths."""
    sparse = np.clip(step_s / settings.sparse_step_s, 0, 1)
    ball = settings.isolated_log_odds + sparse * (settings.isolated_log_odds_sparse - settings.isolated_log_odds)
    return np.where(evidence["is_player"], settings.isolated_player_log_odds, ball)


def add_quality(evidence: pd.DataFrame, step_s: float, settings: CleaningSettings) -> None:
    """Adds `isolated_needs` and `quality`, the probability that a label is right, (N,) in 0-1.

    On a path it is what the labeller says of the boxes around (so that a weak box on a sure path is sure), how long the
    path is, and for balls that they fly: what moves many times its own size on a smooth path is seldom anything else.
    Off a path the labeller's word alone counts, and it counts less.
    """
    evidence["isolated_needs"] = isolated_needs(evidence, step_s, settings)
    alone = evidence["log_odds"] - evidence["isolated_needs"] + float(log_odds(np.array(settings.keep_quality)))
    travelled = np.log1p(evidence["extent"].clip(upper=10)) / np.log1p(10)
    lasting = evidence["duration_s"].clip(upper=1.0)
    ball = (
        0.9 * evidence["support"]
        + 0.25 * evidence["log_odds"]
        + 1.6 * travelled
        + 0.8 * lasting
        - 4.0 * (evidence["turn_share"] - 0.1).clip(lower=0)
        - 1.0
    )
    player = 1.2 * evidence["support"] + 0.3 * evidence["log_odds"] + lasting.clip(upper=0.5)
    odds = np.where(evidence["path"] < 0, alone, np.where(evidence["is_player"], player, ball))
    evidence["quality"] = np.where(evidence["human"], 1.0, probability(odds))
