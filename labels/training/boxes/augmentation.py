"""Augmentation for detectors: crops, flips, colour and copy-paste, applied alike to a frame and its neighbours.

Geometry goes through torchvision's v2 transforms, which move the boxes along. What differs between the frames of a
triple must be what moved, hence the same parameters for all three.

Copy-paste shows certain objects again in other places (Ghiasi et al. 2021, arXiv 2012.07177), because a few clips show
a ball against few backgrounds. In the neighbouring frames, an object at rest is pasted in the same place, one in flight
where it would be at constant speed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from labels.models.detectors.ballnet import GREY
from labels.records.geometry import iou_matrix


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


TRIES = 4  # for a place where nothing else is
LEAST_SIDE = 3.0  # working pixels; less shows nothing


@dataclass(frozen=True)
class PasteSettings:
    share: float = 0.3  # of the pictures that get one more object
    least_weight: float = 0.8  # quality of a label that may be copied
    scale: tuple[float, float] = (0.7, 1.4)  # of its size
    speed: tuple[float, float] = (0.3, 3.0)  # of what flies, in its own sizes a frame
    least_change: float = 8.0  # grey levels, on average over the object, to a neighbour: it flies


@dataclass(frozen=True)
class Cutting:
    """An object cut out of a picture: `colour` (3, h, w) as there, `cover` (h, w) 0-1, how much it hides the rest."""

    colour: Tensor
    cover: Tensor
    flies: bool = True


def cut_out(picture: Tensor, xyxy: np.ndarray, settings: PasteSettings) -> Cutting | None:
    """The ellipse in a box of a picture (3 or more, H, W), its size changed a little; None when too little is there."""
    height, width = picture.shape[-2:]
    left, top = max(0, int(np.floor(xyxy[0]))), max(0, int(np.floor(xyxy[1])))
    right, bottom = min(width, int(np.ceil(xyxy[2]))), min(height, int(np.ceil(xyxy[3])))
    low, high = settings.scale
    scale = low * (high / low) ** float(torch.rand(()))
    size = [round((bottom - top) * scale), round((right - left) * scale)]
    if min(bottom - top, right - left, *size) < LEAST_SIDE:
        return None
    there = picture[None, :, top:bottom, left:right].float()
    piece = interpolate(there, size=size, mode="bilinear", align_corners=False, antialias=True)[0]
    down = (torch.arange(size[0]) + 0.5) / size[0] * 2 - 1
    across = (torch.arange(size[1]) + 0.5) / size[1] * 2 - 1
    radius = (down[:, None] ** 2 + across[None] ** 2).sqrt()
    cover = ((1.1 - radius) / 0.3).clamp(0, 1)
    change = (_grey_picture(piece[:3]) - piece[3:]).abs() * cover  # (2, h, w) of a triple
    flies = bool(change.numel() == 0 or (change.sum(dim=(1, 2)) / cover.sum()).max() >= settings.least_change)
    return Cutting(piece[:3], cover, flies)


def paste(
    picture: Tensor, cutting: Cutting, taken: np.ndarray, settings: PasteSettings
) -> tuple[Tensor, np.ndarray] | None:
    """Lay an object over a picture (3, H, W), or a triple (5, H, W), where none of the boxes `taken` is.

    Returns another picture and the object's box (4,), or None where there was no room.
    """
    height, width = cutting.cover.shape
    room = torch.tensor([picture.shape[2] - width, picture.shape[1] - height])
    if (room < 0).any():
        return None
    for _ in range(TRIES):
        left, top = (torch.rand(2) * (room + 1)).floor().int().tolist()
        box = np.array([left, top, left + width, top + height], dtype=np.float32)
        if not len(taken) or not iou_matrix(box[None], taken).any():
            break
    else:
        return None
    picture = picture.clone()
    _lay_over(picture[:3], cutting.colour, cutting.cover, left, top)
    if len(picture) > 3:
        velocity = _draw_velocity(max(height, width), settings) if cutting.flies else torch.zeros(2)
        grey = _grey_picture(cutting.colour)
        for channel, sign in ((3, -1), (4, 1)):
            moved = (torch.tensor([left, top]) + sign * velocity).round().int().tolist()
            _lay_over(picture[channel : channel + 1], grey, cutting.cover, *moved)
    return picture, box


def draw_source(weights: Sequence[np.ndarray], settings: PasteSettings) -> tuple[int, int] | None:
    """(picture, box) of an object that may be copied, each as likely; `weights` holds those of each picture's boxes.

    None: there is none, or this time nothing is to be pasted.
    """
    sure = [(at, int(box)) for at, one in enumerate(weights) for box in np.flatnonzero(one >= settings.least_weight)]
    if not sure or float(torch.rand(())) >= settings.share:
        return None
    return sure[int(torch.randint(len(sure), ()))]


def _draw_velocity(size: int, settings: PasteSettings) -> Tensor:
    """(2,) pixels a frame, x and y."""
    low, high = settings.speed
    angle = float(torch.rand(())) * 2 * np.pi
    return torch.tensor([np.cos(angle), np.sin(angle)]) * size * (low + (high - low) * float(torch.rand(())))


def _grey_picture(colour: Tensor) -> Tensor:
    """(3, h, w) to (1, h, w)."""
    return (colour * GREY[:, None, None]).sum(dim=0, keepdim=True)


def _lay_over(picture: Tensor, colour: Tensor, cover: Tensor, left: int, top: int) -> None:
    """Blend `colour` (C, h, w) into `picture` (C, H, W) in place; what lies outside is cut off."""
    height, width = picture.shape[-2:]
    first_row, first_column = max(0, -top), max(0, -left)
    rows, columns = min(len(cover), height - top), min(cover.shape[1], width - left)
    if rows <= first_row or columns <= first_column:
        return
    here = picture[:, top + first_row : top + rows, left + first_column : left + columns]
    cover = cover[first_row:rows, first_column:columns]
    mixed = here.float() * (1 - cover) + colour[:, first_row:rows, first_column:columns] * cover
    here.copy_(mixed if picture.is_floating_point() else mixed.round().clamp(0, 255))
