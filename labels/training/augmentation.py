"""Crops, flips and light for training. Geometry goes through torchvision's v2 transforms, which move the boxes along.

A frame and its neighbours are treated alike: what differs between them must be what moved.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from labels.models.ballnet import GREY


@dataclass(frozen=True)
class AugmentationSettings:
    scale: tuple[float, float] = (0.7, 1.5)  # of things in a crop, drawn evenly in the logarithm
    near_object: float = 0.9  # share of the crops that hold a kept box, where the frame has one
    near_dropped: float = 0.05  # ... a dropped one, where the frame has one
    kept_share: float = 0.6  # of a box that must be left in the crop; a smaller rest is ignored
    # Strong, because a few clips hold few colours: after 300 steps on twelve synthetic clips, F1 on held-out ones was
    # 0.48 with swapped channels and 0.42 with gentle changes, which fitted the clips trained on better (0.56 and 0.71).
    brightness: float = 0.35
    contrast: float = 0.4
    colour: float = 0.25  # of each channel by itself
    swapped: float = 0.5  # share of the triples whose colour channels change places
    colourless: float = 0.2
    inverted: float = 0.15
    noise: float = 8.0  # grey levels, the most
    blurred: float = 0.15  # share of the triples that are made less sharp
    noisy: float = 0.25


@dataclass(frozen=True)
class Crop:
    """A training crop: `triple` (5, side, side) uint8; boxes in its pixels, with the rows they came from."""

    triple: Tensor
    xyxy: Tensor  # (N, 4)
    row: Tensor  # (N,) which of the boxes that came in
    share: Tensor  # (N,) how much of the box is in the crop


def draw_window(
    width: int, height: int, side: int, centres: np.ndarray, settings: AugmentationSettings
) -> tuple[int, int, int]:
    """(left, top, size) of a square to crop, random; `centres` (N, 2) are places that it should hold, one of them.

    It stays in the frame unless the frame is smaller than the crop.
    """
    low, high = np.log(settings.scale)
    size = round(side / float(np.exp(low + (high - low) * torch.rand(()).item())))
    shorter = min(width, height)
    if side <= shorter < size:
        size = shorter
    if len(centres):
        centre = centres[int(torch.randint(len(centres), ()))]
        place = (torch.rand(2).numpy() * 0.8 + 0.1) * size  # where in the crop the centre comes to lie
        left, top = (centre - place).round()
    else:
        left, top = torch.rand(2).numpy() * np.maximum([width - size, height - size], 0)
    left = np.clip(left, min(0, width - size), max(0, width - size))
    top = np.clip(top, min(0, height - size), max(0, height - size))
    return int(left), int(top), size


def crop_triple(triple: Tensor, xyxy: np.ndarray, window: tuple[int, int, int], side: int) -> Crop:
    """Cut a window out of a triple (5, h, w), bring it to `side` x `side` pixels, mirror half of them."""
    left, top, size = window
    height, width = triple.shape[-2:]
    boxes = tv_tensors.BoundingBoxes(torch.from_numpy(xyxy), format="XYXY", canvas_size=(height, width))
    picture = functional.crop(triple, top, left, size, size)
    boxes = functional.crop(boxes, top, left, size, size)
    whole = torch.from_numpy(xyxy[:, 2:] - xyxy[:, :2]).prod(dim=1)
    left_over = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
    share = (left_over / whole.clamp(min=1e-6)).as_subclass(Tensor)
    if size != side:
        picture = functional.resize(picture, [side, side], antialias=size > side)
        boxes = functional.resize(boxes, [side, side])
    # v2 takes a picture of any number of channels, so a frame and its grey neighbours are mirrored as one.
    picture, boxes = v2.RandomHorizontalFlip(0.5)(tv_tensors.Image(picture), boxes)
    there = share > 0
    return Crop(picture.as_subclass(Tensor), boxes.as_subclass(Tensor)[there], torch.nonzero(there)[:, 0], share[there])


def change_light(triples: Tensor, settings: AugmentationSettings) -> Tensor:
    """Brightness, contrast, colour, noise and sharpness of (B, 5, H, W) uint8, drawn for each triple: float.

    The neighbours, which are grey, follow: a difference to them grows with the contrast and changes in no other way.
    """
    count = len(triples)
    colour, neighbours = triples.float().split([3, 2], dim=1)

    def draw(channels: int, reach: float) -> Tensor:
        return (torch.rand(count, channels, 1, 1) * 2 - 1) * reach

    change = _grey(colour) - neighbours
    places = torch.argsort(torch.rand(count, 3), dim=1)
    places[torch.rand(count) >= settings.swapped] = torch.arange(3)
    colour = colour.gather(1, places[:, :, None, None].expand_as(colour))
    colourless = torch.rand(count) < settings.colourless
    colour[colourless] = _grey(colour[colourless]).expand(-1, 3, -1, -1)
    gain = 1 + draw(1, settings.contrast)
    sign = torch.where(torch.rand(count, 1, 1, 1) < settings.inverted, -1.0, 1.0)
    mean = colour.mean(dim=(1, 2, 3), keepdim=True)
    middle = torch.where(sign < 0, 255 - mean, mean) * (1 + draw(1, settings.brightness))
    colour = ((colour - mean) * gain * sign + middle) * (1 + draw(3, settings.colour))
    colour = colour.clamp_(0, 255)
    light = torch.cat([colour, _grey(colour) - change * gain * sign], dim=1)
    blurred = torch.rand(count) < settings.blurred
    if blurred.any():
        light[blurred] = torch.nn.functional.avg_pool2d(light[blurred], 3, 1, 1, count_include_pad=False)
    noisy = torch.rand(count) < settings.noisy
    if noisy.any():
        strength = torch.rand(int(noisy.sum()), 1, 1, 1) * settings.noise
        light[noisy] += torch.randn_like(light[noisy]) * strength
    return light


def _grey(colour: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 1, H, W)."""
    return (colour * GREY[:, None, None]).sum(dim=1, keepdim=True)
