"""What a trained recogniser comes to on the labels that are held out: validation's and the test clips'."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from labels.models.checkpoints import RECOGNISER, load_checkpoint, save_checkpoint
from labels.models.fused_recogniser import FusedRecogniser
from labels.models.recogniser import recogniser_from_file
from labels.records.safe_writing import write_text
from labels.training import action_metrics
from labels.training.action_data import ActionData
from labels.training.recognition_tasks import LabelledWindow, by_label
from labels.training.splits import TEST, VAL
from labels.training.training_folder import TrainingFolder

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
        names = checkpoint["architecture"].split("+")
        metrics["parts"] = {
            name: {"weight": weight, **dict.fromkeys(HELD_OUT)} for name, weight in zip(names, weights, strict=True)
        }
    confusions = {}
    for where, split in HELD_OUT.items():
        windows = data.windows[split]
        if not windows:
            continue
        if isinstance(student, FusedRecogniser):
            each = [data.said_of(part, windows, reads) for reads, part in student.parts.items()]
            for part, own in zip(metrics["parts"].values(), each, strict=True):
                part[where], _ = measure_labels(*by_label(windows, own))
            said = student.join(*each)
        else:
            said = data.said_of(student, windows)
        metrics[where], confusions[where] = measure_labels(*by_label(windows, said))
    shown = next((where for where in ("test", "validation") if where in confusions), None)
    count = len(data.class_names)
    confusion = confusions[shown] if shown else np.zeros((count, count), dtype=np.int64)
    metrics["confusion_of"] = shown
    write_text(files.confusion, action_metrics.confusion_csv(confusion, data.class_names))
    kept = {name: value for name, value in checkpoint.items() if name != "metrics"}
    save_checkpoint(files.best, kept | {"metrics": metrics}, RECOGNISER)
    return metrics


def measure_labels(labels: Sequence[LabelledWindow], probabilities: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics over labels (N) with what was said of them (N, K), with intervals by group, and the confusion matrix."""
    truth = np.array([label.class_id for label in labels])
    said = probabilities.argmax(axis=1)
    groups = [label.group for label in labels]
    classes = probabilities.shape[1]

    def f1_of(real: np.ndarray, answer: np.ndarray) -> float:
        return action_metrics.macro_f1(action_metrics.confusion_matrix(real, answer, classes))

    found: dict[str, Any] = {"labels": len(labels), "groups": len(set(groups))}
    found |= action_metrics.measure_actions(truth, probabilities)
    for name, figure in (("top1", action_metrics.accuracy), ("macro_f1", f1_of)):
        interval = action_metrics.group_bootstrap(groups, truth, said, figure)
        found[f"{name}_interval"] = [None if np.isnan(end) else round(end, 4) for end in interval]
    found["human_labels"] = sum(label.by_human for label in labels)
    return found, action_metrics.confusion_matrix(truth, said, classes)
