"""The world of the synthetic clips: projection, flight, bodies, what hides what. Answers worked out by hand."""

import numpy as np
import pytest

from labels.videos.synthetic.camera import STEP_S, Camera, Shot, look_rotation, smooth
from labels.videos.synthetic.figures import BallLook, draw_ball
from labels.videos.synthetic.layers import Canvas, Patch, Seen, box_of
from labels.videos.synthetic.play import LEAD_S, Ball, fly, plan_play
from labels.videos.synthetic.poses import MOVES, STAND, skeleton
from labels.videos.synthetic.rendering import ACTION_CLASSES, FrameTruth, actions_table, truth_table
from labels.videos.synthetic.settings import DIFFICULTIES, SPORTS


def camera_along_y(focal_px: float = 100.0) -> Camera:
    """10 m before the origin, at eye level with z = 0, frame 100 x 80."""
    return Camera(np.array([0.0, -10.0, 0.0]), look_rotation(0, 0, 0), focal_px, np.array([50.0, 40.0]))


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        ((0, 0, 0), (50, 40)),  # where the camera looks
        ((1, 0, 0), (60, 40)),  # 1 m to the right at 10 m: 100 / 10 pixels
        ((0, 0, 2), (50, 20)),  # up is towards row 0
        ((2, 10, 0), (60, 40)),  # twice as far, half as large
    ],
)
def test_projection(point, pixel):
    pixels, _ = camera_along_y().project(np.array([point], dtype=float))
    assert pixels[0] == pytest.approx(pixel)


def test_panning_right_moves_the_picture_left_and_tilting_up_moves_it_down():
    point = np.array([[0.0, 0.0, 0.0]])
    camera = camera_along_y()
    panned = Camera(camera.position, look_rotation(0.1, 0, 0), 100.0, camera.centre_px).project(point)[0][0]
    tilted = Camera(camera.position, look_rotation(0, 0.1, 0), 100.0, camera.centre_px).project(point)[0][0]
    assert panned == pytest.approx([50 - 100 * np.tan(0.1), 40])
    assert tilted == pytest.approx([50, 40 + 100 * np.tan(0.1)])


def test_a_plane_is_projected_as_its_points_are():
    camera = Camera(np.array([1.0, -9.0, 4.0]), look_rotation(-0.2, -0.4, 0.05), 120.0, np.array([50.0, 40.0]))
    x, y = 1.5, 2.5
    homogeneous = camera.plane_to_image(np.zeros(3), *np.eye(3)[:2]) @ [x, y, 1]
    assert homogeneous[:2] / homogeneous[2] == pytest.approx(camera.project(np.array([[x, y, 0.0]]))[0][0])


def test_smoothing_keeps_a_constant_and_the_length():
    assert smooth(np.full((40, 2), 3.0), 5) == pytest.approx(np.full((40, 2), 3.0))


def test_a_ball_falls_bounces_lower_and_comes_to_rest():
    sport = SPORTS["basketball"]
    path = fly(np.array([0.0, 0.0, 2.0]), np.zeros(3), int(8 / STEP_S), sport)
    height = path[:, 2] - sport.ball_radius_m
    half_s = int(0.5 / STEP_S)
    assert height[half_s - 1] == pytest.approx(2.0 - sport.ball_radius_m - 9.81 * 0.125, abs=0.05)  # g t^2 / 2
    touch = int(np.argmin(height[: int(0.8 / STEP_S)]))
    rebound = height[touch : touch + int(1.0 / STEP_S)].max()
    assert rebound == pytest.approx(sport.restitution**2 * (2.0 - sport.ball_radius_m), rel=0.1)
    assert height[-1] == pytest.approx(0, abs=0.05)
    assert height.min() >= 0


def test_a_rolling_ball_slows_down_as_the_sport_says():
    sport = SPORTS["soccer"]
    path = fly(np.array([0.0, 0.0, sport.ball_radius_m]), np.array([6.0, 0.0, 0.0]), int(6 / STEP_S), sport)
    # v^2 / 2a is 15 m without drag; drag takes some of it.
    assert 11 < path[-1, 0] < 15
    assert np.linalg.norm(path[-1] - path[-50]) < 0.01


def test_every_body_stands_on_the_ground():
    for move in MOVES.values():
        for pose in (STAND, *move.poses):
            joints = skeleton(np.array(pose, dtype=float))
            assert joints[9:, 2].min() > -0.2
            assert joints[[11, 12, 15, 16], 2].min() == pytest.approx(0.05)
    standing = skeleton(np.array(STAND, dtype=float))
    assert 1.5 < standing[2, 2] < 1.8  # the head
    mirrored = skeleton(np.array(STAND, dtype=float), left_handed=True)
    assert mirrored == pytest.approx(standing * [1, -1, 1])


def test_all_actions_happen():
    done = set()
    for seed in range(4):
        for sport in SPORTS.values():
            play = plan_play(np.random.default_rng(seed), sport, DIFFICULTIES["medium"], 3.0)
            done |= {player.at(moment)[1] for player in play.players for moment in np.arange(0, 3, 0.1)}
    assert done == set(ACTION_CLASSES)


def test_a_ball_never_jumps():
    for seed in range(6):
        for name, sport in SPORTS.items():
            ball = plan_play(np.random.default_rng(seed), sport, DIFFICULTIES["hard"], 3.0).balls[0]
            shown = ball.path[int(LEAD_S / STEP_S) :]
            fastest = np.linalg.norm(np.diff(shown, axis=0), axis=1).max() / STEP_S
            assert fastest < 60, f"{name}, seed {seed}"
            assert shown[:, 2].min() > 0


