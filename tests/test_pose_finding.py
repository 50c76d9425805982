"""Joints found in pixels: who is looked at, what is kept, and the windows that are cut of it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import labels.labelling.poses as pose_finding
from labels.labelling.action_windows import cut_windows, places_around, write_values
from labels.labelling.poses import NoJoints, PoseStore, find_joints
from labels.models import pose_estimators
from labels.models.pose_estimators import (
    COCO_NAMES,
    KeypointRcnn,
    People,
    RtmlibPoses,
    joint_order,
    load_pose_estimator,
)
from labels.models.recognisers.settings import BROUGHT, JOINTS, KEYPOINTRCNN, RTMLIB, Preset
from labels.records.errors import InputError
from labels.records.tables import NO_TRACK
from labels.records.work_folder import WorkFolder
from labels.tracks.players import crop_path
from labels.videos.decoding.frames import Frame
from tests.conftest import write_test_video

GREY = np.full((48, 64, 3), 120, dtype=np.uint8)
TWO_FRAMES, TWO_JOINTS = Preset(2, 5.0, 8), Preset(3, 10.0, 0, reads=JOINTS, pose=BROUGHT)


def frames(count, fps=10.0):
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return [Frame(at, at / fps, noise) for at in range(count)]


class Standing:
    """Says that people stand where a table has them; each joint lies in the middle of its box."""

    name, digest, batch_size = "standing", "1", 2

    def __init__(self, boxes_of=lambda at: []):
        self.boxes_of, self.seen = boxes_of, 0

    def look(self, rgbs, boxes=None):
        found = []
        for at in range(len(rgbs)):
            own = self.boxes_of(self.seen) if boxes is None else boxes[at]
            xyxy = np.array(own, dtype=np.float32).reshape(-1, 4)
            middle = (xyxy[:, None, :2] + xyxy[:, None, 2:]) / 2
            found.append(People(xyxy, np.full(len(xyxy), 0.9, np.float32), np.repeat(middle, 13, axis=1)))
            self.seen += 1
        return found


def test_the_joints_of_known_players_are_those_of_their_boxes_while_they_are_there():
    tracks = [
        crop_path(4, np.array([1, 3]), np.array([[0, 0, 10, 20], [20, 0, 30, 20]]), 25.0),
        crop_path(7, np.array([2]), np.array([[40, 10, 60, 30]]), 25.0),
    ]
    found = find_joints(frames(6), Standing(), tracks)
    assert set(found) == {4, 7}
    assert np.isnan(found[4][0]).all() and found[4][1:, 5].tolist() == [[5, 10], [15, 10], [25, 10]]
    assert np.isnan(found[7][:2]).all() and found[7][2, 0].tolist() == [50, 20]


def test_of_a_clip_the_person_who_fills_most_of_it_counts_and_another_where_that_one_is_gone():
    def boxes(at):
        near = [[10, 5, 30, 45]] if at < 5 else []
        return [*near, [50, 10, 56, 25]]

    found = find_joints(frames(8), Standing(boxes), None)
    assert found[NO_TRACK].shape == (8, 13, 2)
    assert found[NO_TRACK][:, 3, 0].tolist() == [20] * 5 + [53] * 3
    assert np.isnan(find_joints(frames(3), Standing(), None)[NO_TRACK]).all()


@pytest.fixture(scope="module")
def network():
    """Keypoint R-CNN at random, looking at small pictures."""
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    torch.manual_seed(0)
    return keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=64, max_size=96, box_score_thresh=0.0, box_detections_per_img=3
    )


def test_joints_of_given_boxes_are_those_the_network_finds_for_its_own(network, monkeypatch):
    monkeypatch.setattr(pose_estimators, "LEAST_PERSON", 0.0)
    monkeypatch.setattr(pose_estimators, "LEAST_LOGIT", -1e9)
    estimator = KeypointRcnn(network, COCO_NAMES, "random")
    rgbs = [frames(1)[0].rgb, GREY]
    own = estimator.look(rgbs)
    assert len(own[0].score) and own[0].joints.shape == (len(own[0].score), 13, 2)
    given = estimator.look(rgbs, [one.xyxy for one in own])
    for alone, boxed in zip(own, given, strict=True):
        assert boxed.xyxy == pytest.approx(alone.xyxy, abs=1e-2)
        assert boxed.joints == pytest.approx(alone.joints, abs=0.5)
    monkeypatch.setattr(pose_estimators, "LEAST_LOGIT", 1e9)
    assert np.isnan(estimator.look(rgbs[:1], [own[0].xyxy])[0].joints).all()


def test_the_joints_of_torchvisions_weights_are_found_by_their_names():
    from torchvision.models import get_model_weights

    names = get_model_weights(pose_estimators.NETWORK).DEFAULT.meta["keypoint_names"]
    assert tuple(names) == COCO_NAMES
    assert joint_order(names, "weights") == [0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    with pytest.raises(InputError, match="no joint 'nose'"):
        joint_order(["thumb"], "weights")


def test_rtmlib_gets_bgr_and_what_it_is_not_sure_of_is_not_seen():
    points = np.arange(34.0).reshape(1, 17, 2)
    scores = np.ones((1, 17))
    scores[0, 5] = 0.1
    red = np.zeros((4, 4, 3), np.uint8) + np.array([9, 0, 0], np.uint8)

    def pose(bgr, bboxes):
        assert bgr[0, 0].tolist() == [0, 0, 9] and len(bboxes) == 1
        return points, scores

    estimator = RtmlibPoses(lambda bgr: [[0, 0, 4, 4]], pose, "stand-in")
    found = estimator.look([red])[0]
    assert found.joints[0, 0].tolist() == [0, 1] and np.isnan(found.joints[0, 1]).all()
    assert found.joints[0, 12].tolist() == [32, 33]
    assert estimator.look([red], [np.zeros((0, 4))])[0].joints.shape == (0, 13, 2)


def test_without_rtmlib_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(InputError, match=r"pip install -e \"\.\[rtmlib\]\""):
        load_pose_estimator(RTMLIB, "cpu")
    with pytest.raises(InputError, match="finds no joints in pixels"):
        load_pose_estimator(BROUGHT, "cpu")


def test_joints_are_found_once_and_anew_for_other_tracks(tmp_path, monkeypatch):
    work = WorkFolder(tmp_path)
    write_test_video(work.videos / "clip.mp4", 4)
    video = SimpleNamespace(video_id="clip", file="clip.mp4", sha256="1", frame_count=4, fps=25.0)
    estimator = Standing()
    monkeypatch.setattr(pose_finding, "load_pose_estimator", lambda name, device: estimator)
    store = PoseStore(work, KEYPOINTRCNN, "cpu")
    tracks = [crop_path(1, np.array([0, 3]), np.array([[0, 0, 10, 20]] * 2), 25.0)]
    first = store.joints(video, tracks)
    assert first[1][:, 0].tolist() == [[5, 10]] * 4 and estimator.seen == 4
    assert np.array_equal(store.joints(video, tracks)[1], first[1]) and estimator.seen == 4
    moved = [crop_path(1, np.array([0, 3]), np.array([[10, 0, 20, 20]] * 2), 25.0)]
    assert store.joints(video, moved)[1][0, 0].tolist() == [15, 10] and estimator.seen == 8
    with pytest.raises(NoJoints, match="--pose keypointrcnn"):
        PoseStore(work, BROUGHT, "cpu").joints(video, tracks)


@pytest.mark.parametrize(
    ("middle", "first", "end", "wanted"),
    [
        (50, 0, 100, [45, 48, 51]),  # 3 samples at 10 a second of 30 frames a second
        (2, 0, 100, [0, 3, 6]),
        (99, 0, 100, [91, 94, 97]),
        (4, 3, 6, [3, 4, 5]),  # fewer frames than the window is long: all of them
        (4, 4, 5, [4, 4, 4]),
    ],
)
def test_the_joints_beside_a_window_of_pixels_are_of_its_middle(middle, first, end, wanted):
    assert places_around(middle, first, end, 30.0, TWO_JOINTS).tolist() == wanted


def test_windows_of_pixels_and_joints_are_written_as_they_are_cut(tmp_path):
    joints = np.arange(6 * 13 * 2, dtype=np.float32).reshape(6, 13, 2)
    both = Preset(2, 5.0, 8, beside=TWO_JOINTS)
    taken = []

    def pixels():
        for frame in frames(6):
            taken.append(frame.frame_index)
            yield frame

    windows = cut_windows(both, 6, 10.0, None, pixels, {NO_TRACK: joints})
    first = next(windows)
    assert first.frame_index.tolist() == [0, 2] and taken[-1] < 5  # it did not wait for the rest
    seen = write_values(tmp_path / "values.npy", [first, *windows])
    assert [window.frame_index.tolist() for window in seen] == [[0, 2], [2, 4]]
    back = np.load(tmp_path / "values.npy", mmap_mode="r", allow_pickle=False)
    assert back.shape == (2,) and back["pixels"].shape == (2, 2, 8, 11, 3)
    assert np.array_equal(back["joints"], [joints[0:3], joints[2:5]])  # about frames 2 and 4
    assert write_values(tmp_path / "none.npy", []) == []
    assert len(np.load(tmp_path / "none.npy")) == 0


def test_a_masked_fusion_sees_masks_with_its_pixels_and_joints_beside():
    joints = {NO_TRACK: np.zeros((6, 13, 2), np.float32)}
    both = Preset(2, 5.0, 8, masked=True, beside=TWO_JOINTS)
    masks = SimpleNamespace(channel=lambda window, side: np.full(window.values.shape[:3], 255, np.uint8))
    windows = cut_windows(both, 6, 10.0, None, lambda: frames(6), joints, masks)
    values = next(windows).values
    assert values["pixels"].shape == (2, 8, 11, 4) and (values["pixels"][..., 3] == 255).all()
    assert values["joints"].shape == (3, 13, 2)


def test_windows_of_joints_alone_decode_nothing():
    joints = np.arange(6 * 26, dtype=np.float32).reshape(6, 13, 2)

    def pixels():
        raise AssertionError("decoded")

    windows = list(cut_windows(TWO_JOINTS, 6, 10.0, None, pixels, {NO_TRACK: joints}))
    assert windows[0].values.shape == (3, 13, 2) and np.array_equal(windows[0].values, joints[:3])
