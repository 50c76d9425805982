"""From windows to intervals, worked by hand."""

import json

import numpy as np

from labels.labelling.action_intervals import (
    FrameProbabilities,
    IntervalSettings,
    action_rows,
    average_by_frame,
    cut_intervals,
)
from labels.records.tables import check_actions

PLAIN = IntervalSettings(smooth_s=0, begin=0.6, stay=0.4)


def frames(*first_class):
    value = np.array(first_class)
    return FrameProbabilities(3, np.arange(10, 10 + len(value)), np.column_stack([value, 1 - value]))


def test_overlapping_windows_are_meant_by_frame_each_most_in_its_middle_and_the_last_reaches_the_end():
    found = average_by_frame(-1, [(2, 6), (4, 8)], np.array([[1.0, 0.0], [0.0, 1.0]]), end_frame=10)
    assert found.frame_index.tolist() == list(range(2, 10))
    middle, end = np.sin(np.pi * 3 / 8) ** 2, np.sin(np.pi / 8) ** 2  # of a Hann window of four frames, in sum 1
    np.testing.assert_allclose(found.probabilities[:, 0], [1, 1, middle, end, 0, 0, 0, 0])


def test_a_frame_between_windows_has_what_is_nearest():
    found = average_by_frame(-1, [(0, 2), (6, 8)], np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert found.probabilities[:, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_hysteresis():
    three = IntervalSettings(smooth_s=0, begin=0.6, stay=0.55)
    assert cut_intervals(frames(0.9, 0.58, 0.52, 0.9), 10, three) == [(0, 0, 2), (0, 3, 4)]  # 0.52 is too little
    assert cut_intervals(frames(0.58, 0.58), 10, three) == []  # nowhere 0.6
    assert cut_intervals(frames(0.9, 0.9, 0.1, 0.1), 10, PLAIN) == [(0, 0, 2), (1, 2, 4)]


def test_a_flicker_is_smoothed_away():
    values = [0.9] * 10 + [0.3] + [0.9] * 10
    assert len(cut_intervals(frames(*values), 10, PLAIN)) == 3
    assert cut_intervals(frames(*values), 10, IntervalSettings(0.2, 0.6, 0.4)) == [(0, 0, 21)]


def test_rows_are_an_actions_table_that_names_itself_the_same_each_time():
    rows = action_rows("clip", 1, ("kick", "run"), [frames(0.9, 0.7, 0.2)], 10.0, PLAIN)
    check_actions(rows, "test")
    assert rows[["track_id", "start_frame", "end_frame", "class_name"]].to_numpy().tolist() == [
        [3, 10, 12, "kick"],
        [3, 12, 13, "run"],
    ]
    assert rows["start_s"].tolist() == [1.0, 1.2]
    assert json.loads(rows["probabilities"][0]) == {"kick": 0.8, "run": 0.2}
    assert rows["score"].tolist() == [np.float32(0.8)] * 2
    again = action_rows("clip", 1, ("kick", "run"), [frames(0.9, 0.7, 0.2)], 10.0, PLAIN)
    assert again["label_uid"].tolist() == rows["label_uid"].tolist()
    check_actions(action_rows("clip", 1, ("kick", "run"), [], 10.0, PLAIN), "none")
