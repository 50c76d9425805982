"""The masks of a round as windows have them: of the player that is followed, or of all that is labelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from labels.records.errors import InputError
from labels.records.mask_rle import decode_mask
from labels.records.mask_shards import with_masks
from labels.records.run_records import UNFINISHED, digest_of_files, digest_of_masks
from labels.records.safe_writing import read_parquet
from labels.records.tables import BOX_COLUMNS
from labels.records.work_folder import WorkFolder
from labels.tracks.player_crops import CropPath
from labels.videos.decoding import DecodeError
from labels.videos.windows import Window, cut_square, shrink

FRAMES_HELD = 64


def inputs_of_masks(work: WorkFolder, number: int) -> dict[str, str]:
    """What the masks of a round are made from: those of the round, or of the last one before it that has some.

    InputError, with the command that makes them, when there are none.
    """
    inputs = {}
    for each in range(number, -1, -1):
        inputs[f"round {each} masks"] = digest = digest_of_masks(work, each)
        if digest != UNFINISHED:
            return inputs
    raise InputError(
        f"{work.round(number).path}: this recogniser looks at masks, and there are none; make them first: "
        f"python dataset_processor.py {work.root} --round {number} --masks facebook/sam2.1-hiera-tiny"
    )


class NoMasks(DecodeError):
    """A clip is looked at for its masks, and it has none."""


class RoundMasks:
    """The masks that windows of a round get: see `inputs_of_masks`, which it raises as."""

    def __init__(self, work: WorkFolder, number: int) -> None:
        self._folder = work.round(int(list(inputs_of_masks(work, number))[-1].split()[1]))

    def key(self, video_id: str) -> str:
        """Changes when the masks of a video do. NoMasks where it has none."""
        paths = [self._folder.masks(video_id), self._folder.boxes("cleaned", video_id)]
        if not all(path.is_file() for path in paths):
            raise NoMasks(f"it has no masks in round {self._folder.number}")
        return digest_of_files(paths)

    def of(self, video: Any, tracks: Sequence[CropPath] | None) -> "VideoMasks":
        """The masks of one video (a row of the videos table), for windows of these players or of the whole frame."""
        path = self._folder.boxes("cleaned", str(video.video_id))
        boxes = with_masks(read_parquet(path), self._folder, str(video.video_id))
        known = boxes[(boxes["mask_rle"] != "") & (boxes["decision"] != "drop")].reset_index(drop=True)
        by_track = {track.track_id: track for track in tracks or []}
        return VideoMasks(_FrameMasks(known, int(video.height), int(video.width)), by_track)


@dataclass(frozen=True)
class VideoMasks:
    frames: "_FrameMasks"
    tracks: dict[int, CropPath]

    def channel(self, window: Window, side: int) -> np.ndarray:
        """The mask channel of a window, (T, h, w) uint8 from 0 to 255, cut as its pixels were to `side`.

        Of a player's window it is the mask whose box lies nearest to the middle of the crop, and in it; of the whole
        frame it is all masks together. Without a mask it is 0.
        """
        track = self.tracks.get(window.track_id)
        if track is None:
            return np.stack([shrink(self.frames.of_all(int(at)), side) for at in window.frame_index])
        squares = track.squares[window.frame_index - track.first_frame]
        cut = [
            cut_square(self.frames.nearest(int(at), square), square, side, padding=(0,))
            for at, square in zip(window.frame_index, squares, strict=True)
        ]
        return np.stack(cut)


class _FrameMasks:
    """The masks of one video by frame, (H, W) uint8, 0 or 255. `boxes` are those that have one, with `mask_rle`."""

    def __init__(self, boxes: pd.DataFrame, height: int, width: int) -> None:
        self._rows_at = boxes.groupby("frame_index").indices
        xyxy = boxes[BOX_COLUMNS].to_numpy(dtype=np.float64)
        self._centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        counts = boxes["mask_rle"].tolist()
        self._empty = np.zeros((height, width), dtype=np.uint8)

        @lru_cache(FRAMES_HELD)
        def decoded(row: int) -> np.ndarray:
            return decode_mask(counts[row], height, width).astype(np.uint8) * 255

        self._decoded = decoded

    def of_all(self, frame_index: int) -> np.ndarray:
        rows = self._rows_at.get(frame_index, ())
        return np.max([self._decoded(int(row)) for row in rows], axis=0) if len(rows) else self._empty

    def nearest(self, frame_index: int, square: np.ndarray) -> np.ndarray:
        rows = np.asarray(self._rows_at.get(frame_index, ()), dtype=np.int64)
        away = np.abs(self._centre[rows] - square[:2]).max(axis=1)
        if not len(rows) or away.min() > square[2] / 2:
            return self._empty
        return self._decoded(int(rows[away.argmin()]))
