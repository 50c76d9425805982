"""Small networks that recognise actions from joints over time, and the normalised joints they take.

`stgcn` follows Yan et al. 2018 (arxiv.org/abs/1801.07455): graph convolutions over the joints, convolutions over time;
the graph has a learnt part, as in ST-GCN++ (arxiv.org/abs/2205.09443). `gru` is the baseline. Both compute positions,
bones and speeds from what `normalise` returns.

Joints are (T, J, 2) float, x and y in pixels or any unit that is the same for both, NaN where a joint was not seen.
Normalised, they are sampled at fixed times, relative to the median place of the hips, in torso lengths.

The skeleton has 13 joints, which every pose estimator and data set gives.
COCO's 17 keypoints are these with eyes and ears beside the nose, which say little of what a body does.
"""

import math
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from labels.videos.pose_tables import JOINTS

CHANNELS = 9  # position, bone, speed, the hips' speed (x and y each), seen


@dataclass(frozen=True)
class PoseSettings:
    """Of the networks. `times` is how many moments of a window they look at."""

    kind: str = "stgcn"  # or gru
    times: int = 24
    width: int = 32
    blocks: int = 4  # of stgcn; the second half has twice the width at half the times
    reach: int = 5  # moments that a convolution over time sees
    dropout: float = 0.3


def streams(poses: Tensor) -> Tensor:
    """Poses (B, T, J, 3) as positions from the hips, bones, speeds and presence, (B, CHANNELS, T, J)."""
    hips = poses[:, :, list(HIPS), :2].mean(dim=2, keepdim=True)
    place, seen = poses[..., :2] - hips, poses[..., 2:]
    bone = place - place[:, :, list(PARENTS)]
    moved = torch.cat([place, hips.expand_as(place)], dim=3)
    speed = torch.zeros_like(moved)
    speed[:, 1:] = (moved[:, 1:] - moved[:, :-1]) * 4  # of the size of the others
    return torch.cat([place, bone, speed, seen], dim=3).permute(0, 3, 1, 2)


