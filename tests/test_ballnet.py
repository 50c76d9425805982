"""BallNet: its maps, how they become boxes, and how it streams."""

import numpy as np
import pytest
import torch

from labels.models.detectors.ballnet import (
    BallNet,
    BallNetDetector,
    BallNetSettings,
    HeatMaps,
    decode_heat_maps,
    network_input,
)
from labels.videos.decoding.frames import Frame

SMALL = BallNetSettings(long_side=64, channels=(4, 6, 8, 8), min_score=0.0, most_boxes=3)


def make_detector(batch_size: int, settings: BallNetSettings = SMALL) -> BallNetDetector:
    torch.manual_seed(3)
    network = BallNet(1, settings)
    with torch.no_grad():  # heat that differs from place to place, as after training
        network.head[1].weight.normal_()
    return BallNetDetector(network, ("sports ball",), "student", "digest", {"sports ball": 0.5}, batch_size=batch_size)


def make_frames(count: int, width: int = 50, height: int = 38) -> list[Frame]:
    noise = np.random.default_rng(0)
    return [Frame(n, n / 25, noise.integers(0, 255, (height, width, 3), dtype=np.uint8)) for n in range(count)]


@pytest.mark.parametrize(("height", "width"), [(180, 320), (181, 323), (17, 33), (5, 3)])
def test_maps_have_a_cell_for_every_two_pixels(height, width):
    maps = BallNet(2, SMALL).eval()(torch.zeros(2, 5, height, width, dtype=torch.uint8))
    cells = ((height + 1) // 2, (width + 1) // 2)
    assert maps.heat_logit.shape == (2, 2, *cells)
    assert maps.log_size.shape == maps.offset.shape == (2, 2, *cells)


def test_the_motion_channels_show_what_only_the_middle_frame_has():
    triple = torch.zeros(1, 5, 1, 4, dtype=torch.uint8)
    triple[0, :3, 0, 1:] = 200
    triple[0, 3, 0, 2:] = 200  # before, too
    triple[0, 4, 0, 3] = 200  # always
    before, after, alone = network_input(triple)[0, 3:, 0]
    assert torch.allclose(before, torch.tensor([0, 6.25, 0, 0]), atol=1e-5)
    assert torch.allclose(after, torch.tensor([0, 6.25, 6.25, 0]), atol=1e-5)
    assert torch.allclose(alone, torch.tensor([0, 6.25, 0, 0]), atol=1e-5)


def heat_maps_with(peaks: list[tuple[int, int, int, float]]) -> HeatMaps:
    """Maps of 10 x 12 cells, two classes; a peak is (class id, row, column, heat), boxes are 3 x 2 cells."""
    heat = torch.full((1, 2, 10, 12), 0.01)
    for class_id, row, column, value in peaks:
        heat[0, class_id, row, column] = value
    size = torch.tensor([3.0, 2.0]).log()[None, :, None, None].expand(1, 2, 10, 12)
    return HeatMaps(heat.logit(), size, torch.full((1, 2, 10, 12), 0.5))


def test_a_peak_becomes_the_box_worked_out_by_hand():
    # cell (row 4, column 6), centre (6.5, 4.5) cells = (13, 9) px, size 6 x 4 px
    ((xyxy, score, class_ids),) = decode_heat_maps(heat_maps_with([(1, 4, 6, 0.8)]), 0.1, 5)
    assert np.allclose(xyxy, [[10, 7, 16, 11]])
    assert np.allclose(score, 0.8)
    assert class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [
        ([], []),
        ([(0, 2, 2, 0.9), (0, 8, 9, 0.3)], [0.9, 0.3]),  # two balls
        ([(0, 2, 2, 0.9), (0, 2, 3, 0.8)], [0.9]),  # neighbours: no second peak
        ([(0, 2, 2, 0.9), (0, 2, 4, 0.8)], [0.9, 0.8]),  # 2 cells apart: beyond half the shorter side, IoU 0.2
        ([(0, 2, 2, 0.9), (1, 2, 2, 0.8)], [0.9, 0.8]),  # another class is another thing
        ([(0, 2, 2, 0.05)], []),  # under the score asked for
        ([(0, 0, 0, 0.9), (0, 9, 11, 0.8)], [0.9, 0.8]),  # in the corners
    ],
)
def test_peaks(peaks, expected):
    ((_, score, _),) = decode_heat_maps(heat_maps_with(peaks), 0.1, 5)
    assert np.allclose(score, expected)


def test_two_peaks_on_one_large_thing_leave_the_better_one():
    maps = heat_maps_with([(0, 4, 5, 0.9), (0, 4, 7, 0.8)])
    maps = maps._replace(log_size=torch.full_like(maps.log_size, float(np.log(8))))
    ((_, score, _),) = decode_heat_maps(maps, 0.1, 5)
    assert np.allclose(score, [0.9])


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 9])
def test_batches_give_what_single_frames_give(count):
    frames = make_frames(count)
    streamed = list(make_detector(batch_size=4).detect(iter(frames)))
    single = list(make_detector(batch_size=1).detect(iter(frames)))
    assert [frame.frame_index for frame, _ in streamed] == list(range(count))
    for at, ((frame, found), (_, expected)) in enumerate(zip(streamed, single, strict=True)):
        assert frame is frames[at]
        assert 0 < len(found) == len(expected)
        assert np.allclose(found.xyxy, expected.xyxy, atol=1e-3)
        assert np.allclose(found.score, expected.score, atol=1e-5)


def test_a_new_call_is_a_new_video():
    detector, frames = make_detector(batch_size=2), make_frames(5)
    first = [found.score.tolist() for _, found in detector.detect(frames)]
    assert [found.score.tolist() for _, found in detector.detect(frames)] == first


def test_boxes_are_in_pixels_of_the_frame_that_came_in():
    frames = make_frames(1, width=640, height=480)  # worked at 64 x 48
    ((_, found),) = make_detector(batch_size=1).detect(frames)
    assert found.xyxy[:, 2].max() > 64 or found.xyxy[:, 3].max() > 48
    assert (found.xyxy >= 0).all()
    assert (found.xyxy <= [640, 480, 640, 480]).all()
    assert set(found.class_name) == {"sports ball"}


def test_a_video_that_changes_its_size_is_looked_at_whole():
    frames = [*make_frames(3), *make_frames(2, width=40, height=30)]
    assert len(list(make_detector(batch_size=8).detect(frames))) == 5


def test_folding_the_norms_changes_no_answer():
    torch.manual_seed(0)
    network = BallNet(1, SMALL)
    triples = torch.randint(0, 255, (4, 5, 20, 30), dtype=torch.uint8)
    network(triples)  # the norms see something
    network.eval()
    plain = network(triples)
    folded = network.folded()(triples)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(plain, folded, strict=True))
