"""What BallNet should say, as maps, and how far it is from it.

Focal loss on a heat map with Gaussian bumps as in CornerNet and CenterNet (arXiv 1808.01244, section 3.2; arXiv
1904.07850, section 3); L1 on the logarithm of the size and on the offset, in the 3x3 cells around a centre, so that a
peak that is a cell off still finds the centre.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from labels.models.ballnet import STRIDE, HeatMaps

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
