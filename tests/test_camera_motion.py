"""Camera motion: known pans, zooms and cuts on textures made here."""

import cv2
import numpy as np
import pytest

from labels.tracks.camera_motion import (
    IDENTITY,
    CameraMotion,
    CameraStep,
    apply_transforms,
    camera_table,
    shot_transforms,
)

SIZE = (640, 360)  # width, height


def texture(seed: int, tint: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """A scene (1080, 1920, 3) with structure at several scales."""
    rng = np.random.default_rng(seed)
    scene = np.zeros((1080, 1920), np.float32)
    for cell in (8, 24, 80, 240):
        coarse = rng.random((1080 // cell + 2, 1920 // cell + 2)).astype(np.float32)
        scene += cv2.resize(coarse, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    scene = np.clip((scene - scene.min()) / (scene.max() - scene.min()), 0, 1)
    return (scene[:, :, None] * np.array(tint) * 255).astype(np.uint8)


def view(scene: np.ndarray, left: float, top: float, scale: float = 1.0, angle_deg: float = 0.0) -> np.ndarray:
    """What a camera sees, and how: scene point = view @ pixel, in half-open coordinates."""
    turn = np.deg2rad(angle_deg)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to_scene = np.column_stack([linear, linear @ [0.5, 0.5] + [left, top] - 0.5])
    return cv2.warpAffine(scene, to_scene, SIZE, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


@pytest.mark.parametrize(
    ("move", "expected_shift"),
    [
        ({"left": 512.0, "top": 300.0}, (12.0, 0.0)),  # the camera went 12 px right: pixels lay 12 px further right
        ({"left": 500.0, "top": 293.5}, (0.0, -6.5)),
        ({"left": 500.0, "top": 300.0}, (0.0, 0.0)),
    ],
)
def test_a_pan_gives_its_shift_in_full_pixels(move, expected_shift):
    scene = texture(0)
    camera = CameraMotion()
    assert np.array_equal(camera.update(view(scene, 500, 300)).matrix, IDENTITY)
    step = camera.update(view(scene, **move))
    assert not step.is_cut
    corners = np.array([[0, 0], [640, 0], [0, 360], [640, 360], [320, 180]], dtype=float)
    assert apply_transforms(step.matrix, corners) - corners == pytest.approx(np.tile(expected_shift, (5, 1)), abs=0.35)


def test_zoom_and_turn_about_the_true_point():
    scene = texture(1)
    camera = CameraMotion()
    camera.update(view(scene, 500, 300))
    step = camera.update(view(scene, 505, 300, scale=1.02, angle_deg=1.0))
    points = np.array([[0, 0], [640, 0], [0, 360], [640, 360]], dtype=float)
    turn = np.deg2rad(1.0)
    linear = 1.02 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert apply_transforms(step.matrix, points) == pytest.approx(points @ linear.T + [5, 0], abs=0.5)


def test_players_who_move_do_not_move_the_camera():
    scene = texture(2)
    camera = CameraMotion()
    for shift in (0, 9):
        frame = view(scene, 500, 300)
        frame[100:250, 200 + shift : 280 + shift] = texture(9)[100:250, 200:280]
        step = camera.update(frame)
    assert step.matrix == pytest.approx(IDENTITY, abs=0.2)


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (0.3, 1.0, 0.4)])
def test_another_scene_is_a_cut_and_the_next_frame_is_not(tint):
    first, second = texture(3, tint), texture(4, tint)
    camera = CameraMotion()
    steps = [camera.update(view(scene, left, 300)) for scene, left in [(first, 500), (first, 520), (second, 500)]]
    steps.append(camera.update(view(second, 520, 300)))
    assert [step.is_cut for step in steps] == [False, False, True, False]
    assert np.array_equal(steps[2].matrix, IDENTITY)


@pytest.mark.parametrize("brightness", [0, 90, 255])
def test_a_frame_without_texture_stays_where_it_is(brightness):
    camera = CameraMotion()
    flat = np.full((360, 640, 3), brightness, np.uint8)
    for _ in range(2):
        step = camera.update(flat)
    assert np.array_equal(step.matrix, IDENTITY)
    assert not step.is_cut


def test_odd_sizes_and_tiny_frames_are_taken():
    for height, width in [(7, 5), (33, 17), (1081, 607)]:
        camera = CameraMotion()
        frame = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
        for _ in range(2):
            step = camera.update(frame)
        assert step.matrix.shape == (2, 3)
        assert np.isfinite(step.matrix).all()


def test_shot_transforms_add_up_and_start_again_at_a_cut():
    right = np.array([[1.0, 0, 10], [0, 1, 0]])
    grow = np.array([[2.0, 0, 0], [0, 2, 0]])
    steps = [CameraStep(IDENTITY, False), CameraStep(right, False), CameraStep(grow, False), CameraStep(IDENTITY, True)]
    table = camera_table([0, 1, 2, 3], [*steps])
    assert table["shot_index"].tolist() == [0, 0, 0, 1]
    there = shot_transforms(table)
    # frame 2's (1, 1) is frame 1's (2, 2), which is frame 0's (12, 2)
    assert apply_transforms(there[2], np.array([[1.0, 1.0]])).tolist() == [[12.0, 2.0]]
    assert np.array_equal(there[3], IDENTITY)
    assert len(shot_transforms(camera_table([], []))) == 0
