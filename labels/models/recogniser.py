"""What every recogniser is: windows go in, class probabilities come out. And how one is built, saved and opened."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from labels.models.checkpoints import RECOGNISER, load_checkpoint
from labels.models.clip_networks import build_clip_network, kinetics_network
from labels.models.pose_inputs import normalise
from labels.models.pose_networks import PoseSettings, build_pose_network
from labels.models.recogniser_settings import JOINTS, POSE_GRU, PRESETS, ZOO, Preset
from labels.models.skeletons import MIRROR, mirrored_classes
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest
from labels.videos.windows import WindowShape

BATCH_CPU, BATCH_CUDA = 4, 32


class Recogniser(Protocol):
    """Torchvision's networks, our own, and the students of earlier rounds all look like this."""

    name: str  # what the user asked for
    digest: str  # changes when its answers may change
    class_names: tuple[str, ...]  # in the order of its probabilities
    preset: Preset  # the windows it wants
    working_threshold: dict[str, float]  # by class: from here it was right in validation; nothing where nobody looked

    def recognise(self, windows: np.ndarray) -> np.ndarray:
        """Probabilities (N, K) of windows: (N, T, h, w, 3) uint8, or joints (N, T, J, 2) with NaN for the unseen."""
        ...


def window_shape(preset: Preset, views: int = 2) -> WindowShape:
    """How windows are cut for a preset; each moment is in `views` of them."""
    return WindowShape(preset.frames, preset.rate, preset.side or 128, max(1, preset.frames // views))


def preset_of(architecture: str) -> Preset:
    """InputError, with the names there are, for an architecture nobody knows."""
    if architecture not in PRESETS:
        raise InputError(f"recogniser '{architecture}': unknown; there is {', '.join(sorted(PRESETS))}")
    return PRESETS[architecture]


def build_recogniser(architecture: str, classes: int, preset: Preset, pretrained: bool) -> nn.Module:
    """A network of this name that takes windows of this preset and gives logits (B, K)."""
    preset_of(architecture)
    if preset.reads == JOINTS:
        kind = "gru" if architecture == POSE_GRU else "stgcn"
        return build_pose_network(classes, PoseSettings(kind=kind, times=preset.frames))
    return build_clip_network(architecture, classes, preset, pretrained)


def network_from_file(checkpoint: dict[str, Any], where: str) -> nn.Module:
    """The network of a recogniser's checkpoint, in evaluation mode on the CPU. InputError where the two do not fit."""
    architecture, names = checkpoint["architecture"], checkpoint["class_names"]
    try:
        preset = replace(preset_of(architecture), **checkpoint["settings"])
        network = build_recogniser(architecture, len(names), preset, pretrained=False)
        network.load_state_dict(checkpoint["network"])
    except (RuntimeError, TypeError):
        raise InputError(
            f"{where}: its weights do not fit the architecture {architecture} with {len(names)} classes"
        ) from None
    return network.eval()


def load_recogniser(name_or_file: str, device: str = "cpu", batch_size: int | None = None) -> "NetworkRecogniser":
    """A file that train.py made, or a network of torchvision with its Kinetics-400 weights and classes."""
    path = Path(name_or_file)
    if path.suffix == ".pt" or path.is_file():
        checkpoint = load_checkpoint(path, RECOGNISER)
        network = network_from_file(checkpoint, str(path))
        preset = replace(preset_of(checkpoint["architecture"]), **checkpoint["settings"])
        names = tuple(checkpoint["class_names"])
        temperature = float(checkpoint.get("temperature", 1.0))
        trusted = {str(name): float(value) for name, value in checkpoint["working_threshold"].items()}
        digest = file_digest(path)
        return NetworkRecogniser(network, names, preset, str(path), digest, device, temperature, batch_size, trusted)
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
