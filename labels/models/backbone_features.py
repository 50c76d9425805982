"""What the first half of a ResNet that was trained on ImageNet sees in boxes."""

import numpy as np
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.transforms.functional import normalize

from labels.models.aligned_frames import to_working
from labels.models.deep_features import box_features
from labels.models.networks import fetch_weights
from labels.records.errors import InputError

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
