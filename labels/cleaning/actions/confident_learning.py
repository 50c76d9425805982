"""Confident learning: which labels are wrong, by students that never saw their groups (`train.py --folds`).

After Northcutt et al. 2021 (arxiv.org/abs/1911.00068). The confident joint counts labels of class i that look like
class j to such a student, where «like j» means as probable as labels of j are on average. Its off-diagonal entries say
how many labels of i are wrong, and the least probable ones are taken («prune by class»).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet
from labels.records.tables import empty_table

OUT_OF_FOLD = {"label_uid": "str", "class_name": "str", "origin": "str", "probabilities": "str"}


@dataclass(frozen=True)
class OutOfFold:
    """What out-of-fold students say of N labels: `own` (N,) is the probability of the label's class."""

    labels: pd.DataFrame  # OUT_OF_FOLD
    class_names: tuple[str, ...]
    probabilities: np.ndarray  # (N, K)

    @property
    def given(self) -> np.ndarray:
        return np.array([self.class_names.index(name) for name in self.labels["class_name"]], dtype=np.int64)


@dataclass(frozen=True)
class Faults:
    """Labels that confident learning calls wrong: `label_uid`, what the students say instead, and the values."""

    table: pd.DataFrame  # FAULT: `own` is the probability of the label's class, `average` that of all labels of it

    def by_machine(self) -> dict[str, str]:
        """label_uid -> the reason it is not trained on; of labels that no human gave."""
        rows = self.table[self.table["origin"] != "human"].itertuples()
        return {
            str(row.label_uid): f"out_of_fold: {row.own:.2f} < {row.average:.2f}: rather {row.student_class}"
            for row in rows
        }

    def of_humans(self) -> pd.DataFrame:
        return self.table[self.table["origin"] == "human"].reset_index(drop=True)


FAULT = {
    "label_uid": "str", "origin": "str", "own": "float64", "average": "float64", "student_class": "str",
    "student_score": "float64",
}  # fmt: skip
NO_FAULTS = Faults(empty_table(FAULT))


def read_out_of_fold(path: Path) -> OutOfFold | None:
    """What `train.py --folds` left there; None where it left nothing. InputError for another file."""
    if not path.is_file():
        return None
    table = read_parquet(path)
    try:
        rows = [json.loads(text) for text in table["probabilities"]]
        names = tuple(rows[0]) if rows else ()
        probabilities = np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
        found = OutOfFold(table[list(OUT_OF_FOLD)], names, probabilities.reshape(len(rows), len(names)))
        found.given  # noqa: B018 - its classes are among those of the probabilities
    except (KeyError, ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: not what train.py --folds writes; run it again") from None
    return found


def find_faults(students: OutOfFold | None, most_share: float) -> Faults:
    """At most `most_share` of a class's labels; the least probable first, and none that the students agree with."""
    if students is None or not len(students.labels):
        return NO_FAULTS
    given, probabilities = students.given, students.probabilities
    average = averages(given, probabilities)
    wrong = prune_by_class(given, probabilities, average, most_share)
    own, best = probabilities[np.arange(len(probabilities)), given], probabilities.argmax(axis=1)
    table = students.labels[["label_uid", "origin"]].assign(
        own=own,
        average=average[given],
        student_class=[students.class_names[at] for at in best],
        student_score=probabilities.max(axis=1),
    )
    return Faults(table[wrong].reset_index(drop=True))


def trusted_confidence(students: OutOfFold | None, precision: float, least_labels: int) -> dict[str, float]:
    """class -> the probability from which the students are this often right, where humans said what is right.

    A class that they say of fewer than `least_labels` goes by what holds for all classes together; 1 where none is
    enough. Empty where there is nothing to go by.
    """
    human = np.zeros(0, dtype=bool) if students is None else (students.labels["origin"] == "human").to_numpy()
    if students is None or human.sum() < least_labels:
        return {}
    probabilities, given = students.probabilities[human], students.given[human]
    best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    found = {}
    for class_id, name in enumerate(students.class_names):
        own = best == class_id
        own = own if own.sum() >= least_labels else np.ones(len(best), dtype=bool)
        right = (best == given)[own]
        good = [float(limit) for limit in sure[own] if right[sure[own] >= limit].mean() >= precision]
        found[name] = round(min(good), 4) if good else 1.0
    return found


def averages(given: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How sure the students are of the labels of each class on average, (K,); 1 for a class without labels."""
    return np.array(
        [probabilities[given == at, at].mean() if (given == at).any() else 1.0 for at in range(probabilities.shape[1])]
    )


def confident_joint(given: np.ndarray, probabilities: np.ndarray, average: np.ndarray) -> np.ndarray:
    """(K, K) counts of labels of class i that are confidently of class j, each row scaled to the labels of i."""
    classes = probabilities.shape[1]
    sure = np.where(probabilities >= average - 1e-12, probabilities, -1.0)
    counts = np.zeros((classes, classes))
    counted = sure.max(axis=1) >= 0
    np.add.at(counts, (given[counted], sure.argmax(axis=1)[counted]), 1)
    totals = np.bincount(given, minlength=classes)
    sums = counts.sum(axis=1)
    return np.divide(
        counts * totals[:, None], sums[:, None], out=np.diag(totals).astype(float), where=sums[:, None] > 0
    )


def prune_by_class(given: np.ndarray, probabilities: np.ndarray, average: np.ndarray, most_share: float) -> np.ndarray:
    """Which labels are called wrong, (N,) bool."""
    joint = confident_joint(given, probabilities, average)
    wrong = np.zeros(len(given), dtype=bool)
    disagree = probabilities.argmax(axis=1) != given
    for class_id in range(len(joint)):
        own = np.flatnonzero((given == class_id) & disagree)
        of_class = int((given == class_id).sum())
        count = min(round(joint[class_id].sum() - joint[class_id, class_id]), int(most_share * of_class))
        wrong[own[np.argsort(probabilities[own, class_id], kind="stable")][:count]] = True
    return wrong
