"""Which labels a person should look at first, and what one verdict decides."""

import numpy as np
import pandas as pd
import pytest
from picture_work import rows

from labels.pictures.review.labels import browse, choose_items, nearness
from labels.pictures.settings import ReviewSettings
from labels.records import tables

THRESHOLDS = (0.2, 0.7)
SETTINGS = ReviewSettings(reach=0.3, least_change=0.02)


def labels_of(*parts: pd.DataFrame, stride: int = 1) -> pd.DataFrame:
    labels = tables.concatenate(list(parts), tables.BOXES | tables.DECIDED)
    rules = labels["reason"].str.split(":").str[0].astype("str")
    return labels.assign(step=labels["frame_index"] // stride, rule=rules)


def box(x: float, y: float = 10.0, size: float = 10.0) -> list[float]:
    return [x, y, x + size, y + size]


def alone(frame, x, quality, **said):
    return rows("v", 0, [frame], [box(x)], **said).assign(quality=np.float32(quality))


def item_frames(labels, items):
    return [labels["frame_index"].to_numpy()[item.rows].tolist() for item in items]


@pytest.mark.parametrize(
    ("quality", "expected"),
    [(0.7, 1.0), (0.2, 1.0), (0.85, 0.5), (0.55, 0.5), (0.45, 1 - 0.25 / 0.3), (1.0, 0.02), (0.0, 1 - 0.2 / 0.3)],
)
def test_nearness_is_one_at_a_threshold_and_falls_evenly(quality, expected):
    assert nearness(np.array([quality]), THRESHOLDS, SETTINGS)[0] == pytest.approx(expected, abs=1e-6)


def test_the_one_nearest_a_threshold_comes_first():
    labels = labels_of(alone(0, 0, 0.99), alone(10, 40, 0.68), alone(20, 80, 0.5))
    assert item_frames(labels, choose_items(labels, THRESHOLDS, SETTINGS)) == [[10], [20], [0]]


def test_a_track_is_one_item_that_weighs_as_much_as_all_its_labels():
    track = rows("v", 0, [3, 1, 2], [box(30), box(10), box(20)], track_id=5).assign(quality=np.float32(0.85))
    labels = labels_of(alone(10, 90, 0.7), track)
    first, second = choose_items(labels, THRESHOLDS, SETTINGS)
    assert labels["frame_index"].to_numpy()[first.rows].tolist() == [1, 2, 3]
    assert first.change == pytest.approx(1.5, abs=1e-5)  # three times half
    assert second.change == pytest.approx(1.0, abs=1e-5)


def test_what_was_dropped_of_a_track_is_not_confirmed_with_it():
    kept = rows("v", 0, [0, 1], [box(10), box(20)], track_id=5)
    dropped = rows("v", 0, [2], [box(60)], "drop", "residual: 2 > 0.75", track_id=5)
    other_video = rows("w", 0, [0, 1], [box(10), box(20)], track_id=5)
    labels = labels_of(kept, dropped, other_video)
    items = choose_items(labels, THRESHOLDS, SETTINGS)
    assert sorted(len(item.rows) for item in items) == [1, 2, 2]
    assert all(labels["video_id"].iloc[item.rows].nunique() == 1 for item in items)


def test_boxes_in_one_place_are_one_item():
    # A lamp in frames 0, 2 and 5 (gaps of at most 3), again in frame 9 (too late), and another one beside it.
    lamp = rows("v", 0, [0, 2, 5, 9], [box(50), box(51), box(52), box(52)], "drop", "still: 0.9 > 0.4")
    beside = rows("v", 0, [0, 2], [box(70), box(70)], "drop", "still: 0.9 > 0.4")
    labels = labels_of(lamp, beside)
    assert sorted(item_frames(labels, choose_items(labels, THRESHOLDS, SETTINGS))) == [[0, 2], [0, 2, 5], [9]]


def test_frames_close_by_are_counted_in_labelled_frames():
    lamp = rows("v", 0, [0, 30], [box(50), box(50)], "drop", "still: 0.9 > 0.4")
    assert len(choose_items(labels_of(lamp, stride=10), THRESHOLDS, SETTINGS)) == 1
    assert len(choose_items(labels_of(lamp, stride=1), THRESHOLDS, SETTINGS)) == 2


def test_a_box_dropped_for_a_better_one_is_folded_into_its_item():
    better = rows("v", 0, [4], [box(50)])
    worse = rows("v", 0, [4, 6], [box(52), box(52)], "drop", "overlap: 0.6 > 0.4")
    labels = labels_of(better, worse)
    items = choose_items(labels, THRESHOLDS, SETTINGS)
    owner = next(item for item in items if len(item.duplicates))
    assert labels["frame_index"].to_numpy()[owner.rows].tolist() == [4]
    assert labels["decision"].to_numpy()[owner.duplicates].tolist() == ["drop"]
    assert len(items) == 2  # the other one covers nothing that is there


@pytest.mark.parametrize("seed", range(3))
def test_every_label_is_in_one_item_in_whatever_order_the_rows_come(seed):
    rng = np.random.default_rng(seed)
    count = 300
    boxes = [box(float(x), float(y)) for x, y in rng.integers(0, 60, (count, 2))]
    reasons = rng.choice(["overlap: 0.6 > 0.4", "still: 1 > 0.4"], count)
    table = rows("v", 0, rng.integers(0, 20, count).tolist(), boxes, "drop", "x")
    table = table.assign(reason=reasons, track_id=rng.choice([-1, -1, -1, 0, 1], count)).drop_duplicates("label_uid")
    table.loc[table["track_id"] >= 0, ["decision", "reason"]] = ["keep", ""]
    labels = labels_of(table)
    items = choose_items(labels, THRESHOLDS)
    held = np.concatenate([np.concatenate([item.rows, item.duplicates]) for item in items])
    assert sorted(held) == list(range(len(labels)))
    mixed = labels.sample(frac=1, random_state=seed).reset_index(drop=True)

    def named(table, items):
        uid = table["label_uid"].to_numpy()
        return {frozenset(uid[np.concatenate([item.rows, item.duplicates])]) for item in items}

    assert named(labels, items) == named(mixed, choose_items(mixed, THRESHOLDS))


def test_no_labels_are_no_items():
    assert choose_items(labels_of(), THRESHOLDS) == []


def test_browsing_filters_and_counts_what_each_choice_would_leave():
    kept = rows("v", 0, [0, 1, 2], [box(10)] * 3)  # scores 0.4, 0.675, 0.95
    lamp = rows("v", 0, [3], [box(50)], "drop", "still: 0.9 > 0.4", class_name="person")
    labels = labels_of(kept, lamp)
    found, counts = browse(labels, {"decision": "keep", "low": 0.5})
    assert labels["frame_index"].to_numpy()[found].tolist() == [1, 2]
    assert counts["class_name"] == {"sports ball": 2}
    assert counts["decision"] == {"keep": 2}  # the lamp's score is 0.4
    found, counts = browse(labels, {"rule": "still"})
    assert labels["class_name"].to_numpy()[found].tolist() == ["person"]
    assert counts["rule"] == {"still": 1}
    assert counts["decision"] == {"drop": 1}
    by_score, _ = browse(labels, {"sort": "score", "decision": "keep"})
    assert labels["frame_index"].to_numpy()[by_score].tolist() == [0, 1, 2]
