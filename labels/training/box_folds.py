"""How far a round's labels agree with students that never saw them: K students, each trained without some groups.

A student agrees with labels that it was trained on, right or wrong. One that was trained on the other groups' labels
agrees with a label for a better reason: it knows the object. It is still agreement, not accuracy: what is wrong in all
groups alike is learnt from the others.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from labels.cleaning.self_agreement import FOLDS, SelfAgreement, Share
from labels.models.checkpoints import load_checkpoint
from labels.models.networks import network_from_checkpoint
from labels.records.errors import InputError
from labels.records.matching import count_matches
from labels.records.safe_writing import digest_of, read_json, write_json
from labels.training.box_datasets import LabelledFrame
from labels.training.box_metrics import find_thresholds
from labels.training.detector_tasks import DetectorTask, detection_tables, spread
from labels.training.detector_training import train_detector
from labels.training.round_data import RoundData
from labels.training.settings import TrainingSettings
from labels.training.splits import TRAIN, VAL, fold_of
from labels.training.training_folder import TrainingFolder


def require_groups(data: RoundData, folds: int) -> None:
    """InputError where fewer groups are trained on than there are to be folds."""
    if len({data.groups[frame.video_id] for frame in data.frames[TRAIN]}) < folds:
        raise InputError(f"--folds {folds}: fewer groups than that are trained on; say less")


def measure_folds(
    path: Path,
    data: RoundData,
    task: DetectorTask,
    settings: TrainingSettings,
    folds: int,
    build: Callable[[], tuple[nn.Module, dict[str, Any]]],
    identity: str,
) -> dict[str, Any]:
    """Train the students and compare each with the labels of its own fold. Does nothing where `path` says it is done.

    Args:
        path: where the outcome is written, as JSON; a fold that was trained before a kill is not trained again.
        build: gives a network to start from, on its device, and the settings that go into its checkpoint.
        identity: changes when the outcome may.

    Returns F1 over the groups, as `SelfAgreement.as_counts` says it, under `FOLDS`.
    """
    key = digest_of([identity, folds])
    if path.is_file() and (done := read_json(path)).get("key") == key:
        return dict(done["agreement"])
    frames = data.frames[TRAIN]
    fold_by_group = fold_of([data.groups[frame.video_id] for frame in frames], folds)
    agreement = SelfAgreement()
    for fold in range(folds):
        tqdm.write(f"fold {fold + 1} of {folds}: a student without {_groups_in(fold_by_group, fold)}", sys.stderr)
        own, rest = _divided(frames, data.groups, fold_by_group, fold)
        files = TrainingFolder(path.parent / f"fold_{fold}")
        student = _trained(task, rest, settings, files, build, digest_of([key, fold]))
        read = detection_tables(task, student, spread(data.frames[VAL], settings.validation_frames))
        thresholds = find_thresholds(*read, data.class_names, settings.precision_floor)
        found, labels = detection_tables(task, student, own)
        for video_id, label in labels.items():
            boxes = found[video_id]
            sure = boxes[boxes["score"] >= boxes["class_name"].map(thresholds).astype(float)]
            counts = count_matches(sure, label)
            share = Share(2 * counts.right, 2 * counts.right + counts.wrong + counts.missed)  # F1 of all videos
            agreement.add(data.groups[video_id], {FOLDS: share})
    said = agreement.as_counts()
    write_json(path, {"key": key, "folds": folds, "agreement": said})
    for left in path.parent.glob("fold_*"):  # also what a run that was killed left
        shutil.rmtree(left)
    return said


def _groups_in(fold_by_group: dict[str, int], fold: int) -> str:
    count = sum(each == fold for each in fold_by_group.values())
    return f"{count} of {len(fold_by_group)} groups"


def _divided(
    frames: list[LabelledFrame], groups: dict[str, str], fold_by_group: dict[str, int], fold: int
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """The frames of a fold's groups, and all others."""
    own = [frame for frame in frames if fold_by_group[groups[frame.video_id]] == fold]
    rest = [frame for frame in frames if fold_by_group[groups[frame.video_id]] != fold]
    both = {groups[frame.video_id] for frame in own} & {groups[frame.video_id] for frame in rest}
    if both:
        raise AssertionError(f"group {min(both)} is on both sides of fold {fold}")
    return own, rest


def _trained(
    task: DetectorTask,
    frames: list[LabelledFrame],
    settings: TrainingSettings,
    files: TrainingFolder,
    build: Callable[[], tuple[nn.Module, dict[str, Any]]],
    identity: str,
) -> nn.Module:
    network, network_settings = build()
    device = next(network.parameters()).device
    train_detector(network, task, frames, [], settings, network_settings, files, identity)
    return network_from_checkpoint(load_checkpoint(files.best), str(files.best)).to(device)
