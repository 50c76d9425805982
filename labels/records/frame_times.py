"""When each frame of a video is shown: by its own time stamps, kept where they are not evenly spaced.

`videos/times/<video_id>.parquet` lies beside a video of variable rate only; the others are `frame_index / fps`. Every
change from seconds to frames and back goes through here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.records.safe_writing import read_parquet, write_parquet

TIMES_FOLDER = "times"  # below videos/
LONGEST_LAST_S = 1.0  # the last frame is shown as long as the one before it, but for a pause


@dataclass(frozen=True)
class FrameTimes:
    """`edges_s`: when each of N frames begins, and when the last one ends, (N + 1,), never falling, from 0."""

    edges_s: np.ndarray
    is_even: bool = True

    @classmethod
    def even(cls, frame_count: int, fps: float) -> "FrameTimes":
        return cls(np.arange(frame_count + 1, dtype=np.float64) / max(float(fps), 1e-9))

    @classmethod
    def of_stamps(cls, starts_s: np.ndarray, fps: float) -> "FrameTimes":
        starts_s = np.maximum.accumulate(np.asarray(starts_s, dtype=np.float64))
        step_s = float(starts_s[-1] - starts_s[-2]) if len(starts_s) > 1 else 0.0
        last_s = step_s if 0 < step_s <= LONGEST_LAST_S else 1 / max(float(fps), 1e-9)
        return cls(np.append(starts_s, starts_s[-1:] + last_s), is_even=False)

    @property
    def frame_count(self) -> int:
        return len(self.edges_s) - 1

    @property
    def end_s(self) -> float:
        return float(self.edges_s[-1])

    def seconds(self, frame_index: Any) -> Any:
        """When frames begin; the frame count stands for the end of the last one."""
        return self.edges_s[np.clip(frame_index, 0, self.frame_count)]

    def edge_at(self, second: float) -> int:
        """Where a segment that begins or ends at this second begins or ends: the nearest edge, 0 to frame_count."""
        after = int(np.clip(np.searchsorted(self.edges_s, second), 1, self.frame_count))
        before = after - 1
        return before if second - self.edges_s[before] <= self.edges_s[after] - second else after

    def frame_at(self, second: float) -> int:
        """The frame whose beginning is nearest."""
        return min(self.edge_at(second), self.frame_count - 1)

    def shown_at(self, second: float) -> int:
        """The frame that is on the screen at this second."""
        shown = int(np.searchsorted(self.edges_s, second + 1e-6, side="right")) - 1
        return int(np.clip(shown, 0, self.frame_count - 1))


def keep_frame_times(path: Path, starts_s: Sequence[float] | None) -> None:
    """Write the stamps of a video, (N,) seconds, to `path`; None: it is even, and has none."""
    if starts_s is None:
        path.unlink(missing_ok=True)
    else:
        write_parquet(path, pd.DataFrame({"time_s": np.asarray(starts_s, dtype=np.float64)}))


def read_frame_times(folder: Path | None, video: Mapping[str, Any]) -> FrameTimes:
    """The times of a video (a row of the videos table); `folder` is where such tables lie."""
    path = None if folder is None else folder / f"{video['video_id']}.parquet"
    count, fps = int(video["frame_count"]), float(video["fps"])
    if path is not None and path.is_file():
        starts_s = read_parquet(path)["time_s"].to_numpy()
        if len(starts_s) == count:
            return FrameTimes.of_stamps(starts_s, fps)
    return FrameTimes.even(count, fps)
