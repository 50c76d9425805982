"""A real ONNX detector on a real clip, and the motion labeller on another; skipped where they are absent."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labels.models.detectors.loading import load_detector
from labels.models.settings import BALL, DetectorOptions
from labels.records import tables
from labels.records.matching import count_matches
from labels.videos.decoding.frames import decode_frames

REAL = Path(os.environ.get("LABELS_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "real"))
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no real clips here (LABELS_REAL_DATA)")


def labels_and_truth(detector, clip):
    rows = [(frame, found) for frame, found in detector.detect(decode_frames(clip)) if len(found)]
    counts = [len(found) for _, found in rows]
    labels = tables.make_boxes(
        clip.stem,
        0,
        np.repeat([frame.frame_index for frame, _ in rows], counts),
        np.repeat([frame.time_s for frame, _ in rows], counts),
        np.concatenate([found.xyxy for _, found in rows]),
        np.concatenate([found.class_name for _, found in rows]),
        np.concatenate([found.score for _, found in rows]),
    )
    given = pd.read_csv(clip.with_suffix(".csv"))
    if "x" in given:
        given = given.assign(x1=given["x"], y1=given["y"], x2=given["x"], y2=given["y"])
    columns = {name: given[name].to_numpy() for name in ["frame_index", *tables.BOX_COLUMNS]}
    more = {"class_name": [BALL] * len(given), "track_id": tables.NO_TRACK, "visibility": 1.0}
    return labels, tables.make_table(tables.TRUTH, columns | more)


def best_f1(labels, truth):
    return max(count_matches(labels[labels["score"] >= low], truth).f1 for low in np.arange(0.05, 0.9, 0.05))


@pytest.mark.parametrize(("input_size", "expected"), [(416, 0.87), (640, 0.78)])
def test_a_yolox_file_finds_the_ball(input_size, expected):
    """Upstream's own decoding reaches F1 0.87 and 0.81 at finer thresholds; a wrong layout or colour order, near 0."""
    options = DetectorOptions(input_size=input_size)
    detector = load_detector(str(REAL / "detectors" / "yolox_nano.onnx"), (BALL,), "cpu", options)
    found = best_f1(*labels_and_truth(detector, REAL / "balls" / "soccer_park.mp4"))
    assert found == pytest.approx(expected, abs=0.04)


def test_motion_finds_a_filmed_volleyball():
    labels, truth = labels_and_truth(load_detector("motion"), REAL / "balls" / "volleyball_beach.mp4")
    counts = count_matches(labels[labels["score"] >= 0.5], truth)
    assert counts.precision >= 0.9 and counts.recall >= 0.5
