"""Labels against truth, by hand."""

import numpy as np
import pandas as pd
import pytest

from labels.records import tables
from labels.records.matching import MatchCounts, count_matches, match_video

NAN = float("nan")


def truth_of(rows):
    """rows: (frame, x1, y1, x2, y2[, visibility])"""
    rows = [(*row, 1.0)[:6] for row in rows]
    columns = list(zip(*rows, strict=True))
    return tables.make_table(
        tables.TRUTH,
        dict(zip(["frame_index", *tables.BOX_COLUMNS, "visibility"], map(list, columns), strict=True))
        | {"class_name": "sports ball", "track_id": 0},
    )


def labels_of(rows):
    """rows: (frame, x1, y1, x2, y2, score)"""
    table = pd.DataFrame(rows, columns=["frame_index", *tables.BOX_COLUMNS, "score"])
    return table.assign(class_name="sports ball")


@pytest.mark.parametrize(
    ("why", "labels", "truth", "right", "wrong", "missed"),
    [
        ("the centre lies within", [(0, 2, 2, 8, 8, 0.9)], [(0, 0, 0, 10, 10)], 1, 0, 0),
        ("the centre lies beside", [(0, 8, 2, 18, 8, 0.9)], [(0, 0, 0, 10, 10)], 0, 1, 1),
        ("one truth is taken once", [(0, 0, 0, 9, 9, 0.9), (0, 1, 1, 9, 9, 0.8)], [(0, 0, 0, 10, 10)], 1, 1, 0),
        ("frames without truth rows do not count", [(7, 0, 0, 9, 9, 0.9)], [(0, 0, 0, 10, 10)], 0, 0, 1),
        ("a frame without the object", [(0, 0, 0, 9, 9, 0.9)], [(0, NAN, NAN, NAN, NAN)], 0, 1, 0),
        ("an empty frame left empty", [(1, 0, 0, 9, 9, 0.9)], [(0, NAN, NAN, NAN, NAN)], 0, 0, 0),
        ("a truth point in the label", [(0, 0, 0, 10, 10, 0.9)], [(0, 9, 9, 9, 9)], 1, 0, 0),
        ("a truth point beside it", [(0, 0, 0, 10, 10, 0.9)], [(0, 12, 9, 12, 9)], 0, 1, 1),
        ("hidden truth is not missed", [(1, 0, 0, 1, 1, 0.9)], [(0, 0, 0, 10, 10, 0.1)], 0, 0, 0),
        ("hidden truth found is not wrong", [(0, 0, 0, 9, 9, 0.9)], [(0, 0, 0, 10, 10, 0.1)], 0, 0, 0),
        ("two of two", [(0, 0, 0, 9, 9, 0.9), (0, 30, 0, 39, 9, 0.2)],
         [(0, 0, 0, 10, 10), (0, 30, 0, 40, 10)], 2, 0, 0),
        ("nothing labelled", [], [(0, 0, 0, 10, 10)], 0, 0, 1),
    ],
)  # fmt: skip
def test_by_centre(why, labels, truth, right, wrong, missed):
    counts = count_matches(labels_of(labels), truth_of(truth))
    assert (counts.right, counts.wrong, counts.missed) == (right, wrong, missed), why


def test_the_better_score_chooses_first_and_the_nearest_truth_is_taken():
    truth = truth_of([(0, 0, 0, 10, 10), (0, 6, 0, 16, 10)])
    labels = labels_of([(0, 4, 0, 10, 10, 0.5), (0, 3, 0, 12, 10, 0.9)])  # centres 7 and 7.5, both in both
    assert match_video(labels, truth).tolist() == [1, 1]


def test_by_iou():
    truth = truth_of([(0, 0, 0, 10, 10), (1, 5, 5, 5, 5)])
    labels = labels_of([(0, 0, 0, 10, 6, 0.9), (1, 0, 0, 10, 10, 0.9)])
    counts = count_matches(labels, truth, rule="iou")
    assert (counts.right, counts.wrong, counts.missed) == (1, 0, 0)  # the frame of a point is not judged
    assert counts.mean_iou == pytest.approx(0.6)


def test_other_classes_are_not_judged():
    labels = labels_of([(0, 0, 0, 9, 9, 0.9)]).assign(class_name="person")
    counts = count_matches(labels, truth_of([(0, 0, 0, 10, 10)]))
    assert (counts.right, counts.wrong, counts.missed) == (0, 0, 1)
    assert match_video(labels, truth_of([(0, 0, 0, 10, 10)])).tolist() == [-1]


def test_only_the_named_classes_are_judged():
    players = truth_of([(0, 50, 0, 60, 30)]).assign(class_name="person")
    truth = pd.concat([truth_of([(0, 0, 0, 10, 10)]), players], ignore_index=True)
    labels = labels_of([(0, 0, 0, 9, 9, 0.9)])
    assert count_matches(labels, truth).missed == 1
    assert count_matches(labels, truth, class_names=["sports ball"]).missed == 0


def test_counts_add_up():
    total = MatchCounts(right=3, wrong=1, missed=2) + MatchCounts(right=1, wrong=1)
    assert total.precision == pytest.approx(4 / 6)
    assert total.recall == pytest.approx(4 / 6)
    assert total.f1 == pytest.approx(8 / 12)
    assert np.isnan(total.mean_iou)
    assert MatchCounts().precision == MatchCounts().recall == MatchCounts().f1 == 1.0
