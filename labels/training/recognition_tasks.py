"""A recogniser as the training loop sees it: labelled windows in, augmented batches, the loss, probabilities out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from labels.models.pose_inputs import normalise
from labels.models.recogniser import view_probabilities
from labels.models.recogniser_settings import JOINTS, Preset
from labels.models.skeletons import mirrored_classes
from labels.training.body_depth import DepthNetwork, learn_depth
from labels.training.recognition_settings import ClipAugmentation, DepthSettings, PoseAugmentation, RecognitionSettings
from labels.training.window_augmentation import augment_clip, augment_pose, rand_augment

EVALUATED_TOGETHER = 16


@dataclass(frozen=True)
class LabelledWindow:
    """One window and what it shows. `label` names the row it is of: all windows of a row are judged together."""

    label: str
    video_id: str
    group: str
    place: int  # among the windows of its video
    class_id: int
    weight: float = 1.0  # 0-1
    by_human: bool = True


Batch = tuple[Tensor, Tensor, Tensor]  # windows (B, ...), targets (B, K), weights (B,)


class RecognitionTask:
    """See `optimisation.Task`. `read` gives a window's pixels (T, h, w, 3) uint8, or its joints (T, J, 2)."""

    def __init__(
        self,
        class_names: tuple[str, ...],
        preset: Preset,
        read: Callable[[LabelledWindow], np.ndarray],
        settings: RecognitionSettings,
    ) -> None:
        self.class_names, self.preset, self.read, self.settings = class_names, preset, read, settings
        self.mirror = mirrored_classes(class_names)
        self.depth_network: DepthNetwork | None = None

    def prepare(self, training: Sequence[LabelledWindow]) -> None:
        """Learn of the windows to train on what showing their bodies from any side needs.

        Windows in which no body can be made out are trained on as they are.
        """
        if self.settings.any_side:
            settings = DepthSettings()
            every = math.ceil(len(training) / settings.most_windows)
            shown = (self.read(window) for window in training[::every])
            self.depth_network = learn_depth(shown, settings, self.settings.seed)

    def make_batch(self, windows: Sequence[LabelledWindow]) -> Batch:
        values, targets = [], torch.zeros(len(windows), len(self.class_names))
        for at, window in enumerate(windows):
            turned = self.mirror is not None and bool(torch.rand(()) < 0.5)
            values.append(self._augmented(window, turned))
            targets[at, self.mirror[window.class_id] if turned and self.mirror else window.class_id] = 1
        batch, weights = torch.stack(values), torch.tensor([window.weight for window in windows])
        if self.settings.mixup:
            strength = torch.tensor(self.settings.mixup)
            share = float(torch.distributions.Beta(strength, strength).sample())
            other = torch.randperm(len(batch))
            batch = share * batch + (1 - share) * batch[other]
            targets, weights = (share * each + (1 - share) * each[other] for each in (targets, weights))
        targets = targets * (1 - self.settings.smoothing) + self.settings.smoothing / len(self.class_names)
        return batch, targets, weights

    def losses(self, network: nn.Module, batch: Batch, progress: float) -> dict[str, Tensor]:
        device = next(network.parameters()).device
        values, targets, weights = (part.to(device, non_blocking=True) for part in batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = network(values).float()
        each = -(targets * logits.log_softmax(dim=1)).sum(dim=1)
        return {"class": (each * weights).sum() / weights.sum().clamp(min=1e-6)}

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
        if self.preset.reads == JOINTS:
            joints = self.read(window)
            depth = self.depth_network.depth_of(joints) if self.depth_network is not None else None
            return augment_pose(joints, self.preset.frames, turned, PoseAugmentation(), depth)
        pixels = self._plain(window)
        if self.settings.rand_augment:
            pixels = rand_augment(pixels, self.settings.rand_augment)
        return augment_clip(pixels, self.preset.crop, turned, ClipAugmentation())


def by_label(windows: Sequence[LabelledWindow], probabilities: np.ndarray) -> tuple[list[LabelledWindow], np.ndarray]:
    """A window of each label, in their first order, and the mean probabilities over the label's windows."""
    firsts: dict[str, int] = {}
    members = [firsts.setdefault(window.label, len(firsts)) for window in windows]
    sums = np.zeros((len(firsts), probabilities.shape[1]))
    np.add.at(sums, members, probabilities)
    counts = np.bincount(members, minlength=len(firsts))
    chosen = {window.label: window for window in reversed(windows)}
    return [chosen[label] for label in firsts], sums / np.maximum(counts, 1)[:, None]


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