def square(left, top, side, alpha=1.0):
    return Patch(left, top, np.full((side, side, 3), 200.0, np.float32), np.full((side, side), alpha, np.float32))


@pytest.mark.parametrize(
    ("ball", "over", "visibility"),
    [
        ((2, 2, 4), None, 1.0),
        ((2, 2, 4), (0, 0, 4, 1.0), 0.75),  # a corner of 2 x 2 out of 4 x 4 is hidden
        ((2, 2, 4), (0, 0, 4, 0.5), 0.875),  # seen through a net
        ((2, 2, 4), (2, 2, 4, 1.0), 0.0),
        ((-2, 2, 4), None, 0.5),  # half of it is beyond the frame
        ((8, 8, 4), (8, 8, 1, 1.0), 3 / 16),
    ],
)
def test_visibility(ball, over, visibility):
    canvas = Canvas(np.zeros((10, 10, 3), np.uint8))
    canvas.put(square(*ball), Seen("sports ball", 0, np.zeros(4), 16.0))
    if over:
        canvas.put(square(*over))
    assert canvas.seen[0].visibility() == pytest.approx(visibility)


def test_what_is_outside_the_frame_is_not_seen():
    canvas = Canvas(np.zeros((10, 10, 3), np.uint8))
    canvas.put(square(12, 0, 4), Seen("sports ball", 0, np.zeros(4), 16.0))
    assert canvas.seen == []
    assert canvas.picture.max() == 0


def test_the_box_of_a_mask_is_tight_and_inside_the_frame():
    mask = np.zeros((8, 8))
    mask[2:6, 0:8] = 1.0  # twice as large as the frame's pixels
    assert box_of(mask, 0.5, 2, np.array([3, 4]), (20, 20)).tolist() == [3, 5, 7, 7]
    assert box_of(mask, 0.5, 2, np.array([-2, 4]), (20, 20)).tolist() == [0, 5, 2, 7]
    assert box_of(mask, 0.5, 2, np.array([3, 4]), (5, 20)).tolist() == [3, 5, 5, 7]
    assert box_of(mask, 2.0, 2, np.array([3, 4]), (20, 20)) is None


@pytest.mark.parametrize(
    ("speed_ms", "exposure_s", "wide"),
    [
        (0.0, 0.02, 12.0),  # 0.12 m radius, 500 px focal length, 10 m away
        (10.0, 0.0, 12.0),  # no time, no streak
        (10.0, 0.02, 17.0),  # 0.2 m on: 10 px more, of which the faintest quarter at each end does not count
    ],
)
def test_the_box_of_a_ball_is_its_streak(speed_ms, exposure_s, wide):
    steps = int(2 * LEAD_S / STEP_S)
    path = np.zeros((steps, 3))
    path[:, 0] = speed_ms * (STEP_S * np.arange(steps) - LEAD_S)
    ball = Ball(path, np.zeros(steps), np.array([0.0, 0, 1]))
    camera_path = np.tile([0.0, 0.0, 0.0, 500.0], (steps, 1))
    shot = Shot(0, 1, np.array([0.0, -10.0, 0.0]), camera_path, -LEAD_S, np.array([80.0, 60.0]))
    look = BallLook("seams", ((200, 100, 50), (40, 30, 20), (40, 30, 20)), np.array([0, -0.8, -0.6]))
    patch, seen, depth_m = draw_ball(ball, 100, look, SPORTS["basketball"], shot, 0.0, exposure_s)
    assert depth_m == pytest.approx(10)
    assert seen.xyxy[2] - seen.xyxy[0] == pytest.approx(wide, abs=1.5)
    assert seen.xyxy[3] - seen.xyxy[1] == pytest.approx(12, abs=1.1)
    assert (seen.xyxy[:2] + seen.xyxy[2:]) / 2 == pytest.approx([80, 60], abs=0.6)
    assert patch.alpha.max() <= 1.001


def test_truth_table_names_frames_without_a_ball():
    ball = Seen("sports ball", 100, np.array([1.0, 2, 5, 6]), 4.0, mask=np.ones((1, 3), np.float32))
    player = Seen("person", 0, np.array([0.0, 0, 9, 9]), 1.0, mask=np.ones((1, 1), np.float32))
    truth = truth_table([FrameTruth([ball, player], {0: "run"}), FrameTruth([player], {0: "run"})])
    assert truth["frame_index"].tolist() == [0, 0, 1, 1]
    assert truth["class_name"].tolist() == ["person", "sports ball", "person", "sports ball"]
    assert truth["x1"].isna().tolist() == [False, False, False, True]
    assert truth["visibility"].tolist() == [1.0, 0.75, 1.0, 0.0]


def test_actions_are_intervals_of_what_is_in_sight():
    names = ["run"] * 9 + ["stand"] * 3 + ["run"] * 4 + ["kick"] * 8 + ["stand"] * 3 + ["kick"] * 8
    names += [None] * 2 + ["run"] * 7
    frames = [FrameTruth([], {7: name} if name else {}) for name in names]
    actions = actions_table(frames, "clip", 25.0)
    # A moment's rest does not end a run, but two kicks are two. What is shorter than 0.3 s has no name: the
    # rest between them, and the run that the clip's end cuts.
    assert actions[["start_frame", "end_frame", "class_name"]].to_numpy().tolist() == [
        [0, 16, "run"],
        [16, 24, "kick"],
        [24, 27, ""],
        [27, 35, "kick"],
        [37, 44, ""],
    ]
    assert actions["end_s"].tolist() == pytest.approx([0.64, 0.96, 1.08, 1.4, 1.76])
    assert set(actions["track_id"]) == {7}
