"""Metrics of class probabilities on held-out labels: accuracy, macro-F1, balanced accuracy, calibration, confusion.

Everything takes `truth` (N,) class ids and `probabilities` (N, K) that add up to 1. Intervals are a bootstrap over
groups.
"""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from labels.models.checkpoints import RECOGNISER, load_checkpoint, save_checkpoint
from labels.models.recognisers.recogniser import FusedRecogniser, logs_of, recogniser_from_file, tempered
from labels.models.recognisers.settings import parts_of
from labels.records.safe_writing import write_text
from labels.training.actions.data import ActionData, LabelledWindow, by_label
from labels.training.optimisation import jackknife_error
from labels.training.settings import RecognitionSettings
from labels.training.splits import TEST, VAL
from labels.training.training_folder import TrainingFolder

ECE_BINS = 10
BOOTSTRAPS = 1000
TEMPERATURE_SPREAD = 0.2


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(K, K) counts: rows are the truth, columns what was said."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(truth == predicted)) if len(truth) else float("nan")


def f1_by_class(confusion: np.ndarray) -> np.ndarray:
    """(K,), NaN for a class that neither is there nor was said."""
    right = np.diag(confusion).astype(float)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.divide(2 * right, total, out=np.full(len(right), np.nan), where=total > 0)


def macro_f1(confusion: np.ndarray) -> float:
    """The mean F1 over the classes that are there; a class that is only said wrongly costs those it was said for."""
    there = confusion.sum(axis=1) > 0
    return float(np.mean(f1_by_class(confusion)[there])) if there.any() else float("nan")


def balanced_accuracy(confusion: np.ndarray) -> float:
    """The mean recall over the classes that are there."""
    there = confusion.sum(axis=1)
    recall = np.diag(confusion)[there > 0] / there[there > 0]
    return float(recall.mean()) if len(recall) else float("nan")


def calibration_error(truth: np.ndarray, probabilities: np.ndarray, bins: int = ECE_BINS) -> float:
    """Expected calibration error: |how sure - how often right| over bins of sureness, weighted by their sizes."""
    if not len(truth):
        return float("nan")
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.clip((sure * bins).astype(int), 0, bins - 1)
    gaps = [abs(sure[place == at].sum() - right[place == at].sum()) for at in range(bins)]
    return float(sum(gaps) / len(truth))


