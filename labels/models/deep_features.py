"""What networks see in boxes: a feature map, averaged over each box (RoIAlign, He et al. 2017, arXiv 1703.06870).

Only the direction of a feature vector is kept, in at most LENGTH numbers of 0-1, as labels carry them
(`records/features`). Longer vectors are projected at random first, which keeps distances (Johnson and Lindenstrauss,
1984).

BallNet does not tell its own: on rendered clips what its heat map is read from tells wrong tracks from right ones no
better than chance, and its earlier maps not better than colours and edges do. It errs where it sees nothing amiss.

What the first half of a ResNet that was trained on ImageNet sees in boxes.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.ops import roi_align
from torchvision.transforms.functional import normalize

from labels.models.checkpoints import fetch_weights
from labels.models.detectors.ballnet import to_working
from labels.records.errors import InputError

LENGTH = 64
SPREAD = 4.0  # standard deviations of a direction's coordinates that 0-1 holds


def box_features(maps: Tensor, boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each of B maps (B, C, h, w) and its boxes (N, 4) in cells of the map: (N, min(C, LENGTH)) float32 in 0-1."""
    rois = [torch.from_numpy(np.asarray(xyxy, dtype=np.float32).reshape(-1, 4)).to(maps.device) for xyxy in boxes]
    found = roi_align(maps.float(), rois, output_size=1, aligned=True).flatten(1)  # (all N, C)
    if found.shape[1] > LENGTH:
        found = found @ _projection(found.shape[1]).to(found.device)
    directions = nn.functional.normalize(found, dim=1) * (math.sqrt(found.shape[1]) / SPREAD)
    shares = (directions.clamp(-1, 1) / 2 + 0.5).cpu().numpy()
    return np.split(shares, np.cumsum([len(xyxy) for xyxy in boxes])[:-1])


@contextmanager
def outputs_of(*parts: nn.Module) -> Iterator[list[list[Any]]]:
    """What each of some parts of a network gives while this holds, in the order it gives it."""
    seen: list[list[Any]] = [[] for _ in parts]
    hooks = [
        part.register_forward_hook(lambda _, __, output, into=into: into.append(output))
        for part, into in zip(parts, seen, strict=True)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@cache
def _projection(length: int) -> Tensor:
    return torch.randn(length, LENGTH, generator=torch.Generator().manual_seed(0)) / math.sqrt(LENGTH)


LONG_SIDE = 1280  # pixels; larger frames are reduced to it


class BackboneFeatures:
    """One of `settings.BACKBONES`, on a device. InputError where its weights cannot be had, or are not its own."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self._device = name, device
        network = get_model(name)
        try:
            network.load_state_dict(fetch_weights(name, "leave --backbone out", "ImageNet "))
        except RuntimeError:
            raise InputError(f"--backbone {name}: the file of it in torch's cache holds other weights") from None
        stem = (network.conv1, network.bn1, network.relu, network.maxpool)
        half = nn.Sequential(*stem, network.layer1, network.layer2).eval()
        self._network = half.to(device).to(memory_format=torch.channels_last)
        self._preset = get_model_weights(name).DEFAULT.transforms()

    def __call__(self, rgb: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
        """Features (N, F) float32 in 0-1 of boxes (N, 4) of one frame (H, W, 3) uint8; see `deep_features`."""
        seen = np.ascontiguousarray(to_working(rgb, LONG_SIDE))
        pixels = torch.from_numpy(seen).to(self._device).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            maps = self._network(normalize(pixels, self._preset.mean, self._preset.std)[None])
        cells = np.array(maps.shape[:1:-1]) / np.array(rgb.shape[1::-1])  # a pixel's width and height in cells
        return box_features(maps, [xyxy * np.tile(cells, 2)])[0]
