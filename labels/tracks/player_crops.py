"""Where a square crop lies that follows one player: steady, with room around, over every frame of the track."""

from dataclasses import dataclass

import numpy as np

from labels.records.geometry import as_xyxy, centre_of, size_of


@dataclass(frozen=True)
class CropSettings:
    room: float = 1.25  # side of the crop over the longer side of the player's box
    steady_frames: float = 4.0  # standard deviation of the smoothing over time
    hidden_s: float = 0.5  # without a box that is not bridged: the player was out of sight
    hidden_steps: int = 3  # and so many usual steps from box to box


@dataclass(frozen=True)
class CropPath:
    """The crop of one track in each frame from `first_frame` on: `squares` (F, 3), centre x and y, side; pixels.

    `boxes` (F, 4) are the player's own, not smoothed, where they are known. `in_sight` are the runs of frames, from the
    first to before the end, in which the player is seen; none named: all along.
    """

    track_id: int
    first_frame: int
    squares: np.ndarray
    boxes: np.ndarray | None = None
    in_sight: tuple[tuple[int, int], ...] = ()

    @property
    def end_frame(self) -> int:
        """The first frame after the track."""
        return self.first_frame + len(self.squares)

    @property
    def sights(self) -> tuple[tuple[int, int], ...]:
        """What `in_sight` means, at least one."""
        return self.in_sight or ((self.first_frame, self.end_frame),)

    @property
    def frames_in_sight(self) -> int:
        return sum(end - first for first, end in self.sights)

    def sight_at(self, frame_index: int) -> tuple[int, int] | None:
        """The run of frames in sight that holds a frame; None where the player is out of sight."""
        return next(((first, end) for first, end in self.sights if first <= frame_index < end), None)


def crop_path(
    track_id: int, frame_index: np.ndarray, xyxy: np.ndarray, fps: float, settings: CropSettings | None = None
) -> CropPath:
    """The crops of a track from its boxes: between boxes by straight lines, then smoothed.

    Args:
        frame_index: (N,) of its boxes, N at least 1, in any order, none twice.
        xyxy: (N, 4) pixels.
        fps: frames a second, by which it is told when the player was out of sight.
    """
    settings = settings or CropSettings()
    order = np.argsort(frame_index)
    frames, boxes = np.asarray(frame_index)[order], as_xyxy(xyxy)[order].astype(np.float64)
    if not len(frames) or (np.diff(frames) == 0).any():
        raise ValueError(f"track {track_id}: needs boxes, and one a frame, not {len(frames)} in {len(set(frames))}")
    known = np.column_stack([centre_of(boxes), size_of(boxes).max(axis=1) * settings.room])
    every = np.arange(frames[0], frames[-1] + 1)
    squares = np.column_stack([np.interp(every, frames, known[:, column]) for column in range(3)])
    between = np.column_stack([np.interp(every, frames, boxes[:, column]) for column in range(4)])
    steps = np.diff(frames)
    usual = float(np.median(steps)) if len(steps) else 1.0
    hidden = np.flatnonzero(steps > max(settings.hidden_s * fps, settings.hidden_steps * usual))
    ends = [*(frames[hidden] + 1).tolist(), int(frames[-1]) + 1]
    in_sight = tuple(zip([int(frames[0]), *frames[hidden + 1].tolist()], ends, strict=True))
    return CropPath(track_id, int(frames[0]), smooth(squares, settings.steady_frames), between, in_sight)


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Values (F, C) smoothed over time by a Gaussian; at the ends the rest of it counts for all."""
    reach = int(np.ceil(3 * deviation))
    if reach < 1 or len(values) < 2:
        return values
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    total = np.convolve(np.ones(len(values)), weight)[reach : reach + len(values)]
    sums = [np.convolve(column, weight)[reach : reach + len(values)] for column in values.T]
    return np.column_stack(sums) / total[:, None]
