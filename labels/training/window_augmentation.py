"""Windows as training sees them: turned, moved, mirrored, lit otherwise; all frames of a window alike.

Everything is drawn from torch's global generator, so that an epoch depends on its seed alone.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from labels.models.pose_inputs import normalise, resample
from labels.models.skeletons import HIPS, JOINTS, MIRROR
from labels.training.recognition_settings import ClipAugmentation, PoseAugmentation

GREY = torch.tensor([0.299, 0.587, 0.114])


def augment_clip(window: Tensor, crop: int, turned: bool, settings: ClipAugmentation) -> Tensor:
    """A window (T, H, W, 3) uint8 as (3, T, crop, crop) float 0-255; mirrored if `turned`. With a mask 4, not 3."""
    frames = window.permute(0, 3, 1, 2).float()  # (T, 3, H, W)
    height, width = frames.shape[2:]
    angle = _between(-1, 1) * np.deg2rad(settings.turn_degrees)
    low, high = np.log(settings.scale)
    size = min(height, width) / float(np.exp(_between(low, high)))  # pixels of the source that fill the crop
    shift = [(_between(-1, 1) * (settings.shift * size + max(0, side - size) / 2)) for side in (width, height)]
    cos, sin = np.cos(angle) * size, np.sin(angle) * size
    flip = -1 if turned else 1
    matrix = torch.tensor(
        [
            [flip * cos / width, -sin / width, 2 * shift[0] / width],
            [flip * sin / height, cos / height, 2 * shift[1] / height],
        ],
        dtype=torch.float32,
    )
    grid = functional.affine_grid(matrix[None], [1, 3, crop, crop], align_corners=False)
    clip = functional.grid_sample(
        frames, grid.expand(len(frames), -1, -1, -1), padding_mode="reflection", align_corners=False
    )
    seen = torch.cat([_light(clip[:, :3], settings), clip[:, 3:]], dim=1)
    return _erase(seen, settings).transpose(0, 1)


def rand_augment(window: Tensor, operations: int) -> Tensor:
    """RandAugment (arxiv.org/abs/1909.13719) of a window (T, H, W, 3) uint8: the same operations on all its frames."""
    from torchvision.transforms import v2  # costs seconds: only when it is wanted

    return v2.RandAugment(operations)(window.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _light(clip: Tensor, settings: ClipAugmentation) -> Tensor:
    if _between(0, 1) < settings.colourless:
        clip = (clip * GREY[:, None, None]).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    gain = 1 + _between(-1, 1) * settings.contrast
    colour = 1 + (torch.rand(3) * 2 - 1)[:, None, None] * settings.colour
    middle = clip.mean() * (1 + _between(-1, 1) * settings.brightness)
    return (((clip - clip.mean()) * gain + middle) * colour).clamp(0, 255)


def _erase(clip: Tensor, settings: ClipAugmentation) -> Tensor:
    if _between(0, 1) >= settings.erased:
        return clip
    side = clip.shape[-1]
    height, width = (max(1, int(side * _between(0.15, 0.4))) for _ in range(2))
    top, left = int(_between(0, side - height)), int(_between(0, side - width))
    erased = clip.clone()
    erased[:, :3, top : top + height, left : left + width] = 114.0
    erased[:, 3:, top : top + height, left : left + width] = 0.0
    return erased


def augment_pose(
    joints: np.ndarray, times: int, turned: bool, settings: PoseAugmentation, depth: np.ndarray | None = None
) -> Tensor:
    """Joints (T, J, 2) as (times, J, 3), at a stretch of the window, faster here and slower there.

    Args:
        depth: (T, J) torso lengths, see `body_depth`; with it the body is seen from any side.
    """
    last = len(joints) - 1
    span = _between(settings.shortest, 1) * last
    start = _between(0, last - span)
    places = start + np.linspace(0, 1, times) ** np.exp(_between(-1, 1) * settings.warp) * span
    values = normalise(joints, times, places)
    if depth is not None:
        values = seen_from_aside(values, resample(depth, places), _between(-np.pi, np.pi))
    if turned:
        values = values[:, list(MIRROR)]
        values[..., 0] = -values[..., 0]
    angle = _between(-1, 1) * settings.turn_radians
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.diag([1 + _between(-1, 1) * settings.stretch for _ in range(2)])
    shear = np.array([[1, _between(-1, 1) * settings.shear], [0, 1]])
    pose = torch.from_numpy(values)
    pose[..., :2] = pose[..., :2] @ torch.from_numpy((turn @ stretch @ shear).astype(np.float32))
    pose[..., :2] += torch.randn_like(pose[..., :2]) * settings.noise
    if _between(0, 1) < settings.dropped:
        lost = torch.randperm(len(JOINTS))[: int(_between(1, settings.most_dropped + 1))]
        pose[:, lost] = functional.pad(pose[:, list(HIPS), :2].mean(dim=1), (0, 1))[:, None]  # as if never seen
    return pose


def seen_from_aside(pose: np.ndarray, depth: np.ndarray, radians: float) -> np.ndarray:
    """A pose (T, J, 3: x, y, seen), its body rotated about the upright through its hips, which go on as they went."""
    aside = pose.copy()
    middle = pose[:, HIPS, 0].mean(axis=1, keepdims=True)
    aside[..., 0] = middle + (pose[..., 0] - middle) * np.cos(radians) + depth * np.sin(radians)
    return aside


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
