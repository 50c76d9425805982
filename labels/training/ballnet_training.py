"""BallNet as the training loop sees it: crops of aligned frames in, heat maps out."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from labels.models.ballnet import BallNet, detect_triples, to_frame_pixels
from labels.records.detections import Detections
from labels.records.geometry import centre_of
from labels.training.augmentation import AugmentationSettings, Crop, change_light, crop_triple, draw_window
from labels.training.box_datasets import LabelledFrame
from labels.training.copy_paste import PasteSettings, cut_out, draw_source, paste
from labels.training.heat_maps import LossSettings, TargetDrawer, TargetMaps, ballnet_loss
from labels.training.settings import TrainingSettings
from labels.training.working_frames import WorkingFrames

DETECT_BATCH = 8  # frames


class BallNetTask:
    """Makes batches of augmented crops; see `detector_tasks.DetectorTask`."""

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
        self.class_names, self.video_sizes, self.working, self.side = class_names, video_sizes, working, settings.crop
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
