"""Joints: what stands before the networks of poses, and what these do with it."""

import numpy as np
import pytest
import torch

from labels.models.recognisers.pose_networks import (
    JOINTS,
    LINKS,
    MIRROR,
    PoseSettings,
    build_pose_network,
    fill_gaps,
    hops,
    mirrored_classes,
    mirrored_name,
    normalise,
    resample,
    streams,
)
from labels.models.recognisers.recogniser import mirrored, view_probabilities
from labels.models.recognisers.settings import JOINTS as READS_JOINTS

STANDING = np.array(
    [
        [0, -3],
        [-1, -2],
        [1, -2],
        [-1, -1],
        [1, -1],
        [-1, 0],
        [1, 0],
        [-0.5, 0],
        [0.5, 0],
        [-0.5, 2],
        [0.5, 2],
        [-0.5, 4],
        [0.5, 4],
    ],
    dtype=np.float32,
)  # torso length 2


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("left_wrist", "right_wrist"),
        ("turn right", "turn left"),
        ("forehand", "forehand"),
        ("Left jab", "Right jab"),
        ("upright row", "upright row"),
        ("jabLeft", "jabRight"),
    ],
)
def test_mirrored_name(name, wanted):
    assert mirrored_name(name) == wanted and mirrored_name(wanted) == name


def test_classes_with_a_side_change_places_and_one_without_its_partner_forbids_mirrors():
    assert mirrored_classes(("left", "right", "stand")) == (1, 0, 2)
    assert mirrored_classes(("left", "stand")) is None


def test_the_skeleton_is_one_piece_and_symmetric():
    assert [MIRROR[at] for at in MIRROR] == list(range(len(JOINTS)))
    assert hops().max() < len(JOINTS)
    assert {tuple(sorted((MIRROR[a], MIRROR[b]))) for a, b in LINKS} == {tuple(sorted(link)) for link in LINKS}


def test_place_and_size_in_the_picture_do_not_matter():
    joints = np.repeat(STANDING[None], 5, axis=0)
    pose = normalise(joints, 4)
    assert pose.shape == (4, 13, 3) and (pose[..., 2] == 1).all()
    assert pose[0, :, :2] == pytest.approx(STANDING / 2)
    assert normalise(joints * 37 + 100, 4) == pytest.approx(pose, abs=1e-5)


def test_what_a_body_does_as_a_whole_stays_in_its_pose_and_reaches_the_networks_at_every_joint():
    joints = np.repeat(STANDING[None], 5, axis=0)
    rising = joints - np.array([0, 1])[None, None] * np.arange(5)[:, None, None]
    pose = normalise(rising, 5)
    torso = 2.0
    assert pose[:, 0, 1] - pose[2, 0, 1] == pytest.approx(np.arange(2, -3, -1) / torso)
    parts = streams(torch.from_numpy(np.stack([normalise(joints, 5), pose])))
    still, moving = parts[:, :, 1:]
    assert torch.allclose(still[:4], moving[:4], atol=1e-5)  # the body itself is the same
    assert (still[4:8] == 0).all()
    assert torch.allclose(moving[7], torch.full_like(moving[7], -4 / torso), atol=1e-5)


def test_a_joint_that_is_lost_is_filled_and_marked():
    joints = np.repeat(STANDING[None], 3, axis=0).copy()
    joints[:, :, 0] += np.array([0, 1, 2])[:, None]
    joints[1, 5] = np.nan
    filled, seen = fill_gaps(joints)
    assert filled[1, 5].tolist() == [0.0, 0.0]  # between -1 and 1
    assert not seen[1, 5] and seen.sum() == 3 * 13 - 1
    joints[:, 0] = np.nan
    assert fill_gaps(joints)[0][:, 0].tolist() == [[0, 0], [1, 0], [2, 0]]  # between the hips
    assert np.isfinite(normalise(np.full((3, 13, 2), np.nan), 6)).all()


def test_resample_by_straight_lines():
    assert resample(np.array([[0.0], [2.0], [4.0]]), np.array([0, 0.5, 1.75, 9])).ravel().tolist() == [0, 1, 3.5, 4]


@pytest.mark.parametrize("kind", ["stgcn", "gru"])
def test_networks_learn_left_from_right_by_joints_and_a_mirror_turns_the_answer(kind):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = build_pose_network(2, PoseSettings(kind=kind, times=8, width=8, blocks=2, dropout=0))
    classes = ("left raised", "right raised")
    joints = np.repeat(STANDING[None, None], 40, axis=0).repeat(8, axis=1) + random.normal(0, 0.05, (40, 8, 13, 2))
    truth = np.arange(40) % 2
    for clip, side in zip(joints, truth, strict=True):
        clip[:, 5 + side, 1] -= np.linspace(0, 3, 8)
    batch = torch.from_numpy(np.stack([normalise(clip, 8) for clip in joints]))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(network(batch), torch.from_numpy(truth))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    said = view_probabilities(network, batch, classes, READS_JOINTS).argmax(axis=1)
    turned = view_probabilities(network, mirrored(batch, READS_JOINTS), classes, READS_JOINTS).argmax(axis=1)
    assert (said == truth).all() and (turned == 1 - truth).all()
