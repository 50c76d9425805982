"""Copy-paste: objects that are surely there, shown once more in other places (Ghiasi et al. 2021, arXiv 2012.07177).

A few clips show a ball against few backgrounds. Pasted, it is seen before all of them. In the neighbouring frames of a
triple, what lay still lies in the same place, and what flew is laid where it would be if it flew on evenly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from labels.models.ballnet import GREY
from labels.records.geometry import iou_matrix

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
    piece = functional.interpolate(there, size=size, mode="bilinear", align_corners=False, antialias=True)[0]
    down = (torch.arange(size[0]) + 0.5) / size[0] * 2 - 1
    across = (torch.arange(size[1]) + 0.5) / size[1] * 2 - 1
    radius = (down[:, None] ** 2 + across[None] ** 2).sqrt()
    cover = ((1.1 - radius) / 0.3).clamp(0, 1)
    change = (_grey(piece[:3]) - piece[3:]).abs() * cover  # (2, h, w) of a triple
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
        grey = _grey(cutting.colour)
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


def _grey(colour: Tensor) -> Tensor:
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
