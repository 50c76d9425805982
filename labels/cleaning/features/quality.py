"""Quality: the probability that a label is right, and which boxes lie on confident tracks."""

from collections.abc import Mapping

import numpy as np

from labels.cleaning.features.feature import Columns, Scene, feature
from labels.cleaning.features.scores import log_odds, probability

BALL_PRIOR = 5.2  # log-odds against a path about which nothing is known
LYING_WEIGHT = 1.2
SMALLEST_LYING, LARGEST_LYING = 0.03, 0.15  # of a player's height, as detectors box balls of tennis and basketball


@feature(
    reads=(
        *("human", "is_player", "log_odds", "path", "support", "duration_s", "turn_share"),
        *("path_displacement", "segment_displacement", "segment_s", "size_prior"),
    ),
    writes=("isolated_needs", "has_ball_size", "quality"),
)
def quality(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """The probability (N,) that a label is right.

    On a path it is what the labeller says of the boxes around (so that a weak box on a confident track counts), how
    long the path is, and for balls that they fly: what moves many times its own size on a smooth path is seldom
    anything else; or, where they lie, that they are no larger beside the players than balls are (`has_ball_size`).
    Off paths the labeller's word alone counts, and it counts less: `isolated_needs` are the log-odds that it takes.
    """
    settings = scene.settings
    support, is_player = columns["support"], columns["is_player"]
    isolated_needs = _isolated_needs(is_player, scene)
    keep, ignore = log_odds(np.array([settings.keep_quality, settings.ignore_quality])).tolist()
    alone = columns["log_odds"] - isolated_needs + keep
    lasting = columns["duration_s"].clip(max=1.0)
    # The weights are those of a logistic regression on rendered, filmed and simulated scenes, rounded.
    flying = (
        1.1 * support
        + 1.5 * _displaced(columns["segment_displacement"])
        + 4.0 * _displaced(columns["path_displacement"])
        + 1.2 * columns["segment_s"].clip(max=0.5)
        + 1.0 * lasting
        - 20.0 * (columns["turn_share"] - 0.1).clip(min=0)
        - BALL_PRIOR
    )
    lying = LYING_WEIGHT * (support - settings.sure_still_log_odds) + keep
    ball = np.maximum(np.maximum(flying, lying), alone)  # to be on a path is never held against a box
    # But to lie and be too large is, though what a labeller is sure of is not dropped for it. These weights are of a
    # regression on what a small detector saw in rendered clips.
    beside = np.where(columns["size_prior"] >= SMALLEST_LYING, columns["size_prior"], np.nan)
    by_size = 0.8 + 0.4 * support - 8.0 * np.log((beside / LARGEST_LYING).clip(min=1))
    of_lying = np.maximum(by_size, np.minimum(ball, ignore + 0.01))
    ball = np.where(np.isnan(of_lying), ball, of_lying)  # no player tells
    player = 1.2 * support + 0.3 * columns["log_odds"] + lasting.clip(max=0.5)
    odds = np.where(columns["path"] < 0, alone, np.where(is_player, player, ball))
    return {
        "isolated_needs": isolated_needs,
        "has_ball_size": by_size >= keep,
        "quality": np.where(columns["human"], 1.0, probability(odds)),
    }


@feature(
    reads=("human", "is_player", "quality", "segment_displacement", "path_displacement", "on_player"),
    writes=("on_confident_track",),
)
def confident_tracks(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Boxes (N,) bool that are surely right: a human's, and those of likely balls that get far, some of the way without
    a bounce or a gap.
    """
    settings = scene.settings
    flies = (columns["segment_displacement"] >= settings.confident_segment_sizes) & (
        columns["path_displacement"] >= settings.confident_displacement_sizes
    )
    sure = flies & (columns["quality"] >= settings.keep_quality) & ~columns["is_player"]
    sure &= ~(columns["on_player"] > settings.max_on_player_share)  # a shoe goes as far as its player
    return {"on_confident_track": sure | columns["human"]}


@feature(reads=("human", "usable", "on_confident_track"), writes=("confident_boxes",))
def confident_boxes(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """How many boxes of the video lie on confident tracks, the same for all rows; NaN where a human drew some, or
    where frames are too far apart to see a flight.
    """
    unknown = columns["human"].any() or scene.timeline.step_s >= scene.settings.sparse_step_s
    count = np.nan if unknown else float((columns["usable"] & columns["on_confident_track"]).sum())
    return {"confident_boxes": np.full(len(scene), count)}


def _isolated_needs(is_player: np.ndarray, scene: Scene) -> np.ndarray:
    """Less is needed where frames are too far apart for paths."""
    settings = scene.settings
    sparse = np.clip(scene.timeline.step_s / settings.sparse_step_s, 0, 1)
    ball = settings.isolated_log_odds + sparse * (settings.isolated_log_odds_sparse - settings.isolated_log_odds)
    return np.where(is_player, settings.isolated_player_log_odds, ball)


def _displaced(displacement: np.ndarray) -> np.ndarray:
    """0 for what stays, 1 for what gets 20 times its own size away."""
    return np.log1p(displacement.clip(max=20)) / np.log1p(20)
