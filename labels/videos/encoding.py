"""Writing a video that plays in a browser (H.264, yuv420p, the index in front), or a GIF for a message or README."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from PIL import Image

from labels.records.safe_writing import whole_file
from labels.videos.settings import EncodeSettings

BT709 = 1  # the number the H.264 standard has for it, for primaries, transfer and matrix alike


class VideoWriter:
    """Write RGB frames to `path` as H.264; the file is whole or absent, and the same frames give the same bytes.

        with VideoWriter(path, fps=25.0) as writer:
            for rgb in frames:
                writer.write(rgb)

    An exception inside the block, or no frame at all, leaves no file (and an older one of that name as it was).
    yuv420p needs even sizes: an odd width or height grows by one pixel that repeats its neighbour.
    """

    def __init__(self, path: Path, fps: float, crf: int = EncodeSettings.crf, settings: EncodeSettings | None = None):
        if not 0 < fps <= 1000:
            raise ValueError(f"{path}: a video of {fps} frames a second cannot be written")
        self.path, self.crf, self.settings = Path(path), crf, settings or EncodeSettings()
        # 29.97 and its like are fractions over 1001; times then count in units of one frame.
        self.rate = Fraction(fps).limit_denominator(1001)
        self.frame_count = 0
        self._shape: tuple[int, ...] | None = None

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            aside = stack.enter_context(whole_file(self.path))
            self._container = stack.enter_context(
                av.open(str(aside), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._resources = stack.pop_all()
        return self

    def write(self, rgb: np.ndarray) -> None:
        """Append one frame, (H, W, 3) uint8; all frames have one shape."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"{self.path}: a frame is (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
        if self._shape is None:
            self._open_stream(*rgb.shape[:2])
            self._shape = rgb.shape
        elif rgb.shape != self._shape:
            raise ValueError(f"{self.path}: frame {self.frame_count} is {rgb.shape}, the others are {self._shape}")
        odd = [(0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)]
        even = np.pad(rgb, odd, mode="edge") if rgb.shape[0] % 2 or rgb.shape[1] % 2 else np.ascontiguousarray(rgb)
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(even, format="rgb24"), format="yuv420p", dst_colorspace=Colorspace.ITU709
        )
        frame.pts, frame.time_base = self.frame_count, 1 / self.rate
        self.frame_count += 1
        self._container.mux(self._stream.encode(frame))

    def _open_stream(self, height: int, width: int) -> None:
        self._reformatter = VideoReformatter()
        self._stream = self._container.add_stream("libx264", rate=self.rate)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        # The same frames are to give the same bytes; x264's macroblock tree does not with several threads.
        self._stream.options = {"crf": str(self.crf), "preset": self.settings.preset, "x264-params": "mbtree=0"}
        context = self._stream.codec_context
        context.thread_count = self.settings.threads
        context.time_base = 1 / self.rate
        # Said in the file, so that a browser does not guess another matrix for small videos than for large ones.
        context.colorspace = context.color_primaries = context.color_trc = BT709

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._finish()
            except BaseException as failure:
                self._resources.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._resources.__exit__(kind, error, trace)

    def _finish(self) -> None:
        if not self.frame_count:
            raise ValueError(f"{self.path}: a video without a frame cannot be written")
        self._container.mux(self._stream.encode(None))
        self._container.close()  # here, while a failure still keeps the file from being renamed into place


GIF_COLOURS = 64
GIF_MAX_FPS = 8.0
GIF_TICK_MS = 10  # a GIF counts in hundredths of a second


class GifWriter:
    """Write RGB frames to `path` like `VideoWriter`; of more than `GIF_MAX_FPS` frames a second only every k-th."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self._step = max(1, int(np.ceil(fps / GIF_MAX_FPS - 1e-6)))
        self._ms = max(2, round(1000 * self._step / fps / GIF_TICK_MS)) * GIF_TICK_MS
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
        palette = together.quantize(GIF_COLOURS, method=Image.Quantize.MEDIANCUT)
        coded = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames]
        with whole_file(self.path) as aside:
            coded[0].save(
                aside, save_all=True, append_images=coded[1:], duration=self._ms, loop=0, optimize=True, disposal=1
            )
