"""How sure a number is: bootstrap intervals that resample whole source videos, because frames of one are alike.

Percentile bootstrap over clusters (Efron and Tibshirani, 1993). Both rounds of a difference are resampled together.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.pictures.settings import REPORT, ReportSettings

FEW_CLUSTERS = 8  # fewer source videos than this: the interval is a rough one, and the report says so


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; both ends are NaN where a single source video allows none."""

    value: float
    low: float
    high: float
    clusters: int

    @property
    def is_known(self) -> bool:
        return bool(np.isfinite(self.low))

    @property
    def excludes_zero(self) -> bool:
        return self.is_known and (self.low > 0 or self.high < 0)


def f1_interval(matched: pd.DataFrame, settings: ReportSettings = REPORT) -> Interval:
    """The F1 over rows with group, right, wrong and missed."""
    counts = _by_group(matched)
    return _interval(_f1(_sums(counts)), _f1(_resampled(counts, settings)), len(counts), settings)


def f1_difference(new: pd.DataFrame, old: pd.DataFrame, settings: ReportSettings = REPORT) -> Interval | None:
    """How much higher the F1 of `new` is, over the source videos that both rounds were judged on; None without any."""
    new_counts, old_counts = _by_group(new), _by_group(old)
    shared = new_counts.index.intersection(old_counts.index)
    if not len(shared):
        return None
    new_counts, old_counts = new_counts.loc[shared], old_counts.loc[shared]
    difference = _f1(_sums(new_counts)) - _f1(_sums(old_counts))
    resampled = _f1(_resampled(new_counts, settings)) - _f1(_resampled(old_counts, settings))
    return _interval(difference, resampled, len(shared), settings)


def _by_group(matched: pd.DataFrame) -> pd.DataFrame:
    return matched.groupby("group")[["right", "wrong", "missed"]].sum().sort_index()


def _sums(counts: pd.DataFrame) -> np.ndarray:
    return counts.to_numpy(dtype=np.float64).sum(axis=0)[None]


def _resampled(counts: pd.DataFrame, settings: ReportSettings) -> np.ndarray:
    """Summed counts of each resample, (B, 3). The same seed draws the same clusters for both rounds."""
    size = len(counts)
    if size < 2:
        return np.full((1, 3), np.nan)
    draws = np.random.default_rng(settings.seed).multinomial(size, np.full(size, 1 / size), settings.resamples)
    return draws @ counts.to_numpy(dtype=np.float64)


def _f1(sums: np.ndarray) -> np.ndarray:
    """F1 of rows (right, wrong, missed); 1 where there was nothing to find and nothing was said."""
    total = 2 * sums[:, 0] + sums[:, 1] + sums[:, 2]
    return np.where(total == 0, 1.0, 2 * sums[:, 0] / np.where(total == 0, 1, total))


def _interval(value: np.ndarray, resampled: np.ndarray, clusters: int, settings: ReportSettings) -> Interval:
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(float(value[0]), float(low), float(high), clusters)
