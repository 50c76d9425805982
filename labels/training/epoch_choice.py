"""Which epoch of a training is kept: as good as the best, within what the validation clips can tell."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LEAST_PARTS = 3  # videos or groups whose figures differ by something that can be told


def jackknife_error(without: Sequence[float]) -> float:
    """Standard error of a figure from its values when one part after the other is left out (Tukey 1958).

    NaN where the parts are too few to tell.
    """
    if len(without) < LEAST_PARTS:
        return float("nan")
    return float(np.std(without) * math.sqrt(len(without) - 1))


def is_chosen(history: Sequence[dict[str, Any]], score: str = "f1") -> bool:
    """Whether the last epoch is the one to keep so far: as good as the best, within a standard error of its score.

    A few noisy validation labels cannot tell epochs apart that lie closer together, and of such ones the later has
    learnt from more at a smaller learning rate (the one-standard-error rule of Breiman et al., Classification and
    Regression Trees, 1984, section 3.4.3, turned towards the longer training). One or two validation clips tell
    nothing, and none at all either: then the last epoch is kept.

    Args:
        history: a row an epoch, with the score and `<score>_error`, None where it is not known.
    """
    if history[-1][score] is None:
        return True
    best = max(history, key=lambda row: float(row[score]))
    error = best[f"{score}_error"]
    return error is None or float(history[-1][score]) >= float(best[score]) - error


def is_over(history: Sequence[dict[str, Any]], patience: int, score: str = "f1") -> bool:
    """Whether so many epochs in a row were not worth keeping."""
    if len(history) <= patience:
        return False
    return not any(is_chosen(history[: len(history) - at], score) for at in range(patience))
