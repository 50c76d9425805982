"""Recognisers: windows go in, class probabilities come out. How one is built, fused, saved and loaded.

A fusion is a recogniser of pixels and one of joints on the same windows; their probabilities are averaged (late
fusion).

Features of a window are the input of the last layer, projected at random to fewer numbers and squashed into 0-1. A
random projection nearly preserves distances (Johnson and Lindenstrauss, 1984) and is the same in every run; features
are comparable within one recogniser only.

Classes of another data set are mapped to ours by a CSV `kinetics_class,class_name`, many to one; an empty name means
none of ours.
"""

import csv
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from labels.models.checkpoints import RECOGNISER, check_shapes, load_checkpoint
from labels.models.hub import HF
from labels.models.recognisers.clip_networks import build_clip_network, kinetics_network
from labels.models.recognisers.frozen import Probe, hub_recogniser, probe_preset
from labels.models.recognisers.pose_networks import (
    MIRROR,
    PoseSettings,
    build_pose_network,
    mirrored_classes,
    normalise,
)
from labels.models.recognisers.settings import (
    FEATURES,
    JOINTS,
    PIXELS,
    POSE_GRU,
    PRESETS,
    PROBE,
    ZOO,
    Preset,
    parts_of,
)
from labels.records.class_lists import CLASSES_FOLDER
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest

LEAST_PROBABILITY = 1e-6


def logs_of(probabilities: np.ndarray) -> np.ndarray:
    """The natural logarithms of probabilities of any shape, those under `LEAST_PROBABILITY` taken as that."""
    return np.log(np.clip(probabilities, LEAST_PROBABILITY, 1))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, K) from logits (N, K) over a temperature."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def tempered(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The softmax of (N, K) logits over a temperature, none under `LEAST_PROBABILITY`."""
    return np.clip(softmax(logits, temperature), LEAST_PROBABILITY, 1)


def fuse(pixels: np.ndarray, joints: np.ndarray, weight: float, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, K) of two, as softmax((weight log pixels + (1 - weight) log joints) / temperature)."""
    return softmax(weight * logs_of(pixels) + (1 - weight) * logs_of(joints), temperature)


def fused_preset(pixels: Preset, joints: Preset) -> Preset:
    """Windows of pixels, with those of joints beside them."""
    return replace(pixels, beside=joints)


class FusedRecogniser:
    """Two recognisers of the same classes as one. `weight` is what the one of pixels counts, 0 to 1."""

    def __init__(
        self,
        pixels: "Recogniser",
        joints: "Recogniser",
        weight: float,
        name: str,
        temperature: float = 1.0,
        working_threshold: dict[str, float] | None = None,
    ) -> None:
        if pixels.class_names != joints.class_names:
            raise ValueError(f"recognisers of other classes: {pixels.class_names} and {joints.class_names}")
        self.pixels, self.joints, self.weight, self.temperature = pixels, joints, weight, temperature
        self.name, self.class_names, self.working_threshold = name, pixels.class_names, working_threshold or {}
        self.device = pixels.device
        self.preset = fused_preset(pixels.preset, joints.preset)
        self.digest = digest_of([pixels.digest, joints.digest, weight, temperature])

    @property
    def parts(self) -> "dict[str, Recogniser]":
        """By what they look at."""
        return {PIXELS: self.pixels, JOINTS: self.joints}

    def recognise(self, windows: np.ndarray) -> np.ndarray:
        """Probabilities (N, K) of records of pixels and joints, (N,)."""
        return self.join(*(part.recognise(windows[reads]) for reads, part in self.parts.items()))

    def join(self, pixels: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """What it says of windows of which its parts say this, all (N, K)."""
        return fuse(pixels, joints, self.weight, self.temperature)


BATCH_CPU, BATCH_CUDA = 4, 32


class Recogniser(Protocol):
    """Torchvision's networks, our own, and the students of earlier rounds all look like this."""

    name: str  # what the user asked for
    digest: str  # changes when its answers may change
    class_names: tuple[str, ...]  # in the order of its probabilities
    preset: Preset  # the windows it wants
    device: str  # cpu or cuda
    working_threshold: dict[str, float]  # by class: from here it was right in validation; nothing where nobody looked

    def recognise(self, windows: np.ndarray) -> np.ndarray:
        """Probabilities (N, K) of windows: (N, T, h, w, 3) uint8, or joints (N, T, J, 2) with NaN for the unseen."""
        ...


