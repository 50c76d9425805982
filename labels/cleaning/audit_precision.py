"""How many of a round's kept labels are right, from a stratified sample that a person looked at.

Each stratum's share of right labels is weighted by how many labels it holds (Cochran, Sampling Techniques, 1977, 5.3).
The interval is Wilson's (1927) at an effective sample size: as many answers of a simple random sample as would leave
the same variance. That variance is the larger of two: the stratified one, and the one if all strata were equally good
(Kish 1965), which stands where every answer was the same. Of a stratum that was looked at whole, nothing is unsure.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import pandas as pd

CONFIDENCE = 0.95


@dataclass(frozen=True)
class AuditPrecision:
    """The estimated share of right labels, its interval, and what it rests on."""

    value: float
    low: float
    high: float
    right: int
    wrong: int
    labels: int  # that the answered strata hold
    labels_without: int  # in strata nobody has answered for: the estimate does not speak of them

    @property
    def answered(self) -> int:
        return self.right + self.wrong

    def in_words(self) -> str:
        share = f"{self.value:.3f} are right, 95 % interval {self.low:.3f} to {self.high:.3f}"
        seen = f"{self.right} of {self.answered} looked at were right, weighted to all {self.labels:,}"
        left = f"; {self.labels_without:,} more lie in strata without an answer" if self.labels_without else ""
        return f"{share} ({seen}{left})"


def precision_of(rows: pd.DataFrame) -> AuditPrecision:
    """The estimate from audit rows (stratum, stratum_size, verdict); at least one must be answered."""
    answered = rows[rows["verdict"] != ""]
    size_of = rows.groupby("stratum")["stratum_size"].first().astype(int)
    right = (answered["verdict"] == "y").groupby(answered["stratum"]).sum()
    seen = answered.groupby("stratum").size()
    size = size_of.loc[seen.index]
    weight = size / size.sum()
    value = float((weight * right / seen).sum())
    unseen = weight**2 * (1 - seen / size)  # with the finite population correction
    spread = value * (1 - value)
    variance = spread * float((unseen / seen).sum())
    shares = right / seen
    variance = max(variance, float((unseen * shares * (1 - shares) / (seen - 1).clip(lower=1)).sum()))
    if (seen == size).all():
        low, high = value, value
    else:
        answers = spread / variance if variance > 0 else 1 / float((unseen / seen).sum())
        low, high = wilson_interval(value, answers)
    return AuditPrecision(
        value, low, high, int(right.sum()), int(seen.sum() - right.sum()), int(size.sum()),
        int(size_of.sum() - size.sum()),
    )  # fmt: skip


def wilson_interval(share: float, answers: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share seen in so many answers, which need not be a whole number."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * answers)) / (1 + z * z / answers)
    half = z / (1 + z * z / answers) * math.sqrt(share * (1 - share) / answers + z * z / (4 * answers * answers))
    return max(0.0, middle - half), min(1.0, middle + half)
