"""The frames that training goes through again and again: at their working size, in memory while it lasts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from labels.models.aligned_frames import FrameFollower, SmallFrame, align, to_working
from labels.training.box_datasets import LabelledFrame
from labels.videos.decoding import DecodeError
from labels.videos.frame_store import FrameStore


class WorkingFrames:
    """Frames as tensors uint8, their long side at most `long_side`: (5, h, w) with neighbours, (3, h, w) without.

    The first that fit into `memory_bytes` stay; the others are made from their JPEGs each time.
    """

    def __init__(self, store: FrameStore, long_side: int, memory_bytes: int, with_neighbours: bool) -> None:
        self.store, self.long_side, self.memory_left = store, long_side, memory_bytes
        self.with_neighbours = with_neighbours
        self._is_full = False
        self._held: dict[tuple[str, int], Tensor] = {}
        self._follower = FrameFollower()
        self._row: list[tuple[str, int, SmallFrame]] = []  # the frames looked at last: consecutive ones of one video

    def ensure(self, frames: Sequence[LabelledFrame], video_path: Path) -> str:
        """See that the frames of one video can be read. Returns the reason why they cannot, or nothing."""
        needed = {
            index for frame in frames for index in (frame.neighbours if self.with_neighbours else [frame.frame_index])
        }
        try:
            self.store.ensure(frames[0].video_id, video_path, sorted(needed))
        except DecodeError as error:
            return str(error)
        return ""

    def hold(self, frames: Sequence[LabelledFrame]) -> None:
        """Read frames into memory in the order that is fastest, until it is full."""
        for frame in tqdm(sorted(frames, key=lambda one: (one.video_id, one.frame_index)), "read", unit="frame"):
            if self._is_full:
                break
            self.read(frame)

    def read(self, frame: LabelledFrame) -> Tensor:
        """The frame; not to be written to. Going through frames in order is the fastest the first time."""
        key = (frame.video_id, frame.frame_index)
        if key not in self._held:
            made = self._with_neighbours(frame) if self.with_neighbours else self._alone(*key)
            if made.nbytes > self.memory_left:
                self._is_full = True
                return made
            self.memory_left -= made.nbytes
            self._held[key] = made
        return self._held[key]

    def _alone(self, video_id: str, frame_index: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(self._small(video_id, frame_index), 2, 0)))

    def _small(self, video_id: str, frame_index: int) -> np.ndarray:
        return to_working(self.store.read(video_id, frame_index), self.long_side)

    def _with_neighbours(self, frame: LabelledFrame) -> Tensor:
        first, now, last = frame.neighbours
        at = {index: small for video_id, index, small in self._row if video_id == frame.video_id and index >= first}
        # What was looked at last serves again when the frames are gone through in order.
        if list(at) != list(range(first, first + len(at))):
            at = {}
        follower = self._follower if at else FrameFollower()
        for index in range(first + len(at), last + 1):
            at[index] = follower.follow(self._small(frame.video_id, index))
        self._follower = follower
        self._row = [(frame.video_id, index, small) for index, small in at.items()]
        return align(at.get(now - 1), at[now], at.get(now + 1))