def preset_of(architecture: str) -> Preset:
    """InputError, with the names there are, for an architecture nobody knows."""
    if architecture.startswith(PROBE):
        return probe_preset(architecture)
    if architecture not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise InputError(
            f"recogniser '{architecture}': unknown; there is {known}, {PROBE}… or one of pixels + one of joints"
        )
    return PRESETS[architecture]


def build_recogniser(architecture: str, classes: int, preset: Preset, pretrained: bool) -> nn.Module:
    """A network of this name that takes windows of this preset and gives logits (B, K)."""
    if preset.reads == FEATURES:
        return Probe(classes, *preset.features)
    preset_of(architecture)
    if preset.reads == JOINTS:
        kind = "gru" if architecture == POSE_GRU else "stgcn"
        return build_pose_network(classes, PoseSettings(kind=kind, times=preset.frames))
    return build_clip_network(architecture, classes, preset, pretrained)


def preset_from_file(checkpoint: dict[str, Any], where: str) -> Preset:
    """The windows that a checkpoint's network was trained on. InputError where they are none."""
    settings: dict[str, Any] = dict(checkpoint["settings"])
    if "features" in settings:
        settings["features"] = tuple(settings["features"])  # a list where it comes from JSON
    try:
        if checkpoint["architecture"].startswith(PROBE):  # its backbone is not opened before it is wanted
            return Preset(**settings)
        return replace(preset_of(checkpoint["architecture"]), **settings)
    except TypeError:
        raise InputError(f"{where}: not a sound recogniser file: its settings are of no window") from None


def is_fusion(architecture: str) -> bool:
    """Whether a name is of two recognisers, of pixels and of joints: `cnn3d+pose`."""
    return len(parts_of(architecture)) > 1


def network_from_file(checkpoint: dict[str, Any], where: str) -> nn.Module:
    """The network of a recogniser's checkpoint, in evaluation mode on the CPU. InputError where the two do not fit."""
    architecture, names = checkpoint["architecture"], checkpoint["class_names"]
    try:
        preset = preset_from_file(checkpoint, where)

        def build() -> nn.Module:
            return build_recogniser(architecture, len(names), preset, pretrained=False)

        check_shapes(checkpoint, build, where)
        network = build()
        network.load_state_dict(checkpoint["network"])
    except (RuntimeError, TypeError):
        raise InputError(
            f"{where}: its weights do not fit the architecture {architecture} with {len(names)} classes"
        ) from None
    return network.eval()


def load_recogniser(
    name_or_file: str, device: str = "cpu", batch_size: int | None = None, pose: str | None = None
) -> Recogniser:
    """A file that train.py made (.pt, .onnx), `hf:…`, or a network of torchvision with its Kinetics-400 weights.

    Args:
        pose: where joints come from, one of POSES; None: from where it was trained with. InputError for what looks at
            no joints.
    """
    path = Path(name_or_file)
    if path.suffix == ".onnx":
        from labels.models.exported import exported_recogniser

        found: Recogniser = exported_recogniser(path, batch_size)
        return found if pose is None else with_pose(found, pose)
    if path.suffix == ".pt" or path.is_file():
        found = recogniser_from_file(path, device, batch_size)
        return found if pose is None else with_pose(found, pose)
    if pose is not None:
        raise InputError(f"--pose {pose}: {name_or_file} looks at no joints; leave it out")
    if name_or_file.startswith(HF):
        network, names, preset, digest = hub_recogniser(name_or_file, device)
        return NetworkRecogniser(network, names, preset, name_or_file, digest, device, 1.0, batch_size)
    if name_or_file in ZOO:
        zoo, names = kinetics_network(name_or_file)
        digest = digest_of(["kinetics400", name_or_file, torch.__version__])
        return NetworkRecogniser(zoo, names, ZOO[name_or_file], name_or_file, digest, device, 1.0, batch_size)
    if name_or_file in PRESETS:
        raise InputError(
            f"--recogniser {name_or_file}: has no weights to label with; train one: "
            f"python train.py WORK --round 0 --task actions --architecture {name_or_file}, then name its recogniser.pt"
        )
    raise InputError(
        f"--recogniser {name_or_file}: no such file, and no such recogniser; there is human, "
        f"{', '.join(sorted(ZOO))}, or a recogniser.pt that train.py made"
    )


