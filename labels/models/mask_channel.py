"""A mask as the fourth channel of what a recogniser looks at: who acts, beside how it looks.

The new weights of the first layer begin at zero, so that a pretrained recogniser gives at first what it gave before.
"""

import numpy as np
import torch
from torch import nn

from labels.records.mask_rle import decode_mask


def mask_clip(mask_rle: list[str], height: int, width: int) -> np.ndarray:
    """The masks of a clip's frames, (T, H, W) uint8, 0 or 255; a frame whose text is empty has none.

    Uint8 like the frames, so that cropping and resizing treat all four channels alike.
    """
    clip = np.zeros((len(mask_rle), height, width), dtype=np.uint8)
    for frame, counts in zip(clip, mask_rle, strict=True):
        if counts:
            frame[decode_mask(counts, height, width)] = 255
    return clip


def with_mask_channel(rgb: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """A clip (T, H, W, 3) and its masks (T, H, W) as (T, H, W, 4), all uint8."""
    if rgb.shape[:3] != masks.shape or rgb.shape[3:] != (3,):
        raise ValueError(f"a clip of {rgb.shape} and masks of {masks.shape}")
    return np.concatenate([rgb, masks[..., None]], axis=3)


def normalise_with_mask(clip: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(N, 4, T, H, W) 0 to 255 as float: colours by the recogniser's mean and std, the mask from -1 to 1."""
    scale = clip.new_tensor([255.0], dtype=torch.float32)
    middle = torch.tensor([*mean, 0.5], device=clip.device).view(1, 4, 1, 1, 1)
    spread = torch.tensor([*std, 0.5], device=clip.device).view(1, 4, 1, 1, 1)
    return (clip.float() / scale - middle) / spread


def widen_first_convolution(network: nn.Module, channels: int = 4) -> nn.Module:
    """Let the first convolution of a network see `channels` channels; those that are new weigh nothing at first.

    Works in place, on any network whose first convolution takes the three colours. ValueError for another.
    """
    convolutions = ((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d | nn.Conv3d))
    name, layer = next(convolutions, ("", None))
    if layer is None:
        raise ValueError("a network without a convolution has no first one to widen")
    if layer.in_channels != 3 or layer.groups != 1:
        raise ValueError(f"the first convolution takes {layer.in_channels} channels, not the three colours")
    wide = type(layer)(
        channels,
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
        wide.weight[:, :3] = layer.weight
        if layer.bias is not None and wide.bias is not None:
            wide.bias.copy_(layer.bias)
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], wide)
    return network
