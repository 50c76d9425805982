"""Scores of different labellers on one scale: log-odds against the score from which a labeller is usually right.

0 means as likely right as wrong; what is above speaks for the label, what is below against it. A score of 0.3 of one
detector and of 0.7 of another may say the same; their log-odds against their own working thresholds do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

LIMIT = 3.0  # no single view counts for more than this, once scores are recalibrated
RAW_LIMIT = 7.0  # before that


def log_odds(score: np.ndarray) -> np.ndarray:
    safe = np.clip(np.asarray(score, dtype=np.float64), 1e-4, 1 - 1e-4)
    return np.log(safe) - np.log1p(-safe)


@dataclass(frozen=True)
class ScoreScale:
    """How the scores that one source gives to one class are to be read."""

    working_threshold: float = 0.5  # from here a box is more likely right than wrong
    slope: float = 1.0  # Platt scaling: above 1 where the source is surer than its scores say


Scales = Mapping[tuple[str, str], ScoreScale]  # (source, class_name) -> scale
USUAL_SCALE = ScoreScale()


def scales_from(sources: Mapping[str, Any]) -> dict[tuple[str, str], ScoreScale]:
    """The scales of a round's labeller, from `sources` of its run record."""
    return {
        (source, name): ScoreScale(float(threshold), float(source_scale.get("score_slope", {}).get(name, 1.0)))
        for source, source_scale in sources.items()
        for name, threshold in source_scale.get("working_threshold", {}).items()
    }


def calibrated(boxes: pd.DataFrame, scales: Scales) -> np.ndarray:
    """Log-odds (N,) float64 of each box's score against its source's working threshold, limited to ±RAW_LIMIT."""
    keys = list(zip(boxes["source"], boxes["class_name"], strict=True))
    threshold = np.array([scales.get(key, USUAL_SCALE).working_threshold for key in keys], dtype=np.float64)
    slope = np.array([scales.get(key, USUAL_SCALE).slope for key in keys], dtype=np.float64)
    return np.clip(slope * (log_odds(boxes["score"].to_numpy()) - log_odds(threshold)), -RAW_LIMIT, RAW_LIMIT)


def probability(log_odds_value: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(log_odds_value, -30, 30)))
