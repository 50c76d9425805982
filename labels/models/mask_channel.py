"""A mask as the fourth channel of what a recogniser looks at: who acts, beside how it looks.

The new weights of the first layer begin at zero, so that a pretrained recogniser gives at first what it gave before.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from labels.models.clip_networks import ClipNetwork

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
