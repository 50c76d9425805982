"""The rules of cleaning: each a small function that gives a value for every box, and the limits it is held against.

A rule looks at the evidence table (`evidence.py`) and answers with one value a row, NaN where it has nothing to say.
Beyond the first limit a box is dropped, beyond the second ignored; a rule may have either. The first rule that objects,
in the order of `RULES`, is the reason: «rule: value > limit». A human's word is above all rules.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.cleaning.settings import RULE_NAMES, CleaningSettings

Values = Callable[[pd.DataFrame, CleaningSettings], np.ndarray]
Limits = Callable[[pd.DataFrame, CleaningSettings], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """`too` says on which side of a limit a value is bad."""

    name: str
    values: Values
    too: str  # "high" or "low"
    drop: Limits | None = None
    ignore: Limits | None = None
    needs_paths: bool = True  # the others are asked before paths are looked for, and what they drop makes no path


def _overlap(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """A better box of the class lies here already."""
    return evidence["overlap"].to_numpy()


def _aspect(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Too long for its width."""
    return evidence["aspect"].to_numpy()


def _max_aspect(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    return np.where(evidence["is_player"], settings.max_player_aspect, settings.max_aspect)


def _large(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Larger than such a thing can be in a picture of a game."""
    return evidence["frame_share"].to_numpy()


def _max_frame_share(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    return np.where(evidence["is_player"], settings.max_player_frame_share, settings.max_frame_share)


def _small(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Too few pixels to tell it from noise."""
    return evidence["size"].to_numpy()


def _overlay(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """It stands on the screen while the camera moves, as a logo or a scoreboard does: share of the time around it."""
    return evidence["screen_stay"].to_numpy()


def _still(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """It does not leave its place for a second: a ball that lies, or a lamp. A sure labeller, or its size, tells."""
    sure = (evidence["support"] >= settings.sure_still_log_odds) | evidence["has_ball_size"]
    asked = ~evidence["is_player"] & ~sure & (evidence["duration_s"] >= settings.min_still_s)
    return np.where(asked, evidence["near_extent"], np.nan)


def _path_size(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """A jump in size against the boxes before and after it on its path, as a ratio of at least 1."""
    return np.where(evidence["is_player"], np.nan, evidence["path_size_ratio"])


def _class_size(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Unlike the size of the likely objects of its class in this video, as a ratio of at least 1."""
    return evidence["class_size_ratio"].to_numpy()


def _misfit(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Beside the smoothed path, in sizes."""
    return np.where(evidence["is_player"], np.nan, evidence["misfit"])


def _isolated(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """On no path: the labeller's word alone, as log-odds."""
    return np.where(evidence["path"] < 0, evidence["log_odds"], np.nan)


def _lost(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Rounds in a row that did not find it, where no path leads through it either."""
    return np.where(evidence["path"] < 0, evidence["rounds_lost"], np.nan)


def _flat(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """All along its path wider than high, more than its speed explains: no ball, but its shadow, or a shoe."""
    return evidence["flat"].to_numpy()


def _upright(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """All along its path higher than wide, more than its speed explains: no ball, but a player far away."""
    return evidence["upright"].to_numpy()


def _shadow(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """It goes along below a ball, and the ball rises and falls so many times as much."""
    return evidence["shadow"].to_numpy()


def _cast(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """It goes away from something that flies above it, and comes back, in one direction: that of the light."""
    return evidence["cast"].to_numpy()


def _worn(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Share of its path that is in one place at a player's head or feet: a shoe, a head, or a ball that lies there."""
    return evidence["worn"].to_numpy()


def _crowded(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Its place among the balls of its frame, that of the strongest path first: more than are in play."""
    return np.where(evidence["is_player"] | (settings.max_per_frame == 0), np.nan, evidence["rank"])


def _outlier(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Its track looks unlike those kept before in other videos: outlier factor in units of what is too much."""
    return evidence["outlier"].to_numpy()


def _unanchored(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """Quality on a path that no sure labeller speaks for, in a video where next to nothing flies as a ball does."""
    unsure = evidence["support"] < settings.sure_still_log_odds  # not so off a path, where the labeller is sure or out
    asked = ~evidence["is_player"] & unsure & (evidence["flying"] < settings.min_anchors)
    return np.where(asked, evidence["quality"], np.nan)


def _quality(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """The probability that it is right, all in all."""
    return evidence["quality"].to_numpy()


def _setting(name: str) -> Limits:
    return lambda evidence, settings: np.full(len(evidence), getattr(settings, name), dtype=np.float64)


def _isolated_keeps(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    return evidence["isolated_needs"].to_numpy()


def _isolated_ignores(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    return evidence["isolated_needs"].to_numpy() - settings.isolated_drop_below


def _one(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    return np.ones(len(evidence))


def _nothing(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    return np.zeros(len(evidence))


RULES = (
    Rule("overlap", _overlap, "high", drop=_setting("max_overlap"), needs_paths=False),
    Rule("aspect", _aspect, "high", drop=_max_aspect, needs_paths=False),
    Rule("large", _large, "high", drop=_max_frame_share, needs_paths=False),
    Rule("small", _small, "low", drop=_setting("min_size_pixels"), needs_paths=False),
    Rule("overlay", _overlay, "high", drop=_setting("max_screen_stay"), needs_paths=False),
    Rule("lost", _lost, "high", drop=_setting("max_rounds_lost"), ignore=_nothing),
    Rule("isolated", _isolated, "low", drop=_isolated_ignores, ignore=_isolated_keeps),
    Rule("shadow", _shadow, "high", drop=_setting("max_shadow_straightness")),
    Rule("cast", _cast, "high", drop=_setting("max_cast_constancy")),
    Rule("quality", _quality, "low", drop=_setting("ignore_quality")),
    Rule("worn", _worn, "high", ignore=_setting("max_worn_share")),
    Rule("flat", _flat, "high", ignore=_setting("max_path_flatness")),
    Rule("upright", _upright, "high", ignore=_setting("max_path_uprightness")),
    Rule("still", _still, "low", ignore=_setting("min_extent_sizes")),
    Rule("path_size", _path_size, "high", ignore=_setting("max_path_size_ratio")),
    Rule("class_size", _class_size, "high", ignore=_setting("max_class_size_ratio")),
    Rule("misfit", _misfit, "high", ignore=_setting("max_misfit_sizes")),
    Rule("quality", _quality, "low", ignore=_setting("keep_quality")),
    Rule("crowded", _crowded, "high", ignore=_setting("max_per_frame")),
    Rule("outlier", _outlier, "high", ignore=_one),
    Rule("unanchored", _unanchored, "low", ignore=_setting("unanchored_quality")),
)
# What one of these objects to is no ball, whatever its path: it takes no place among those of its frame.
NO_BALLS = ("shadow", "cast", "flat", "upright", "worn")
if {rule.name for rule in RULES} != set(RULE_NAMES):
    raise AssertionError("RULE_NAMES and RULES name different rules")


def judge(evidence: pd.DataFrame, settings: CleaningSettings, needs_paths: bool) -> tuple[np.ndarray, np.ndarray]:
    """What the rules that do, or do not, need paths make of each row: decision and reason, (N,) str each."""
    decision = np.full(len(evidence), "keep", dtype=object)
    reason = np.full(len(evidence), "", dtype=object)
    human = evidence["human"].to_numpy()
    for rule in RULES:
        if rule.needs_paths != needs_paths or rule.name in settings.without:
            continue
        value = np.asarray(rule.values(evidence, settings), dtype=np.float64)
        for verdict, limits in (("drop", rule.drop), ("ignore", rule.ignore)):
            if limits is None:
                continue
            limit = limits(evidence, settings)
            bad = _is_beyond(rule, value, limit) & (decision == "keep") & ~human
            sign = ">" if rule.too == "high" else "<"
            decision[bad] = verdict
            reason[bad] = [
                f"{rule.name}: {one:.3g} {sign} {other:.3g}" for one, other in zip(value[bad], limit[bad], strict=True)
            ]
    return decision, reason


def is_no_ball(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """The rows (N,) bool that one of `NO_BALLS` drops or ignores."""
    found = np.zeros(len(evidence), dtype=bool)
    for rule in RULES:
        if rule.name in NO_BALLS and rule.name not in settings.without:
            for limits in (rule.drop, rule.ignore):
                if limits is not None:
                    found |= _is_beyond(rule, rule.values(evidence, settings), limits(evidence, settings))
    return found


def _is_beyond(rule: Rule, value: np.ndarray, limit: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (value > limit) if rule.too == "high" else (value < limit)
