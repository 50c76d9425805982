"""Out-of-fold predictions: what students say of labels that they were not trained on.

A student agrees with labels it was trained on. What counts for the next cleaning is what is said by one that never saw
the label's group (`cleaning/actions/confident_learning`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from labels.labelling.action_intervals import probabilities_json
from labels.models.checkpoints import RECOGNISER, load_checkpoint
from labels.models.recognisers.recogniser import logs_of, network_from_file, tempered
from labels.records.safe_writing import digest_of, read_parquet_metadata, write_parquet
from labels.training.actions.data import LabelledWindow, by_label
from labels.training.actions.metrics import fit_temperature
from labels.training.actions.task import RecognitionTask
from labels.training.fit import fit
from labels.training.optimisation import seed_everything
from labels.training.splits import folds_of, require_no_group_twice
from labels.training.training_folder import TrainingFolder, clear_folds, fold_folder


def write_out_of_fold(
    path: Path,
    task: RecognitionTask,
    windows: Sequence[LabelledWindow],
    folds: int,
    build: Callable[[], nn.Module],
    identity: str,
    pretrained: bool = False,
) -> int:
    """Train `folds` students, and write what each says of the labels it was not trained on. Does nothing when that is
    done. Returns how many labels were asked about.

    Args:
        windows: those to train on, of all folds.
        build: gives a new network, not yet trained.
        identity: changes when the outcome may; a fold that was trained before a kill is not trained again.
    """
    key = digest_of([identity, folds])
    metadata = read_parquet_metadata(path)
    if metadata is not None and metadata.get("key") == key:
        clear_folds(path.parent)
        return int(metadata["labels"])
    asked: list[LabelledWindow] = []
    predicted: list[np.ndarray] = []
    groups = [window.group for window in windows]
    for fold, (own, rest) in enumerate(folds_of(windows, groups, folds)):
        require_no_group_twice(rest, own)
        files = TrainingFolder(fold_folder(path.parent, fold), RECOGNISER)
        network = _trained(task, rest, files, build, digest_of([key, fold]), pretrained)
        found, probabilities = by_label(own, task.probabilities(network, own))
        asked, predicted = asked + found, [*predicted, probabilities]
    _write(path, asked, np.concatenate(predicted), task.class_names, {"key": key, "folds": folds})
    clear_folds(path.parent)
    return len(asked)


def _trained(
    task: RecognitionTask,
    windows: Sequence[LabelledWindow],
    files: TrainingFolder,
    build: Callable[[], nn.Module],
    identity: str,
    pretrained: bool,
) -> nn.Module:
    seed_everything(task.settings.seed, 2**32 - 1)
    network = build()
    rate_of = task.rate_of(network) if pretrained else None
    fit(network, task, windows, [], files, identity, asdict(task.preset), rate_of)
    checkpoint: dict[str, Any] = load_checkpoint(files.best, RECOGNISER)
    return network_from_file(checkpoint, str(files.best)).to(next(network.parameters()).device)


def _write(
    path: Path,
    asked: Sequence[LabelledWindow],
    predicted: np.ndarray,
    class_names: Sequence[str],
    facts: dict[str, Any],
) -> None:
    """The table, its probabilities at the temperature that fits the labels that humans gave, where there are any."""
    human = np.array([label.by_human for label in asked], dtype=bool)
    truth = np.array([label.class_id for label in asked], dtype=np.int64)
    temperature = fit_temperature(truth[human], predicted[human])
    calm = tempered(logs_of(predicted), temperature)
    table = pd.DataFrame(
        {
            "label_uid": [label.label for label in asked],
            "class_name": [class_names[label.class_id] for label in asked],
            "origin": np.where(human, "human", "detected"),
            "probabilities": [probabilities_json(class_names, row) for row in calm],
        }
    )
    write_parquet(path, table.sort_values("label_uid", ignore_index=True), facts | {"labels": len(table)})