def recogniser_from_file(path: Path, device: str = "cpu", batch_size: int | None = None) -> Recogniser:
    """The recogniser of a checkpoint: a network, or a fusion of two. InputError for what is none."""
    checkpoint = load_checkpoint(path, RECOGNISER)
    temperature, digest = float(checkpoint.get("temperature", 1.0)), file_digest(path)
    trusted = {str(name): float(value) for name, value in checkpoint["working_threshold"].items()}

    def network(part: dict[str, Any], temperature: float) -> NetworkRecogniser:
        preset, names = preset_from_file(part, str(path)), tuple(part["class_names"])
        built = network_from_file(part, str(path))
        return NetworkRecogniser(built, names, preset, str(path), digest, device, temperature, batch_size, trusted)

    if not is_fusion(checkpoint["architecture"]):
        return network(checkpoint, temperature)
    try:
        pixels, joints = (network(part, float(part["temperature"])) for part in split_checkpoint(checkpoint))
        weight = float(checkpoint["settings"]["weight"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: not a sound recogniser file: its settings are of no fusion") from None
    return FusedRecogniser(pixels, joints, weight, str(path), temperature, trusted)


def split_checkpoint(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """The checkpoints that a fusion was made of: of pixels and of joints."""
    parts = []
    for name, architecture in zip((PIXELS, JOINTS), parts_of(checkpoint["architecture"]), strict=True):
        own = {
            key.removeprefix(f"{name}."): value for key, value in checkpoint["network"].items() if key.startswith(name)
        }
        parts.append(checkpoint | {"architecture": architecture, "network": own, **checkpoint["settings"][name]})
    return parts


def with_pose(recogniser: Recogniser, pose: str) -> Recogniser:
    """The same recogniser with joints from elsewhere. InputError for one that looks at none."""
    if isinstance(recogniser, FusedRecogniser):
        joints = with_pose(recogniser.joints, pose)
        return FusedRecogniser(
            recogniser.pixels,
            joints,
            recogniser.weight,
            recogniser.name,
            recogniser.temperature,
            recogniser.working_threshold,
        )
    if recogniser.preset.reads != JOINTS:
        raise InputError(f"--pose {pose}: {recogniser.name} looks at no joints; leave it out")
    recogniser.preset = replace(recogniser.preset, pose=pose)
    recogniser.digest = digest_of([recogniser.digest, pose])
    return recogniser


class NetworkRecogniser:
    """A network with the names of its classes. Each window is looked at as it is and mirrored, where classes allow."""

    def __init__(
        self,
        network: nn.Module,
        class_names: tuple[str, ...],
        preset: Preset,
        name: str,
        digest: str,
        device: str = "cpu",
        temperature: float = 1.0,
        batch_size: int | None = None,
        working_threshold: dict[str, float] | None = None,
    ) -> None:
        self.working_threshold = working_threshold or {}
        self.network, self.class_names, self.preset, self.name = network.to(device).eval(), class_names, preset, name
        self.device, self.temperature = device, temperature
        self.batch_size = batch_size or (BATCH_CUDA if device == "cuda" else BATCH_CPU)
        self.digest = digest_of([digest, temperature, asdict(preset)])

    def recognise(self, windows: np.ndarray) -> np.ndarray:
        parts = [
            self._probabilities(windows[first : first + self.batch_size])
            for first in range(0, len(windows), self.batch_size)
        ]
        return np.concatenate([np.zeros((0, len(self.class_names))), *parts])

    def _probabilities(self, windows: np.ndarray) -> np.ndarray:
        if self.preset.reads == JOINTS:
            batch = torch.from_numpy(np.stack([normalise(joints, self.preset.frames) for joints in windows]))
        else:
            batch = torch.from_numpy(np.array(windows))  # a copy: they may be mapped from a file
        return view_probabilities(
            self.network, batch.to(self.device), self.class_names, self.preset.reads, self.temperature
        )


def view_probabilities(
    network: nn.Module, batch: Tensor, class_names: tuple[str, ...], reads: str, temperature: float = 1.0
) -> np.ndarray:
    """The mean of the opinions on a batch and on its mirror image, (B, K); one of them where classes have a side."""
    device = batch.device.type
    mirror = mirrored_classes(class_names)
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        logits = network(batch).float() / temperature
        probabilities = logits.softmax(dim=1)
        if mirror is not None:
            turned = (network(mirrored(batch, reads)).float() / temperature).softmax(dim=1)
            probabilities = (probabilities + turned[:, list(mirror)]) / 2
    return probabilities.cpu().numpy().astype(np.float64)


def mirrored(batch: Tensor, reads: str) -> Tensor:
    """Windows as a mirror shows them: pixels (B, T, H, W, 3), features (B, 2, T, F), or poses (B, T, J, 3).

    The sides of poses change places.
    """
    if reads == FEATURES:  # those of the mirrored window lie beside
        return batch.flip(1)
    if reads != JOINTS:
        return batch.flip(3)
    turned = batch[:, :, list(MIRROR)].clone()
    turned[..., 0] = -turned[..., 0]
    return turned


NUMBERS = 32  # that features are projected to
SEED = 20080


def recognise_with_features(recogniser: Any, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) as `recognise` gives them, and features (N, NUMBERS) in 0-1, of what is not mirrored.

    Features are (N, 0) where the recogniser is not one network that ends in a linear layer.
    """
    last = _last_layer(getattr(recogniser, "network", None))
    if last is None or not len(windows):
        return recogniser.recognise(windows), np.zeros((len(windows), 0))
    seen: list[np.ndarray] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().float().cpu().numpy()))
    try:
        probabilities = recogniser.recognise(windows)
    finally:
        hook.remove()
    batches = math.ceil(len(windows) / recogniser.batch_size)
    straight = np.concatenate(
        seen[:: max(1, len(seen) // batches)]
    )  # each batch is looked at once, or once more mirrored
    if len(straight) % len(windows):
        return probabilities, np.zeros((len(windows), 0))
    # A network of single frames has a row a frame.
    return probabilities, squeeze(straight.reshape(len(windows), -1, straight.shape[-1]).mean(axis=1))


def squeeze(features: np.ndarray) -> np.ndarray:
    """(N, D) of any size as (N, NUMBERS) in 0-1: their directions, projected, 0 at a half."""
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    projection = np.random.default_rng(SEED).normal(size=(features.shape[1], NUMBERS)) / math.sqrt(NUMBERS)
    return np.clip(0.5 + directions @ projection, 0, 1)


def _last_layer(network: Any) -> nn.Linear | None:
    if not isinstance(network, torch.nn.Module):
        return None
    layers = [part for part in network.modules() if isinstance(part, nn.Linear)]
    return layers[-1] if layers else None


def read_class_map(name_or_file: str) -> dict[str, str]:
    """Their name -> ours, of `labels/classes/<name>.csv` or of a CSV file."""
    given = Path(name_or_file)
    path = given if given.suffix == ".csv" else CLASSES_FOLDER / f"{name_or_file}.csv"
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except OSError as error:
        known = ", ".join(sorted(listed.stem for listed in CLASSES_FOLDER.glob("*_to_*.csv")))
        raise InputError(f"{path}: {error.strerror}; the maps that come with Rally: {known}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8: {error}") from None
    if not rows or not {"kinetics_class", "class_name"} <= set(rows[0]):
        raise InputError(f"{path}: needs the columns kinetics_class and class_name")
    found = {(row["kinetics_class"] or "").strip(): (row["class_name"] or "").strip() for row in rows}
    if "" in found or not any(found.values()):
        raise InputError(f"{path}: a row without kinetics_class, or no class_name at all")
    return found


class MappedRecogniser:
    """A recogniser whose classes are added up to ours. What is left over is none of them, and is not said."""

    def __init__(self, recogniser: Recogniser, class_map: dict[str, str], where: str) -> None:
        unknown = sorted(set(class_map) - set(recogniser.class_names))
        if unknown:
            raise InputError(f"{where}: {recogniser.name} knows no class '{unknown[0]}' ({len(unknown)} unknown)")
        self._recogniser = recogniser
        self.class_map = class_map
        self.class_names = tuple(sorted(set(class_map.values()) - {""}))
        self.working_threshold: dict[str, float] = {}  # theirs say nothing of ours
        self.name, self.preset, self.device = recogniser.name, recogniser.preset, recogniser.device
        # What looks at pixels is theirs: `window_features` takes what it sees.
        self.network, self.batch_size = getattr(recogniser, "network", None), getattr(recogniser, "batch_size", 1)
        self.digest = digest_of([recogniser.digest, class_map])
        self._sums = np.zeros((len(recogniser.class_names), len(self.class_names)))
        for theirs, ours in class_map.items():
            if ours:
                self._sums[recogniser.class_names.index(theirs), self.class_names.index(ours)] = 1

    def recognise(self, windows: np.ndarray) -> np.ndarray:
        """(N, K), rows that add up to at most 1: the rest is none of the classes."""
        return self._recogniser.recognise(windows) @ self._sums
