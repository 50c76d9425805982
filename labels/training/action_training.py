"""Stage 4 for the actions of one round: from cleaned actions to `recogniser.pt`, its metrics and its record."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labels.labelling.player_tracks import PLAYER
from labels.labelling.round_mask_channel import inputs_of_masks
from labels.models.checkpoints import RECOGNISER, load_checkpoint, require_fit, save_checkpoint
from labels.models.recogniser import build_recogniser, network_from_file, preset_of
from labels.models.recogniser_settings import PIXELS, ZOO, Preset
from labels.records.errors import InputError
from labels.records.run_records import (
    RunRecord,
    digest_of_true_actions,
    inputs_of_players,
    read_run_record,
    require_run_record,
    start_run,
    write_run_record,
)
from labels.records.safe_writing import digest_of, file_digest, write_json, write_text
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_TRAINED, WorkFolder
from labels.training import action_metrics
from labels.training.action_data import ActionData, gather_actions
from labels.training.optimisation import seed_everything
from labels.training.recogniser_training import require_no_group_twice, train_recogniser
from labels.training.recognition_settings import RecognitionSettings
from labels.training.recognition_tasks import LabelledWindow, RecognitionTask, by_label
from labels.training.splits import TEST, TRAIN, VAL
from labels.training.training_folder import TrainingFolder


@dataclass
class TrainedActions:
    """What came out, for the summary."""

    data: ActionData
    metrics: dict[str, Any]
    done_before: bool

    def lines(self) -> list[str]:
        lines = ["this round was trained already with these settings and labels"] if self.done_before else []
        for split in (TRAIN, VAL, TEST):
            count = len(self.data.windows[split])
            lines.append(f"{split}: {self.data.labels.get(split, 0)} labels, {count} windows")
        for name, labels in sorted(self.data.unknown.items()):
            lines.append(f"{labels} labels of class '{name}' are left out: no clip to train on shows it")
        for where in ("validation", "test"):
            found = self.metrics[where]
            if found is not None:
                low, high = found["top1_interval"]
                interval = f" ({low:.2f} to {high:.2f} by groups)" if low is not None else ""
                lines.append(
                    f"{where}, {found['labels']} labels in {found['groups']} groups: "
                    f"top-1 {found['top1']:.3f}{interval}"
                    f", macro-F1 {found['macro_f1']:.3f}, balanced accuracy {found['balanced_accuracy']:.3f}, "
                    f"calibration error {found['ece']:.3f}"
                )
        return lines


def preset_for(settings: RecognitionSettings) -> Preset:
    """The windows of an architecture, or what was said of them."""
    preset = preset_of(settings.architecture)
    frames = settings.frames or preset.frames
    if frames != preset.frames and settings.architecture.startswith("mvit"):
        raise InputError(f"--window-frames: {settings.architecture} takes exactly {preset.frames}; leave it out")
    rate = frames / settings.seconds if settings.seconds else preset.rate
    return replace(preset, frames=frames, rate=rate)


def train_actions(
    work: WorkFolder,
    number: int,
    settings: RecognitionSettings,
    device: str,
    from_scratch: bool,
    go_on: bool,
    draw: Callable[[Path, Path], object] | None = None,
    draw_confusion: Callable[[Path, Path], object] | None = None,
) -> TrainedActions:
    """Train round N's recogniser. Does nothing but report when that was done before with the same in hand."""
    preset = preset_for(settings)
    folder = work.round(number)
    command = f"python dataset_cleaner.py {work.root} --round {number}"
    if settings.mask_channel and preset.reads != PIXELS:
        raise InputError(f"--mask-channel: {settings.architecture} looks at joints; leave it out")
    preset = replace(preset, masked=settings.mask_channel)
    cleaned = require_run_record(folder, ACTIONS_CLEANED, command)
    inputs = {f"round {number} {ACTIONS_CLEANED}": cleaned.output, "true actions": digest_of_true_actions(work)}
    if cleaned.facts.get("per") == PLAYER:
        inputs |= inputs_of_players(work, number)
    pretrained = not from_scratch and (settings.architecture in ZOO or settings.architecture == "tsn_resnet50")
    if preset.masked:
        inputs |= inputs_of_masks(work, number)
    if go_on:
        if number == 0:
            raise InputError("--continue: round 0 has no round before it; leave it out")
        trained = f"python train.py {work.root} --round {number - 1} --task actions"
        before = require_run_record(work.round(number - 1), ACTIONS_TRAINED, trained)
        inputs[f"round {number - 1} {ACTIONS_TRAINED}"] = before.output
    data = gather_actions(work, folder, preset, settings)
    inputs["split"] = digest_of(data.splits)
    require_no_group_twice(data.windows[TRAIN], [*data.windows[VAL], *data.windows[TEST]])
    arguments = {**asdict(settings), "device": device, "from_scratch": from_scratch, "continue": go_on}
    files = TrainingFolder(folder.stage("trained"), RECOGNISER)
    done = read_run_record(folder, ACTIONS_TRAINED) if files.best.is_file() and files.confusion.is_file() else None
    if done is not None and done.is_made_from(arguments, inputs) and done.output == file_digest(files.best):
        return TrainedActions(data, done.facts["metrics"], done_before=True)
    network = _first_network(work, number, data.class_names, preset, settings, pretrained, go_on).to(device)
    start_run(folder, ACTIONS_TRAINED)
    identity = digest_of([arguments, inputs, torch.__version__])
    task = RecognitionTask(
        data.class_names, preset, lambda window: data.store.read(window.video_id, window.place), settings
    )
    history = train_recogniser(
        network, task, data.windows[TRAIN], data.windows[VAL], settings, files, identity, pretrained or go_on
    )
    metrics = _measure(task, files, data, device) | {"epochs": len(history)}
    write_json(files.metrics, metrics)
    if draw is not None and data.windows[VAL]:
        draw(files.epochs, files.curves)
    if draw_confusion is not None:
        draw_confusion(files.confusion, files.confusion.with_suffix(".png"))
    record = RunRecord(
        stage=ACTIONS_TRAINED,
        round=number,
        arguments=arguments,
        inputs=inputs,
        counts={"labels": data.labels, "skipped videos": data.skipped, "classes left out": data.unknown},
        facts={"metrics": metrics, "class_names": list(data.class_names)},
        seed=settings.seed,
        output=file_digest(files.best),
    )
    write_run_record(folder, record)
    return TrainedActions(data, metrics, done_before=False)


