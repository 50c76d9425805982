"""A real ONNX detector on a real clip, and the motion labeller on another; skipped where they are absent."""

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labels.models.detectors.detector import NoDetector
from labels.models.detectors.ensemble import load_backbone, load_ensemble
from labels.models.detectors.loading import load_detector
from labels.models.pose_estimators import load_pose_estimator
from labels.models.settings import BALL, DetectorOptions, Views
from labels.records import tables
from labels.records.matching import count_matches
from labels.videos.decoding.frames import decode_frames
from labels.videos.pose_tables import JOINTS

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


@pytest.mark.parametrize(("tile_side", "expected"), [(None, 0.94), (640, 0.67)])
def test_a_centernet_file_of_a_fixed_size_finds_the_ball(tile_side, expected):
    """(1, 4 + C, N) with RGB 0-1; a tile of 640 is scaled to its 512. Its scores run low."""
    name = str(REAL / "detectors" / "centernet_mobilenet.onnx")
    detector = load_ensemble((name,), (BALL,), "cpu", DetectorOptions(), Views(tile_side=tile_side), 1)
    found = best_f1(*labels_and_truth(detector, REAL / "balls" / "soccer_park.mp4"))
    assert found == pytest.approx(expected, abs=0.04)


def test_joints_lie_where_a_body_has_them():
    """MoveNet on the people that YOLOX-nano finds: heads above hips, hips above ankles, nearly all inside their box."""
    people = load_detector(
        str(REAL / "detectors" / "yolox_nano.onnx"), ("person",), "cpu", DetectorOptions(input_size=640)
    )
    estimator = load_pose_estimator(str(REAL / "pose" / "movenet_lightning.onnx"), "cpu")
    clip = REAL / "actions" / "sports" / "baseball_pitch" / "baseball_pitch_05.mp4"
    in_order, inside, seen = [], [], 0
    for frame, found in people.detect(islice(decode_frames(clip), 10)):
        tall = found.where((found.score >= 0.5) & (found.xyxy[:, 3] - found.xyxy[:, 1] > 60))
        (one,) = estimator.look([frame.rgb], [tall.xyxy])
        seen += len(tall)
        nose, hip, ankle = (one.joints[:, JOINTS.index(name), 1] for name in ("nose", "left_hip", "left_ankle"))
        known = np.isfinite(nose + hip + ankle)
        in_order += ((nose < hip) & (hip < ankle))[known].tolist()
        low, high = tall.xyxy[:, None, :2] - 10, tall.xyxy[:, None, 2:] + 10
        there = np.isfinite(one.joints[..., 0])
        inside += ((one.joints >= low) & (one.joints <= high)).all(axis=2)[there].tolist()
    assert seen >= 10 and len(in_order) >= 5
    assert np.mean(in_order) >= 0.95 and np.mean(inside) >= 0.9


def test_imagenet_features_tell_balls_from_their_surroundings():
    """The same ball in two frames is nearer to itself than to grass beside it."""
    backbone = load_backbone(str(REAL / "backbone" / "mobilenetv2_bottleneck.onnx"), NoDetector(), "cpu")
    truth = pd.read_csv(REAL / "balls" / "soccer_park.csv")
    boxes = {int(row.frame_index): [row.x1, row.y1, row.x2, row.y2] for row in truth.itertuples()}
    frames = [frame for frame in decode_frames(REAL / "balls" / "soccer_park.mp4") if frame.frame_index in boxes][::8]
    nearer = []
    ball = None
    for frame in frames:
        box = np.array(boxes[frame.frame_index])
        aside = box + [2 * (box[2] - box[0]) * (1 if box[2] < 427 else -1), 0] * 2
        now, grass = backbone(frame.rgb, np.stack([box, aside]))
        if ball is not None:
            nearer.append(np.linalg.norm(now - ball) < np.linalg.norm(grass - ball))
        ball = now
    assert len(nearer) >= 4 and np.mean(nearer) >= 0.75


def test_motion_finds_a_filmed_volleyball():
    labels, truth = labels_and_truth(load_detector("motion"), REAL / "balls" / "volleyball_beach.mp4")
    counts = count_matches(labels[labels["score"] >= 0.5], truth)
    assert counts.precision >= 0.9 and counts.recall >= 0.5
