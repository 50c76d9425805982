"""Deep features of boxes: a network's feature map averaged over each box (RoIAlign, He et al. 2017, arXiv 1703.06870).

The network is the first half of a ResNet trained on ImageNet, or any network run on crops around the boxes: a .onnx
file (RGB normalised as for ImageNet, (N, F) out) or one of the Hugging Face hub (DINOv2, CLIP, …).

Only the direction of a feature vector is kept, in at most LENGTH numbers of 0-1, as labels carry them
(`records.detections`). Longer vectors are projected at random first, which nearly preserves distances (Johnson and
Lindenstrauss, 1984).

BallNet has no features of its own here: on rendered clips its last map told wrong tracks from right ones no better
than chance, and its earlier maps no better than colours and edges.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.ops import roi_align
from torchvision.transforms.functional import normalize

from labels.models.checkpoints import fetch_weights
from labels.models.detectors.ballnet import to_working
from labels.models.detectors.onnx_files import open_session, read_header
from labels.models.detectors.onnx_layouts import IMAGENET_MEAN, IMAGENET_STD, image_input
from labels.models.hub import HF, find_hub_model
from labels.records.errors import InputError
from labels.records.safe_writing import file_digest

LENGTH = 64
SPREAD = 4.0  # standard deviations of a direction's coordinates that 0-1 holds


def box_features(maps: Tensor, boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each of B maps (B, C, h, w) and its boxes (N, 4) in cells of the map: (N, min(C, LENGTH)) float32 in 0-1."""
    rois = [torch.from_numpy(np.asarray(xyxy, dtype=np.float32).reshape(-1, 4)).to(maps.device) for xyxy in boxes]
    found = roi_align(maps.float(), rois, output_size=1, aligned=True).flatten(1)  # (all N, C)
    return np.split(as_shares(found), np.cumsum([len(xyxy) for xyxy in boxes])[:-1])


def as_shares(vectors: Tensor) -> np.ndarray:
    """Feature vectors (N, F) as their directions, (N, min(F, LENGTH)) float32 in 0-1."""
    if vectors.shape[1] > LENGTH:
        vectors = vectors @ _projection(vectors.shape[1]).to(vectors.device)
    directions = nn.functional.normalize(vectors, dim=1) * (math.sqrt(vectors.shape[1]) / SPREAD)
    return (directions.clamp(-1, 1) / 2 + 0.5).cpu().numpy()


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


MARGIN = 1.5  # of a box's longer side: what it lies on tells too
TOGETHER = 32  # crops that go through a network at once
LONG_SIDE = 1280  # pixels; larger frames are reduced to it


class BoxFeatures(Protocol):
    """What a network sees in boxes."""

    name: str  # another one where the features would be others

    def __call__(self, rgb: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
        """Features (N, F) float32 in 0-1 of boxes (N, 4) of one frame (H, W, 3) uint8."""
        ...


def load_box_features(name: str, device: str) -> BoxFeatures:
    """One of `settings.BACKBONES`, a .onnx file, or `hf:…`. InputError for one that cannot be had or used."""
    if name.startswith(HF):
        return HubFeatures(name, device)
    return OnnxFeatures(Path(name), device) if name.endswith(".onnx") else BackboneFeatures(name, device)


class CropFeatures:
    """A network that looks at squares around boxes, MARGIN times as large. A kind says what it sees in them."""

    name = ""
    side = 224  # pixels that a square is brought to

    def vectors(self, crops: np.ndarray) -> Tensor:
        """(N, F) of crops (N, side, side, 3) uint8, N > 0."""
        raise NotImplementedError

    def __call__(self, rgb: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
        if not len(xyxy):
            return np.zeros((0, LENGTH), dtype=np.float32)
        centre, side = (xyxy[:, :2] + xyxy[:, 2:]) / 2, (xyxy[:, 2:] - xyxy[:, :2]).max(axis=1).clip(1) * MARGIN
        crops = np.stack([self._cut(rgb, *place) for place in zip(centre, side, strict=True)])
        parts = [self.vectors(crops[start : start + TOGETHER]) for start in range(0, len(crops), TOGETHER)]
        return as_shares(torch.cat(parts).float())

    def _cut(self, rgb: np.ndarray, centre: np.ndarray, side: float) -> np.ndarray:
        """A square around a point; beyond the frame its edge goes on."""
        scale = side / self.side
        low = centre - side / 2 + (scale - 1) / 2  # pixel centres stay pixel centres
        grid = np.array([[scale, 0, low[0]], [0, scale, low[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(rgb, grid, (self.side, self.side), flags=flags, borderMode=cv2.BORDER_REPLICATE)


class OnnxFeatures(CropFeatures):
    """InputError, one line, for a file that is not ONNX, or gives no features of square pictures."""

    def __init__(self, path: Path, device: str) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such backbone file")
        header = read_header(path)
        self._image = image_input(path, header)
        width, height = self._image.size or (self.side, self.side)
        if width != height:
            raise InputError(f"{path}: looks at {width}x{height}, and crops are square")
        self.side, self._session = width, open_session(path, header, device)
        self.name = f"{path.stem}@{file_digest(path)[:12]}"
        found = self._run(np.zeros((1, width, width, 3), dtype=np.uint8))
        if found.ndim not in (2, 4) or not len(found) or found.shape[1] < 2:
            raise InputError(f"{path}: gives {found.shape}; features are (crops, numbers) or a map of them")

    def _run(self, crops: np.ndarray) -> np.ndarray:
        values = crops if self._image.takes_bytes else (crops / np.float32(255) - IMAGENET_MEAN) / IMAGENET_STD
        return self._session.run({self._image.name: self._image.feed(list(values), self._image.batch or len(crops))})[0]

    def vectors(self, crops: np.ndarray) -> Tensor:
        at_once = self._image.batch or len(crops)
        parts = [self._run(crops[start : start + at_once]) for start in range(0, len(crops), at_once)]
        found = torch.from_numpy(np.concatenate(parts)[: len(crops)])
        return found.mean(dim=(2, 3)) if found.ndim == 4 else found


class HubFeatures(CropFeatures):
    """The picture's vector of a vision network: DINOv2, DINOv3, or the vision half of CLIP or SigLIP."""

    def __init__(self, name: str, device: str) -> None:
        hub = find_hub_model("--set backbone", name)
        from transformers import AutoImageProcessor, AutoModel

        self._device, self._processor = device, hub.load(AutoImageProcessor)
        self._network = hub.load_network(AutoModel, device)
        self.name = f"{Path(hub.place).name}@{hub.digest[:12]}"
        self.vectors(np.zeros((1, self.side, self.side, 3), dtype=np.uint8))

    def vectors(self, crops: np.ndarray) -> Tensor:
        inputs = self._processor(images=list(crops), return_tensors="pt", input_data_format="channels_last")
        pixels = inputs["pixel_values"].to(self._device)
        with torch.inference_mode():
            whole = getattr(self._network, "get_image_features", self._network)
            output = whole(pixel_values=pixels)
        found = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
        if found is None:
            found = output.last_hidden_state[:, 0]
        return found.float()


class BackboneFeatures:
    """One of `settings.BACKBONES`, on a device. InputError where its weights cannot be had, or are not its own."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self._device = name, device
        network = get_model(name)
        try:
            network.load_state_dict(fetch_weights(name, "leave it out", "ImageNet "))
        except RuntimeError:
            raise InputError(f"--set backbone {name}: the file of it in torch's cache holds other weights") from None
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