def _first_network(
    work: WorkFolder,
    number: int,
    class_names: tuple[str, ...],
    preset: Preset,
    settings: RecognitionSettings,
    pretrained: bool,
    go_on: bool,
) -> nn.Module:
    if go_on:
        path = work.round(number - 1).recogniser
        checkpoint = load_checkpoint(path, RECOGNISER)
        require_fit(checkpoint, settings.architecture, class_names, str(path))
        if bool(checkpoint["settings"].get("masked")) != preset.masked:
            raise InputError(f"{path}: looks at {'no ' if preset.masked else ''}masks; train as it was, or anew")
        return network_from_file(checkpoint | {"settings": asdict(preset)}, str(path))
    seed_everything(settings.seed, 2**32 - 1)
    return build_recogniser(settings.architecture, len(class_names), preset, pretrained)


def _measure(task: RecognitionTask, files: TrainingFolder, data: ActionData, device: str) -> dict[str, Any]:
    """The best weights on all validation and test labels; writes the confusion of the latter where there are any."""
    checkpoint = load_checkpoint(files.best, RECOGNISER)
    network = network_from_file(checkpoint, str(files.best)).to(device)
    metrics: dict[str, Any] = {"best_epoch": checkpoint["epoch"], "temperature": checkpoint["temperature"]}
    confusions = {}
    for name, split in (("validation", VAL), ("test", TEST)):
        metrics[name] = None
        if data.windows[split]:
            metrics[name], confusions[name] = measure_windows(task, network, data.windows[split])
    shown = next((name for name in ("test", "validation") if name in confusions), None)
    count = len(data.class_names)
    confusion = confusions[shown] if shown else np.zeros((count, count), dtype=np.int64)
    metrics["confusion_of"] = shown
    write_text(files.confusion, action_metrics.confusion_csv(confusion, data.class_names))
    kept = {name: value for name, value in checkpoint.items() if name not in ("metrics", "network")}
    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    save_checkpoint(files.best, kept | {"network": weights, "metrics": metrics}, RECOGNISER)
    return metrics


def measure_windows(
    task: RecognitionTask, network: nn.Module, windows: Sequence[LabelledWindow]
) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics over the labels of windows, with intervals by group, and the confusion matrix."""
    labels, probabilities = by_label(windows, task.probabilities(network, windows))
    truth = np.array([label.class_id for label in labels])
    said = probabilities.argmax(axis=1)
    groups = [label.group for label in labels]
    classes = len(task.class_names)

    def f1_of(real: np.ndarray, answer: np.ndarray) -> float:
        return action_metrics.macro_f1(action_metrics.confusion_matrix(real, answer, classes))

    found: dict[str, Any] = {"labels": len(labels), "groups": len(set(groups))}
    found |= action_metrics.measure_actions(truth, probabilities)
    for name, figure in (("top1", action_metrics.accuracy), ("macro_f1", f1_of)):
        interval = action_metrics.group_bootstrap(groups, truth, said, figure)
        found[f"{name}_interval"] = [None if np.isnan(end) else round(end, 4) for end in interval]
    found["human_labels"] = sum(label.by_human for label in labels)
    return found, action_metrics.confusion_matrix(truth, said, classes)
