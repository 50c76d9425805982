"""Trajectories: hand-made flights whose answer is known, then simulated scenes."""

import numpy as np
import pytest
from simulated_balls import boxes_from, make_scene

from labels.cleaning.features.scores import log_odds
from labels.tracks.camera_motion import IDENTITY, CameraStep, camera_table
from labels.tracks.candidates import make_timeline
from labels.tracks.settings import PathSettings, PlayerSettings
from labels.tracks.trajectories import find_trajectories, smooth_path


def trajectories(boxes, camera=None, class_name="sports ball"):
    meta = boxes.attrs
    frames = np.arange(0, meta["frame_count"], meta["stride"])
    timeline = make_timeline(frames, meta["fps"], meta["width"], meta["height"], boxes, camera)
    odds = np.clip(log_odds(boxes["score"].to_numpy()), -3, 3)
    usable = np.ones(len(boxes), dtype=bool)
    return find_trajectories(boxes, odds, usable, timeline, class_name, PathSettings(), PlayerSettings())


def flight(frames, x=100.0, y=400.0, vx=8.0, vy=-12.0, gravity=0.6, size=12.0, score=0.6):
    return [(f, x + vx * k, y + vy * k + gravity * k * k / 2, size, score) for k, f in enumerate(frames)]


def test_a_flight_is_one_path_and_a_stray_find_is_on_none():
    boxes = boxes_from([*flight(range(20)), (7, 900, 100, 12, 0.9), (15, 300, 650, 12, 0.9)], 20)
    found = trajectories(boxes)
    assert found.path.tolist() == [0] * 20 + [-1, -1]
    assert found.residual[:20].max() < 0.05
    assert found.features["turn_share"].tolist() == [0.0]


def test_no_box_and_a_single_box_make_no_path():
    assert len(trajectories(boxes_from([], 20)).features) == 0
    assert trajectories(boxes_from([(3, 100, 100, 12, 0.99)], 20)).path.tolist() == [-1]


def test_weak_boxes_on_the_flight_belong_to_it():
    rows = flight(range(20))
    rows[8:12] = [(*row[:4], 0.15) for row in rows[8:12]]
    assert trajectories(boxes_from(rows, 20)).path.tolist() == [0] * 20


def test_a_bounce_stays_one_path_with_one_turn():
    down = flight(range(10), vy=5.0, gravity=1.0)
    _, x, y, _, _ = down[-1]
    up = flight(range(10, 20), x=x + 8, y=y - 12, vy=-11.0, gravity=1.0)
    found = trajectories(boxes_from([*down, *up], 20))
    assert found.path.tolist() == [0] * 20
    assert found.features["turn_share"].iloc[0] * 20 == pytest.approx(1)


def test_two_balls_that_cross_keep_their_paths():
    left = flight(range(24), x=100, y=300, vx=20, vy=0, gravity=0.3)
    right = flight(range(24), x=562, y=296, vx=-20, vy=0, gravity=0.3)
    found = trajectories(boxes_from([*left, *right], 24))
    assert set(found.path[:24]) != set(found.path[24:])
    assert len(set(found.path[:24])) == len(set(found.path[24:])) == 1


def test_gaps_are_filled_where_the_ball_must_have_been_but_not_across_a_cut():
    rows = [row for row in flight(range(20)) if row[0] not in (9, 10)]
    boxes = boxes_from(rows, 20)
    gaps = trajectories(boxes).gaps
    assert gaps["step"].tolist() == [9, 10]
    expected = [(100 + 8 * f, 400 - 12 * f + 0.3 * f * f) for f in (9, 10)]
    centres = np.column_stack([(gaps["x1"] + gaps["x2"]) / 2, (gaps["y1"] + gaps["y2"]) / 2])
    assert centres == pytest.approx(np.array(expected), abs=1.0)
    assert (gaps["x2"] - gaps["x1"]).tolist() == pytest.approx([12, 12])
    camera = camera_table(range(20), [CameraStep(IDENTITY, frame == 10) for frame in range(20)])
    cut = trajectories(boxes, camera)
    assert len(cut.gaps) == 0
    assert set(cut.path[:9]) != set(cut.path[9:])


