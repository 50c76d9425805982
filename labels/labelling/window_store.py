"""Windows on disk, so that an epoch does not decode videos: `windows/<what they are>/<video_id>.npy` and `.parquet`.

A table row a window: its track, the frames it was taken from, and where its subject (the player in sight, or the
video) ends. The pixels (or joints, or both) lie beside it, written as they are cut and mapped into memory when they are
read. What they were made from is their name: another rate, size or crop is another folder; another video, other tracks
or other joints make the same file anew.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.labelling.player_tracks import digest_of_tracks
from labels.labelling.pose_finding import PoseStore
from labels.labelling.round_mask_channel import RoundMasks
from labels.labelling.window_cutting import cut_windows, sight_of, write_values
from labels.models.recogniser_settings import BROUGHT, Preset
from labels.records.safe_writing import digest_of, read_parquet, read_parquet_metadata, whole_file, write_parquet
from labels.records.work_folder import WorkFolder
from labels.tracks.player_crops import CropPath
from labels.videos.decoding import DecodeError, decode_frames

MOST_OPEN = 256  # videos; each holds a file open, and a process may hold so many
FORMAT = 2  # raise it when the same video and shape give other windows


@dataclass(frozen=True)
class VideoWindows:
    """The windows of one video: `frames` (N, T) frame numbers, `track_id` and `subject_end` (N,), `values` (N, T, ...).

    `values` are pixels (h, w, 3) uint8 (of a masked preset 4), or joints (13, 2) float32 with NaN for the unseen; or
    (N,) records of both.
    """

    video_id: str
    frames: np.ndarray
    track_id: np.ndarray
    subject_end: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def centre(self) -> np.ndarray:
        """The frame in the middle of each window, (N,)."""
        return self.frames[:, self.frames.shape[1] // 2]

    def spans(self) -> list[tuple[int, int]]:
        """First frame, and the one after the last, of each window."""
        return [(int(row[0]), int(row[-1]) + 1) for row in self.frames]


class WindowStore:
    """The windows of one preset. `views`: in how many windows each moment is. `masks`: those a masked one needs."""

    def __init__(
        self,
        work: WorkFolder,
        preset: Preset,
        views: int = 2,
        device: str = "cpu",
        masks: RoundMasks | None = None,
    ) -> None:
        if preset.masked and masks is None:
            raise ValueError("windows of a masked preset need the masks of a round")
        self.work, self.masks = work, masks
        self.preset = replace(preset, stride=max(1, preset.frames // views))
        self.root = work.root / "windows" / digest_of([FORMAT, asdict(self.preset)])[:16]
        self._poses = PoseStore(work, preset.joints_from, device) if preset.joints_from else None
        self._open: dict[str, VideoWindows] = {}

    def brought(self, video_id: str) -> str:
        """Changes when the masks of a video, or the joints that came with it, change. NoMasks where it needs some."""
        came_with_it = self._poses is not None and self._poses.name == BROUGHT
        return digest_of([self._posed(video_id) if came_with_it else "", self._masked(video_id)])

    def _posed(self, video_id: str) -> str:
        return self._poses.key(video_id) if self._poses is not None else ""

    def _masked(self, video_id: str) -> str:
        return self.masks.key(video_id) if self.masks is not None else ""

    def ensure(self, video: Any, tracks: Sequence[CropPath] | None) -> VideoWindows:
        """The windows of a video (a row of the videos table), cut if they are not there. DecodeError as decoding."""
        tracked = digest_of_tracks(None if tracks is None else list(tracks))
        posed, masked = self._posed(str(video.video_id)), self._masked(str(video.video_id))
        key = digest_of([str(video.sha256), int(video.frame_count), tracked, posed, masked])
        table, values = self._files(str(video.video_id))
        metadata = read_parquet_metadata(table)
        if metadata is None or metadata.get("key") != key or not values.is_file():
            self._open.pop(str(video.video_id), None)
            self._cut(video, tracks, key)
        return self.open(str(video.video_id))

    def open(self, video_id: str) -> VideoWindows:
        if video_id not in self._open:
            while len(self._open) >= MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            table_path, pixels = self._files(video_id)
            table = read_parquet(table_path)
            frames = np.array(table["frames"].tolist(), dtype=np.int64).reshape(len(table), self.preset.frames)
            values = np.load(pixels, mmap_mode="r" if len(table) else None, allow_pickle=False)
            self._open[video_id] = VideoWindows(
                video_id, frames, table["track_id"].to_numpy(), table["subject_end"].to_numpy(), values
            )
        return self._open[video_id]

    def read(self, video_id: str, place: int) -> np.ndarray:
        """One window's values, a copy."""
        return np.array(self.open(video_id).values[place])

    def _files(self, video_id: str) -> tuple[Path, Path]:
        return self.root / f"{video_id}.parquet", self.root / f"{video_id}.npy"

    def _cut(self, video: Any, tracks: Sequence[CropPath] | None, key: str) -> None:
        table_path, values = self._files(str(video.video_id))
        table_path.unlink(missing_ok=True)
        count, path = int(video.frame_count), self.work.videos / str(video.file)
        joints = self._poses.joints(video, tracks) if self._poses is not None else None
        masks = self.masks.of(video, tracks) if self.masks is not None else None
        cut = cut_windows(self.preset, count, float(video.fps), tracks, lambda: decode_frames(path), joints, masks)
        with whole_file(values) as aside:
            windows = write_values(aside, cut)
            if not windows and tracks is None:
                raise DecodeError("no frame of it could be decoded")
        rows = pd.DataFrame(
            {
                "track_id": np.array([window.track_id for window in windows], dtype=np.int64),
                "frames": [window.frame_index.tolist() for window in windows],
                "subject_end": np.array([sight_of(window, tracks, count)[1] for window in windows], dtype=np.int64),
            }
        )
        write_parquet(table_path, rows, {"key": key})
