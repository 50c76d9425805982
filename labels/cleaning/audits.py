"""Audits: a person looks at a sample of the labels that a round kept and fills in y or n; it is read back here.

`visualise.py work --round N --audit 60` draws a stratified sample (`labels/pictures/overlay/round_pictures.py`) and
writes `rounds/NN/pictures/audit.csv`, a row a label. The filled file is kept as it is. Its verdicts are copied into
`verdicts.csv`, where they outlive the round, and the share of right labels is estimated from it.

The estimate weights each stratum's share of right labels by how many labels it holds (Cochran, Sampling Techniques,
1977, 5.3). The interval is Wilson's (1927) at an effective sample size: as many answers of a simple random sample as
would leave the same variance. That variance is the larger of two: the stratified one, and the one if all strata were
equally good (Kish 1965), which stands where every answer was the same. A stratum that was looked at whole adds none.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import pandas as pd

from labels.records.errors import InputError
from labels.records.run_records import VERDICTS_FILE
from labels.records.verdicts import JUDGED_COLUMNS, append_verdicts, delimiter_of
from labels.records.work_folder import RoundFolder, WorkFolder

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


VERDICT_COLUMNS = ["label_uid", "verdict", "video_id", "frame_index", "judged_class", *JUDGED_COLUMNS]
AUDIT_COLUMNS = ["number", *VERDICT_COLUMNS, "time_s", "quality", "stratum", "stratum_size"]
WORDS = ("", "y", "n")


@dataclass(frozen=True)
class Audit:
    """One audit file: the rows as text (`AUDIT_COLUMNS`), verdicts in small letters, "" where nobody has answered."""

    round: int
    path: Path
    rows: pd.DataFrame

    @property
    def answered(self) -> pd.DataFrame:
        return self.rows[self.rows["verdict"] != ""]

    @property
    def precision(self) -> AuditPrecision | None:
        """What share of the round's kept labels is right; None while nothing is filled in."""
        return precision_of(self.rows) if len(self.answered) else None


def audit_path(folder: RoundFolder, name: str = "audit") -> Path:
    return folder.pictures / f"{name}.csv"


def read_audits(work: WorkFolder) -> list[Audit]:
    """The audits of all rounds, by round, the older ones of a round first. InputError names an unsound line."""
    return [
        read_audit(path, number)
        for number in work.round_numbers()
        for path in sorted(work.round(number).pictures.glob("audit*.csv"), key=_age)
    ]


def _age(path: Path) -> tuple[int, int]:
    """An older audit of a round stands aside as audit_1.csv, audit_2.csv, …; audit.csv is the youngest."""
    number = path.stem.removeprefix("audit").removeprefix("_")
    return (0, int(number)) if number.isdecimal() else (1, 0)


def read_audit(path: Path, round_number: int) -> Audit:
    """One audit file, checked: each label once, verdicts y, n or nothing, sizes of strata that hold their rows."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            delimiter = delimiter_of(opened.readline())
            opened.seek(0)
            reader = csv.DictReader(opened, delimiter=delimiter)
            missing = {"label_uid", "verdict", "stratum", "stratum_size"} - set(reader.fieldnames or [])
            if missing:
                raise InputError(f"{path}: needs the columns {', '.join(sorted(missing))}; take it as it was drawn")
            lines = [{name: (row.get(name) or "").strip() for name in AUDIT_COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    rows = pd.DataFrame(lines, columns=AUDIT_COLUMNS).astype("str")
    rows["verdict"] = rows["verdict"].str.lower()
    for number, row in enumerate(rows.itertuples(), start=2):
        if row.verdict not in WORDS:
            raise InputError(f"{path}: line {number}: a verdict is y or n, not '{row.verdict}'")
        if not row.label_uid or not row.stratum_size.isdecimal():
            raise InputError(f"{path}: line {number}: label_uid and stratum_size must stay as they were drawn")
    if rows["label_uid"].duplicated().any():
        raise InputError(f"{path}: {rows['label_uid'][rows['label_uid'].duplicated()].iloc[0]} stands twice")
    sizes = rows.groupby("stratum")["stratum_size"]
    if (sizes.nunique() > 1).any() or (sizes.first().astype(int) < sizes.size()).any():
        raise InputError(f"{path}: a stratum_size is not what it was when the sample was drawn")
    return Audit(round_number, path, rows)


def gather_audits(work: WorkFolder) -> list[str]:
    """Copy what filled audits say into `verdicts.csv`, each word once; lines that tell what was done.

    A word that stands in `verdicts.csv` already is not written again, so that what was said there later holds.
    """
    with_answers = set(all_audit_answers(work))
    lines = []
    for audit in read_audits(work):
        answered = audit.answered
        if not len(answered):
            continue
        words = zip(answered["label_uid"], answered["verdict"], strict=True)
        new = answered[[word not in with_answers for word in words]]
        append_verdicts(work, new[VERDICT_COLUMNS].to_dict("records"))
        with_answers |= set(zip(new["label_uid"], new["verdict"], strict=True))
        came = f"; {len(new)} new ones are in {VERDICTS_FILE}" if len(new) else ""
        lines.append(f"{audit.path}: {len(answered)} of {len(audit.rows)} answered{came}")
        precision = audit.precision
        if precision is not None:
            lines.append(f"  of the labels that round {audit.round} had kept, {precision.in_words()}")
    return lines


def all_audit_answers(work: WorkFolder) -> list[tuple[str, str]]:
    """Every (label_uid, verdict) that was written to `verdicts.csv`, in order, also those taken back or overruled."""
    path = work.root / VERDICTS_FILE
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            delimiter = delimiter_of(opened.readline())
            opened.seek(0)
            lines = list(csv.DictReader(opened, delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    return [((line.get("label_uid") or "").strip(), (line.get("verdict") or "").strip().lower()) for line in lines]
