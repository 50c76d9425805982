"""Windows on disk, so that an epoch does not decode videos: `windows/<what they are>/<video_id>.npy` and `.parquet`.

A table row a window: its track, the frames it was taken from, and where its subject (the player, or the video) ends.
The pixels lie beside it, mapped into memory when they are read. What they were made from is their name: another rate,
size or crop is another folder; another video or other tracks make the same file anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.labelling.player_tracks import digest_of_tracks
from labels.labelling.round_mask_channel import RoundMasks
from labels.models.mask_channel import with_mask_channel
from labels.models.recogniser_settings import JOINTS, Preset
from labels.records.safe_writing import digest_of, read_parquet, read_parquet_metadata, whole_file, write_parquet
from labels.records.tables import NO_TRACK
from labels.records.work_folder import WorkFolder
from labels.tracks.player_crops import CropPath
from labels.videos.decoding import DecodeError, Frame, decode_frames
from labels.videos.pose_tables import joints_of
from labels.videos.windows import Window, WindowShape, sample_windows

FORMAT = 1  # raise it when the same video and shape give other windows


@dataclass(frozen=True)
class VideoWindows:
    """The windows of one video: `frames` (N, T) frame numbers, `track_id` and `subject_end` (N,), `values` (N, T, ...).

    `values` are pixels (h, w, 3) uint8 (of a masked preset 4), or joints (13, 2) float32 with NaN for the unseen.
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
    """The windows of one preset. `views`: in how many windows each moment is. `masks`: of a masked one, to be set."""

    def __init__(self, work: WorkFolder, preset: Preset, views: int = 2) -> None:
        self.work, self.preset = work, preset
        self.shape = WindowShape(preset.frames, preset.rate, preset.side or 1, max(1, preset.frames // views))
        self.root = (
            work.root
            / "windows"
            / digest_of([FORMAT, asdict(self.shape), preset.reads, *(["masked"] if preset.masked else [])])[:16]
        )
        self.masks: RoundMasks | None = None
        self._open: dict[str, VideoWindows] = {}

    def ensure(self, video: Any, tracks: Sequence[CropPath] | None) -> VideoWindows:
        """The windows of a video (a row of the videos table), cut if they are not there. DecodeError as decoding."""
        key = digest_of(
            [str(video.sha256), int(video.frame_count), digest_of_tracks(None if tracks is None else list(tracks))]
            + ([self.masks.key(str(video.video_id))] if self.masks is not None else [])
        )
        table, pixels = self._files(str(video.video_id))
        metadata = read_parquet_metadata(table)
        if metadata is None or metadata.get("key") != key or not pixels.is_file():
            self._open.pop(str(video.video_id), None)
            self._cut(video, tracks, key)
        return self.open(str(video.video_id))

    def open(self, video_id: str) -> VideoWindows:
        if video_id not in self._open:
            table_path, pixels = self._files(video_id)
            table = read_parquet(table_path)
            frames = np.array(table["frames"].tolist(), dtype=np.int64).reshape(len(table), self.shape.frames)
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
        table_path, pixels = self._files(str(video.video_id))
        table_path.unlink(missing_ok=True)
        if self.preset.reads == JOINTS:
            windows, values = self._joints(video, tracks)
        else:
            windows = self._windows(decode_frames(self.work.videos / str(video.file)), video, tracks)
            values = [window.pixels for window in windows]
            if self.masks is not None:
                masks = self.masks.of(video, tracks)
                values = [with_mask_channel(each.pixels, masks.channel(each, self.shape.side)) for each in windows]
        empty = np.zeros((0, self.shape.frames), dtype=np.uint8)
        with whole_file(pixels) as aside:
            np.save(aside, np.stack(values) if values else empty, allow_pickle=False)
        ends = {path.track_id: path.end_frame for path in tracks or []} | {NO_TRACK: int(video.frame_count)}
        rows = pd.DataFrame(
            {
                "track_id": np.array([window.track_id for window in windows], dtype=np.int64),
                "frames": [window.frame_index.tolist() for window in windows],
                "subject_end": np.array([ends[window.track_id] for window in windows], dtype=np.int64),
            }
        )
        write_parquet(table_path, rows, {"key": key})

    def _windows(self, frames: Iterable[Frame], video: Any, tracks: Sequence[CropPath] | None) -> list[Window]:
        windows = list(sample_windows(frames, self.shape, tracks))
        if not windows and tracks is None:
            raise DecodeError("no frame of it could be decoded")
        return windows

    def _joints(self, video: Any, tracks: Sequence[CropPath] | None) -> tuple[list[Window], list[np.ndarray]]:
        """Windows of joints: those that came with the video. They are of its one player, or tell a track."""
        joints = joints_of(self.work.videos, str(video.video_id), int(video.frame_count))
        if joints is None:
            raise DecodeError("no joints came with it (videos/truth/poses/)")
        blank = np.zeros((1, 1, 3), dtype=np.uint8)
        frames = (Frame(at, at / float(video.fps), blank) for at in range(int(video.frame_count)))
        windows = self._windows(frames, video, tracks)
        return windows, [joints.get(window.track_id, joints[NO_TRACK])[window.frame_index] for window in windows]
