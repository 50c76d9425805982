"""Windows of a video as a recogniser's input (pixels, joints or both), cached on disk; and its probabilities by frame.

The cache `windows/<digest>/<video_id>.npy` and `.parquet` saves an epoch from decoding videos. A table row is a window:
its track, the frames it was sampled from, and where its subject (a player in sight, or the whole video) ends. The
arrays beside it are memory-mapped. The folder is named by rate, size and crop; a shard is made again when its video,
tracks or joints change.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.labelling.action_intervals import FrameProbabilities, average_by_frame
from labels.labelling.masks import RoundMasks, VideoMasks
from labels.labelling.player_tracks import digest_of_tracks
from labels.labelling.poses import Joints, PoseStore
from labels.models.recognisers.clip_networks import with_mask_channel
from labels.models.recognisers.frozen import window_features
from labels.models.recognisers.recogniser import Recogniser, recognise_with_features
from labels.models.recognisers.settings import BROUGHT, FEATURES, JOINTS, PIXELS, Preset
from labels.records.detections import as_text
from labels.records.safe_writing import digest_of, read_parquet, read_parquet_metadata, whole_file, write_parquet
from labels.records.tables import NO_TRACK
from labels.records.work_folder import WorkFolder
from labels.tracks.players import CropPath
from labels.videos.decoding.frames import DecodeError, Frame, decode_frames
from labels.videos.windows import Window, even_places, sample_windows

BLANK = np.zeros((1, 1, 3), dtype=np.uint8)


def cut_windows(
    preset: Preset,
    frame_count: int,
    fps: float,
    tracks: Sequence[CropPath] | None,
    pixels: Callable[[], Iterable[Frame]],
    joints: Joints | None = None,
    masks: VideoMasks | None = None,
) -> Iterator[Window]:
    """The windows of a video; no more than a window of each player is in memory.

    Args:
        tracks: the players; None: the whole frame.
        pixels: opens the video; not called where only joints are looked at.
        joints: needed by presets that look at joints. A track without joints of its own has the clip's.
        masks: needed by masked presets, as the fourth channel of pixels.

    Values of windows of both are records of `pixels` (T, h, w, 3 or 4) and `joints` (S, 13, 2) of the same moment.
    """
    if preset.reads == JOINTS:
        assert joints is not None
        frames = (Frame(at, at / fps, BLANK) for at in range(frame_count))
        for window in sample_windows(frames, replace(preset, side=1), tracks):
            yield replace(window, values=_joints_of(window, joints)[window.frame_index])
    elif preset.reads == FEATURES:
        see = window_features(preset)
        for window in _of_pixels(preset, tracks, pixels, None):
            yield replace(window, values=see(window.values))
    elif preset.beside is None:
        yield from _of_pixels(preset, tracks, pixels, masks)
    else:
        assert joints is not None
        for window in _of_pixels(preset, tracks, pixels, masks):
            first, end = sight_of(window, tracks, frame_count)
            places = places_around(int(window.frame_index[preset.frames // 2]), first, end, fps, preset.beside)
            own = _joints_of(window, joints)[places]
            kinds = [(PIXELS, np.uint8, window.values.shape), (JOINTS, np.float32, own.shape)]
            yield replace(window, values=np.array((window.values, own), dtype=kinds))


def _of_pixels(
    preset: Preset,
    tracks: Sequence[CropPath] | None,
    pixels: Callable[[], Iterable[Frame]],
    masks: VideoMasks | None,
) -> Iterator[Window]:
    for window in sample_windows(pixels(), preset, tracks):
        if preset.masked:
            assert masks is not None
            window = replace(window, values=with_mask_channel(window.values, masks.channel(window, preset.side)))
        yield window


def _joints_of(window: Window, joints: Joints) -> np.ndarray:
    return joints[window.track_id if window.track_id in joints else NO_TRACK]


def sight_of(window: Window, tracks: Sequence[CropPath] | None, frame_count: int) -> tuple[int, int]:
    """First frame, and the one after the last, of what a window is cut from: its player in sight, or the video."""
    for track in tracks or []:
        if track.track_id == window.track_id and (here := track.sight_at(int(window.frame_index[0]))) is not None:
            return here
    return 0, frame_count


def places_around(middle: int, first: int, end: int, fps: float, preset: Preset) -> np.ndarray:
    """The frames (T,) of a preset's window about a frame, inside [first, end); all of them where these are too few."""
    length = preset.frames / preset.rate * fps
    if end - first <= length:
        return first + even_places(end - first, preset.frames)
    start = min(max(middle - length / 2, first), end - length)
    return np.floor(start + np.arange(preset.frames) * fps / preset.rate + 1e-6).astype(np.int64)


