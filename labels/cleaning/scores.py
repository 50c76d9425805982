"""Scores of different labellers on one scale: log-odds against the score from which a labeller is usually right.

0 means as likely right as wrong; what is above speaks for the label, what is below against it. A score of 0.3 of one
detector and of 0.7 of another may say the same; their log-odds against their own working thresholds do.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

LIMIT = 3.0  # no single look is surer than this, once it is known how much a labeller is to be believed
RAW_LIMIT = 7.0  # before that
USUAL_THRESHOLD = 0.5


def log_odds(score: np.ndarray) -> np.ndarray:
    safe = np.clip(np.asarray(score, dtype=np.float64), 1e-4, 1 - 1e-4)
    return np.log(safe) - np.log1p(-safe)


def calibrated(
    score: np.ndarray,
    class_name: pd.Series,
    working_threshold: Mapping[str, float],
    score_slope: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Log-odds (N,) float64 of each score against its class's working threshold, limited to ±RAW_LIMIT.

    `score_slope` stretches them where a labeller is known to be surer than its scores say (Platt scaling).
    """
    threshold = class_name.map(lambda name: working_threshold.get(name, USUAL_THRESHOLD)).to_numpy(dtype=np.float64)
    slope = class_name.map(lambda name: (score_slope or {}).get(name, 1.0)).to_numpy(dtype=np.float64)
    return np.clip(slope * (log_odds(score) - log_odds(threshold)), -RAW_LIMIT, RAW_LIMIT)


def probability(log_odds_value: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(log_odds_value, -30, 30)))
