"""The depth of joints: what is asked of it, worked by hand, and what is learnt, against bodies whose depth is known."""

import math

import numpy as np
import pytest
import torch

from labels.models.recognisers.recogniser import preset_of
from labels.models.recognisers.skeletons import HIPS, JOINTS, SHOULDERS
from labels.records.errors import InputError
from labels.training.actions.body_depth import (
    BONES,
    KIND_OF_BONE,
    USUAL_LENGTHS,
    DepthNetwork,
    learn_depth,
    require_body,
    rotated,
    unlikely_bends,
    wrong_lengths,
)
from labels.training.actions.task import LabelledWindow, RecognitionTask, augment_pose, seen_from_aside
from labels.training.settings import DepthSettings, PoseAugmentation, RecognitionSettings
from labels.videos.synthetic.poses import MOVES, gait_pose, move_pose, place, skeleton
from labels.videos.synthetic.rendering import SEEN_JOINTS

ALL = torch.ones(1, 1, len(JOINTS), dtype=torch.bool)
SHORT = DepthSettings(steps=3)
LEFT_KNEE, LEFT_ANKLE = JOINTS.index("left_knee"), JOINTS.index("left_ankle")


def body_of(angles, heading=-math.pi / 2, lift_m=0.0):
    """(J, 3) torso lengths from the hips; who heads for -90 degrees looks at the eye."""
    world = place(skeleton(angles, lift_m), 0, 0, heading, 1.0)[SEEN_JOINTS]
    body = np.stack([world[:, 0], -world[:, 2], world[:, 1]], axis=1)
    body -= body[list(HIPS)].mean(axis=0)
    return (body / np.linalg.norm(body[list(SHOULDERS)].mean(axis=0))).astype(np.float32)


def as_batch(body):
    return torch.from_numpy(body)[None, None]


