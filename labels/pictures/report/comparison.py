"""Whether a round is better than the one before: by how much, by which measure, and with what confidence.

Intervals are a percentile bootstrap over source videos (Efron and Tibshirani, 1993), because frames of one video are
alike. Both rounds of a difference are resampled together.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.pictures.report.survey import RoundSurvey, sum_counts
from labels.pictures.settings import REPORT, ReportSettings
from labels.records.matching import MatchCounts

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


@dataclass(frozen=True)
class ClipComparison:
    """Two rounds on the same clips with truth; `kind` is training or held-out."""

    kind: str
    old: MatchCounts
    new: MatchCounts
    clips: int
    difference: Interval


@dataclass(frozen=True)
class RoundComparison:
    """A round and an earlier one, compared and told in words."""

    old: int
    new: int
    headline: str
    sentences: list[str]
    counted: list[str]  # a sentence for each of `sentences`, in numbers of objects; empty where there is no truth
    comparisons: list[ClipComparison]
    note: str
    added: int
    lost: int
    agreement: float | None  # of the new labels with the old ones (F1); None when there is nothing to compare


def compare(new: RoundSurvey, old: RoundSurvey, settings: ReportSettings = REPORT) -> RoundComparison:
    """The headline rests on the held-out clips where there are any with truth, otherwise on the training clips."""
    comparisons = [found for held_out in (True, False) if (found := _compare(new, old, held_out, settings))]
    both = sum_counts(new.changed)
    agreement = both.f1 if both != MatchCounts() else None  # two rounds without a box agree on nothing
    added, lost = int(new.changed["added"].sum()), int(new.changed["lost"].sum())
    names = f"Round {new.number}", f"round {old.number}"
    if comparisons:
        headline = _headline(*names, comparisons)
        sentences = [_sentence(comparison) for comparison in comparisons]
    else:
        headline = f"Whether {names[0].lower()} is better than {names[1]} is not known: no clip of both has truth."
        sentences = []
        if agreement is not None:
            interval = f1_interval(new.changed, settings)
            sure = f", 95 % interval {interval.low:.2f} to {interval.high:.2f}" if interval.is_known else ""
            sentences.append(
                f"{names[0]} agrees with {names[1]} to {agreement:.2f} (1 would be the same labels){sure}. "
                "This is agreement, not accuracy: both may make the same mistakes."
            )
    counted = [_counted(comparison) for comparison in comparisons]
    return RoundComparison(
        old.number, new.number, headline, sentences, counted, comparisons, _note(comparisons), added, lost, agreement
    )


def _compare(new: RoundSurvey, old: RoundSurvey, held_out: bool, settings: ReportSettings) -> ClipComparison | None:
    new_rows, old_rows = _judged(new, held_out), _judged(old, held_out)
    on = ["video_id", "class_name"]  # only what both rounds were asked for in clips both hold
    shared = new_rows[on].merge(old_rows[on])
    new_rows, old_rows = new_rows.merge(shared), old_rows.merge(shared)
    difference = f1_difference(new_rows, old_rows, settings)
    if difference is None:
        return None
    kind = "held-out" if held_out else "training"
    clips = shared["video_id"].nunique()
    return ClipComparison(kind, sum_counts(old_rows), sum_counts(new_rows), clips, difference)


def _judged(survey: RoundSurvey, held_out: bool) -> pd.DataFrame:
    return survey.matched[(survey.matched["held_out"] == held_out) & (survey.matched["rule"] == "centre")]


def _headline(new: str, old: str, comparisons: list[ClipComparison]) -> str:
    """The finding on held-out clips first; where both kinds of clips give the same, it is said once."""
    findings = [_finding(each.difference, f" than {old}", f" from {old}") for each in comparisons]
    first, last = comparisons[0], comparisons[-1]
    if len(set(findings)) == 1:
        joint = " or " if first.difference.is_known and not first.difference.excludes_zero else " and "
        words = f"{new} {findings[0]} on {joint.join(f'{each.kind} clips' for each in comparisons)}"
    else:
        words = f"{new} {findings[0]} on {first.kind} clips; on {last.kind} clips it "
        words += _finding(last.difference, "", " from it")
    few = all(each.difference.is_known for each in comparisons)
    return f"{words}." if few else f"{words}, all of one source video: too few to say how surely."


def _finding(difference: Interval, than: str, apart_from: str) -> str:
    """What an interval allows to say of a round beside an earlier one."""
    value = difference.value
    if difference.excludes_zero:
        return f"is {'better' if value > 0 else 'worse'}{than}"
    if difference.is_known:
        return f"cannot be told apart{apart_from}"
    return f"scores {'higher' if value > 0 else 'lower' if value < 0 else 'no better'}{than}"


def signed(value: float) -> str:
    """A difference with its sign, and no sign on nothing."""
    text = f"{value:+.3f}".replace("-", "−")
    return "0.000" if text[1:] == "0.000" else text


def _sentence(comparison: ClipComparison) -> str:
    difference, clips = comparison.difference, comparison.clips
    where = f"On {clips} {comparison.kind} {'clip' if clips == 1 else 'clips'}"
    old, new = comparison.old, comparison.new
    change = f"{where}, F1 went from {old.f1:.3f} to {new.f1:.3f}: {signed(difference.value)}"
    if difference.is_known:
        change += f", 95 % interval {signed(difference.low)} to {signed(difference.high)}."
    else:
        change += "; one source video allows no interval."
    return change


def _counted(comparison: ClipComparison) -> str:
    """The same in numbers of objects."""
    old, new = comparison.old, comparison.new
    found = f"Of {old.right + old.missed:,} true objects, {new.right:,} were found instead of {old.right:,}"
    return f"{found}, and {new.wrong:,} of its labels were wrong instead of {old.wrong:,}."


def _note(comparisons: list[ClipComparison]) -> str:
    few = [each for each in comparisons if each.difference.is_known and each.difference.clusters < FEW_CLUSTERS]
    if not few:
        return ""
    counts = " and ".join(f"{each.difference.clusters} {each.kind}" for each in few)
    return f"Intervals over few source videos ({counts}) are rough ones."
