"""What the first half of a ResNet that was trained on ImageNet sees in boxes."""

from functools import cached_property

import numpy as np
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.transforms.functional import normalize

from labels.models.aligned_frames import to_working
from labels.models.appearance import BACKBONE
from labels.models.deep_features import box_features
from labels.models.loading import torch_device
from labels.models.networks import fetch_weights

LONG_SIDE = 1280  # pixels; larger frames are reduced to it


class BackboneFeatures:
    """Weights are read when it is first asked. InputError when they are not what torchvision says they are."""

    name = BACKBONE

    def __init__(self, device: str) -> None:
        self._device = device

    @cached_property
    def _network(self) -> nn.Module:
        network = get_model(BACKBONE)
        network.load_state_dict(fetch_weights(BACKBONE, "take its file out of there", "ImageNet "))
        stem = (network.conv1, network.bn1, network.relu, network.maxpool)
        half = nn.Sequential(*stem, network.layer1, network.layer2).eval()
        return half.to(torch_device(self._device)).to(memory_format=torch.channels_last)

    def __call__(self, rgb: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
        """Features (N, F) float32 in 0-1 of boxes (N, 4) of one frame (H, W, 3) uint8; see `deep_features`."""
        preset = get_model_weights(BACKBONE).DEFAULT.transforms()
        device = next(self._network.parameters()).device
        seen = np.ascontiguousarray(to_working(rgb, LONG_SIDE))
        pixels = torch.from_numpy(seen).to(device).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            maps = self._network(normalize(pixels, preset.mean, preset.std)[None])
        cells = np.array(maps.shape[:1:-1]) / np.array(rgb.shape[1::-1])  # a pixel's width and height in cells
        return box_features(maps, [xyxy * np.tile(cells, 2)])[0]
