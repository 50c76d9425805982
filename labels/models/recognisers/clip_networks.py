"""Networks that recognise actions in pixels: our own `cnn3d`, `tsn_resnet50`, and torchvision's by their names.

Each is a `ClipNetwork`: it takes windows as they are cut, (B, T, H, W, 3) uint8, resizes and normalises them for its
backbone, and returns logits (B, K).

A mask can be a fourth input channel that marks who acts. The new weights of the first layer start at zero, so that a
pretrained recogniser begins with the same output as without it.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labels.models.checkpoints import fetch_weights
from labels.models.recognisers.settings import CNN3D, TSN, ZOO, Preset

COLOURS = 3
MIDDLE = 127.5  # a mask, 0 or 255, is seen from -1 to 1


def with_mask_channel(rgb: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """A clip (T, H, W, 3) and its masks (T, H, W) as (T, H, W, 4), all uint8."""
    if rgb.shape[:3] != masks.shape or rgb.shape[3:] != (COLOURS,):
        raise ValueError(f"a clip of {rgb.shape} and masks of {masks.shape}")
    return np.concatenate([rgb, masks[..., None]], axis=3)


def see_masks(network: "ClipNetwork") -> "ClipNetwork":
    """Let a network of clips (B, T, H, W, 3) take (B, T, H, W, 4), 0 to 255; in place."""
    widen_first_convolution(network.backbone)
    one = network.mean.new_full((1, 1, 1, 1), MIDDLE)
    network.mean, network.std = torch.cat([network.mean, one]), torch.cat([network.std, one])
    network.preset = replace(network.preset, masked=True)
    return network


def widen_first_convolution(network: nn.Module) -> nn.Module:
    """Let the first convolution of a network see a mask after each three colours; what is new weighs nothing at first.

    Works in place, on any network whose first convolution takes the three colours, or several images of them one after
    the other, as `cnn3d` does. ValueError for another.
    """
    convolutions = ((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d | nn.Conv3d))
    name, layer = next(convolutions, ("", None))
    if layer is None:
        raise ValueError("a network without a convolution has no first one to widen")
    if layer.in_channels % COLOURS or layer.groups != 1:
        raise ValueError(f"the first convolution takes {layer.in_channels} channels, not the three colours")
    images = layer.in_channels // COLOURS
    wide = type(layer)(
        images * (COLOURS + 1),
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    ).to(layer.weight.device, layer.weight.dtype)
    with torch.no_grad():
        wide.weight.zero_()
        wide.weight.unflatten(1, (images, COLOURS + 1))[:, :, :COLOURS] = layer.weight.unflatten(1, (images, COLOURS))
        if layer.bias is not None and wide.bias is not None:
            wide.bias.copy_(layer.bias)
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], wide)
    return network


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WITHOUT_WEIGHTS = f"train with --from-scratch, or as --architecture {CNN3D}"


class ClipNetwork(nn.Module):
    """A backbone with what stands before it. With `frozen_norms` its batch norms keep the statistics they came with."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, preset: Preset, mean: Any, std: Any, frozen_norms: bool = False) -> None:
        super().__init__()
        self.backbone, self.preset, self.frozen_norms = backbone, preset, frozen_norms
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1, 1) * 255, persistent=False)

    def prepare(self, windows: Tensor) -> Tensor:
        """Windows (B, T, H, W, 3) uint8 to (B, 3, T, crop, crop) float: the middle, as the preset has it."""
        clips = windows.permute(0, 4, 1, 2, 3).float()  # (B, 3, T, H, W)
        if min(clips.shape[3:]) < self.preset.crop:
            scale = self.preset.crop / min(clips.shape[3:])
            size = (clips.shape[2], *(max(self.preset.crop, round(side * scale)) for side in clips.shape[3:]))
            clips = nn.functional.interpolate(clips, size, mode="trilinear", align_corners=False)
        top, left = ((side - self.preset.crop) // 2 for side in clips.shape[3:])
        return clips[:, :, :, top : top + self.preset.crop, left : left + self.preset.crop]

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (B, T, H, W, 3) uint8, or what `prepare` made of them, augmented, to logits (B, K)."""
        clips = windows if windows.is_floating_point() else self.prepare(windows)
        return self.backbone((clips - self.mean) / self.std)

    def train(self, mode: bool = True) -> "ClipNetwork":
        super().train(mode)
        if self.frozen_norms:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
                    part.eval()
        return self


class Factored(nn.Sequential):
    """A 3D convolution as one over the picture and one over time, as in R(2+1)D (arxiv.org/abs/1711.11248)."""

    def __init__(self, inside: int, outside: int, stride: int, time_stride: int) -> None:
        super().__init__(
            nn.Conv3d(inside, outside, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(outside),
            nn.ReLU(),
            nn.Conv3d(outside, outside, (3, 1, 1), (time_stride, 1, 1), (1, 0, 0), bias=False),
            nn.BatchNorm3d(outside),
            nn.ReLU(),
        )


class Cnn3d(nn.Module):
    """Our own: small enough to learn from nothing on two cores. It sees each frame and what changed since the last."""

    def __init__(self, classes: int, width: int = 16, dropout: float = 0.3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Factored(6, width, 2, 1),
            Factored(width, 2 * width, 2, 2),
            Factored(2 * width, 4 * width, 2, 2),
            Factored(4 * width, 6 * width, 2, 1),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * 6 * width, classes)

    def forward(self, clips: Tensor) -> Tensor:  # (B, 3, T, H, W)
        change = torch.zeros_like(clips)
        change[:, :, 1:] = (clips[:, :, 1:] - clips[:, :, :-1]) * 2
        values = self.body(torch.cat([clips, change], dim=1)).mean(dim=2)  # (B, C, h, w)
        # What is everywhere a little, and what is somewhere much: a hand is small.
        pooled = torch.cat([values.mean(dim=(2, 3)), values.amax(dim=(2, 3))], dim=1)
        return self.head(self.dropout(pooled))


class SegmentNetwork(nn.Module):
    """TSN (arxiv.org/abs/1608.00859): a 2D network over each frame of a window, whose opinions are averaged."""

    def __init__(self, frames: nn.Module) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, clips: Tensor) -> Tensor:  # (B, 3, T, H, W)
        batch, _, times = clips.shape[:3]
        scores = self.frames(clips.transpose(1, 2).flatten(0, 1))  # (B T, K)
        return scores.view(batch, times, -1).mean(dim=1)


def build_clip_network(architecture: str, classes: int, preset: Preset, pretrained: bool) -> ClipNetwork:
    """A network of this name for so many classes.

    Args:
        pretrained: start from torchvision's weights (Kinetics-400; ImageNet for TSN), all but the head. `cnn3d` has
            none and starts from chance either way.
    """
    if preset.masked:  # what is new weighs nothing at first, so that the weights stay what they were
        return see_masks(build_clip_network(architecture, classes, replace(preset, masked=False), pretrained))
    if architecture == CNN3D:
        return ClipNetwork(Cnn3d(classes), preset, (0.45, 0.45, 0.45), (0.25, 0.25, 0.25))
    from torchvision.models import get_model, get_model_weights

    if architecture == TSN:
        frames = get_model("resnet50", weights=None, num_classes=classes)
        if pretrained:
            take_what_fits(frames, fetch_weights("resnet50", WITHOUT_WEIGHTS))
        return ClipNetwork(SegmentNetwork(frames), preset, IMAGENET_MEAN, IMAGENET_STD, frozen_norms=pretrained)
    backbone = get_model(architecture, weights=None, num_classes=classes)
    if pretrained:
        take_what_fits(backbone, fetch_weights(architecture, WITHOUT_WEIGHTS))
    mean, std = preset_colours(get_model_weights(architecture).DEFAULT)
    return ClipNetwork(backbone, preset, mean, std, frozen_norms=pretrained)


def preset_colours(weights: Any) -> tuple[Any, Any]:
    """Mean and deviation that a set of torchvision's weights was trained with."""
    transform = weights.transforms()
    return transform.mean, transform.std


def kinetics_network(architecture: str) -> tuple[ClipNetwork, tuple[str, ...]]:
    """A network of torchvision with its Kinetics-400 weights, head and all, and the names of its classes."""
    from torchvision.models import get_model_weights

    weights: Any = get_model_weights(architecture).DEFAULT
    names = tuple(weights.meta["categories"])
    network = build_clip_network(architecture, len(names), ZOO[architecture], pretrained=False)
    network.backbone.load_state_dict(fetch_weights(architecture, f"say --recogniser {CNN3D}'s file, or human"))
    return network, names


def take_what_fits(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load every tensor whose name and shape the network has: all but the layers that depend on the classes."""
    own = network.state_dict()
    network.load_state_dict(
        {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape},
        strict=False,
    )
