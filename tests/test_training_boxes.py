"""What training looks at and how it is measured: frames, crops, target maps, thresholds."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from labels.models.detectors.ballnet import HeatMaps, decode_heat_maps
from labels.records import tables
from labels.records.video_labels import VideoFacts, VideoLabels
from labels.training.boxes.augmentation import AugmentationSettings, change_light, crop_triple, draw_window
from labels.training.boxes.ballnet_task import LossSettings, TargetDrawer, ballnet_loss
from labels.training.boxes.data import LabelledFrame, choose_frames, classes_for, labels_of, taught_from
from labels.training.boxes.metrics import (
    agreement_by_class,
    best_threshold,
    coco_ap,
    find_thresholds,
    measure,
    wilson_lower_bound,
)
from labels.training.boxes.round import weak_classes
from labels.training.boxes.task import draw_chances
from labels.training.optimisation import AverageWeights
from labels.training.settings import FrameChoice

BALL = "sports ball"


def decided(*rows: tuple[int, str, str], frame_count: int = 60, stride: int = 1) -> VideoLabels:
    """Cleaned labels of rows (frame_index, decision, origin), the box at x = frame_index, y = row."""
    frames = np.array([row[0] for row in rows], dtype=np.int64)
    row = np.arange(len(rows))
    xyxy = np.stack([frames, row, frames + 8, row + 8], axis=1).astype(np.float32)
    boxes = tables.make_boxes("v", 0, frames, frames / 25, xyxy, np.array([BALL] * len(rows)), np.full(len(rows), 0.5))
    boxes["origin"] = [row[2] for row in rows]
    boxes = boxes.assign(quality=np.float32(0.5), decision=[row[1] for row in rows], reason="because")
    facts = VideoFacts("v", frame_count, stride, fps=25.0, width=96, height=64)
    return VideoLabels(tables.check_boxes(boxes, "test", decided=True), facts)


def test_a_frame_with_a_kept_box_is_used_and_the_rest_of_its_boxes_are_what_they_are():
    table = decided((5, "keep", "detected"), (5, "ignore", "detected"), (5, "drop", "detected"),
                    (5, "keep", "interpolated"))  # fmt: skip
    (frame,), counts = choose_frames(table, (BALL,), FrameChoice(negative_share=0))
    assert (frame.frame_index, frame.neighbours, frame.frame_count) == (5, (4, 5, 6), 60)
    assert (len(frame.xyxy), len(frame.ignored), len(frame.dropped)) == (1, 2, 1)
    assert frame.weight.tolist() == [0.5]
    assert counts.boxes == {"kept": 1, "less sure": 0, "ignored": 1, "interpolated": 1, "dropped": 1}


def test_what_is_hardly_sure_is_neither_taught_nor_background():
    table = decided((5, "keep", "detected"), (30, "keep", "detected"))
    table.boxes["quality"] = np.float32([0.9, 0.6])
    choice = FrameChoice(negative_share=100, sure_distance=4)
    frames, counts = choose_frames(table, (BALL,), choice, {BALL: 0.8})
    used = {frame.frame_index for frame in frames}
    assert 5 in used and used.isdisjoint(range(26, 35)) and counts.boxes["less sure"] == 1
    assert {frame.frame_index for frame in choose_frames(table, (BALL,), choice)[0]} >= {5, 30}


@pytest.mark.parametrize(("quality", "least"), [((0.9, 0.85, 0.6), 0.8), ((0.55, 0.6, 0.7), 0.6)])
def test_the_better_half_of_the_kept_boxes_always_teaches(quality, least):
    table = decided(*((frame, "keep", "detected") for frame in range(3)), (9, "keep", "interpolated")).boxes
    table["quality"] = np.float32([*quality, 0.1])
    assert taught_from([table], FrameChoice()) == {BALL: pytest.approx(least)}


def test_a_frame_is_background_only_when_those_around_it_are_as_empty():
    table = decided((10, "keep", "detected"), (30, "ignore", "detected"), (45, "keep", "interpolated"),
                    (55, "drop", "detected"))  # fmt: skip
    frames, counts = choose_frames(table, (BALL,), FrameChoice(negative_share=100, sure_distance=4))
    used = [frame.frame_index for frame in frames]
    unsure = {index for centre in (10, 30, 45) for index in range(centre - 4, centre + 5)}
    assert used == sorted((set(range(60)) - unsure) | {10})
    assert counts.with_kept == 1
    assert (counts.empty_used, counts.empty_unsure, counts.empty_left) == (60 - 27, 26, 0)


@pytest.mark.parametrize(("share", "empty"), [(0.0, 0), (0.1, 1), (1.0, 3), (50.0, 34)])
def test_only_so_many_empty_frames_are_used_and_always_the_same(share, empty):
    table = decided((0, "keep", "detected"), (1, "keep", "detected"), (2, "keep", "detected"), frame_count=40)
    choice = FrameChoice(negative_share=share, sure_distance=3)
    frames, counts = choose_frames(table, (BALL,), choice)
    assert counts.empty_used == empty
    assert counts.empty_left == 34 - empty
    again, _ = choose_frames(table, (BALL,), choice)
    assert [frame.frame_index for frame in again] == [frame.frame_index for frame in frames]


def test_only_labelled_frames_and_asked_for_classes_count():
    table = decided((10, "keep", "detected"), frame_count=40, stride=5)
    frames, _ = choose_frames(table, (BALL,), FrameChoice(negative_share=99, sure_distance=1))
    assert [frame.frame_index for frame in frames] == [0, 10, 20, 25, 30, 35]
    frames, counts = choose_frames(table, ("person",), FrameChoice(negative_share=99, sure_distance=1))
    assert (frames, counts.with_kept) == ([], 0)


def test_what_is_unsure_is_not_judged_in_validation():
    (frame,), _ = choose_frames(decided((5, "keep", "detected"), (5, "ignore", "detected")), (BALL,), FrameChoice(0))
    labels = labels_of(frame, (BALL,))
    assert labels["visibility"].tolist() == [1, 0]


# Crops


def test_a_crop_moves_the_boxes_along():
    torch.manual_seed(0)
    triple = torch.zeros(5, 60, 100, dtype=torch.uint8)
    triple[:, 20:30, 40:50] = 200
    xyxy = np.array([[40, 20, 50, 30], [0, 0, 8, 8], [26, 20, 34, 28]], dtype=np.float32)
    mirrored = set()
    for _ in range(8):
        crop = crop_triple(triple, xyxy, (30, 10, 32), 64)  # twice as large, from (30, 10)
        assert crop.row.tolist() == [0, 2]  # the second is outside, half of the third is inside
        assert np.allclose(crop.share, [1, 0.5])
        x1, y1, x2, y2 = crop.xyxy[0].tolist()
        assert (y1, y2, x2 - x1) == (20, 40, 20)
        mirrored.add(x1)
        inside = crop.triple[:, int(y1) + 2 : int(y2) - 2, int(x1) + 2 : int(x2) - 2]
        assert (inside == 200).all()
        assert float(crop.triple.float().mean()) == pytest.approx(200 * 400 / 64**2, rel=0.05)
    assert mirrored == {20, 24}


@pytest.mark.parametrize(("width", "height"), [(320, 180), (64, 48), (160, 160), (30, 400)])
def test_windows_lie_in_the_frame_where_they_can_and_hold_the_place(width, height):
    torch.manual_seed(0)
    centre = np.array([[width - 3, 4]], dtype=np.float32)
    for centres in (centre, np.zeros((0, 2))):
        for _ in range(50):
            left, top, size = draw_window(width, height, 96, centres, AugmentationSettings())
            assert 96 / 1.51 <= size <= 96 / 0.69
            if min(width, height) >= 96:
                assert left >= 0 and top >= 0 and left + size <= width and top + size <= height
            if len(centres):
                assert left <= width - 3 < left + size and top <= 4 < top + size


def test_light_changes_what_is_seen_and_not_what_moved():
    torch.manual_seed(0)
    triples = torch.randint(80, 120, (64, 5, 8, 8), dtype=torch.uint8)
    gentle = AugmentationSettings(noisy=0, blurred=0, contrast=0, inverted=0)
    grey = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    before = (triples[:, :3].float() * grey).sum(1, keepdim=True) - triples[:, 3:].float()
    lit = change_light(triples, gentle)
    assert torch.allclose((lit[:, :3] * grey).sum(1, keepdim=True) - lit[:, 3:], before, atol=1e-3)
    assert float((lit[:, :3] - triples[:, :3]).abs().mean()) > 10
    inverted = change_light(triples, AugmentationSettings(noisy=0, blurred=0, contrast=0, inverted=1))
    assert torch.allclose((inverted[:, :3] * grey).sum(1, keepdim=True) - inverted[:, 3:], -before, atol=1e-3)
    assert change_light(triples, AugmentationSettings(noisy=1, blurred=1)).shape == triples.shape


def test_background_the_network_is_sure_of_can_be_left_alone():
    target, zero = one_target([[4, 4, 10, 10]]), torch.zeros(1, 2, 16, 16)
    heat = torch.full((1, 1, 16, 16), -20.0)
    heat[0, 0, 12, 12] = 5.0  # perhaps a ball that nobody labelled
    settings = LossSettings(self_ignore_from=0.5)
    early, late = (float(ballnet_loss(HeatMaps(heat, zero, zero), target, at, settings)["heat"]) for at in (0.4, 0.6))
    assert early > late + 1


# Target maps


def one_target(boxes, ignored=(), side=32):
    drawer = TargetDrawer(1, 1, side, LossSettings())
    for box in boxes:
        drawer.add_object(0, 0, torch.tensor(box, dtype=torch.float32), 1.0)
    for box in ignored:
        drawer.leave_alone(0, 0, torch.tensor(box, dtype=torch.float32))
    return drawer.maps()


def test_a_perfect_answer_is_decoded_to_the_boxes_and_costs_nothing():
    boxes = [[4.0, 6.0, 11.0, 12.0], [20.0, 18.0, 26.0, 28.0]]
    target = one_target(boxes)
    heat = torch.full((1, 1, 16, 16), -20.0)
    log_size, offset = torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16)
    _, _, row, column = target.positive.unbind(1)
    heat[0, 0, row, column] = torch.tensor([14.0, 13.0])
    crop, row, column = target.regressed.unbind(1)
    log_size[crop, :, row, column], offset[crop, :, row, column] = target.log_size, target.offset
    maps = HeatMaps(heat, log_size, offset)
    (found,) = decode_heat_maps(maps, 0.5, 5)
    assert np.allclose(found.xyxy, boxes, atol=1e-4)
    assert sum(float(part) for part in ballnet_loss(maps, target, 0.0, LossSettings()).values()) < 1e-4
    # a peak that is a cell off still finds the box
    moved = torch.full((1, 1, 16, 16), -20.0)
    moved[0, 0, target.positive[0, 2], target.positive[0, 3] + 1] = 5.0
    (found,) = decode_heat_maps(HeatMaps(moved, log_size, offset), 0.5, 5)
    assert np.allclose(found.xyxy, boxes[:1], atol=1e-4)


def test_an_ignored_region_costs_nothing_whatever_is_said_there():
    target = one_target([[4, 4, 10, 10]], ignored=[[20, 20, 28, 28]])
    quiet = torch.full((1, 1, 16, 16), -20.0)
    quiet[0, 0, 3, 3] = 20
    loud, wrong = quiet.clone(), quiet.clone()
    loud[0, 0, 11:14, 11:14] = 5  # within the region
    wrong[0, 0, 3, 12] = 5  # elsewhere
    zero = torch.zeros(1, 2, 16, 16)
    costs = [
        float(ballnet_loss(HeatMaps(heat, zero, zero), target, 0.0, LossSettings())["heat"])
        for heat in (quiet, loud, wrong)
    ]
    assert costs[0] == pytest.approx(costs[1], abs=1e-6)
    assert costs[2] > costs[0] + 1


def test_crops_without_an_object_have_a_finite_loss():
    maps = HeatMaps(torch.zeros(1, 1, 16, 16), torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16))
    parts = ballnet_loss(maps, one_target([]), 0.0, LossSettings())
    assert all(math.isfinite(float(part)) for part in parts.values())
    assert float(parts["size"]) == 0


# Metrics


@pytest.mark.parametrize(
    ("score", "right", "wanted", "floor", "expected"),
    [
        ([], [], 3, 0.9, 0.5),
        ([0.9, 0.8], [False, False], 3, 0.9, 0.5),
        ([0.9, 0.8, 0.2], [True, True, False], 2, 0.0, 0.5),  # midway between the last right and the wrong one
        ([0.9, 0.6, 0.5, 0.4], [True, False, True, True], 3, 0.0, 0.2),  # 3 of 4: 3/4 x 1 beats 1 x 1/3
        ([0.9, 0.6, 0.5, 0.4], [True, False, True, True], 3, 0.9, 0.2),  # one right box proves no precision
        # 30 of 30 are precise for sure (30 / 32.7 > 0.9), and 1 x 30/40 is more than half of the best, 40/50 x 1
        ([0.9] * 30 + [0.5] * 20, [True] * 40 + [False] * 10, 40, 0.9, 0.7),
        # the same 30 of 300 wanted are not worth it: 0.1 against 300/400 x 1
        ([0.9] * 30 + [0.5] * 370, [True] * 300 + [False] * 100, 300, 0.9, 0.25),
        # 24 of 24 are not sure to be precise: 24 / 26.7 = 0.899
        ([0.9] * 24 + [0.5] * 20, [True] * 34 + [False] * 10, 34, 0.9, 0.25),
        ([0.6, 0.9], [False, False], 0, 0.9, 0.5),
        ([0.5, 0.5, 0.5], [True, False, True], 2, 0.0, 0.25),  # equal scores stay together
    ],
)
def test_the_best_threshold_by_hand(score, right, wanted, floor, expected):
    assert best_threshold(np.array(score), np.array(right, dtype=bool), wanted, floor) == pytest.approx(expected)


def test_the_threshold_stays_where_it_is_when_half_of_the_labels_are_missing():
    """100 balls scored 0.9, 60 with 60 wrong boxes at 0.6, 40 with 300 at 0.3; then every second ball has no label."""
    score = np.repeat([0.9, 0.6, 0.3], [100, 120, 340])
    right = np.concatenate([np.ones(100), np.ones(60), np.zeros(60), np.ones(40), np.zeros(300)]).astype(bool)
    half = right & (np.arange(len(right)) % 2 == 0)
    # 100/100 x 100/200 = 0.5; 160/220 x 160/200 = 0.58; 200/560 x 1 = 0.36
    assert best_threshold(score, right, 200, 0.0) == best_threshold(score, half, 100, 0.0) == pytest.approx(0.45)


def test_one_lucky_box_of_thousands_makes_no_threshold():
    """The best box of 6,913 is right, as happened on filmed clips; the useful ones begin at 0.17."""
    score = np.concatenate([[0.8], np.full(400, 0.17), np.full(6512, 0.02)])
    right = np.concatenate([[1], np.arange(400) % 2, np.arange(6512) % 20 == 0]).astype(bool)
    assert best_threshold(score, right, 500, 0.9) == pytest.approx(0.095)


def test_the_lower_bound_of_a_share():
    bound = wilson_lower_bound(np.array([25, 24, 0, 50]), np.array([25, 24, 10, 100]))
    assert bound[0] > 0.9 > bound[1]
    assert bound[2] == pytest.approx(0)
    assert bound[3] == pytest.approx(0.4188, abs=1e-3)  # (0.5 + 0.01353 - 0.0834) / 1.02706


def test_every_class_counts_alike_and_is_told_apart():
    """100 players that are found and a ball that is not: the mean F1 is a half, not 0.99."""
    players = boxes_table(*((frame, 0, 1) for frame in range(100))).assign(class_name="person")
    ball = boxes_table((0, 50, 1))
    found, labels = {"v": players}, {"v": pd.concat([players, ball], ignore_index=True)}
    thresholds = {BALL: 0.5, "person": 0.5}
    assert measure(found, labels, thresholds).f1 == pytest.approx(0.5)
    by_class = agreement_by_class(found, labels, thresholds)
    assert by_class[BALL] == {"precision": None, "recall": 0.0, "f1": 0.0, "labels": 1}
    assert by_class["person"]["f1"] == 1
    assert weak_classes(by_class) == [BALL]
    assert weak_classes({BALL: {"f1": None}}) == []  # no label to find says nothing


def test_ballnet_is_not_taught_players():
    assert classes_for("ballnet", {"sports ball", "person"}) == ("sports ball",)
    assert classes_for("ballnet", {"person"}) == ("person",)
    assert classes_for("ssdlite320_mobilenet_v3_large", {"sports ball", "person"}) == ("person", "sports ball")


def test_frames_are_drawn_by_the_rarest_of_their_boxes():
    """Nine large balls of video a, a small one there, and one of video b; octaves of 8 and 32 pixels."""

    def frame(video_id, *sides):
        xyxy = np.array([[0, 0, side, side] for side in sides], dtype=np.float32).reshape(-1, 4)
        none = np.zeros((0, 4), np.float32)
        ids = np.zeros(len(sides), dtype=np.int64)
        return LabelledFrame(video_id, 0, 9, xyxy, ids, np.ones(len(sides)), none, ids[:0], none, False)

    frames = [*[frame("a", 32)] * 8, frame("a", 32, 8), frame("b", 32), frame("a")]
    chances = draw_chances(frames)
    assert chances[:8] == pytest.approx(1 / 3)
    assert chances[8:] == pytest.approx([1, 1, 1 / 3])


def boxes_table(*rows: tuple[int, float, float]) -> pd.DataFrame:
    """Rows of (frame_index, x1, score); boxes are 10 x 10."""
    frame, x1, score = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return pd.DataFrame({"frame_index": frame.astype(int), "x1": x1, "y1": 0.0, "x2": x1 + 10, "y2": 10.0,
                         "class_name": BALL, "score": score, "visibility": score})  # fmt: skip


def test_metrics_by_hand():
    labels = {"v": boxes_table((0, 0, 1), (1, 50, 1), (2, 80, 0.1))}
    found = {"v": boxes_table((0, 0, 0.9), (1, 0, 0.3), (1, 52, 0.8), (2, 80, 0.95))}  # the last does not count
    assert find_thresholds(found, labels, (BALL,), 0.9) == {BALL: 0.55}
    metrics = measure(found, labels, {BALL: 0.55})
    assert (metrics.precision, metrics.recall, metrics.f1) == (1, 1, 1)
    assert metrics.mean_iou == pytest.approx((1 + 8 / 12) / 2)
    low = measure(found, labels, {BALL: 0.2})
    assert (low.precision, low.recall) == (pytest.approx(2 / 3), 1)
    assert coco_ap(labels, labels, (BALL,)) == pytest.approx(1)
    assert coco_ap({"v": found["v"][:0]}, labels, (BALL,)) == 0
    assert math.isnan(coco_ap(found, {"v": labels["v"][2:]}, (BALL,)))


def test_averaged_weights_follow_and_come_back():
    network = torch.nn.BatchNorm1d(1)
    average = AverageWeights(network, 0.5)
    with torch.no_grad():
        network.weight.fill_(2.0)
        network.num_batches_tracked.fill_(7)
    average.update(network)  # decay (1 + 1) / (10 + 1)
    assert float(average.values["weight"]) == pytest.approx(1 * 2 / 11 + 2 * 9 / 11)
    assert int(average.values["num_batches_tracked"]) == 7
    again = AverageWeights(network, 0.5)
    again.load(average.state())
    assert torch.equal(again.values["weight"], average.values["weight"])
    assert again.steps == 1


def test_a_detector_that_is_surer_than_its_scores_say_gets_a_slope():
    """Right with probability 1 / (1 + exp(-3 x)), where x is the score's log-odds against the threshold's."""
    from labels.records import tables
    from labels.training.boxes.metrics import find_slopes

    random = np.random.default_rng(4)
    odds = random.uniform(-1.5, 1.5, 3000)
    right = random.random(3000) < 1 / (1 + np.exp(-3 * odds))
    frames = np.arange(3000)
    box = np.array([10.0, 10, 20, 20], dtype=np.float32)
    score = 1 / (1 + np.exp(-(odds + np.log(0.4 / 0.6))))
    names = np.full(3000, "sports ball", dtype=object)
    found = tables.make_boxes("clip", 0, frames, frames / 25, box + np.where(right, 0, 50)[:, None], names, score)
    columns = {"frame_index": frames, **dict(zip(tables.BOX_COLUMNS, box, strict=True))}
    more = {"class_name": "sports ball", "track_id": 0, "visibility": 1.0}
    truth = tables.make_table(tables.TRUTH, columns | more)
    slope = find_slopes({"clip": found}, {"clip": truth}, {"sports ball": 0.4})["sports ball"]
    assert slope == pytest.approx(3.0, abs=0.3)
    assert find_slopes({"clip": found[:0]}, {"clip": truth}, {"sports ball": 0.4}) == {"sports ball": 1.0}
