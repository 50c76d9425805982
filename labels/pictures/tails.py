"""The way a track came, in the pixels of the frame that is shown: where the camera moved, the tail moves with it."""

import numpy as np
import pandas as pd

from labels.records.geometry import centre_of
from labels.records.tables import BOX_COLUMNS, NO_TRACK
from labels.tracks.camera_motion import apply_transforms, shot_transforms

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class TrackTails:
    """Tails of the kept tracks of one video, `length` frames long."""

    def __init__(self, kept: pd.DataFrame, camera: pd.DataFrame | None, length: int) -> None:
        self._length = length
        self._tracks = []
        tracked = kept[kept["track_id"] != NO_TRACK].sort_values("frame_index", kind="stable")
        for _, track in tracked.groupby("track_id"):
            xyxy = track[BOX_COLUMNS].to_numpy(dtype=np.float64)
            self._tracks.append((track["frame_index"].to_numpy(), centre_of(xyxy)))
        self._to_shot: dict[int, np.ndarray] = {}
        self._shot: dict[int, int] = {}
        if camera is not None and len(camera):
            frames = camera["frame_index"].tolist()
            self._to_shot = dict(zip(frames, shot_transforms(camera), strict=True))
            self._shot = dict(zip(frames, camera["shot_index"].tolist(), strict=True))

    def at(self, frame_index: int) -> list[np.ndarray]:
        """For each track that is in this frame its last centres, (N, 2) pixels of this frame, oldest first."""
        tails = []
        for frames, centres in self._tracks:
            end = int(np.searchsorted(frames, frame_index, side="right"))
            if not end or frames[end - 1] != frame_index:
                continue
            start = int(np.searchsorted(frames, frame_index - self._length))
            if end - start > 1:
                tails.append(self._seen_from(frame_index, frames[start:end], centres[start:end]))
        return tails

    def _seen_from(self, frame_index: int, frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
        if frame_index not in self._to_shot:
            return centres
        same_shot = np.array([self._shot.get(int(frame)) == self._shot[frame_index] for frame in frames])
        matrices = np.stack([self._to_shot.get(int(frame), IDENTITY) for frame in frames])
        here = self._to_shot[frame_index]
        in_shot = apply_transforms(matrices, centres)
        seen = (in_shot - here[:, 2]) @ np.linalg.inv(here[:, :2]).T
        seen[~same_shot] = np.nan
        return seen
