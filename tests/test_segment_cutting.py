"""Cuts are exact to the frame: the pixel code of the first and the last frame, and of all between them."""

from fractions import Fraction
from pathlib import Path

import pytest
from conftest import read_code, write_test_video

from labels.videos.decoding.frames import decode_frames
from labels.videos.download.cutting import CutClip, Segment, cut_segments
from labels.videos.download.outcomes import FetchError

# fps, frames, start_s, end_s, the frames that have start_s <= n / fps < end_s
CONSTANT_RATE = [
    (25, 100, 0.0, 1.0, range(0, 25)),
    (25, 100, 1.0, 2.0, range(25, 50)),
    (25, 100, 1.02, 2.02, range(26, 51)),  # 1.02 s is between frame 25 (1.00) and 26 (1.04)
    (25, 100, None, 0.5, range(0, 13)),
    (25, 100, 3.0, None, range(75, 100)),
    (25, 100, 3.0, 4.0, range(75, 100)),  # to the last frame
    (25, 100, 3.0, 4.05, range(75, 100)),  # a little past the end
    (25, 100, 2.0, 2.04, range(50, 51)),  # one frame
    (Fraction(30000, 1001), 120, 1.0, 2.0, range(30, 60)),  # frame 30 is at 1.001 s, frame 59 at 1.9686 s
    (Fraction(24000, 1001), 90, 1.0, 3.0, range(24, 72)),
    (Fraction(60), 150, 0.5, 1.5, range(30, 90)),
]


def codes_and_times(path: Path) -> tuple[list[int], list[float]]:
    frames = [(read_code(frame.rgb), frame.time_s) for frame in decode_frames(path)]
    return [code for code, _ in frames], [time_s for _, time_s in frames]


@pytest.mark.parametrize(("fps", "frames", "start_s", "end_s", "expected"), CONSTANT_RATE)
def test_a_cut_holds_exactly_the_frames_of_its_interval(tmp_path, fps, frames, start_s, end_s, expected):
    source = write_test_video(tmp_path / "source.mp4", frames, float(fps))
    made = cut_segments(source, [Segment("clip", start_s, end_s)], tmp_path / "clips")
    clip = made["clip"]
    assert isinstance(clip, CutClip), clip
    codes, times = codes_and_times(clip.path)
    assert codes == list(expected)
    assert times == pytest.approx([n / float(fps) for n in range(len(expected))], abs=2e-5)
    assert clip.duration_s == pytest.approx(len(expected) / float(fps), abs=1e-4)
    if len(expected) > 1:
        assert clip.info.fps == pytest.approx(float(fps), rel=1e-3)


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    # 10 frames a second for a second, then 40, then one frame that stands for a whole second, then 20.
    times_s = [n / 10 for n in range(10)] + [1 + n / 40 for n in range(40)] + [2.0] + [3 + n / 20 for n in range(20)]
    source = write_test_video(tmp_path / "source.mp4", len(times_s), 25.0, times_s=times_s)
    segments = [Segment("across", 0.75, 1.25), Segment("still", 1.95, 3.1), Segment("inside", 1.0, 2.0)]
    made = cut_segments(source, segments, tmp_path / "clips")
    for segment in segments:
        expected = [n for n, time_s in enumerate(times_s) if segment.start_s <= time_s < segment.end_s]
        codes, times = codes_and_times(made[segment.video_id].path)
        assert codes == expected, segment
        assert times == pytest.approx([times_s[n] - times_s[expected[0]] for n in expected], abs=1e-3), segment


def test_overlapping_segments_come_out_of_one_pass(tmp_path, monkeypatch):
    import labels.videos.download.cutting as cutting

    source = write_test_video(tmp_path / "source.mp4", 100)
    passes = []
    monkeypatch.setattr(cutting, "decode_frames", lambda path, **how: passes.append(path) or decode_frames(path, **how))
    made = cut_segments(source, [Segment("b", 1.0, 3.0), Segment("a", 0.4, 2.0), Segment("c", 0.4, 2.0)], tmp_path)
    assert passes == [source]
    assert codes_and_times(made["a"].path)[0] == codes_and_times(made["c"].path)[0] == list(range(10, 50))
    assert codes_and_times(made["b"].path)[0] == list(range(25, 75))


@pytest.mark.parametrize(
    ("width", "height", "short_side", "expected"),
    [
        (96, 64, None, (96, 64)),
        (96, 64, 32, (48, 32)),
        (64, 96, 32, (32, 48)),
        (96, 64, 256, (96, 64)),  # never made larger
        (98, 66, 33, (48, 32)),  # even sizes: 49 x 33 has none nearer
    ],
)
def test_the_short_side_is_limited(tmp_path, width, height, short_side, expected):
    source = write_test_video(tmp_path / "source.mp4", 20, width=width, height=height)
    clip = cut_segments(source, [Segment("clip", 0.0, 0.4)], tmp_path, short_side)["clip"]
    assert (clip.info.width, clip.info.height) == expected
    assert codes_and_times(clip.path)[0] == list(range(10))


def test_what_is_not_there_is_short_and_leaves_no_file(tmp_path):
    source = write_test_video(tmp_path / "source.mp4", 50)  # 2 s
    made = cut_segments(
        source,
        [
            Segment("good", 0.0, 1.0),
            Segment("half", 1.0, 3.0),
            Segment("beyond", 5.0, 6.0),
            Segment("nearly", 1.0, 2.1),
        ],
        tmp_path / "clips",
    )
    assert {name: type(clip) for name, clip in made.items()} == {
        "good": CutClip, "half": FetchError, "beyond": FetchError, "nearly": CutClip,
    }  # fmt: skip
    assert made["half"].outcome == made["beyond"].outcome == "short"
    assert not made["half"].is_transient  # the video will not be longer tomorrow
    assert "1.00 s of 2 s" in made["half"].message
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == ["good.mp4", "nearly.mp4"]


def test_damage_costs_only_the_segments_it_lies_in(tmp_path):
    source = write_test_video(tmp_path / "source.mp4", 200, options={"g": "10", "crf": "18", "preset": "ultrafast"},
                              container_options={"movflags": "faststart"})  # fmt: skip
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 3 // 4] + b"\0" * (len(data) - len(data) * 3 // 4))
    made = cut_segments(source, [Segment("early", 0.0, 2.0), Segment("late", 6.0, 8.0)], tmp_path / "clips")
    assert codes_and_times(made["early"].path)[0] == list(range(50))
    assert made["late"].outcome == "decode_error"
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["early.mp4"]


def test_a_file_that_breaks_off_is_short_and_worth_another_try(tmp_path):
    source = write_test_video(tmp_path / "source.mp4", 50, container_options={"movflags": "faststart"})
    source.write_bytes(source.read_bytes()[:-500])
    clip = cut_segments(source, [Segment("clip", 0.0, 1.0)], tmp_path / "clips")["clip"]
    assert (clip.outcome, clip.is_transient) == ("short", True)


def test_a_file_that_is_no_video(tmp_path):
    source = tmp_path / "source.video"
    source.write_bytes(b"<html>" * 50)
    made = cut_segments(source, [Segment("clip", 0.0, 1.0)], tmp_path / "clips")
    assert made["clip"].outcome == "decode_error"
