"""BallNet as a training task: crops of aligned frames in, heat maps out, and the loss between them and their targets.

Focal loss on a heat map with Gaussian peaks as in CornerNet and CenterNet (arXiv 1808.01244, section 3.2; arXiv
1904.07850, section 3); L1 on the logarithm of the size and on the offset, in the 3x3 cells around a centre, so that a
peak that is a cell off still finds the centre.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from labels.models.detectors.ballnet import STRIDE, BallNet, HeatMaps, detect_triples, to_frame_pixels
from labels.records.detections import Detections
from labels.records.geometry import centre_of
from labels.training.boxes.augmentation import (
    AugmentationSettings,
    Crop,
    PasteSettings,
    change_light,
    crop_triple,
    cut_out,
    draw_source,
    draw_window,
    paste,
)
from labels.training.boxes.data import LabelledFrame, WorkingFrames
from labels.training.boxes.task import DetectorTask
from labels.training.settings import TrainingSettings

AROUND = torch.tensor([[column, row] for row in (-1, 0, 1) for column in (-1, 0, 1)])  # (9, 2)
AROUND_WEIGHT = torch.where((AROUND == 0).all(dim=1), 1.0, 0.5)  # (9,)


@dataclass(frozen=True)
class LossSettings:
    size_weight: float = 0.5
    offset_weight: float = 0.5
    least_sigma: float = 0.8  # cells; of the bump of the smallest box
    sigma_share: float = 1 / 6  # of the shorter side
    ignored_margin: float = 0.5  # of the box's size, added on each side of an ignored region
    self_ignore_from: float = 1.0  # share of the training after which the network's own word counts; 1: never
    self_ignore_score: float = 0.4  # background on which it is so sure may be an object nobody labelled


@dataclass
class TargetMaps:
    """B crops: `heat` and `learn` (B, K, h, w); `regressed` names the cells whose size and offset are learnt."""

    heat: Tensor
    learn: Tensor  # 0 where a class is to be left alone
    positive: Tensor  # (P, 4) long: crop, class, row, column of each centre
    positive_weight: Tensor  # (P,)
    regressed: Tensor  # (R, 3) long: crop, row, column
    regressed_weight: Tensor  # (R,)
    log_size: Tensor  # (R, 2)
    offset: Tensor  # (R, 2)

    def to(self, device: torch.device) -> "TargetMaps":
        return TargetMaps(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


class TargetDrawer:
    """Collects the boxes of a batch of crops and draws their maps."""

    def __init__(self, crops: int, classes: int, side: int, settings: LossSettings) -> None:
        cells = (side + STRIDE - 1) // STRIDE
        self.settings, self.cells = settings, cells
        self.heat = torch.zeros(crops, classes, cells, cells)
        self.learn = torch.ones(crops, classes, cells, cells)
        self.grid = torch.arange(cells)
        self.positives: list[tuple[int, int, int, int]] = []
        self.weights: list[float] = []
        self.regressed: list[Tensor] = []
        self.values: list[Tensor] = []  # (R, 5): weight, log width, log height, offset x, offset y

    def add_object(self, crop: int, class_id: int, xyxy: Tensor, weight: float) -> None:
        """Draw a kept box, pixels of the crop."""
        low, high = xyxy[:2] / STRIDE, xyxy[2:] / STRIDE
        size, centre = (high - low).clamp(min=0.5), (low + high) / 2
        column, row = centre.floor().long().clamp(0, self.cells - 1).tolist()
        sigma = max(self.settings.least_sigma, float(size.min()) * self.settings.sigma_share)
        across = torch.exp(-((self.grid - column) ** 2) / (2 * sigma**2))
        down = torch.exp(-((self.grid - row) ** 2) / (2 * sigma**2))
        bump = down[:, None] * across[None]
        self.heat[crop, class_id] = torch.maximum(self.heat[crop, class_id], bump)
        self.positives.append((crop, class_id, row, column))
        self.weights.append(weight)
        cells = AROUND + torch.tensor([column, row])  # (9, 2) column, row
        inside = ((cells >= 0) & (cells < self.cells)).all(dim=1)
        cells, share = cells[inside], AROUND_WEIGHT[inside]
        self.regressed.append(torch.stack([torch.full((len(cells),), crop), cells[:, 1], cells[:, 0]], dim=1))
        log_size = size.log().expand(len(cells), 2)
        self.values.append(torch.cat([share[:, None] * weight, log_size, centre - cells], dim=1))

    def leave_alone(self, crop: int, class_id: int, xyxy: Tensor) -> None:
        """Learn nothing of this class around a box, pixels of the crop."""
        margin = (xyxy[2:] - xyxy[:2]) * self.settings.ignored_margin
        low = ((xyxy[:2] - margin) / STRIDE).floor().long().clamp(0, self.cells)
        high = ((xyxy[2:] + margin) / STRIDE).ceil().long().clamp(0, self.cells)
        self.learn[crop, class_id, low[1] : high[1], low[0] : high[0]] = 0

    def maps(self) -> TargetMaps:
        positive = torch.tensor(self.positives, dtype=torch.long).reshape(-1, 4)
        # An ignored region does not take away the sure object that it overlaps.
        self.learn[self.heat > 0.5] = 1
        values = torch.cat(self.values) if self.values else torch.zeros(0, 5)
        return TargetMaps(
            self.heat, self.learn, positive, torch.tensor(self.weights),
            torch.cat(self.regressed) if self.regressed else torch.zeros(0, 3, dtype=torch.long),
            values[:, 0], values[:, 1:3], values[:, 3:],
        )  # fmt: skip


def ballnet_loss(maps: HeatMaps, target: TargetMaps, progress: float, settings: LossSettings) -> dict[str, Tensor]:
    """The parts of the loss, each weighted already. `progress` is the share of the training that is done."""
    logit = maps.heat_logit
    heat = logit.sigmoid()
    negative = target.learn * (1 - target.heat) ** 4
    if progress >= settings.self_ignore_from:
        negative = negative * (heat.detach() < settings.self_ignore_score)
    crop, class_id, row, column = target.positive.unbind(dim=1)
    negative = negative.index_put((crop, class_id, row, column), torch.zeros((), device=logit.device))
    at_centres = logit[crop, class_id, row, column]
    found = -(functional.logsigmoid(at_centres) * (1 - at_centres.sigmoid()) ** 2 * target.positive_weight).sum()
    quiet = -(functional.logsigmoid(-logit) * heat**2 * negative).sum()
    count = target.positive_weight.sum().clamp(min=1)
    crop, row, column = target.regressed.unbind(dim=1)
    weight = (target.regressed_weight / target.regressed_weight.sum().clamp(min=1))[:, None]
    log_size, offset = maps.log_size[crop, :, row, column], maps.offset[crop, :, row, column]
    return {
        "heat": (found + quiet) / count,
        "size": ((log_size - target.log_size).abs() * weight).sum() * settings.size_weight,
        "offset": ((offset - target.offset).abs() * weight).sum() * settings.offset_weight,
    }


DETECT_BATCH = 8  # frames


class BallNetTask(DetectorTask):
    """Makes batches of augmented crops."""

    weighs_boxes = True

    def __init__(
        self,
        class_names: tuple[str, ...],
        video_sizes: Mapping[str, tuple[int, int]],
        working: WorkingFrames,
        settings: TrainingSettings,
        augmentation: AugmentationSettings | None = None,
        loss: LossSettings | None = None,
        pasting: PasteSettings | None = None,
    ) -> None:
        super().__init__(class_names, video_sizes, working, settings)
        self.side = settings.crop
        self.augmentation, self.loss = augmentation or AugmentationSettings(), loss or LossSettings()
        self.pasting = pasting or PasteSettings()

    def make_batch(self, frames: Sequence[LabelledFrame]) -> tuple[Tensor, TargetMaps]:
        """Crops (B, 5, side, side) float of about 0-255, and their target maps."""
        drawer = TargetDrawer(len(frames), len(self.class_names), self.side, self.loss)
        crops = torch.stack([self._make_crop(at, frame, drawer, frames) for at, frame in enumerate(frames)])
        return change_light(crops, self.augmentation), drawer.maps()

    def losses(self, network: nn.Module, batch: tuple[Tensor, TargetMaps], progress: float) -> dict[str, Tensor]:
        crops, target = batch
        device = next(network.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            maps = network(crops.to(device, non_blocking=True))
        return ballnet_loss(maps, target.to(device), progress, self.loss)

    def detect(self, network: nn.Module, frames: Sequence[LabelledFrame]) -> list[Detections]:
        assert isinstance(network, BallNet)
        names = np.array(self.class_names, dtype=object)
        answers: list[Detections] = []
        for first in range(0, len(frames), DETECT_BATCH):
            batch = frames[first : first + DETECT_BATCH]
            triples = [self.working.read(frame) for frame in batch]
            alike = len({triple.shape for triple in triples}) == 1
            stacks = [torch.stack(triples)] if alike else [triple[None] for triple in triples]
            found = [boxes for stack in stacks for boxes in detect_triples(network, stack)]
            for frame, triple, boxes in zip(batch, triples, found, strict=True):
                xyxy = to_frame_pixels(boxes.xyxy, triple, *self.video_sizes[frame.video_id])
                answers.append(Detections(xyxy, boxes.score, names[boxes.class_ids]))
        return answers

    def _make_crop(
        self, at: int, frame: LabelledFrame, drawer: TargetDrawer, sources: Sequence[LabelledFrame]
    ) -> Tensor:
        triple = self.working.read(frame)  # (5, h, w)
        height, width = triple.shape[-2:]
        scale = self._scale(frame, triple)
        xyxy = np.concatenate([frame.xyxy, frame.ignored]) * scale
        window = draw_window(width, height, self.side, self._places(frame) * scale[:2], self.augmentation)
        crop = crop_triple(triple, xyxy, window, self.side)
        kept = len(frame.xyxy)
        for box, row, share in zip(crop.xyxy, crop.row.tolist(), crop.share.tolist(), strict=True):
            if row >= kept:
                drawer.leave_alone(at, int(frame.ignored_ids[row - kept]), box)
            elif share < self.augmentation.kept_share:
                drawer.leave_alone(at, int(frame.class_ids[row]), box)
            else:
                drawer.add_object(at, int(frame.class_ids[row]), box, float(frame.weight[row]))
        return self._paste_one(at, crop, drawer, sources)

    def _paste_one(self, at: int, crop: Crop, drawer: TargetDrawer, sources: Sequence[LabelledFrame]) -> Tensor:
        """The crop, now and then with an object of another frame of the batch."""
        drawn = draw_source([source.weight for source in sources], self.pasting)
        if drawn is None:
            return crop.triple
        source, row = sources[drawn[0]], drawn[1]
        triple = self.working.read(source)
        cutting = cut_out(triple, source.xyxy[row] * self._scale(source, triple), self.pasting)
        pasted = cutting and paste(crop.triple, cutting, crop.xyxy.numpy(), self.pasting)
        if not pasted:
            return crop.triple
        drawer.add_object(at, int(source.class_ids[row]), torch.from_numpy(pasted[1]), float(source.weight[row]))
        return pasted[0]

    def _scale(self, frame: LabelledFrame, triple: Tensor) -> np.ndarray:
        """(4,) from pixels of the frame as decoded to those of its triple (5, h, w)."""
        width, height = self.video_sizes[frame.video_id]
        return np.array([triple.shape[2] / width, triple.shape[1] / height] * 2, dtype=np.float32)

    def _places(self, frame: LabelledFrame) -> np.ndarray:
        """Centres (N, 2) one of which the crop is to hold, in pixels of the frame as decoded; none: anywhere."""
        draw = float(torch.rand(()))
        if draw < self.augmentation.near_object:
            return centre_of(frame.xyxy)
        is_sure = not len(frame.ignored)  # what was dropped beside something doubtful may be doubtful too
        if is_sure and draw < self.augmentation.near_object + self.augmentation.near_dropped:
            return centre_of(frame.dropped)
        return np.zeros((0, 2), dtype=np.float32)
