"""How far a round's labels agree with students that never saw them: K students, each trained without some groups.

A student agrees with labels that it was trained on, right or wrong. One that was trained on the other groups' labels
agrees with a label for a better reason: it knows the object. It is still agreement, not accuracy: what is wrong in all
groups alike is learnt from the others.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from labels.cleaning.agreement import FOLDS, SelfAgreement, Share
from labels.models.checkpoints import load_checkpoint
from labels.models.networks import network_from_checkpoint
from labels.records.matching import count_matches
from labels.records.safe_writing import digest_of, read_object, write_json
from labels.training.box_datasets import LabelledFrame
from labels.training.box_metrics import find_thresholds
from labels.training.detector_tasks import DetectorTask, detection_tables, spread
from labels.training.detector_training import train_detector
from labels.training.epoch_choice import LEAST_PARTS
from labels.training.round_data import RoundData
from labels.training.settings import TrainingSettings
from labels.training.splits import TRAIN, VAL, folds_of
from labels.training.training_folder import TrainingFolder, clear_folds, fold_folder


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
        build: gives a network that saw no label, on its device, and the settings that go into its checkpoint.
        identity: changes when the outcome may.

    Returns F1 over the groups, as `SelfAgreement.as_counts` says it, under `FOLDS`.
    """
    key = digest_of([identity, folds])
    done = read_object(path)
    if done.get("key") == key and isinstance(done.get("agreement"), dict):
        clear_folds(path.parent)
        return dict(done["agreement"])
    data.working.hold([*data.frames[TRAIN], *data.frames[VAL]])
    agreement = SelfAgreement()
    frames = data.frames[TRAIN]
    for fold, (own, rest) in enumerate(folds_of(frames, [data.groups[frame.video_id] for frame in frames], folds)):
        groups = {data.groups[frame.video_id] for frame in own}
        tqdm.write(f"fold {fold + 1} of {folds}: a student without {len(groups)} of the groups", sys.stderr)
        files = TrainingFolder(fold_folder(path.parent, fold))
        student = _trained(task, rest, settings, files, build, digest_of([key, fold]))
        judges = [frame for frame in data.frames[VAL] if data.groups[frame.video_id] not in groups]
        if len({frame.video_id for frame in judges}) < LEAST_PARTS:  # as of the round's own student
            judges += rest
        read = detection_tables(task, student, spread(judges, settings.validation_frames))
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
    clear_folds(path.parent)
    return said


def _trained(
    task: DetectorTask,
    frames: Sequence[LabelledFrame],
    settings: TrainingSettings,
    files: TrainingFolder,
    build: Callable[[], tuple[nn.Module, dict[str, Any]]],
    identity: str,
) -> nn.Module:
    network, network_settings = build()
    device = next(network.parameters()).device
    train_detector(network, task, frames, [], settings, network_settings, files, identity)
    return network_from_checkpoint(load_checkpoint(files.best), str(files.best)).to(device)
