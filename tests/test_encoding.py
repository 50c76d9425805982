"""A written video holds the frames it was given, plays in a browser, and is whole or absent."""

from pathlib import Path

import av
import numpy as np
import pytest
from conftest import coded_frame, read_code

from labels.videos.decoding.frames import decode_frames, probe_video
from labels.videos.encoding import VideoWriter
from labels.videos.synthetic.rendering import Scene
from labels.videos.synthetic.settings import SceneSettings


def write(path: Path, frames: list[np.ndarray], fps: float = 25.0) -> Path:
    with VideoWriter(path, fps) as writer:
        for rgb in frames:
            writer.write(rgb)
    return path


@pytest.mark.parametrize(
    ("width", "height", "stored"), [(96, 64, (96, 64)), (97, 65, (98, 66)), (97, 64, (98, 64)), (32, 17, (32, 18))]
)
def test_frames_come_back(tmp_path: Path, width: int, height: int, stored: tuple[int, int]) -> None:
    frames = [coded_frame(number, width, height) for number in range(12)]
    path = write(tmp_path / "clip.mp4", frames)
    info = probe_video(path)
    assert (info.width, info.height, info.frame_count, info.codec) == (*stored, 12, "h264")
    for frame, rgb in zip(decode_frames(path), frames, strict=True):
        assert np.abs(frame.rgb[:height, :width].astype(int) - rgb).mean() < 12
    if height > 20:
        assert [read_code(frame.rgb[:height, :width]) for frame in decode_frames(path)] == list(range(12))


@pytest.mark.parametrize("fps", [25.0, 29.97002997, 30000 / 1001, 23.976, 12.5, 59.94])
def test_frame_rate(tmp_path: Path, fps: float) -> None:
    path = write(tmp_path / "clip.mp4", [coded_frame(number) for number in range(30)], fps)
    assert probe_video(path).fps == pytest.approx(fps, rel=1e-4)
    assert list(decode_frames(path))[-1].time_s == pytest.approx(29 / fps, abs=1e-3)


def test_plays_in_a_browser(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [coded_frame(number) for number in range(12)])
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # starts before all of it has come
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    scene = SceneSettings(seed=3, difficulty="hard", width=640, height=360, frame_count=48)
    frames = [frame.rgb for frame in Scene(scene).frames()]
    written = [write(tmp_path / f"{name}.mp4", frames).read_bytes() for name in "abcd"]
    assert len(set(written)) == 1


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (250, 250, 250)]
    path = write(tmp_path / "clip.mp4", [np.full((64, 64, 3), colour, dtype=np.uint8) for colour in colours])
    for frame, colour in zip(decode_frames(path), colours, strict=True):
        assert np.allclose(frame.rgb[32, 32], colour, atol=6)


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([coded_frame(0), coded_frame(1, 98, 64)], "frame 1 is"),
        ([coded_frame(0).astype(np.float32)], "float32"),
        ([coded_frame(0)[..., 0]], "not"),
        ([], "without a frame"),
    ],
)
def test_whole_or_absent(tmp_path: Path, frames: list[np.ndarray], error: str) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(ValueError, match=error):
        write(path, frames)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"the one before")
    with pytest.raises(ValueError, match=error):
        write(path, frames)
    assert path.read_bytes() == b"the one before"


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "clip.mp4", 25.0) as writer:
        writer.write(coded_frame(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (20, 120, 160, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # as a full disk does, it makes writes fail
    try:
        with pytest.raises(OSError):
            write(tmp_path / "clip.mp4", list(noise))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_a_frame_rate_that_is_none(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="frames a second"):
        VideoWriter(tmp_path / "clip.mp4", fps)
