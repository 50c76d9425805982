"""The frames that training goes through again and again: reduced to their working size, in memory while it lasts."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from labels.models.ballnet import to_working
from labels.training.box_datasets import LabelledFrame
from labels.videos.decoding import DecodeError
from labels.videos.frame_store import FrameStore


class WorkingFrames:
    """Frames as tensors (3, h, w) uint8, their long side at most `long_side`.

    The first that fit into `memory_bytes` stay; the others are read from their JPEG each time.
    """

    def __init__(self, store: FrameStore, long_side: int, memory_bytes: int) -> None:
        self.store, self.long_side, self.memory_left = store, long_side, memory_bytes
        self.held: dict[tuple[str, int], Tensor] = {}

    def prepare(self, frames: Sequence[LabelledFrame], video_path: Path, with_neighbours: bool) -> str:
        """See that the frames of one video can be read. Returns the reason why they cannot, or nothing."""
        needed = {index for frame in frames for index in (frame.neighbours if with_neighbours else [frame.frame_index])}
        video_id = frames[0].video_id
        try:
            self.store.ensure(video_id, video_path, sorted(needed))
        except DecodeError as error:
            return str(error)
        return ""

    def read(self, video_id: str, frame_index: int) -> Tensor:
        """(3, h, w) uint8; not to be written to."""
        key = (video_id, frame_index)
        if key not in self.held:
            frame = to_working(self.store.read(video_id, frame_index), self.long_side)
            if frame.nbytes > self.memory_left:
                return frame
            self.memory_left -= frame.nbytes
            self.held[key] = frame
        return self.held[key]

    def read_triple(self, frame: LabelledFrame) -> Tensor:
        """(3, 3, h, w) uint8: the frame before, this one, the one after."""
        middle = self.read(frame.video_id, frame.frame_index)
        three = [self.read(frame.video_id, index) for index in frame.neighbours]
        return torch.stack([one if one.shape == middle.shape else middle for one in three])
