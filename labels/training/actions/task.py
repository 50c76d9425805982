"""The recogniser as a training task: labelled windows in, augmented batches, the loss, probabilities out.

All frames of a window are augmented alike. Random numbers come from torch's global generator, so that an epoch depends
on its seed alone.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from labels.models.recognisers.pose_networks import HIPS, MIRROR, mirrored_classes, normalise
from labels.models.recognisers.pose_networks import JOINTS as JOINT_NAMES
from labels.models.recognisers.recogniser import view_probabilities
from labels.models.recognisers.settings import FEATURES, JOINTS, Preset
from labels.training.actions.data import EVALUATED_TOGETHER, LabelledWindow, by_label
from labels.training.actions.metrics import fit_temperature, judge_labels
from labels.training.optimisation import Validation, seed_everything
from labels.training.settings import ClipAugmentation, PoseAugmentation, RecognitionSettings

NORMS_SEED = 2**31  # far from any epoch's
LAYER = re.compile(r".*?\.\d+(?=\.)")  # of a weight's name: up to its first number
HEAD = re.compile(r"(.*\.)?(head|fc|classifier)\.")
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


def augment_pose(joints: np.ndarray, times: int, turned: bool, settings: PoseAugmentation) -> Tensor:
    """Joints (T, J, 2) as (times, J, 3), at a stretch of the window, faster here and slower there."""
    last = len(joints) - 1
    span = _between(settings.shortest, 1) * last
    start = _between(0, last - span)
    places = start + np.linspace(0, 1, times) ** np.exp(_between(-1, 1) * settings.warp) * span
    values = normalise(joints, times, places)
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
        lost = torch.randperm(len(JOINT_NAMES))[: int(_between(1, settings.most_dropped + 1))]
        pose[:, lost] = functional.pad(pose[:, list(HIPS), :2].mean(dim=1), (0, 1))[:, None]  # as if never seen
    return pose


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


Batch = tuple[Tensor, Tensor, Tensor]  # windows (B, ...), targets (B, K), weights (B,)


class RecognitionTask:
    """See `optimisation.Task`. `read` gives a window's pixels (T, h, w, 3) uint8, or its joints (T, J, 2)."""

    score = "macro_f1"

    def __init__(
        self,
        class_names: tuple[str, ...],
        preset: Preset,
        read: Callable[[LabelledWindow], np.ndarray],
        settings: RecognitionSettings,
    ) -> None:
        if preset.reads == JOINTS:
            settings = replace(settings, epoch_frames=settings.epoch_poses)
        self.class_names, self.preset, self.read, self.settings = class_names, preset, read, settings
        self.mirror = mirrored_classes(class_names)

    def chances(self, windows: Sequence[LabelledWindow]) -> np.ndarray:
        return chances(windows, len(self.class_names), self.settings.beta, self.settings.human_draws)

    def rate_of(self, network: nn.Module) -> Callable[[str], float]:
        """Of a network with trained weights: a weight's name -> its share of the learning rate."""
        return layer_rates([name for name, _ in network.named_parameters()], self.settings.backbone_share).__getitem__

    def make_batch(self, windows: Sequence[LabelledWindow]) -> Batch:
        values, targets = [], torch.zeros(len(windows), len(self.class_names))
        for at, window in enumerate(windows):
            turned = self.mirror is not None and bool(torch.rand(()) < 0.5)
            values.append(self._augmented(window, turned))
            targets[at, self.mirror[window.class_id] if turned and self.mirror else window.class_id] = 1
        batch, weights = torch.stack(values), torch.tensor([window.weight for window in windows])
        targets = targets * (1 - self.settings.smoothing) + self.settings.smoothing / len(self.class_names)
        return batch, targets, weights

    def losses(self, network: nn.Module, batch: Batch, progress: float) -> dict[str, Tensor]:
        device = next(network.parameters()).device
        values, targets, weights = (part.to(device, non_blocking=True) for part in batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = network(values).float()
        each = -(targets * logits.log_softmax(dim=1)).sum(dim=1)
        return {"class": (each * weights).sum() / weights.sum().clamp(min=1e-6)}

    def settled(self, network: nn.Module, windows: Sequence[LabelledWindow], epoch: int) -> nn.Module:
        """Precise batch norm (arxiv.org/abs/2105.07576): the statistics of averaged weights, from training windows.

        Those that the average brings are of weights long gone, and of batches that may be small.
        """
        if getattr(network, "frozen_norms", False):
            return network
        seed_everything(self.settings.seed, NORMS_SEED + epoch)
        odds, count = self.chances(windows), self.settings.norm_windows
        drawn = np.random.default_rng([self.settings.seed, epoch, 2]).choice(len(windows), count, p=odds)
        size = self.settings.batch_size
        batches = ([windows[at] for at in drawn[first : first + size]] for first in range(0, count, size))
        device = next(network.parameters()).device
        update_bn((self.make_batch(batch)[0] for batch in batches), network, device)
        return network

    def validate(self, network: nn.Module, windows: Sequence[LabelledWindow]) -> Validation:
        """Over the labels of the windows; the temperature that fits them, and thresholds by class."""
        labels, probabilities = by_label(windows, self.probabilities(network, windows))
        temperature = fit_temperature(np.array([label.class_id for label in labels], dtype=np.int64), probabilities)
        metrics, threshold = judge_labels(labels, probabilities, self.class_names, self.settings, temperature)
        text = ""
        if labels:
            text = (
                f"validation labels: top-1 {metrics['top1']:.3f}, macro-F1 {metrics['macro_f1']:.3f}, "
                f"balanced {metrics['balanced_accuracy']:.3f}, ECE {metrics['ece']:.3f}"
            )
        return Validation(metrics, {"working_threshold": threshold, "temperature": temperature}, text)

    def too_large(self) -> str:
        """What to say when the GPU's memory is out."""
        return f"{self.settings.batch_size} windows a step do not fit into the GPU; say a --batch-size below it"

    def probabilities(self, network: nn.Module, windows: Sequence[LabelledWindow]) -> np.ndarray:
        """Of each window, (N, K), by the network in evaluation mode."""
        device = next(network.parameters()).device
        network.eval()
        parts = [np.zeros((0, len(self.class_names)))]
        for first in range(0, len(windows), EVALUATED_TOGETHER):
            values = [self._plain(window) for window in windows[first : first + EVALUATED_TOGETHER]]
            alike = len({value.shape for value in values}) == 1
            for batch in [torch.stack(values)] if alike else [value[None] for value in values]:
                parts.append(view_probabilities(network, batch.to(device), self.class_names, self.preset.reads))
        return np.concatenate(parts)

    def _plain(self, window: LabelledWindow) -> Tensor:
        values = self.read(window)
        if self.preset.reads == JOINTS:
            return torch.from_numpy(normalise(values, self.preset.frames))
        return torch.from_numpy(np.array(values))

    def _augmented(self, window: LabelledWindow, turned: bool) -> Tensor:
        if self.preset.reads == FEATURES:
            values = self._plain(window)
            return values.flip(0) if turned else values
        if self.preset.reads == JOINTS:
            return augment_pose(self.read(window), self.preset.frames, turned, PoseAugmentation())
        return augment_clip(self._plain(window), self.preset.crop, turned, ClipAugmentation())


def chances(windows: Sequence[LabelledWindow], classes: int, beta: float, human_draws: float) -> np.ndarray:
    """How often each window is drawn, (N,), in sum 1.

    Of those that humans labelled, and of those that they did not, a class of n windows is drawn as often as its
    effective number of them. `beta` 0: every class alike; near 1: every window alike.

    Args:
        human_draws: of the draws, that humans' windows have at least where there are both: a few of them would drown
            in pseudo-labels, and the student repeat its teacher's faults.
    """
    ids = np.array([window.class_id for window in windows])
    human = np.array([window.by_human for window in windows])
    share = float(human.mean())
    if 0 < share < 1:
        share = max(share, human_draws)
    odds = np.zeros(len(windows))
    for part, of_part in ((human, share), (~human, 1 - share)):
        count = np.bincount(ids[part], minlength=classes)
        effective = (1 - beta**count) / (1 - beta) if beta < 1 else count
        odds[part] = of_part * (effective / np.maximum(count, 1))[ids[part]] / max(effective.sum(), 1e-9)
    return odds


def layer_rates(names: Sequence[str], first: float) -> dict[str, float]:
    """Each weight's share of the learning rate: 1 in the head, `first` in the first layer, a power between them."""
    layer_of = {name: (match[0] if (match := LAYER.match(name)) else name.rpartition(".")[0]) for name in names}
    layers = list(dict.fromkeys(layer for name, layer in layer_of.items() if not HEAD.match(name)))
    shares = {layer: round(first ** (1 - at / len(layers)), 6) for at, layer in enumerate(layers)}
    return {name: 1.0 if HEAD.match(name) else shares[layer_of[name]] for name in names}
