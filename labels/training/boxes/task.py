"""What training any detector has in common: how often frames are drawn, and how it is judged on validation frames."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from labels.records.detections import Detections
from labels.records.geometry import area_of
from labels.records.tables import BOX_COLUMNS
from labels.training.boxes.data import LabelledFrame, WorkingFrames, labels_of, spread
from labels.training.boxes.metrics import find_thresholds, measure
from labels.training.optimisation import Validation
from labels.training.settings import TrainingSettings


class DetectorTask(ABC):
    """See `optimisation.Task`. `video_sizes`: video_id -> (width, height) of its frames."""

    score = "f1"
    weighs_boxes: bool  # its loss counts a box by the weight of its label

    def __init__(
        self,
        class_names: tuple[str, ...],
        video_sizes: Mapping[str, tuple[int, int]],
        working: WorkingFrames,
        settings: TrainingSettings,
    ) -> None:
        self.class_names, self.video_sizes, self.working, self.settings = class_names, video_sizes, working, settings

    @abstractmethod
    def make_batch(self, frames: Sequence[LabelledFrame]) -> Any:
        """Read and augment frames. Draws from torch's global generator only."""

    @abstractmethod
    def losses(self, network: nn.Module, batch: Any, progress: float) -> dict[str, Tensor]:
        """The parts of the loss; their sum is minimised. `progress` is the share of the training that is done."""

    @abstractmethod
    def detect(self, network: nn.Module, frames: Sequence[LabelledFrame]) -> list[Detections]:
        """What the network, in evaluation mode, finds in the frames, in pixels of the frames as decoded."""

    def chances(self, frames: Sequence[LabelledFrame]) -> np.ndarray:
        """How often each frame is drawn, against the others (N,)."""
        chances = draw_chances(frames)
        return chances if self.weighs_boxes else chances * sureness(frames)

    def settled(self, network: nn.Module, frames: Sequence[LabelledFrame], epoch: int) -> nn.Module:
        """As it is: the norms of detectors are frozen, or of batches large enough."""
        return network

    def validate(self, network: nn.Module, frames: Sequence[LabelledFrame]) -> Validation:
        """On some of the frames. All numbers are agreement with their labels, which are not truth."""
        found, labels = detection_tables(self, network, spread(frames, self.settings.validation_frames))
        thresholds = find_thresholds(found, labels, self.class_names, self.settings.precision_floor)
        metrics = measure(found, labels, thresholds).as_dict()
        text = ""
        if frames:
            text = (
                f"agreement with the validation labels: F1 {metrics['f1']:.3f} "
                f"(precision {metrics['precision']:.3f}, recall {metrics['recall']:.3f})"
            )
        columns = {f"threshold {name}": value for name, value in thresholds.items()}
        return Validation(metrics, {"working_threshold": thresholds}, text, columns)

    def too_large(self) -> str:
        """What to say when the GPU's memory is out."""
        size = self.settings.batch_size
        if size > 1:
            return f"{size} frames a step do not fit into the GPU; say --batch-size {size // 2}"
        return (
            "a frame does not fit into the GPU; "
            f"say --set long_side=N with N below {self.settings.long_side}, or --device cpu"
        )


def draw_chances(frames: Sequence[LabelledFrame]) -> np.ndarray:
    """How often each frame is drawn, against the others (N,).

    By the rarest of its boxes: 1 over the root of the number of boxes of the same class, of the same octave of size, in
    the same video (inverse square-root frequency; repeat factors of Gupta, Dollár and Girshick, LVIS, CVPR 2019). A
    clip with ten times the labels is drawn three times as often. Frames that are surely empty are drawn as often as
    those of the most frequent kind.
    """
    kinds = [_kinds_of(frame) for frame in frames]
    counts = Counter(kind for of_frame in kinds for kind in of_frame)
    chance = np.array([max((counts[kind] ** -0.5 for kind in of_frame), default=np.nan) for of_frame in kinds])
    least = np.nanmin(chance) if len(counts) else 1.0
    return np.where(np.isnan(chance), least, chance)


def _kinds_of(frame: LabelledFrame) -> list[tuple[str, int, int]]:
    """Video, class and octave of size of each box of a frame."""
    octave = np.log2(np.sqrt(np.maximum(area_of(frame.xyxy), 1.0))).round().astype(int)
    return [
        (frame.video_id, class_id, size)
        for class_id, size in zip(frame.class_ids.tolist(), octave.tolist(), strict=True)
    ]


def sureness(frames: Sequence[LabelledFrame]) -> np.ndarray:
    """How sure the labels of each frame are on average (N,); frames that are surely empty count in full."""
    return np.array([float(frame.weight.mean()) if len(frame.weight) else 1.0 for frame in frames])


def detection_tables(
    task: DetectorTask, network: nn.Module, frames: Sequence[LabelledFrame]
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """What the network finds in frames, and what their labels say: two tables a video_id (see `box_metrics`)."""
    network.eval()
    with torch.inference_mode():
        answers = task.detect(network, frames)
    found: dict[str, list[pd.DataFrame]] = {}
    labels: dict[str, list[pd.DataFrame]] = {}
    for frame, answer in zip(frames, answers, strict=True):
        table = pd.DataFrame(answer.xyxy, columns=BOX_COLUMNS)
        table = table.assign(frame_index=frame.frame_index, class_name=answer.class_name, score=answer.score)
        found.setdefault(frame.video_id, []).append(table)
        labels.setdefault(frame.video_id, []).append(labels_of(frame, task.class_names))
    return _joined(found), _joined(labels)


def _joined(parts: dict[str, list[pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """One table a video. An empty part would turn the joined columns into objects, so only one of those is kept."""
    return {
        video_id: pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
        for video_id, tables in parts.items()
    }
