"""Synthetic clips as files: the same seed the same bytes, truth where the pixels are, nothing rendered twice."""

from dataclasses import replace

import numpy as np
import pytest

from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import file_digest, read_parquet_metadata
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import probe_video
from labels.videos.synthetic.rendering import Scene, add_synthetic_clips, render_clip
from labels.videos.synthetic.settings import SPORTS, SceneSettings, SyntheticSettings, scene_seed

SMALL = {"width": 128, "height": 72, "frame_count": 8}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sport": "chess"},
        {"difficulty": "extreme"},
        {"width": 321},
        {"height": 20},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"frame_count": 0},
        {"clips": -1},
        {"clips": 0, "held_out": 0},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(InputError, match="synthetic clips: "):
        SyntheticSettings(**wrong)


def test_sports_take_turns_and_held_out_seeds_are_others():
    sports, scenes = tuple(SPORTS), SyntheticSettings(clips=5, held_out=3).scenes()
    assert [scene.sport for scene in scenes.values()] == [*sports, sports[0], *sports[:3]]
    assert len({scene.seed for scene in scenes.values()}) == 8
    one_sport = SyntheticSettings(clips=2, held_out=1, sport="tennis").scenes()
    assert {scene.sport for scene in one_sport.values()} == {"tennis"}
    train = {scene_seed(seed, index, False) for seed in range(4) for index in range(500)}
    held_out = {scene_seed(seed, index, True) for seed in range(4) for index in range(500)}
    assert not train & held_out


def test_the_same_seed_gives_the_same_video_and_truth(tmp_path):
    settings = SceneSettings(seed=5, sport="soccer", **SMALL)
    truths = [render_clip(settings, tmp_path / name / "clip.mp4") for name in ("a", "b")]
    other = render_clip(replace(settings, seed=6), tmp_path / "c" / "clip.mp4")
    digests = [file_digest(tmp_path / name / "clip.mp4") for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    assert truths[0].boxes.equals(truths[1].boxes) and truths[0].actions.equals(truths[1].actions)
    assert not truths[0].boxes.equals(other.boxes)


@pytest.mark.parametrize("sport", SPORTS)
def test_truth_is_where_the_ball_was_drawn(sport):
    """What changes in a frame when the ball is left out lies in its box, and fills it."""
    settings = SceneSettings(seed=8, sport=sport, difficulty="easy", width=320, height=180, frame_count=12)
    with_ball, without = Scene(settings), Scene(settings)
    for scene in (with_ball, without):
        scene.light = replace(scene.light, shadow=0.0)
    without.play.balls.clear()
    checked = 0
    for frame, bare in zip(with_ball.frames(), without.frames(), strict=True):
        balls = [seen for seen in frame.truth.seen if seen.class_name == "sports ball"]
        changed = np.abs(frame.rgb.astype(int) - bare.rgb).max(axis=2)
        if not balls:
            assert changed.max() == 0
        elif balls[0].visibility() > 0.9:
            x1, y1, x2, y2 = balls[0].xyxy
            rows, columns = np.nonzero(changed)
            assert x1 - 4 <= columns.min() and columns.max() + 1 <= x2 + 4  # the lens spreads it a little
            assert y1 - 4 <= rows.min() and rows.max() + 1 <= y2 + 4
            centre = np.average(np.stack([columns, rows], axis=1), axis=0, weights=changed[rows, columns]) + 0.5
            assert centre == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2], abs=1.5)
            checked += 1
    assert checked >= 3


def test_truth_boxes_lie_in_the_frame(tmp_path):
    settings = SceneSettings(seed=3, sport="basketball", difficulty="hard", **SMALL | {"frame_count": 30})
    truth = render_clip(settings, tmp_path / "clip.mp4")
    info = probe_video(tmp_path / "clip.mp4")
    assert (info.width, info.height, info.frame_count, info.fps) == (128, 72, 30, 25.0)
    tables.check_columns(truth.boxes, tables.TRUTH, "truth")
    tables.check_columns(truth.actions, tables.ACTIONS, "actions")
    assert set(truth.boxes["frame_index"]) == set(range(30))
    boxes = truth.boxes[~tables.is_empty_frame(truth.boxes)]
    assert (boxes[["x1", "y1"]].min() >= 0).all() and boxes["x2"].max() <= 128 and boxes["y2"].max() <= 72
    assert (boxes["x2"] > boxes["x1"]).all() and (boxes["y2"] > boxes["y1"]).all()
    assert boxes["visibility"].between(0, 1).all()
    assert not boxes.duplicated(["frame_index", "track_id"]).any()
    acting = truth.actions
    assert set(acting["track_id"]) == set(boxes.loc[boxes["class_name"] == "person", "track_id"])
    assert acting["start_frame"].lt(acting["end_frame"]).all() and acting["end_frame"].max() <= 30


def test_giving_up_leaves_no_file(tmp_path, monkeypatch):
    def frames(scene):
        yield next(whole(scene))
        raise SystemExit  # what a process that is told to end raises

    whole = Scene.frames
    monkeypatch.setattr(Scene, "frames", frames)
    with pytest.raises(SystemExit):
        render_clip(SceneSettings(seed=1, **SMALL), tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_clips_are_rendered_once(tmp_path):
    work = WorkFolder(tmp_path / "work")
    settings = SyntheticSettings(clips=2, held_out=1, seed=4, **SMALL)
    videos = add_synthetic_clips(work, settings)
    tables.check_columns(videos, tables.VIDEOS, "videos")
    assert videos["split"].tolist() == ["", "", "test"]
    assert videos["group"].tolist() == videos["video_id"].tolist()
    assert videos["sha256"].tolist() == [file_digest(work.videos / name) for name in videos["file"]]
    files = [work.videos / name for name in videos["file"]]
    before = [path.stat().st_mtime_ns for path in files]

    files[1].unlink()  # lost: rendered again, to the same bytes; the others stay
    again = add_synthetic_clips(work, settings)
    assert again.equals(videos)
    assert [files[0].stat().st_mtime_ns, files[2].stat().st_mtime_ns] == [before[0], before[2]]
    assert read_parquet_metadata(work.truth_boxes(videos["video_id"][1]))["sha256"] == videos["sha256"][1]

    others = add_synthetic_clips(work, replace(settings, difficulty="hard"))
    assert not set(others["sha256"]) & set(videos["sha256"])


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    work = WorkFolder(tmp_path)
    work.videos.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot be written"):
        add_synthetic_clips(work, SyntheticSettings(clips=1, held_out=0, **SMALL))
