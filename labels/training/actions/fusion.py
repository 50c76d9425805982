"""Training a fusion: its two recognisers on the same windows, then the weight between them, chosen on validation."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from labels.models.checkpoints import RECOGNISER, load_checkpoint, save_checkpoint
from labels.models.recognisers.recogniser import (
    FusedRecogniser,
    build_recogniser,
    fuse,
    logs_of,
    preset_of,
    recogniser_from_file,
)
from labels.models.recognisers.settings import JOINTS, PIXELS, PRETRAINED, Preset, parts_of
from labels.records.errors import InputError
from labels.training.actions.data import ActionData, LabelledWindow, by_label
from labels.training.actions.metrics import judge_labels
from labels.training.actions.task import RecognitionTask
from labels.training.fit import fit
from labels.training.optimisation import seed_everything
from labels.training.settings import RecognitionSettings
from labels.training.splits import TRAIN, VAL
from labels.training.training_folder import TrainingFolder

WEIGHTS = np.linspace(0, 1, 21)  # of the recogniser of pixels


def fusion_parts(settings: RecognitionSettings) -> tuple[RecognitionSettings, RecognitionSettings]:
    """The settings of the recogniser of pixels and of that of joints. InputError unless there is one of each.

    The length of windows is of both; a number of frames is of pixels: joints keep their rate.
    """
    names = parts_of(settings.architecture)
    if [preset_of(name).reads for name in names] != [PIXELS, JOINTS]:
        raise InputError(f"--architecture {settings.architecture}: a fusion is of pixels and joints, as in cnn3d+pose")
    given = settings.learning_rate != RecognitionSettings.rate_for(settings.architecture)
    rates = [settings.learning_rate if given else RecognitionSettings.rate_for(name) for name in names]
    pixels = replace(settings, architecture=names[0], learning_rate=rates[0], pose="")
    own = replace(settings, architecture=names[1], learning_rate=rates[1])
    return pixels, replace(own, frames=0, mask_channel=False)


@dataclass(frozen=True)
class FusionPart:
    """One of the two recognisers, not yet trained."""

    reads: str  # pixels | joints
    network: nn.Module
    preset: Preset
    settings: RecognitionSettings
    pretrained: bool


def make_parts(
    class_names: Sequence[str], settings: RecognitionSettings, preset: Preset, device: str, from_scratch: bool
) -> list[FusionPart]:
    """The networks of both kinds. InputError where weights cannot be had."""
    assert preset.beside is not None
    parts = []
    presets = (replace(preset, beside=None), preset.beside)
    for part, reads, own in zip(fusion_parts(settings), (PIXELS, JOINTS), presets, strict=True):
        pretrained = not from_scratch and part.architecture in PRETRAINED
        seed_everything(part.seed, 2**32 - 1)
        network = build_recogniser(part.architecture, len(class_names), own, pretrained).to(device)
        parts.append(FusionPart(reads, network, own, part, pretrained))
    return parts


def train_fusion(
    data: ActionData,
    settings: RecognitionSettings,
    parts: Sequence[FusionPart],
    files: TrainingFolder,
    identity: str,
    device: str,
    draw: Callable[[Path, Path], object] | None = None,
) -> int:
    """Leave the fused recogniser in `files.best`, and each part in a folder beside it. Returns the epochs of both."""
    epochs, saved = 0, []
    for part in parts:
        folder = TrainingFolder(files.beside / part.settings.architecture, RECOGNISER)
        task = RecognitionTask(data.class_names, part.preset, partial(_read_part, data, part.reads), part.settings)
        windows = data.windows[TRAIN], data.windows[VAL]
        rate_of = task.rate_of(part.network) if part.pretrained else None
        history = fit(part.network, task, *windows, folder, identity, asdict(part.preset), rate_of)
        epochs += len(history)
        saved.append(folder.best)
        if draw is not None and data.windows[VAL]:
            draw(folder.epochs, folder.curves)
    _save(data, settings, saved, files.best, identity, device)
    return epochs


def _read_part(data: ActionData, name: str, window: LabelledWindow) -> np.ndarray:
    return np.asarray(data.read(window)[name])


def _save(
    data: ActionData, settings: RecognitionSettings, saved: list[Path], target: Path, identity: str, device: str
) -> None:
    """One checkpoint of the two in `saved`; see `models.recogniser.split_checkpoint`."""
    parts = [recogniser_from_file(path, device) for path in saved]
    windows = data.windows[VAL]
    labels: list[LabelledWindow] = []
    listed = []
    for part, name in zip(parts, (PIXELS, JOINTS), strict=True):
        labels, own = by_label(windows, data.predictions_of(part, windows, name))
        listed.append(own)
    weight = choose_weight(np.array([label.class_id for label in labels], dtype=int), *listed)
    fused = FusedRecogniser(parts[0], parts[1], weight, str(target))
    # Both are at temperatures of their own: another, fitted to the same few labels, makes what they say too sure.
    temperature = 1.0
    metrics, threshold = judge_labels(
        labels, fuse(listed[0], listed[1], weight), data.class_names, settings, temperature
    )
    checkpoints = [load_checkpoint(path, RECOGNISER) for path in saved]
    inner = {
        name: {"settings": checkpoint["settings"], "temperature": checkpoint["temperature"]}
        for name, checkpoint in zip((PIXELS, JOINTS), checkpoints, strict=True)
    }
    weights = {
        f"{name}.{key}": tensor
        for name, checkpoint in zip((PIXELS, JOINTS), checkpoints, strict=True)
        for key, tensor in checkpoint["network"].items()
    }
    payload = {
        "architecture": settings.architecture,
        "class_names": list(data.class_names),
        "settings": inner | {"weight": fused.weight},
        "working_threshold": threshold,
        "temperature": temperature,
        "identity": identity,
        "metrics": metrics,
        "network": weights,
    }
    save_checkpoint(target, payload, RECOGNISER)


def choose_weight(truth: np.ndarray, pixels: np.ndarray, joints: np.ndarray) -> float:
    """What pixels count against joints so that the truth (N,) is likeliest, probabilities (N, K); a half of nothing."""
    if not len(truth):
        return 0.5
    losses = [-logs_of(fuse(pixels, joints, weight)[np.arange(len(truth)), truth]).mean() for weight in WEIGHTS]
    best = np.flatnonzero(np.isclose(losses, min(losses)))
    return round(float(WEIGHTS[best[np.abs(WEIGHTS[best] - 0.5).argmin()]]), 4)
