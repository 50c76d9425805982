"""A torchvision detector as a training task. Its own transform resizes and normalises.

torchvision's losses have no ignore regions, so the pixels of one are replaced by the mean colour: they then show
neither the object nor its background. Nor do they take weights: a frame is sampled in proportion to its labels' quality
(`weighs_boxes`), which weights the loss on average.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from labels.models.detectors.torchvision_detectors import TorchvisionDetector
from labels.records.detections import Detections
from labels.training.boxes.augmentation import PasteSettings, cut_out, draw_source, paste
from labels.training.boxes.data import LabelledFrame, WorkingFrames
from labels.training.boxes.task import DetectorTask
from labels.training.settings import TrainingSettings
from labels.videos.decoding.frames import Frame

MEAN_COLOUR = (0.485, 0.456, 0.406)  # of ImageNet, which all of torchvision's detectors subtract
LEAST_SIDE = 1.0  # working pixels; a box that augmentation left smaller is no object any more
Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class TorchvisionTask(DetectorTask):
    """Makes batches of augmented frames."""

    weighs_boxes = False

    def __init__(
        self,
        class_names: tuple[str, ...],
        video_sizes: Mapping[str, tuple[int, int]],
        working: WorkingFrames,
        settings: TrainingSettings,
        pasting: PasteSettings | None = None,
    ) -> None:
        super().__init__(class_names, video_sizes, working, settings)
        self.pasting = pasting or PasteSettings()
        self.augment = v2.Compose(
            [
                v2.RandomHorizontalFlip(0.5),
                v2.RandomAffine(degrees=0, translate=(0.1, 0.1), scale=(0.7, 1.4), fill=list(MEAN_COLOUR)),
                v2.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25),
                v2.RandomApply([v2.GaussianBlur(3, sigma=(0.1, 1.0))], p=0.15),
                v2.RandomApply([v2.GaussianNoise(sigma=0.02)], p=0.25),
            ]
        )

    def make_batch(self, frames: Sequence[LabelledFrame]) -> Batch:
        """Images (3, h, w) float 0-1 and their targets, labels from 1: 0 is torchvision's background."""
        images, targets = [], []
        for frame in frames:
            picture, xyxy, class_ids = self._with_one_more(frame, frames)
            boxes = tv_tensors.BoundingBoxes(torch.from_numpy(xyxy), format="XYXY", canvas_size=picture.shape[1:])
            image, boxes = self.augment(tv_tensors.Image(picture), boxes)
            there = ((boxes[:, 2:] - boxes[:, :2]) >= LEAST_SIDE).all(dim=1)
            images.append(image.as_subclass(Tensor))
            labels = torch.from_numpy(class_ids + 1)
            targets.append({"boxes": boxes.as_subclass(Tensor)[there], "labels": labels[there]})
        return images, targets

    def _with_one_more(
        self, frame: LabelledFrame, sources: Sequence[LabelledFrame]
    ) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """The picture (3, h, w) 0-1, its boxes and their classes; now and then an object of another frame is added."""
        picture, scale = self._picture(frame)
        xyxy, ignored = frame.xyxy * scale, frame.ignored * scale
        blank_regions(picture, ignored)
        drawn = draw_source([source.weight for source in sources], self.pasting)
        if drawn is None:
            return picture, xyxy, frame.class_ids
        source, row = sources[drawn[0]], drawn[1]
        shown, own_scale = self._picture(source)
        cutting = cut_out(shown, source.xyxy[row] * own_scale, self.pasting)
        pasted = cutting and paste(picture, cutting, np.concatenate([xyxy, ignored]), self.pasting)
        if not pasted:
            return picture, xyxy, frame.class_ids
        return pasted[0], np.append(xyxy, pasted[1][None], axis=0), np.append(frame.class_ids, source.class_ids[row])

    def _picture(self, frame: LabelledFrame) -> tuple[Tensor, np.ndarray]:
        """A copy of the frame (3, h, w) 0-1, and what its boxes are to be multiplied with (4,)."""
        picture = self.working.read(frame).float() / 255
        width, height = self.video_sizes[frame.video_id]
        return picture, np.array([picture.shape[2] / width, picture.shape[1] / height] * 2, dtype=np.float32)

    def losses(self, network: nn.Module, batch: Batch, progress: float) -> dict[str, Tensor]:
        device = next(network.parameters()).device
        images = [image.to(device, non_blocking=True) for image in batch[0]]
        targets = [{name: tensor.to(device) for name, tensor in target.items()} for target in batch[1]]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            parts = network(images, targets)
        return {name.removeprefix("loss_"): part.float() for name, part in parts.items()}

    def detect(self, network: nn.Module, frames: Sequence[LabelledFrame]) -> list[Detections]:
        names, device = self.class_names, next(network.parameters()).device
        threshold = dict.fromkeys(names, 0.5)
        detector = TorchvisionDetector(
            network, ("", *names), names, "student", "", threshold, str(device), describes=False
        )
        answers = []
        for frame, (picture, found) in zip(frames, detector.detect(self._pictures(frames)), strict=True):
            width, height = self.video_sizes[frame.video_id]
            scale = np.array([width / picture.rgb.shape[1], height / picture.rgb.shape[0]] * 2, dtype=np.float32)
            answers.append(Detections(found.xyxy * scale, found.score, found.class_name))
        return answers

    def _pictures(self, frames: Sequence[LabelledFrame]) -> Iterator[Frame]:
        for frame in frames:
            picture = self.working.read(frame)
            yield Frame(frame.frame_index, 0.0, picture.permute(1, 2, 0).numpy())


def blank_regions(picture: Tensor, xyxy: np.ndarray) -> None:
    """Fill boxes (N, 4) of a picture (3, h, w) 0-1 with the mean colour, in place."""
    for x1, y1, x2, y2 in xyxy.tolist():
        left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
        right, bottom = max(0, int(np.ceil(x2))), max(0, int(np.ceil(y2)))
        picture[:, top:bottom, left:right] = torch.tensor(MEAN_COLOUR)[:, None, None]
