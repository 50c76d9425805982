"""HOTA by hand, and against a package that is not ours where it is installed (CONTRIBUTING: foreign tools)."""

import numpy as np
import pandas as pd
import pytest
from hota import Hota, hota

from labels.records.geometry import iou_matrix


def table(rows):
    """Rows (frame_index, track_id, x): boxes of 10 x 10."""
    frame, track, x = np.array(rows, dtype=float).reshape(-1, 3).T
    values = {"frame_index": frame.astype(int), "track_id": track.astype(int)}
    return pd.DataFrame(values | {"x1": x, "y1": 0.0 * x, "x2": x + 10, "y2": 0 * x + 10})


ONE = [(f, 0, 5 * f) for f in range(4)]
TWO = [*ONE, *[(f, 1, 200 + f) for f in range(4)]]


@pytest.mark.parametrize(
    ("truth", "found", "det_a", "ass_a"),
    [
        (ONE, ONE, 1, 1),
        (ONE, [(f, 7, x) for f, _, x in ONE], 1, 1),  # names mean nothing
        (ONE, ONE[:2], 1 / 2, 1 / 2),  # half is missing: 2 of 4 boxes, and 2 of 4 of the track
        (ONE, [(f, f // 2, x) for f, _, x in ONE], 1, 1 / 2),  # two tracks of two: each 2 of 4
        (ONE, [*ONE, (0, 9, 500)], 4 / 5, 1),  # a false box
        (TWO, [(f, (track + (f >= 2)) % 2, x) for f, track, x in TWO], 1, 1 / 3),  # they swap: 2 of 4 + 4 - 2
        (ONE, [], 0, 0),
    ],
)
def test_where_boxes_fit_exactly(truth, found, det_a, ass_a):
    result = hota(table(truth), table(found))
    assert (result.det_a, result.ass_a) == (pytest.approx(det_a), pytest.approx(ass_a))
    assert result.hota == pytest.approx(np.sqrt(det_a * ass_a))


def test_boxes_that_half_fit_are_found_at_the_lower_thresholds():
    shifted = [(f, 0, x + 10 / 3) for f, _, x in ONE]  # IoU 1/2: found at 0.05 to 0.5, ten of nineteen
    assert hota(table(ONE), table(shifted)) == Hota(*[pytest.approx(10 / 19)] * 3)


def test_a_package_that_is_not_ours_says_the_same():
    compute = pytest.importorskip("trackers.eval.hota").compute_hota_metrics
    rng = np.random.default_rng(0)
    truth = table([(f, t, 30 * t + 2 * f) for f in range(30) for t in range(5)])
    seen = truth[rng.random(len(truth)) < 0.8].copy()
    seen["track_id"] += 10 * (rng.random(len(seen)) < 0.1)
    seen[["x1", "x2"]] += rng.normal(0, 2, (len(seen), 1))
    columns = ["x1", "y1", "x2", "y2"]
    frames = [(truth[truth["frame_index"] == f], seen[seen["frame_index"] == f]) for f in range(30)]
    theirs = compute(
        [a["track_id"].to_numpy() for a, _ in frames],
        [b["track_id"].to_numpy() for _, b in frames],
        [iou_matrix(a[columns].to_numpy(), b[columns].to_numpy()) for a, b in frames],
    )
    ours = hota(truth, seen)
    assert ours.hota == pytest.approx(float(theirs["HOTA"]), abs=1e-6)
    assert ours.det_a == pytest.approx(float(theirs["DetA"]), abs=1e-6)
    assert ours.ass_a == pytest.approx(float(theirs["AssA"]), abs=1e-6)
