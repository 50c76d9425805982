"""Agreement of labels with themselves, and calibration of their quality: by hand, and on simulated scenes."""

import numpy as np
import pandas as pd
import pytest
from simulated_balls import boxes_from, clean_table, make_scene

from labels.cleaning.agreement import SelfAgreement, Share, agreement_lines, agreement_of_paths, agreement_of_views
from labels.cleaning.features.scores import ScoreScale
from labels.cleaning.quality_estimate import Calibration
from labels.cleaning.settings import CleaningSettings
from labels.records import tables

SCALES = {("", "sports ball"): ScoreScale(0.5)}
ALL = np.ones(4, dtype=bool)


@pytest.mark.parametrize(
    ("other", "kept", "share"),
    [
        ([0, 0, 0, 0], ALL, Share(6, 6)),
        ([5, 5, 5, 5], ALL, Share(6, 6)),  # numbers of paths mean nothing
        ([0, 0, 1, 1], ALL, Share(4, 5)),  # the step from 1 to 2 is missing
        ([0, 0, -1, 0], ALL, Share(2, 5)),  # 0-1, and 1-3 instead of 1-2 and 2-3
        ([-1, -1, -1, -1], ALL, Share(0, 3)),
        ([0, 0, 0, 0], np.array([True, True, False, True]), Share(2, 2)),  # only steps between kept boxes count
    ],
)
def test_steps_that_are_made_both_ways(other, kept, share):
    frames, path = np.array([3, 4, 5, 6]), np.zeros(4, dtype=int)
    assert agreement_of_paths(frames, path, np.array(other), kept) == share


def test_rows_need_not_come_in_the_order_of_frames():
    frames, path = np.array([6, 3, 5, 4]), np.zeros(4, dtype=int)
    assert agreement_of_paths(frames, path, np.array([0, 0, 1, 0]), ALL) == Share(2, 5)  # 3-4; not 4-5, 5-6 but 4-6


def test_views_that_see_what_is_kept():
    views, kept = np.array([3, 1, 2, 1]), np.array([True, True, False, True])
    assert agreement_of_views(views, kept, 3) == Share(2, 6)
    assert agreement_of_views(np.ones(4, dtype=int), kept, 1) == Share()


def test_shares_of_a_round_with_their_interval():
    agreement = SelfAgreement()
    agreement.add("a", {"paths": Share(9, 10), "survival": Share()})
    agreement.add("b", {"paths": Share(3, 10), "survival": Share(1, 4)})
    agreement.add("a", {"paths": Share(0, 10)})
    counts = agreement.as_counts()
    assert list(counts) == ["paths", "survival"]
    assert (counts["paths"]["value"], counts["paths"]["groups"]) == (0.4, 2)
    assert counts["paths"]["interval"] == [0.3, 0.45]  # b drawn twice: 6 of 20; a drawn twice: 18 of 40
    assert counts["survival"]["interval"] is None
    lines = agreement_lines(counts)
    assert lines == ["agreement, not accuracy: paths both ways 0.400 (0.30 to 0.45); kept labels found again 0.250"]
    assert agreement_lines({}) == []


def test_a_clear_flight_is_found_both_ways_and_clutter_is_not():
    scene = make_scene(3, frame_count=100)
    clear = clean_table(scene.labelled, 0, SCALES, CleaningSettings(), camera=scene.camera).agreement["paths"]
    assert clear.agreed >= 0.9 * clear.asked > 0
    rng = np.random.default_rng(0)  # sure finds at random places, all kept as if they were labels: no way is a way
    rows = [(f, *rng.uniform(20, 300, 2), 12, 0.9) for f in range(40) for _ in range(6)]
    stray = clean_table(
        boxes_from(rows, 40, width=320, height=320), 0, SCALES, CleaningSettings(without=("recalibration", "quality"))
    ).agreement["paths"]
    assert stray.asked == 0 or stray.agreed / stray.asked < 0.9


def test_calibration_counts_right_ones_by_quality():
    rows = [(f, 50, 50, 10, 0.9) for f in range(10)]
    boxes = boxes_from(rows, 10).assign(decision="keep", reason="")
    boxes["quality"] = np.array([0.95] * 5 + [0.55] * 4 + [1.0], dtype=np.float32)
    values = {"x1": 45.0, "y1": 45.0, "x2": 55.0, "y2": 55.0, "class_name": "sports ball", "track_id": 0}
    truth = tables.make_table(tables.TRUTH, values | {"frame_index": np.arange(10), "visibility": 1.0})
    truth.loc[[4, 7, 8], tables.BOX_COLUMNS] = np.nan  # frames without a ball
    calibration = Calibration(["sports ball"])
    calibration.add(boxes, truth)
    counts = calibration.as_counts()
    assert [(one["from"], one["labels"], one["right"]) for one in counts["bins"]] == [(0.5, 4, 2), (0.9, 6, 5)]
    assert counts["bins"][1]["mean_quality"] == pytest.approx(0.9583, abs=1e-4)
    assert counts["ece"] == pytest.approx(0.4 * 0.05 + 0.6 * (0.95833 - 0.83333), abs=1e-3)
    assert counts["labels"] == 10
    human = Calibration(["sports ball"])
    human.add(boxes.assign(origin="human"), truth)
    assert human.as_counts() == {}


def test_an_interval_needs_more_than_one_group():
    one = SelfAgreement()
    one.add("a", {"paths": Share(1, 2)})
    assert one.as_counts()["paths"]["interval"] is None
    assert pd.notna(one.as_counts()["paths"]["value"])
