"""What the tests share: videos made on the spot, in which each frame says which one it is.

`coded_frame(7)` is an RGB frame whose blocks spell 7 in binary; `read_code` reads it back from the frame after any
lossy codec, rotation undone. A lost, repeated or swapped frame is thus seen, whatever the codec did to the colours.
"""

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from warm_processes import WarmStart, forked_at

from labels.videos.decoding import frames

CODE_BITS = 12  # frames 0-4095


def coded_frame(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """(height, width, 3) uint8: the left half black, then 12 blocks (4 columns, 3 rows) light for 1 and dark for 0.

    The top left corner carries a red block, so that a frame turned by any angle or mirrored is told apart.
    """
    rgb = np.zeros((height, width, 3), dtype=np.uint8)
    rgb[: height // 3, : width // 6] = (220, 30, 30)
    for bit in range(CODE_BITS):
        row, column = divmod(bit, 4)
        top, left = row * height // 3, width // 2 + column * width // 8
        rgb[top : top + height // 3, left : left + width // 8] = 225 if number >> bit & 1 else 40
    return rgb


def read_code(rgb: np.ndarray) -> int:
    """The number that `coded_frame` wrote into an upright frame of any size."""
    height, width = rgb.shape[:2]
    number = 0
    for bit in range(CODE_BITS):
        row, column = divmod(bit, 4)
        y, x = row * height // 3 + height // 6, width // 2 + column * width // 8 + width // 16
        number |= int(rgb[y, x].mean() > 128) << bit
    return number


def write_test_video(
    path: Path,
    frames: int | Iterable[np.ndarray] = 20,
    fps: float = 25.0,
    codec: str = "libx264",
    width: int = 96,
    height: int = 64,
    pix_fmt: str = "yuv420p",
    times_s: list[float] | None = None,
    audio: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write `frames` coded frames (a number) or the given RGB frames. `times_s` makes the frame rate variable."""
    if isinstance(frames, int):
        frames = [coded_frame(number, width, height) for number in range(frames)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = pix_fmt
        stream.options = (
            {"crf": "18", "preset": "ultrafast"} if codec == "libx264" and options is None else options or {}
        )
        stream.codec_context.thread_count = 1
        if times_s is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=44100) if audio else None
        for number, rgb in enumerate(frames):
            if number == 0:
                stream.width, stream.height = rgb.shape[1], rgb.shape[0]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format=pix_fmt)
            if times_s is None:
                frame.pts, frame.time_base = number, 1 / Fraction(fps).limit_denominator(1001)
            else:
                frame.pts, frame.time_base = round(times_s[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 4410), dtype=np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 44100, 0
            container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """`make_video(path, frames=20, fps=25.0, codec=…, …)`, see `write_test_video`; a relative path lies in tmp_path."""

    def make(path: Path | str, frames: int | Iterable[np.ndarray] = 20, fps: float = 25.0, **options: object) -> Path:
        return write_test_video(tmp_path / path, frames, fps, **options)

    return make


@pytest.fixture(scope="session", autouse=True)
def warm_decoders() -> Iterator[WarmStart]:
    """Most tests decode a few tiny clips, each in a process that would import for longer than it decodes.

    `test_decoding.py` starts them as the program does where the process itself is looked at, and so does every stage
    that runs in a process of its own.
    """
    start = WarmStart("av", "av.video.reformatter", "dataclasses", "fcntl", "json", "numpy", "resource", "tempfile")
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(os, "pidfd_open"):
            patch.setattr(frames, "subprocess", SimpleNamespace(Popen=start.Popen, PIPE=subprocess.PIPE))
        yield start
    start.close()


@pytest.fixture(scope="session")
def warm_stages() -> Iterator[WarmStart]:
    """Stage scripts in processes of their own, for tests that start many."""
    start = WarmStart("av", "cv2", "pandas", "pyarrow.parquet", "scipy.ndimage", "scipy.optimize", "scipy.spatial",
                      "sklearn.neighbors", "torchvision", "tqdm", "yaml")  # fmt: skip
    yield start
    start.close()


def with_warm_decoders(socket_path: str, work: Callable[..., None], *arguments: object) -> None:
    """What a process that downloads does, its decoders forked too."""
    frames.subprocess = SimpleNamespace(Popen=partial(forked_at, socket_path), PIPE=subprocess.PIPE)
    work(*arguments)


@pytest.fixture(scope="session")
def warm_workers(warm_decoders: WarmStart) -> Iterator[None]:
    """Processes that download are forked from one that has imported yt-dlp already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["conftest", "labels.videos.download.worker", "yt_dlp.extractor.extractors"])

    def worker(target: Callable[..., None], args: tuple[object, ...], daemon: bool) -> multiprocessing.Process:
        return context.Process(
            target=with_warm_decoders, args=(warm_decoders.socket_path, target, *args), daemon=daemon
        )

    standing_in = SimpleNamespace(Pipe=context.Pipe, Process=worker)
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(os, "pidfd_open"):
            warm_decoders.start()
            methods = SimpleNamespace(get_context=lambda method: standing_in)
            patch.setattr("labels.videos.download.pool.multiprocessing", methods)
        yield
