"""What the path finder works on: the candidates of one video and class as arrays, in camera-steady coordinates."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.geometry import centre_of, size_of
from labels.tracks.camera_motion import IDENTITY, apply_transforms, shot_transforms

EVENED_FRAMES = 11  # the pull-downs in use repeat every second to sixth picture


@dataclass(frozen=True)
class Timeline:
    """The labelled frames of one video in order, with the camera's place in each. All arrays have length F."""

    frame_index: np.ndarray  # int64, ascending
    time_s: np.ndarray
    shot_index: np.ndarray
    to_shot: np.ndarray  # (F, 2, 3): this frame's pixels to the steady coordinates of its shot
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def step_s(self) -> float:
        """The usual time between two labelled frames."""
        return float(np.median(np.diff(self.time_s))) if len(self) > 1 else 1.0

    def step_of(self, frame_index: np.ndarray) -> np.ndarray:
        """The place of each frame_index in the timeline. Every one must be in it."""
        step = np.searchsorted(self.frame_index, frame_index)
        if len(step) and (step.max() >= len(self) or (self.frame_index[step] != frame_index).any()):
            raise ValueError("a box lies in a frame that is not on the timeline")
        return step

    def evened(self) -> "Timeline":
        """The frames spread evenly in time, where some are left out because they repeat a picture.

        Whoever repeats every fifth picture shows pictures that were taken at even times at uneven ones. A moving mean
        over `EVENED_FRAMES` undoes that; where times are even already it changes nothing.
        """
        places = np.arange(len(self))
        step = np.diff(self.frame_index)
        far = np.append(step > EVENED_FRAMES * np.median(step), True) if len(step) else np.ones(len(self), dtype=bool)
        lasts = np.flatnonzero(far)  # of runs of frames with nothing left unlabelled between them
        run = np.searchsorted(lasts, places)
        firsts = np.append(0, lasts + 1)
        reach = np.minimum(EVENED_FRAMES // 2, np.minimum(places - firsts[run], lasts[run] - places))
        total = np.concatenate([[0.0], np.cumsum(self.time_s)])
        return replace(self, time_s=(total[places + reach + 1] - total[places - reach]) / (2 * reach + 1))

    def to_screen(self, step: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Steady points (N, 2) back to the pixels of the frames at `step`."""
        matrices = self.to_shot[step]
        return np.linalg.solve(matrices[:, :, :2], (points - matrices[:, :, 2])[:, :, None])[:, :, 0]


def make_timeline(
    frame_index: np.ndarray, fps: float, width: int, height: int, boxes: pd.DataFrame, camera: pd.DataFrame | None
) -> Timeline:
    """The timeline of `frame_index` and of the frames `boxes` are in; times from `boxes`, else from `fps`.

    Without a camera table the camera stands still and there is one shot.
    """
    frames = np.union1d(frame_index, boxes["frame_index"].to_numpy()).astype(np.int64)
    time_s = frames / max(fps, 1e-6)
    if len(boxes):
        known, first = np.unique(boxes["frame_index"].to_numpy(), return_index=True)
        offset = boxes["time_s"].to_numpy()[first] - known / max(fps, 1e-6)
        time_s = time_s + np.interp(frames, known, offset)
    to_shot, shot_index = np.tile(IDENTITY, (len(frames), 1, 1)), np.zeros(len(frames), dtype=np.int64)
    if camera is not None and len(camera):
        place = np.searchsorted(camera["frame_index"].to_numpy(), frames, side="right") - 1
        known_place = np.clip(place, 0, None)
        to_shot = shot_transforms(camera)[known_place]
        shot_index = camera["shot_index"].to_numpy()[known_place]
    return Timeline(frames, time_s, shot_index, to_shot, width, height)


@dataclass(frozen=True)
class Candidates:
    """N candidates, sorted by step. `row` says which row of the table each came from."""

    row: np.ndarray
    step: np.ndarray  # place in the timeline
    time_s: np.ndarray
    shot_index: np.ndarray
    steady: np.ndarray  # (N, 2) centre in steady coordinates
    screen: np.ndarray  # (N, 2) centre in the frame
    extent: np.ndarray  # (N, 2) width and height, in steady pixels
    size: np.ndarray  # sqrt(width * height), in steady pixels
    evidence: np.ndarray  # log-odds of the score against the labeller's working threshold

    def __len__(self) -> int:
        return len(self.row)


def make_candidates(boxes: pd.DataFrame, log_odds: np.ndarray, rows: np.ndarray, timeline: Timeline) -> Candidates:
    """The candidates at `rows` of the boxes table; `log_odds` is (len(boxes),)."""
    step = timeline.step_of(boxes["frame_index"].to_numpy()[rows])
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)[rows]
    # The order must not depend on the order of the input: equal evidence of two paths is settled by it.
    order = np.lexsort([*xyxy.T, log_odds[rows], step])
    rows, step, xyxy = rows[order], step[order], xyxy[order]
    matrices = timeline.to_shot[step]
    zoom = np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2]))) if len(rows) else np.zeros(0)
    screen = centre_of(xyxy)
    extent = size_of(xyxy) * zoom[:, None]
    return Candidates(
        row=rows,
        step=step,
        time_s=timeline.time_s[step],
        shot_index=timeline.shot_index[step],
        steady=apply_transforms(matrices, screen) if len(rows) else screen,
        screen=screen,
        extent=extent,
        size=np.sqrt(np.prod(extent, axis=1)),
        evidence=log_odds[rows].astype(np.float64),
    )