def macro_f1_error(groups: Sequence[str], truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Standard error of the macro-F1, by leaving out one group at a time; NaN where they are too few to tell."""
    names = np.array(groups, dtype=object).astype(str)
    others = (names != name for name in np.unique(names))
    return jackknife_error([macro_f1(confusion_matrix(truth[own], predicted[own], classes)) for own in others])


def measure_actions(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """The metrics of an epoch."""
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(truth, predicted, probabilities.shape[1])
    return {
        "top1": rounded(accuracy(truth, predicted)),
        "macro_f1": rounded(macro_f1(confusion)),
        "balanced_accuracy": rounded(balanced_accuracy(confusion)),
        "ece": rounded(calibration_error(truth, probabilities)),
    }


def group_bootstrap(
    groups: Sequence[str],
    truth: np.ndarray,
    predicted: np.ndarray,
    figure: Callable[[np.ndarray, np.ndarray], float],
    seed: int = 0,
    share: float = 0.95,
) -> tuple[float, float]:
    """The interval of a figure when whole groups are drawn again, with replacement: clips of one game are no news.

    Of a single group nothing can be drawn: (NaN, NaN).
    """
    names = np.array(groups, dtype=object).astype(str)
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    if len(members) < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    values = []
    for _ in range(BOOTSTRAPS):
        drawn = np.concatenate([members[at] for at in random.integers(len(members), size=len(members))])
        values.append(figure(truth[drawn], predicted[drawn]))
    low, high = np.nanquantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def fit_temperature(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """By what the log-probabilities are divided so that they fit the truth best (Guo et al. 2017), 0.25 to 4.

    Few labels say little: each candidate pays for its distance from 1, as a prior of deviation TEMPERATURE_SPREAD on
    its logarithm makes it.
    """
    if not len(truth):
        return 1.0
    logits = logs_of(probabilities)
    candidates = np.exp(np.linspace(np.log(0.25), np.log(4), 65))
    losses = [
        -np.log(tempered(logits, value)[np.arange(len(truth)), truth]).sum()
        + np.log(value) ** 2 / (2 * TEMPERATURE_SPREAD**2)
        for value in candidates
    ]
    return round(float(candidates[int(np.argmin(losses))]), 4)


def judge_labels(
    labels: Sequence[LabelledWindow],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    settings: RecognitionSettings,
    temperature: float,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Metrics of what was said (N, K) of labels (N,), and thresholds by class of the same at a temperature."""
    usual = dict.fromkeys(class_names, 0.5)
    if not labels:
        unknown = ("top1", "macro_f1", "balanced_accuracy", "ece", "macro_f1_error")
        return dict.fromkeys(unknown), usual
    truth = np.array([label.class_id for label in labels])
    calm = tempered(logs_of(probabilities), temperature)  # as it will label
    predicted, sure = calm.argmax(axis=1), calm.max(axis=1)
    for class_id, name in enumerate(class_names):
        own = predicted == class_id
        if own.sum() >= settings.least_judged:
            usual[name] = trusted_from(sure[own], truth[own] == class_id, settings.precision_floor)
    groups = [label.group for label in labels]
    error = macro_f1_error(groups, truth, probabilities.argmax(axis=1), len(class_names))
    return measure_actions(truth, probabilities) | {"macro_f1_error": rounded(error)}, usual


def trusted_from(sure: np.ndarray, right: np.ndarray, floor: float) -> float:
    """The lowest sureness from which at least this share of what was said is right; 1 where no sureness helps."""
    good = [float(limit) for limit in np.sort(sure) if right[sure >= limit].mean() >= floor]
    return round(min(good), 4) if good else 1.0


def confusion_csv(confusion: np.ndarray, class_names: Sequence[str]) -> str:
    """The matrix as a CSV: the first row and the first column name the classes, rows are the truth."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["truth \\ predicted", *class_names])
    writer.writerows([name, *row.tolist()] for name, row in zip(class_names, confusion, strict=True))
    return text.getvalue()


def rounded(value: float) -> float | None:
    """To four digits; None for what is not known."""
    return None if np.isnan(value) else round(value, 4)


HELD_OUT = {"validation": VAL, "test": TEST}


def measure_student(files: TrainingFolder, data: ActionData, device: str) -> dict[str, Any]:
    """The best weights on all validation and test labels; writes the confusion of the latter where there are any.

    Of a fusion `parts` holds, by architecture, what each part comes to alone, and what it weighs.
    """
    checkpoint = load_checkpoint(files.best, RECOGNISER)
    student = recogniser_from_file(files.best, device)
    metrics: dict[str, Any] = {"best_epoch": checkpoint.get("epoch"), "temperature": checkpoint["temperature"]}
    metrics |= dict.fromkeys(HELD_OUT)
    if isinstance(student, FusedRecogniser):
        weights = (student.weight, round(1 - student.weight, 4))
        names = parts_of(checkpoint["architecture"])
        metrics["parts"] = {
            name: {"weight": weight, **dict.fromkeys(HELD_OUT)} for name, weight in zip(names, weights, strict=True)
        }
    confusions = {}
    for where, split in HELD_OUT.items():
        windows = data.windows[split]
        if not windows:
            continue
        if isinstance(student, FusedRecogniser):
            each = [data.predictions_of(part, windows, reads) for reads, part in student.parts.items()]
            for part, own in zip(metrics["parts"].values(), each, strict=True):
                part[where], _ = measure_labels(*by_label(windows, own))
            probabilities = student.join(*each)
        else:
            probabilities = data.predictions_of(student, windows)
        metrics[where], confusions[where] = measure_labels(*by_label(windows, probabilities))
    shown = next((where for where in ("test", "validation") if where in confusions), None)
    count = len(data.class_names)
    confusion = confusions[shown] if shown else np.zeros((count, count), dtype=np.int64)
    metrics["confusion_of"] = shown
    write_text(files.confusion, confusion_csv(confusion, data.class_names))
    kept = {name: value for name, value in checkpoint.items() if name != "metrics"}
    save_checkpoint(files.best, kept | {"metrics": metrics}, RECOGNISER)
    return metrics


def measure_labels(labels: Sequence[LabelledWindow], probabilities: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics over labels (N) with what was said of them (N, K), with intervals by group, and the confusion matrix."""
    truth = np.array([label.class_id for label in labels])
    predicted = probabilities.argmax(axis=1)
    groups = [label.group for label in labels]
    classes = probabilities.shape[1]

    def f1_of(real: np.ndarray, answer: np.ndarray) -> float:
        return macro_f1(confusion_matrix(real, answer, classes))

    found: dict[str, Any] = {"labels": len(labels), "groups": len(set(groups))}
    found |= measure_actions(truth, probabilities)
    for name, figure in (("top1", accuracy), ("macro_f1", f1_of)):
        interval = group_bootstrap(groups, truth, predicted, figure)
        found[f"{name}_interval"] = [None if np.isnan(end) else round(end, 4) for end in interval]
    found["human_labels"] = sum(label.by_human for label in labels)
    return found, confusion_matrix(truth, predicted, classes)
