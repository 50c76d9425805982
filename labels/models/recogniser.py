"""What every recogniser is: windows go in, class probabilities come out. And how one is built, saved and opened."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from labels.models.checkpoints import RECOGNISER, load_checkpoint
from labels.models.clip_networks import build_clip_network, kinetics_network
from labels.models.fused_recogniser import FusedRecogniser
from labels.models.pose_inputs import normalise
from labels.models.pose_networks import PoseSettings, build_pose_network
from labels.models.recogniser_settings import JOINTS, PIXELS, POSE_GRU, PRESETS, ZOO, Preset
from labels.models.skeletons import MIRROR, mirrored_classes
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest

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
    if architecture not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise InputError(f"recogniser '{architecture}': unknown; there is {known}, or one of pixels + one of joints")
    return PRESETS[architecture]


def build_recogniser(architecture: str, classes: int, preset: Preset, pretrained: bool) -> nn.Module:
    """A network of this name that takes windows of this preset and gives logits (B, K)."""
    preset_of(architecture)
    if preset.reads == JOINTS:
        kind = "gru" if architecture == POSE_GRU else "stgcn"
        return build_pose_network(classes, PoseSettings(kind=kind, times=preset.frames))
    return build_clip_network(architecture, classes, preset, pretrained)


def preset_from_file(checkpoint: dict[str, Any], where: str) -> Preset:
    """The windows that a checkpoint's network was trained on. InputError where they are none."""
    try:
        return replace(preset_of(checkpoint["architecture"]), **checkpoint["settings"])
    except TypeError:
        raise InputError(f"{where}: not a sound recogniser file: its settings are of no window") from None


def is_fusion(architecture: str) -> bool:
    """Whether a name is of two recognisers, of pixels and of joints: `cnn3d+pose`."""
    return "+" in architecture


def network_from_file(checkpoint: dict[str, Any], where: str) -> nn.Module:
    """The network of a recogniser's checkpoint, in evaluation mode on the CPU. InputError where the two do not fit."""
    architecture, names = checkpoint["architecture"], checkpoint["class_names"]
    try:
        preset = preset_from_file(checkpoint, where)
        network = build_recogniser(architecture, len(names), preset, pretrained=False)
        network.load_state_dict(checkpoint["network"])
    except (RuntimeError, TypeError):
        raise InputError(
            f"{where}: its weights do not fit the architecture {architecture} with {len(names)} classes"
        ) from None
    return network.eval()


def load_recogniser(
    name_or_file: str, device: str = "cpu", batch_size: int | None = None, pose: str | None = None
) -> Recogniser:
    """A file that train.py made, or a network of torchvision with its Kinetics-400 weights and classes.

    Args:
        pose: where joints come from, one of POSES; None: from where it was trained with. InputError for what looks at
            no joints.
    """
    path = Path(name_or_file)
    if path.suffix == ".pt" or path.is_file():
        found = recogniser_from_file(path, device, batch_size)
        return found if pose is None else with_pose(found, pose)
    if pose is not None:
        raise InputError(f"--pose {pose}: {name_or_file} looks at no joints; leave it out")
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
    for name, architecture in zip((PIXELS, JOINTS), checkpoint["architecture"].split("+"), strict=True):
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
        said = network(batch).float() / temperature
        probabilities = said.softmax(dim=1)
        if mirror is not None:
            turned = (network(mirrored(batch, reads)).float() / temperature).softmax(dim=1)
            probabilities = (probabilities + turned[:, list(mirror)]) / 2
    return probabilities.cpu().numpy().astype(np.float64)


def mirrored(batch: Tensor, reads: str) -> Tensor:
    """Windows as a mirror shows them: pixels (B, T, H, W, 3), or poses (B, T, J, 3), whose sides change places."""
    if reads != JOINTS:
        return batch.flip(3)
    turned = batch[:, :, list(MIRROR)].clone()
    turned[..., 0] = -turned[..., 0]
    return turned