def windows_of(count, seed, times=6):
    """Bodies (T, J, 3) that run or make a move, each headed anywhere."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        heading, start, step = random.uniform(0, 2 * np.pi), random.uniform(0, 0.6), random.uniform(0.03, 0.08)
        phases = start + step * np.arange(times)
        if random.random() < 0.5:
            yield np.stack([body_of(gait_pose(phase, 4.0), heading) for phase in phases])
        else:
            move = list(MOVES.values())[random.integers(len(MOVES))]
            yield np.stack([body_of(move_pose(move, phase)[0], heading) for phase in phases])


def test_a_body_turned_by_a_quarter_shows_its_depth_as_width_and_its_hips_go_on_as_they_went():
    pose = np.zeros((2, len(JOINTS), 3), dtype=np.float32)
    pose[1, :, 0] = 5.0  # it moved to the right
    pose[:, 0, :2] += (0.3, -1.5)
    depth = np.zeros((2, len(JOINTS)), dtype=np.float32)
    depth[:, 0] = -0.2  # the nose, towards the eye
    aside = seen_from_aside(pose, depth, math.pi / 2)
    assert aside[:, 0, 0] == pytest.approx([-0.2, 4.8]) and aside[:, 1, 0] == pytest.approx([0, 5])
    assert (aside[..., 1:] == pose[..., 1:]).all()
    body = torch.tensor([[[[0.3, -1.5, -0.2]]]])
    assert rotated(body, torch.tensor([math.pi / 2])).flatten().tolist() == pytest.approx([-0.2, -1.5, -0.3])


def test_bones_that_keep_their_lengths_cost_nothing_and_unseen_ones_neither():
    body = as_batch(body_of(gait_pose(0.3, 4.0)))
    starts, ends = ([body[0, 0, list(bone[side])].mean(dim=0) for bone in BONES] for side in (0, 1))
    lengths = torch.stack([(a - b).norm() for a, b in zip(starts, ends, strict=True)]).log()[None]
    assert float(wrong_lengths(body, lengths, ALL)) == pytest.approx(0, abs=1e-6)
    longer = lengths.clone()
    shank = next(at for at, bone in enumerate(BONES) if bone[:2] == ((LEFT_KNEE,), (LEFT_ANKLE,)))
    longer[0, shank] += math.log(2)  # it is half as long as it should be: off by 0.5
    assert float(wrong_lengths(body, longer, ALL)) == pytest.approx((0.5 - 0.05) / len(BONES), abs=1e-5)
    unseen = ALL.clone()
    unseen[..., LEFT_ANKLE] = False
    assert float(wrong_lengths(body, longer, unseen)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("heading", [0.0, -math.pi / 2, 2.0])
def test_a_body_bends_as_bodies_do_and_its_reflection_does_not(heading):
    running = as_batch(body_of(gait_pose(0.2, 4.0), heading))
    reflection = running * torch.tensor([1.0, 1.0, -1.0])
    assert float(unlikely_bends(running, ALL)) < 0.1
    assert float(unlikely_bends(reflection, ALL)) > 0.3 + float(unlikely_bends(running, ALL))


def test_the_depth_of_bodies_is_learnt_from_their_flat_joints():
    taught, asked = list(windows_of(400, 1)), list(windows_of(100, 2))
    network = learn_depth([100 + 40 * body[..., :2] for body in taught], DepthSettings(steps=400), seed=0)
    found = [network.depth_of(100 + 40 * body[..., :2]) for body in asked]
    pairs = [(depth.ravel(), body[..., 2].ravel()) for depth, body in zip(found, asked, strict=True)]
    agreement = np.array([one @ other / np.linalg.norm(one) / np.linalg.norm(other) for one, other in pairs])
    # By chance the half would be reflected.
    assert (agreement > 0).mean() > 0.8 and np.median(agreement) > 0.3


def test_what_was_never_seen_has_no_depth_and_who_shows_no_trunk_is_not_turned():
    windows = [body[..., :2].copy() for body in windows_of(6, 3)]
    for joints in windows:
        joints[:, LEFT_ANKLE] = np.nan
        joints[0, 0] = np.nan  # seen later
    network = learn_depth(windows, SHORT, seed=0)
    depth = network.depth_of(windows[0])
    assert depth.shape == (6, len(JOINTS)) and (depth[:, LEFT_ANKLE] == 0).all() and (depth[:, 0] != 0).all()
    assert depth[:, list(HIPS)].mean(axis=1) == pytest.approx(np.zeros(6), abs=1e-6)
    windows[0][:, HIPS[0]] = np.nan
    assert network.depth_of(windows[0]) is None and network.depth_of(windows[1]) is not None
    assert learn_depth(windows[:1], SHORT, seed=0) is None and learn_depth(windows[:2], SHORT, seed=0) is not None
    require_body(windows[:2])
    with pytest.raises(InputError, match="--any-side: in no window to train on can a body be made out"):
        require_body(windows[:1])


def test_a_joint_counts_in_the_moments_in_which_it_was_seen():
    """In between it is filled in, where no bone keeps its length."""
    body = torch.from_numpy(np.stack([body_of(gait_pose(0.3, 4.0))] * 4))[None]
    lengths = torch.tensor([list(USUAL_LENGTHS.values())]).log()[:, KIND_OF_BONE]
    plain = float(wrong_lengths(body, lengths, ALL.expand(1, 4, -1)))
    body[0, 1:, LEFT_ANKLE] += 3.0
    seen = ALL.repeat(1, 4, 1)
    assert float(wrong_lengths(body, lengths, seen)) > plain + 0.1
    seen[0, 1:, LEFT_ANKLE] = False
    assert float(wrong_lengths(body, lengths, seen)) == pytest.approx(plain, abs=0.01)


def test_a_body_whose_trunk_was_found_far_too_small_is_left_as_it_is():
    windows = [body[..., :2].copy() for body in windows_of(3, 7)]
    windows[1][:, list(SHOULDERS)] *= 0.05
    network = learn_depth(windows, SHORT, seed=0)
    assert [network.depth_of(joints) is None for joints in windows] == [False, True, False]


def test_the_same_windows_and_seed_give_the_same_depth():
    windows = [body[..., :2] for body in windows_of(6, 4)]
    first, again, other = (learn_depth(windows, SHORT, seed).depth_of(windows[0]) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_one_moment_is_enough_and_joints_that_all_stand_in_one_place_do_no_harm():
    still = [body[:1, :, :2] for body in windows_of(4, 5)]
    assert np.isfinite(learn_depth(still, SHORT, 0).depth_of(still[0])).all()
    network = learn_depth([np.ones((3, len(JOINTS), 2), np.float32)], SHORT, 0)
    assert all(torch.isfinite(weights).all() for weights in network.parameters())


def test_training_sees_bodies_from_other_sides():
    body = next(windows_of(1, 6))
    plain = PoseAugmentation(turn_radians=0, stretch=0, shear=0, noise=0, shortest=1, warp=0, dropped=0)
    torch.manual_seed(0)
    widths = [np.ptp(augment_pose(body[..., :2], 6, False, plain, body[..., 2])[..., 0].numpy()) for _ in range(20)]
    assert np.ptp(widths) > 0.2
    same = [augment_pose(body[..., :2], 6, False, plain)[..., 0] for _ in range(2)]
    assert torch.equal(*same)


def test_a_network_begins_with_usual_proportions():
    lengths = DepthNetwork(DepthSettings())(torch.zeros(1, 2, len(JOINTS), 2), torch.ones(1, 2, len(JOINTS)))[1]
    assert lengths.exp()[0].tolist() == pytest.approx([USUAL_LENGTHS[kind] for _, _, kind in BONES])


def test_a_recogniser_is_shown_bodies_from_any_side_where_that_was_asked_for(monkeypatch):
    monkeypatch.setattr("labels.training.actions.task.DepthSettings", lambda: SHORT)
    bodies = {name: body[..., :2] for name, body in zip("ab", windows_of(2, 8), strict=True)}
    windows = [LabelledWindow(name, name, name, 0, at) for at, name in enumerate("ab")]
    batches = {}
    for any_side in (False, True):
        settings = RecognitionSettings("pose", any_side=any_side)
        task = RecognitionTask(("left", "b"), preset_of("pose"), lambda window: bodies[window.video_id], settings)
        task.prepare(windows)
        torch.manual_seed(3)
        batches[any_side] = task.make_batch(windows)[0]
    assert batches[True].shape == batches[False].shape and not torch.equal(batches[True], batches[False])
