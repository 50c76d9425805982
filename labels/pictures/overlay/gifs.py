"""A GIF small enough for a message or a README: few colours, few frames a second, what stands still left out."""

from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from labels.records.safe_writing import whole_file

COLOURS = 64
MAX_FPS = 8.0
TICK_MS = 10  # a GIF counts in hundredths of a second


class GifWriter:
    """Write RGB frames to `path` like `VideoWriter`; of more than `MAX_FPS` frames a second only every k-th."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self._step = max(1, int(np.ceil(fps / MAX_FPS - 1e-6)))
        self._ms = max(2, round(1000 * self._step / fps / TICK_MS)) * TICK_MS
        self._frames: list[Image.Image] = []
        self._seen = 0

    def __enter__(self) -> "GifWriter":
        return self

    def write(self, rgb: np.ndarray) -> None:
        """Append one frame, (H, W, 3) uint8."""
        if self._seen % self._step == 0:
            self._frames.append(Image.fromarray(rgb))
        self._seen += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        if not self._frames:
            raise ValueError(f"{self.path}: a GIF without a frame cannot be written")
        # One palette for all frames, from a few of them side by side: then what stands still stays the same colour.
        few = self._frames[:: max(1, len(self._frames) // 4)]
        together = Image.fromarray(np.concatenate([np.asarray(frame) for frame in few], axis=1))
        palette = together.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
        coded = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames]
        with whole_file(self.path) as aside:
            coded[0].save(
                aside, save_all=True, append_images=coded[1:], duration=self._ms, loop=0, optimize=True, disposal=1
            )
