"""What the training loop asks of a kind of detector: how a batch is made, what the loss is, how it detects."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from labels.records.detections import Detections
from labels.records.tables import BOX_COLUMNS
from labels.training.box_datasets import LabelledFrame, labels_of
from labels.training.working_frames import WorkingFrames


class DetectorTask(Protocol):
    class_names: tuple[str, ...]
    video_sizes: Mapping[str, tuple[int, int]]  # video_id -> (width, height) of its frames
    working: WorkingFrames
    weighs_boxes: bool  # its loss counts a box by the weight of its label

    def make_batch(self, frames: Sequence[LabelledFrame]) -> Any:
        """Read and augment frames. Draws from torch's global generator only."""
        ...

    def losses(self, network: nn.Module, batch: Any, progress: float) -> dict[str, Tensor]:
        """The parts of the loss; their sum is minimised. `progress` is the share of the training that is done."""
        ...

    def detect(self, network: nn.Module, frames: Sequence[LabelledFrame]) -> list[Detections]:
        """What the network, in evaluation mode, finds in the frames, in pixels of the frames as decoded."""
        ...


def spread(frames: Sequence[LabelledFrame], most: int) -> list[LabelledFrame]:
    """At most so many frames, evenly spread."""
    if len(frames) <= most:
        return list(frames)
    return [frames[at * len(frames) // most] for at in range(most)]


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
