"""Frames come out in order, upright, at their times, or the video is refused with a reason; nothing is made up."""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import coded_frame, read_code

from labels.videos.decoding import frames as frames_module
from labels.videos.decoding.frames import DecodeError, Patience, decode_ahead, decode_frames, probe_video
from labels.videos.settings import AheadSettings, DecodeLimits

MakeVideo = Callable[..., Path]


@pytest.fixture
def as_the_program_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes are started here, not forked as in other tests: where the process itself is looked at."""
    monkeypatch.setattr(frames_module, "subprocess", subprocess)


def codes(path: Path, stride: int = 1) -> list[int]:
    return [read_code(frame.rgb) for frame in decode_frames(path, stride)]


def children(of: int | None = None) -> set[int]:
    """Process ids of the decoding processes that a process, this one, has started and that still run."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == (of or os.getpid()) and b"labels.videos.decoding.child" in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except (OSError, IndexError):
            continue
    return found


def runs(pid: int) -> bool:
    """Whether a process is there and is more than an entry that nobody has asked after."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def no_children_soon() -> bool:
    deadline_s = time.monotonic() + 5
    while children() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return not children()


@pytest.mark.usefixtures("as_the_program_does")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("b_frames.mp4", {"options": {"crf": "18", "bf": "3", "g": "12"}}),
        ("odd.mkv", {"codec": "ffv1", "width": 97, "height": 65}),
        ("xvid.avi", {"codec": "mpeg4"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}}),
        ("transport.ts", {"codec": "mpeg2video"}),
        ("turning.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
        ("grey.mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
        ("with_sound.mp4", {"audio": True}),
        ("caf\udce9.mp4", {}),  # a name that is not UTF-8
        ("-rf.mp4", {}),
    ],
)
def test_every_frame_in_order(make_video: MakeVideo, tmp_path: Path, name: str, options: dict[str, object]) -> None:
    made = make_video(f"made{Path(name).suffix}", frames=20, **options)
    path = made.rename(tmp_path / name)
    frames = list(decode_frames(path))
    assert [frame.frame_index for frame in frames] == list(range(20))
    assert [read_code(frame.rgb) for frame in frames] == list(range(20))
    assert np.allclose([frame.time_s for frame in frames], np.arange(20) / 25, atol=0.002)
    expected = (int(options.get("height", 64)), int(options.get("width", 96)), 3)  # type: ignore[call-overload]
    assert frames[3].rgb.shape == expected
    assert frames[3].rgb.dtype == np.uint8
    frames[3].rgb[:] = 0  # writable, and no other frame's memory
    assert read_code(frames[4].rgb) == 4
    info = probe_video(path)
    assert (info.height, info.width, 3) == expected
    assert (info.frame_count, info.fps) == (20, 25.0)
    assert info.duration_s == pytest.approx(0.8, abs=0.002)


def test_rgb_and_not_bgr(make_video: MakeVideo) -> None:
    first = next(iter(decode_frames(make_video("red.mp4"))))
    assert np.allclose(first.rgb[5, 5], (220, 30, 30), atol=12)


@pytest.mark.parametrize("stride", [1, 2, 7, 19, 20, 1000])
def test_stride_gives_the_frames_its_indices_say(make_video: MakeVideo, stride: int) -> None:
    path = make_video("clip.mp4", frames=20, options={"bf": "2"})
    frames = list(decode_frames(path, stride))
    assert [frame.frame_index for frame in frames] == list(range(0, 20, stride))
    assert [read_code(frame.rgb) for frame in frames] == list(range(0, 20, stride))


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write the matrix of an MP4's one track (in its tkhd box; 16.16 numbers): x' = ax + cy, y' = bx + dy."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[at : at + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 2**30)
    path.write_bytes(data)


# What is stored so that, shown by the matrix, it is coded_frame: the inverse of what a player does.
@pytest.mark.parametrize(
    ("matrix", "stored"),
    [
        ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, 1)),  # shown a quarter turn clockwise, as most phones do
        ((0, -1, 1, 0), lambda rgb: np.rot90(rgb, -1)),
        ((-1, 0, 0, -1), lambda rgb: np.rot90(rgb, 2)),
        ((-1, 0, 0, 1), lambda rgb: rgb[:, ::-1]),  # a selfie, mirrored
        ((0, 1, 1, 0), lambda rgb: rgb.transpose(1, 0, 2)),
    ],
)
def test_upright(make_video: MakeVideo, matrix: tuple[int, int, int, int], stored: Callable[..., np.ndarray]) -> None:
    path = make_video("phone.mp4", [stored(coded_frame(number)) for number in range(5)])
    set_display_matrix(path, *matrix)
    frames = list(decode_frames(path))
    assert frames[0].rgb.shape == (64, 96, 3)
    assert [read_code(frame.rgb) for frame in frames] == [0, 1, 2, 3, 4]
    assert np.allclose(frames[0].rgb[5, 5], (220, 30, 30), atol=12)  # the red corner is top left
    info = probe_video(path)
    assert (info.width, info.height) == (96, 64)


@pytest.mark.parametrize("start_s", [0.0, 7.0])
def test_times_of_variable_frame_rate_from_the_first_frame(make_video: MakeVideo, start_s: float) -> None:
    times_s = [0.0, 0.040, 0.080, 0.5, 0.533, 2.0]
    path = make_video("phone.mkv", frames=6, times_s=[start_s + time_s for time_s in times_s])
    assert np.allclose([frame.time_s for frame in decode_frames(path)], times_s, atol=0.0015)
    assert probe_video(path).fps == pytest.approx(5 / 2.0, rel=0.01)  # by the clock, not the 25 of the header


def two_streams(path: Path, sizes: list[tuple[int, int]], default: int | None) -> Path:
    """A video whose streams have these sizes; the one marked default shows frames from 100, the others from 0."""
    import av

    with av.open(str(path), "w", options={"default_mode": "passthrough"}) as container:
        streams = []
        for at, (width, height) in enumerate(sizes):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = av.stream.Disposition.default if at == default else av.stream.Disposition(0)
            streams.append(stream)
        for number in range(8):
            for at, (stream, size) in enumerate(zip(streams, sizes, strict=True)):
                rgb = coded_frame(100 * at + number, *size)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("default", "first_code", "why"), [(0, 0, "the default one"), (1, 100, "the default one"), (None, 100, "largest")]
)
def test_of_several_streams_the_default_one_else_the_largest(
    tmp_path: Path, default: int | None, first_code: int, why: str
) -> None:
    path = two_streams(tmp_path / "two.mkv", [(96, 64), (192, 128)], default)
    assert codes(path) == list(range(first_code, first_code + 8))
    (note,) = probe_video(path).notes
    assert note.startswith("2 video streams") and why in note


def test_a_header_may_lie(make_video: MakeVideo) -> None:
    path = make_video("lies.avi", codec="mpeg4", frames=20)
    data = bytearray(path.read_bytes())
    for box, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):  # dwTotalFrames, dwLength
        at = data.index(box) + offset
        assert struct.unpack("<I", data[at : at + 4]) == (20,)
        data[at : at + 4] = struct.pack("<I", 2_000_000)
    path.write_bytes(data)
    assert probe_video(path).frame_count == 20
    assert codes(path) == list(range(20))


def pulled_down(count: int, ball: int = 4) -> tuple[list[np.ndarray], set[int]]:
    """A small ball that flies over noise, each fifth frame shown twice; and which frames are the second showing."""
    ground = np.random.default_rng(1).integers(90, 130, (120, 160, 3), dtype=np.uint8)
    shown, repeated = [], set()
    for number in range(count):
        rgb = ground.copy()
        rgb[40 + number // 2 :][:ball, 10 + 4 * number % 140 :][:, :ball] = 220
        shown.append(rgb)
        if number % 5 == 4:
            repeated.add(len(shown))
            shown.append(rgb)
    return shown, repeated


@pytest.mark.parametrize("crf", ["18", "28"])
def test_repeated_frames_are_found(make_video: MakeVideo, crf: str) -> None:
    shown, repeated = pulled_down(42)
    path = make_video("pulled.mp4", shown, options={"crf": crf, "preset": "veryfast"})
    found = set(probe_video(path).repeated_frames)
    assert found <= repeated and len(found) >= len(repeated) - 1  # where a codec draws the picture anew, one is missed
    assert {frame.frame_index for frame in decode_frames(path) if frame.is_repeated} == found
    # Every second frame: it shows what the one given before it shows where neither of both moved.
    assert not any(frame.is_repeated for frame in decode_frames(path, 2))


def test_a_frame_given_after_repeats_alone_is_a_repeat(make_video: MakeVideo) -> None:
    flying = pulled_down(12)[0]
    path = make_video("frozen.mp4", flying[:10] + [flying[9]] * 6 + flying[10:])
    assert [frame.frame_index for frame in decode_frames(path, 3) if frame.is_repeated] == [12, 15]


def test_where_hardly_anything_moves_nothing_is_a_repeat(make_video: MakeVideo) -> None:
    ground = np.random.default_rng(1).integers(90, 130, (120, 160, 3), dtype=np.uint8)
    shown = []
    for number in range(30):  # a faint ball that rolls a pixel a frame
        rgb = ground.copy()
        rgb[60:66, 20 + number : 26 + number] += 30
        shown.append(rgb)
    assert not probe_video(make_video("putt.mp4", shown, options={"crf": "18"})).repeated_frames


def test_interlaced_video_is_deinterlaced_frame_for_frame(make_video: MakeVideo) -> None:
    """A bright bar moves 8 pixels from field to field: woven, its edges are combs."""
    shown = []
    for number in range(12):
        rgb = np.full((64, 96, 3), 60, np.uint8)
        for field in (0, 1):
            left = 8 + 4 * (2 * number + field) % 64
            rgb[field::2, left : left + 16] = 200
        shown.append(rgb)
    flags = {"flags": "+ildct+ilme", "top": "1", "field_order": "tt", "q": "2"}
    path = make_video("field.ts", shown, codec="mpeg2video", options=flags)
    info = probe_video(path)
    assert (info.frame_count, list(info.notes)) == (12, ["deinterlaced"])
    frames = list(decode_frames(path))
    assert np.allclose([frame.time_s for frame in frames], np.arange(12) / 25, atol=0.002)

    def combs(rgb: np.ndarray) -> float:
        lines = rgb[:, :, 1].astype(int)
        return float(np.abs(lines[1:-1] * 2 - lines[:-2] - lines[2:]).mean())

    assert combs(shown[5]) > 10
    assert max(combs(frame.rgb) for frame in frames[1:-1]) < 0.3 * combs(shown[5])
    assert not probe_video(make_video("plain.ts", shown, codec="mpeg2video")).notes


def test_a_picture_that_is_no_video(make_video: MakeVideo) -> None:
    with pytest.raises(DecodeError, match="still picture"):
        probe_video(make_video("still.gif", frames=1, codec="gif", pix_fmt="rgb8"))


# --- what is refused ---------------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def hole(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = bytes(1500)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("front.mp4", truncated, "breaks off"),
        ("cut.avi", truncated, "breaks off"),
        ("cut.mkv", truncated, "breaks off"),
        ("no_index.mp4", truncated, ""),  # the index lay at the end
        ("hole.mp4", hole, ""),
        ("hole.mkv", hole, ""),
        ("empty.mp4", lambda path: path.write_bytes(b""), "empty"),
        ("text.mp4", lambda path: path.write_text("frame_index,x,y\n" * 200), ""),
        ("gone.mp4", lambda path: path.unlink(), "No such file"),
        ("list.mp4", lambda path: path.write_text(f"ffconcat version 1.0\nfile '{path.parent / 'other.mp4'}'\n"), ""),
        ("folder.mp4", lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    ],
)
def test_damage_is_an_error_with_a_reason(
    make_video: MakeVideo, name: str, damage: Callable[[Path], object], reason: str
) -> None:
    make_video("other.mp4")
    front = {"movflags": "+faststart"} if name != "no_index.mp4" and name.endswith("mp4") else {}
    options = {"crf": "5", "g": "250"}
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), dtype=np.uint8)
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = make_video(name, noise, codec=codec, options=options if codec == "libx264" else {}, container_options=front)
    damage(path)
    for decode in (
        lambda: list(decode_frames(path, until_damage=False)),
        lambda: probe_video(path, until_damage=False),
    ):
        with pytest.raises(DecodeError) as caught:
            decode()
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
        assert str(caught.value)


def lost_packet(path: Path) -> None:
    """One packet of a transport stream never arrived."""
    data = path.read_bytes()
    middle = len(data) // 188 // 2 * 188
    path.write_bytes(data[:middle] + data[middle + 188 :])


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("front.mp4", truncated, "breaks off"),
        ("cut.avi", truncated, "breaks off"),
        ("cut.mkv", truncated, "breaks off"),
        ("hole.mp4", hole, ""),
        ("hole.mkv", hole, ""),
        ("lost.ts", lost_packet, "packet is corrupt"),
    ],
)
def test_a_damaged_video_ends_before_its_damage(
    make_video: MakeVideo, name: str, damage: Callable[[Path], object], reason: str
) -> None:
    rng = np.random.default_rng(0)
    shown = [coded_frame(number) for number in range(40)]
    for rgb in shown:  # noise where the code is not, so that the damage hits pictures
        rgb[32:, :48] = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    options = {} if name.endswith("avi") else {"crf": "10", "g": "250", "bf": "2"}
    front = {"movflags": "+faststart"} if name.endswith("mp4") else {}
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = make_video(name, shown, codec=codec, options=options, container_options=front)
    whole = [frame.rgb for frame in decode_frames(path)]
    assert len(whole) == 40 and not probe_video(path).damage
    damage(path)
    info = probe_video(path)
    assert 0 < info.frame_count < 40
    assert info.damage and reason in info.damage
    for threads in (1, 3, 8):  # the same frames each time, as they were before the damage
        frames = list(decode_frames(path, limits=DecodeLimits(threads=threads)))
        assert len(frames) == info.frame_count
        assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(frames, whole, strict=False))
    assert len(list(decode_frames(path, 4))) == -(-info.frame_count // 4)


def test_an_avi_whose_writer_counted_wrong_is_whole(make_video: MakeVideo) -> None:
    path = make_video("riff.avi", codec="mpeg4", frames=20)
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack("<I", len(data))  # with its own head, 8 too many
    path.write_bytes(data)
    info = probe_video(path, until_damage=False)
    assert (info.frame_count, info.damage) == (20, "")


def test_a_size_that_changes_ends_the_video(make_video: MakeVideo, tmp_path: Path) -> None:
    small, large = make_video("a.ts", frames=12), make_video("b.ts", frames=12, width=128, height=96)
    path = tmp_path / "call.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    info = probe_video(path)
    assert (info.width, info.height) == (96, 64)
    assert 0 < info.frame_count <= 12 and info.damage
    assert codes(path) == list(range(info.frame_count))
    with pytest.raises(DecodeError):
        probe_video(path, until_damage=False)


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    started_s = time.monotonic()
    with pytest.raises(DecodeError, match="not a regular file"):
        probe_video(tmp_path / "pipe.mp4")
    assert time.monotonic() - started_s < 20


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4410), dtype=np.float32), "fltp", "mono")
        silence.sample_rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="no video in it"):
        probe_video(tmp_path / "song.mp4")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_pixels": 6000}, "96 x 64"),
        ({"max_frames": 10}, "more than 10 frames"),
        ({"memory_bytes": 2**20}, "ended with code|memory"),
    ],
)
@pytest.mark.usefixtures("as_the_program_does")
def test_limits(make_video: MakeVideo, limits: dict[str, int], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        list(decode_frames(make_video("clip.mp4"), limits=DecodeLimits(**limits)))


def test_a_decoder_dies_with_its_parent(make_video: MakeVideo) -> None:
    path = make_video("long.mp4", [coded_frame(number, 480, 320) for number in range(60)])
    asking = (
        "import sys, time; from pathlib import Path; from labels.videos.decoding.frames import decode_frames\n"
        "frames = decode_frames(Path(sys.argv[1])); next(frames); print('going', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", asking, str(path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdout.readline() == b"going\n"
    (child,) = children(parent.pid)
    os.kill(child, signal.SIGSTOP)  # as one that hangs in a library and looks at nothing
    parent.kill()
    parent.wait()
    os.kill(child, signal.SIGCONT)
    deadline_s = time.monotonic() + 1
    while runs(child) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not runs(child)


@pytest.mark.parametrize(
    ("moments", "over_at"),
    [
        ([(0, 0), (9, 0), (11, 0)], 2),  # (clock, processor time): it sleeps
        ([(0, 0), (20, 2), (40, 4), (100, 9)], None),  # the machine is busy, and it gets little
        ([(0, 0), (5, 8), (7, 11)], 2),  # it works with several threads, and comes to nothing
        ([(0, 5), (9, 9), (18, 9), (20, 9)], 3),  # it has stopped working
        ([(0, None), (9, None), (11, None)], 2),  # a system that does not tell
    ],
)
def test_patience_is_by_what_the_decoder_does(moments: list[tuple[float, float | None]], over_at: int | None) -> None:
    patience = Patience(10)
    over = [patience.is_over(*moment) for moment in moments]
    assert over == [at == over_at for at in range(len(moments))]


@pytest.fixture
def long_video(make_video: MakeVideo, as_the_program_does: None) -> Path:
    """More frames than the pipe holds, so that its decoder is still running after the first of them."""
    return make_video("long.mp4", [coded_frame(number, 480, 320) for number in range(60)])


@pytest.mark.parametrize(
    ("signal_number", "reason"),
    [
        (signal.SIGKILL, "crashed .SIGKILL"),
        (signal.SIGSEGV, "crashed .SIGSEGV"),
        (signal.SIGXCPU, "processor time"),
        (signal.SIGSTOP, "no sign of life"),
    ],
)
def test_a_decoder_that_dies_or_hangs(long_video: Path, signal_number: int, reason: str) -> None:
    frames = decode_frames(long_video, limits=DecodeLimits(stall_s=1.0))
    next(frames)
    (child,) = children()
    os.kill(child, signal_number)
    with pytest.raises(DecodeError, match=reason):
        list(frames)
    assert no_children_soon()


def test_a_slow_consumer_is_no_hang(long_video: Path) -> None:
    frames = decode_frames(long_video, limits=DecodeLimits(stall_s=1.0))
    next(frames)
    time.sleep(1.5)
    assert len(list(frames)) == 59


def test_closing_ends_the_decoder(long_video: Path) -> None:
    frames = decode_frames(long_video)
    next(frames)
    assert len(children()) == 1
    frames.close()
    assert not children()


def test_stop_from_another_thread_ends_a_probe(long_video: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(DecodeError, match="stopped"):
        probe_video(long_video, stop=stop)
    assert not children()


# --- several at once ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_the_program_does")
def test_decode_ahead_keeps_the_order_and_the_errors_apart(make_video: MakeVideo) -> None:
    good, bad = make_video("good.mp4", frames=12), make_video("bad.mp4", frames=12)
    bad.write_bytes(b"no video")
    seen: dict[str, object] = {}
    for key, frames in decode_ahead([("a", good, 1), ("b", bad, 1), ("c", good, 5), ("d", good, 1)], streams=3):
        try:
            seen[key] = [read_code(frame.rgb) for frame in frames]
        except DecodeError as error:
            seen[key] = type(error)
    assert seen == {"a": list(range(12)), "b": DecodeError, "c": [0, 5, 10], "d": list(range(12))}
    assert list(seen) == ["a", "b", "c", "d"]
    assert no_children_soon()


def test_decode_ahead_starts_the_next_early_and_waits_with_few_frames(long_video: Path) -> None:
    frame_bytes = 480 * 320 * 3
    settings = AheadSettings(bytes_ahead=3 * frame_bytes)
    videos = decode_ahead([("a", long_video, 1), ("b", long_video, 1), ("c", long_video, 1)], 2, settings=settings)
    _, frames = next(videos)
    next(frames)
    deadline_s = time.monotonic() + 10
    while len(children()) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.02)
    time.sleep(0.5)  # long enough to decode all 60, if nothing held it back
    assert len(children()) == 2  # the second video runs already, the third does not yet; neither is at its end
    assert len(list(frames)) == 59
    videos.close()  # type: ignore[attr-defined]
    assert no_children_soon()


def test_decode_ahead_of_a_video_that_is_not_taken_to_its_end(long_video: Path) -> None:
    counts = []
    for number, (_, frames) in enumerate(decode_ahead([(str(key), long_video, 1) for key in range(3)])):
        counts.append(len(list(frames)) if number != 1 else read_code(next(frames).rgb))
    assert counts == [60, 0, 60]
    assert no_children_soon()


def test_limits_travel_as_they_are() -> None:
    assert DecodeLimits(**json.loads(json.dumps(DecodeLimits().__dict__))) == DecodeLimits()