def test_the_camera_is_taken_out():
    """A ball that flies level while the camera swings so fast that it seems to jump to and fro."""
    swing = np.where(np.arange(20) % 2, 90.0, 0.0)
    rows = [(f, 300 + 6 * f + swing[f], 300, 12, 0.6) for f in range(20)]
    steps = np.diff(swing, prepend=0.0)
    matrices = [np.array([[1, 0, -step], [0, 1, 0]]) for step in steps]
    camera = camera_table(range(20), [CameraStep(matrix, False) for matrix in matrices])
    found = trajectories(boxes_from(rows, 20), camera)
    assert found.path.tolist() == [0] * 20
    assert found.features["turn_share"].iloc[0] == 0
    assert found.features["displacement"].iloc[0] == pytest.approx(0.9 * 6 * 19 / 12, rel=0.05)


@pytest.mark.parametrize("stride", [2, 3])
def test_a_stride_uses_times_not_row_numbers(stride):
    rows = flight(range(0, 60, stride), vx=4.0 * stride, vy=-4.0, gravity=0.12 * stride**2)
    found = trajectories(boxes_from(rows, 60, stride=stride))
    assert (found.path == 0).all()


def test_input_order_does_not_matter():
    scene = make_scene(3, frame_count=60)
    first = trajectories(scene.labelled, scene.camera)
    mixed_order = np.random.default_rng(0).permutation(len(scene.labelled))
    mixed = scene.labelled.iloc[mixed_order].reset_index(drop=True)
    mixed.attrs = scene.labelled.attrs
    assert np.array_equal(trajectories(mixed, scene.camera).path, first.path[mixed_order])


@pytest.mark.parametrize("seed", [11, 12])
def test_simulated_balls_lie_on_paths_and_strays_do_not(seed):
    scene = make_scene(seed, balls=2)
    found = trajectories(scene.labelled, scene.camera)
    centre = scene.labelled[["x1", "y1"]].to_numpy() + np.diff(scene.labelled[["x1", "x2"]].to_numpy()) / 2
    true = np.zeros(len(centre), dtype=bool)
    for frame, x1, y1, x2, y2 in scene.truth[["frame_index", "x1", "y1", "x2", "y2"]].to_numpy():
        near = np.linalg.norm(centre - [(x1 + x2) / 2, (y1 + y2) / 2], axis=1) < (x2 - x1) / 2
        true |= near & (scene.labelled["frame_index"] == frame).to_numpy()
    assert (found.path[true] >= 0).mean() > 0.85
    assert (found.path[~true] >= 0).mean() < 0.25


def test_players_keep_their_track_past_each_other_and_over_a_weak_stretch():
    rows = []
    for f in range(40):
        rows.append((f, 100 + 6 * f, 300, 80, 0.9 if not 10 <= f < 15 else 0.3, "person"))
        rows.append((f, 500 - 4 * f, 420, 80, 0.9, "person"))
    found = trajectories(boxes_from(rows, 40), class_name="person")
    assert set(found.path[0::2]) == {0}
    assert set(found.path[1::2]) == {1}


def test_smoothing_a_line_gives_the_line_and_a_turn_is_not_smoothed_away():
    time_s = np.arange(11) / 25
    line = np.column_stack([100 + 200 * time_s, 50 - 80 * time_s])
    none = np.zeros(11, dtype=bool)
    smooth = smooth_path(time_s, line, np.full(11, 1.0), none, np.full(11, 500.0))
    assert smooth.position == pytest.approx(line, abs=0.05)
    assert smooth.speed == pytest.approx(np.tile([200, -80], (11, 1)), abs=2.0)
    corner = np.column_stack([time_s * 400, np.abs(time_s - 0.2) * 400])
    turns = none.copy()
    turns[5] = True
    kept = smooth_path(time_s, corner, np.full(11, 1.0), turns, np.full(11, 500.0))
    rounded = smooth_path(time_s, corner, np.full(11, 1.0), none, np.full(11, 500.0))
    error = [np.linalg.norm(path.position - corner, axis=1).max() for path in (kept, rounded)]
    assert error[0] < 0.2 < error[1]