class GraphBlock(nn.Module):
    """A convolution over the graph of joints, one over time, and a way around both."""

    near: Tensor

    def __init__(self, inside: int, outside: int, stride: int, settings: PoseSettings) -> None:
        super().__init__()
        steps = torch.from_numpy(hops())
        near = torch.stack([(steps == distance).float() for distance in (0, 1, 2)])  # (3, J, J)
        self.register_buffer("near", near / near.sum(dim=2, keepdim=True).clamp(min=1))
        self.learnt = nn.Parameter(torch.zeros(3, len(JOINTS), len(JOINTS)))
        self.mix = nn.Conv2d(inside * 3, outside, 1)
        self.norm = nn.BatchNorm2d(outside)
        self.over_time = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(outside, outside, (settings.reach, 1), (stride, 1), (settings.reach // 2, 0), bias=False),
            nn.BatchNorm2d(outside),
            nn.Dropout(settings.dropout / 2),
        )
        same = inside == outside and stride == 1
        self.around = nn.Identity() if same else nn.Conv2d(inside, outside, 1, (stride, 1))

    def forward(self, values: Tensor) -> Tensor:  # (B, C, T, J)
        graph = self.near + self.learnt  # (3, J, J): from the second joint to the first
        gathered = torch.cat([values @ part.T for part in graph], dim=1)  # (B, 3 C, T, J)
        return torch.relu(self.over_time(self.norm(self.mix(gathered))) + self.around(values))


class GraphNetwork(nn.Module):
    """Poses (B, T, J, 3) to logits (B, K)."""

    def __init__(self, classes: int, settings: PoseSettings) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(CHANNELS * len(JOINTS))
        widths = [settings.width * (1 if at < settings.blocks // 2 else 2) for at in range(settings.blocks)]
        strides = [1, *(2 if other > one else 1 for one, other in pairwise(widths))]
        steps = zip(pairwise([CHANNELS, *widths]), strides, strict=True)
        self.blocks = nn.Sequential(*(GraphBlock(*widening, stride, settings) for widening, stride in steps))
        # A window is labelled by what goes on in its middle, where moves follow each other: when counts is learnt.
        self.when = nn.Parameter(torch.zeros(math.ceil(settings.times / math.prod(strides))))
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(widths[-1], classes)

    def features(self, poses: Tensor) -> Tensor:
        values = streams(poses)
        batch, channels, times, joints = values.shape
        flat = values.permute(0, 1, 3, 2).reshape(batch, channels * joints, times)
        values = self.norm(flat).view(batch, channels, joints, times).permute(0, 1, 3, 2)
        return self.blocks(values).mean(dim=3) @ self.when.softmax(dim=0)

    def forward(self, poses: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(poses)))


class RecurrentNetwork(nn.Module):
    """The baseline: all joints of a moment as one vector, a GRU both ways over time. (B, T, J, 3) to (B, K)."""

    def __init__(self, classes: int, settings: PoseSettings) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(CHANNELS * len(JOINTS))
        self.gru = nn.GRU(CHANNELS * len(JOINTS), 2 * settings.width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(4 * settings.width, classes)

    def features(self, poses: Tensor) -> Tensor:
        values = streams(poses).permute(0, 1, 3, 2).flatten(1, 2)  # (B, CHANNELS * J, T)
        return self.gru(self.norm(values).transpose(1, 2))[0].mean(dim=1)

    def forward(self, poses: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(poses)))


def build_pose_network(classes: int, settings: PoseSettings) -> nn.Module:
    return (RecurrentNetwork if settings.kind == "gru" else GraphNetwork)(classes, settings)


LEAST_TORSO = 1e-3  # of the largest extent: below, the torso was not seen and the extent is the scale


def check_joints(joints: np.ndarray) -> np.ndarray:
    joints = np.asarray(joints, dtype=np.float32)
    if joints.ndim != 3 or joints.shape[1:] != (len(JOINTS), 2) or not len(joints):
        raise ValueError(f"joints must be (T, {len(JOINTS)}, 2), not {joints.shape}")
    return joints


def fill_gaps(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T, J, 2) with gaps interpolated over time, and which were seen, (T, J) bool.

    A joint that was never seen lies between the hips, or at 0 where they were not seen either.
    """
    seen = np.isfinite(joints).all(axis=2)
    filled = joints.copy()
    times = np.arange(len(joints))
    for joint in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
        known = seen[:, joint]
        for axis in range(2):
            filled[:, joint, axis] = np.interp(times, times[known], joints[known, joint, axis])
    never = ~seen.any(axis=0)
    if never.any():
        hips = [joint for joint in HIPS if not never[joint]]
        filled[:, never] = filled[:, hips].mean(axis=1, keepdims=True) if hips else 0.0
    return filled, seen


def resample(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values (T, ...) between frames, at fractional frame numbers (S,), by straight lines: (S, ...)."""
    places = np.clip(places, 0, len(values) - 1)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    share = (places - low).reshape(-1, *([1] * (values.ndim - 1))).astype(np.float32)
    return values[low] * (1 - share) + values[high] * share


def normalise(joints: np.ndarray, times: int, places: np.ndarray | None = None) -> np.ndarray:
    """Joints (T, J, 2) as (times, J, 3) float32: x and y in torso lengths, and 1 where seen.

    0 is the median place of the hips, so that what a body does as a whole, to run or to jump, stays in it.

    Args:
        places: fractional frame numbers (times,) to look at; None: evenly from the first frame to the last.
    """
    filled, seen = fill_gaps(check_joints(joints))
    hips = filled[:, HIPS].mean(axis=1)  # (T, 2)
    torso = np.linalg.norm(filled[:, SHOULDERS].mean(axis=1) - hips, axis=1)
    extent = float(np.ptp(filled, axis=(0, 1)).max())
    scale = float(np.median(torso))
    if scale < LEAST_TORSO * max(extent, 1e-9):
        scale = extent or 1.0
    centred = (filled - np.median(hips, axis=0)) / scale
    values = np.concatenate([centred, seen[:, :, None].astype(np.float32)], axis=2)
    if places is None:
        places = np.linspace(0, len(joints) - 1, times)
    return resample(values, places).astype(np.float32)


# For each joint the one it hangs on, towards the hips; a hip hangs on itself.
PARENTS = (1, 7, 8, 1, 2, 3, 4, 7, 8, 7, 8, 9, 10)
LINKS = (
    (0, 1),
    (0, 2),
    (1, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
    (1, 7),
    (2, 8),
    (7, 8),
    (7, 9),
    (8, 10),
    (9, 11),
    (10, 12),
)
SHOULDERS, HIPS = (1, 2), (7, 8)
COCO_KEYPOINTS = (0, *range(5, 17))  # which of COCO's 17 the joints are


OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
SIDE = re.compile(r"(?<![A-Za-z])(?:left|right|Left|Right)(?![a-z])|(?<=[a-z])(?:Left|Right)(?![a-z])")


def mirrored_name(name: str) -> str:
    """A joint's or a class's name in a mirror: the words left and right change places, nothing else does."""
    return SIDE.sub(lambda found: OTHER_SIDE[found[0]], name)


MIRROR = tuple(JOINTS.index(mirrored_name(name)) for name in JOINTS)  # the joint that each one is in a mirror


def mirrored_classes(class_names: tuple[str, ...]) -> tuple[int, ...] | None:
    """For each class the id it has in a mirror; None where a class has no mirror image among them: never mirror."""
    mirrored = [mirrored_name(name) for name in class_names]
    if not set(mirrored) <= set(class_names):
        return None
    return tuple(class_names.index(name) for name in mirrored)


def hops() -> np.ndarray:
    """How many links lie between each two joints, (J, J)."""
    count = len(JOINTS)
    steps = np.full((count, count), count)
    np.fill_diagonal(steps, 0)
    for first, second in LINKS:
        steps[first, second] = steps[second, first] = 1
    for middle in range(count):
        steps = np.minimum(steps, steps[:, middle, None] + steps[None, middle])
    return steps
