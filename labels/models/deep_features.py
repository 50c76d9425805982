"""What networks see in boxes: a feature map, averaged over each box (RoIAlign, He et al. 2017, arXiv 1703.06870).

Only the direction of a feature vector is kept, in at most LENGTH numbers of 0-1, as labels carry them
(`records/features`). Longer vectors are projected at random first, which keeps distances (Johnson and Lindenstrauss,
1984).

BallNet does not tell its own: on rendered clips what its heat map is read from tells wrong tracks from right ones no
better than chance, and its earlier maps not better than colours and edges do. It errs where it sees nothing amiss.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

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