def write_values(path: Path, windows: Iterable[Window]) -> list[Window]:
    """Write the values of windows as one .npy, (N, ...), a window at a time. Returns the windows without values."""
    seen: list[Window] = []
    with open(path, "wb") as file:
        shape: tuple[int, ...] = ()
        kind = np.dtype(np.uint8)
        for window in windows:
            if not seen:
                shape, kind = window.values.shape, window.values.dtype
                _write_header(file, kind, (0, *shape))  # numpy leaves room in it for a longer first axis
            file.write(np.ascontiguousarray(window.values).tobytes())
            seen.append(replace(window, values=BLANK))
        file.seek(0)
        _write_header(file, kind, (len(seen), *shape))
    return seen


def _write_header(file: object, kind: np.dtype, shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]


MOST_OPEN = 256  # videos; each holds a file open, and a process may hold so many
FORMAT = 2  # raise it when the same video and shape give other windows


@dataclass(frozen=True)
class VideoWindows:
    """The windows of one video: `frames` (N, T) frame numbers, `track_id` and `subject_end` (N,), `values` (N, T, ...).

    `values` are pixels (h, w, 3) uint8 (of a masked preset 4), or joints (13, 2) float32 with NaN for the unseen; or
    (N,) records of both; or features (N, 2, times, F) float16 of a frozen backbone, plain and mirrored.
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


RECOGNISED_TOGETHER = 32  # windows
PRIOR_GAIN = 4.0  # how much more likely the class is that the clip's own list names, where a recogniser knows it


def look_at(windows: VideoWindows, recogniser: Recogniser) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) of each window, and its features (N, F) in 0-1."""
    parts = [
        recognise_with_features(recogniser, np.asarray(windows.values[first : first + RECOGNISED_TOGETHER]))
        for first in range(0, len(windows), RECOGNISED_TOGETHER)
    ]
    if not parts:
        return np.zeros((0, len(recogniser.class_names))), np.zeros((0, 0))
    probabilities, seen = (np.concatenate(each) for each in zip(*parts, strict=True))
    return probabilities, seen


def subjects_of(
    windows: VideoWindows, probabilities: np.ndarray, class_names: Sequence[str], listed_class: str = ""
) -> list[FrameProbabilities]:
    """Probabilities by frame of each subject (a player, for as long as in sight), from those of its windows.

    Args:
        listed_class: what the clip's own list says of it; a prior, where it is one of several classes.
    """
    if listed_class in class_names:
        gain = np.ones(len(class_names))
        gain[list(class_names).index(listed_class)] = PRIOR_GAIN
        rest = np.clip(1 - probabilities.sum(axis=1, keepdims=True), 0, 1)  # none of the classes
        probabilities = probabilities * gain
        probabilities /= probabilities.sum(axis=1, keepdims=True) + rest
    spans = windows.spans()
    subjects = []
    for track_id, end in np.unique(np.column_stack([windows.track_id, windows.subject_end]), axis=0):
        own = np.flatnonzero((windows.track_id == track_id) & (windows.subject_end == end))
        subjects.append(average_by_frame(int(track_id), [spans[at] for at in own], probabilities[own], int(end)))
    return subjects


def agreement_of(
    actions: pd.DataFrame, windows: VideoWindows, probabilities: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Of the views of each action, the windows whose middle lies in it, the share that say its class, (N,) float32.

    1 for an action between the middles of two windows: nothing speaks against it.
    """
    best = np.array(class_names, dtype=object)[probabilities.argmax(axis=1)]
    shares = np.ones(len(actions), dtype=np.float32)
    for at, action in enumerate(actions.itertuples()):
        views = _windows_of(action, windows)
        if views.any():
            shares[at] = np.mean(best[views] == action.class_name)
    return shares


def _windows_of(action: Any, windows: VideoWindows) -> np.ndarray:
    """The windows of the action's subject whose middle lies in it, (N,) bool."""
    inside = (windows.centre >= action.start_frame) & (windows.centre < action.end_frame)
    return (windows.track_id == action.track_id) & inside


def appearance_of(actions: pd.DataFrame, windows: VideoWindows, seen: np.ndarray) -> pd.Series:
    """The features of each action as a column: the mean of those of its windows; empty where it has none."""
    texts = np.full(len(actions), "", dtype=object)
    for at, action in enumerate(actions.itertuples() if seen.shape[1:] != (0,) else []):
        own = _windows_of(action, windows)
        if own.any():
            texts[at] = as_text(seen[own].mean(axis=0, keepdims=True))[0]
    return pd.Series(texts, index=actions.index, dtype="str")
