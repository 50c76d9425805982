"""Frames laid over their neighbours."""

import numpy as np
import pytest
import torch

from labels.models.detectors.ballnet import FrameFollower, align, aligned_stream, to_working, working_size

TEXTURE = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def panned(count: int, step: int = 6) -> list[np.ndarray]:
    """Frames of 160 x 120 whose camera goes right by `step` pixels a frame."""
    return [np.ascontiguousarray(TEXTURE[40:160, 20 + step * n : 180 + step * n]) for n in range(count)]


def difference(triple: torch.Tensor, channel: int) -> float:
    """Mean difference of a neighbour to the grey frame, in the middle."""
    grey = (triple[:3].float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    return float((grey - triple[channel].float()).abs()[20:-20, 20:-20].mean())


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(1280, 720, (512, 288)), (720, 1280, (288, 512)), (320, 180, (320, 180)), (5000, 2, (512, 1))],
)
def test_frames_are_reduced_and_never_enlarged(width, height, expected):
    assert working_size(width, height, 512) == expected
    assert to_working(np.zeros((height, width, 3), np.uint8), 512).shape == (expected[1], expected[0], 3)


def test_the_background_of_a_pan_lies_still():
    frames = panned(3)
    assert np.abs(frames[1].astype(int) - frames[0]).mean() > 30  # without laying over
    triples = [triple for _, triple in aligned_stream(enumerate(frames))]
    assert [tuple(triple.shape) for triple in triples] == [(5, 120, 160)] * 3
    assert all(difference(triple, channel) < 6 for triple in triples for channel in (3, 4))


def test_what_moves_by_itself_stays_visible_also_at_the_ends():
    frames = panned(3)
    for n, frame in enumerate(frames):
        frame[60:68, 30 + 30 * n : 38 + 30 * n] = 255  # 30 - 6 pixels a frame against the background
    frames = [frame // 2 + (frame == 255) * 127 for frame in frames]
    for n, triple in aligned_stream(enumerate(f.astype(np.uint8) for f in frames)):
        ball = (slice(61, 67), slice(31 + 30 * n, 37 + 30 * n))
        grey = triple[:3].float().mean(0)
        alone = torch.minimum((grey - triple[3].float()).abs(), (grey - triple[4].float()).abs())
        assert float(alone[ball].mean()) > 60


def test_a_neighbour_of_another_shot_is_replaced_by_the_other_one():
    dark = np.full((120, 160, 3), 10, np.uint8)
    shots = [dark, dark, *panned(2)]
    triples = [triple for _, triple in aligned_stream(enumerate(shots))]
    assert float(triples[1][4].float().max()) < 12  # the frame after the dark ones is not seen
    assert difference(triples[2], 3) < 6
    assert difference(triples[2], 4) < 6


def test_a_single_frame_is_its_own_neighbour():
    ((given, triple),) = aligned_stream([("x", TEXTURE)])
    assert given == "x"
    assert torch.equal(triple[3], triple[4])
    assert difference(triple, 3) < 1


def test_a_change_of_size_starts_anew():
    follower = FrameFollower()
    first, second = follower.follow(panned(1)[0]), follower.follow(TEXTURE)
    assert first.to_before is None
    assert second.to_before is None
    assert align(first, second, None).shape == (5, 240, 320)
