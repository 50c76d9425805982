"""Frames on disk are the frames their names say, whole or absent, and written once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import coded_frame, read_code

from labels.records.errors import InputError
from labels.videos import frame_store
from labels.videos.decoding.frames import DecodeError, decode_frames
from labels.videos.frame_store import FrameStore


def test_round_trip_in_rgb(tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "frames")
    assert not store.has("clip", 7)
    store.write("clip", 7, coded_frame(7))
    assert store.has("clip", 7)
    assert store.path("clip", 7) == tmp_path / "frames" / "clip" / "000007.jpg"
    back = store.read("clip", 7)
    assert (back.shape, back.dtype, read_code(back)) == ((64, 96, 3), np.uint8, 7)
    assert np.allclose(back[5, 5], (220, 30, 30), atol=10)
    assert [path.name for path in (tmp_path / "frames" / "clip").iterdir()] == ["000007.jpg"]


def test_any_memory_layout(tmp_path: Path) -> None:
    store, turned = FrameStore(tmp_path), np.rot90(coded_frame(5))
    store.write("clip", 0, turned)
    assert np.abs(store.read("clip", 0).astype(int) - turned).mean() < 6


@pytest.mark.parametrize("damage", [b"", b"\xff\xd8\xff\xe0 half a picture", bytes(500)])
def test_half_a_picture_does_not_count(tmp_path: Path, damage: bytes) -> None:
    store = FrameStore(tmp_path)
    store.write("clip", 0, coded_frame(0))
    store.path("clip", 0).write_bytes(damage)
    assert not store.has("clip", 0)
    with pytest.raises(InputError, match=r"000000\.jpg"):
        store.read("clip", 0)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FrameStore(tmp_path)
    monkeypatch.setattr(frame_store.cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(ValueError, match="frame 3"):
        store.write("clip", 3, coded_frame(3))
    monkeypatch.undo()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frame_store.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        store.write("clip", 3, coded_frame(3))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("wanted", [[0], [4, 8, 12], [3, 5], [19], range(20), []])
def test_ensure(tmp_path: Path, make_video: Callable[..., Path], wanted: list[int]) -> None:
    store = FrameStore(tmp_path / "frames")
    store.ensure("clip", make_video("clip.mp4", frames=20), wanted)
    assert sorted(path.name for path in store.root.rglob("*.jpg")) == [f"{index:06d}.jpg" for index in wanted]
    assert [read_code(store.read("clip", index)) for index in wanted] == list(wanted)


def test_ensure_writes_what_is_missing_and_decodes_once(
    tmp_path: Path, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(path: Path, stride: int = 1) -> object:
        calls.append(stride)
        return decode_frames(path, stride)

    monkeypatch.setattr(frame_store, "decode_frames", counted)
    store, path = FrameStore(tmp_path / "frames"), make_video("clip.mp4", frames=20)
    store.ensure("clip", path, [0, 6])
    written = store.path("clip", 6).stat().st_mtime_ns
    store.ensure("clip", path, [0, 6, 9, 15])
    assert calls == [6, 3]
    assert store.path("clip", 6).stat().st_mtime_ns == written
    store.ensure("clip", path, [0, 6, 9, 15])
    assert calls == [6, 3]


def test_ensure_of_a_frame_that_is_not_there(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    store = FrameStore(tmp_path / "frames")
    with pytest.raises(DecodeError, match="no frame 25"):
        store.ensure("clip", make_video("clip.mp4", frames=20), [5, 25])
    assert store.has("clip", 5)


def test_ensure_makes_anew_what_is_of_another_video(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    store = FrameStore(tmp_path / "frames")
    first = make_video("first.mp4", frames=10)
    second = make_video("second.mp4", [coded_frame(index + 5) for index in range(10)])
    store.ensure("clip", first, [2, 4], sha256="first")
    written = store.path("clip", 2).stat().st_mtime_ns
    store.ensure("clip", first, [2], sha256="first")
    assert store.path("clip", 2).stat().st_mtime_ns == written
    store.ensure("clip", second, [2])  # without the digest what is there is trusted
    assert read_code(store.read("clip", 2)) == 2
    store.ensure("clip", second, [2], sha256="second")
    assert read_code(store.read("clip", 2)) == 7
    assert not store.has("clip", 4)
    (store.root / "clip" / "video.sha256").unlink()  # nobody knows what they are of
    store.ensure("clip", first, [2], sha256="second")
    assert read_code(store.read("clip", 2)) == 2
