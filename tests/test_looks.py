"""What cleaning makes of several looks at a frame, and of the looks of the things in it."""

import numpy as np
import pandas as pd
import pytest
from simulated_balls import boxes_from, clean_table

from labels.cleaning.features.scores import ScoreScale, calibrated, scales_from
from labels.cleaning.features.views import fuse_looks
from labels.cleaning.settings import CleaningSettings
from labels.models.appearance import FEATURES, appearance
from labels.records import tables
from labels.records.detections import as_text

BALL = "sports ball"
FRAMES = 40
RED, BLUE = np.eye(FEATURES)[[0, 1]]  # two looks as unlike as can be


def looked(rows, sources, features):
    """A labelled table; `sources` and `features` a value each row. Rows keep their order."""
    boxes = boxes_from(rows, FRAMES)
    meta = boxes.attrs
    boxes = boxes.assign(source=sources, appearance=as_text(np.array(features)))
    boxes.attrs = meta
    return boxes


def flight(score=0.8, size=12.0):
    return [(frame, 100 + 14 * frame, 300 + 0.2 * (frame - 15) ** 2, size, score) for frame in range(FRAMES)]


def test_scores_are_read_by_source():
    scales = scales_from({"motion": {"working_threshold": {BALL: 0.5}}, "net": {"working_threshold": {BALL: 0.1}}})
    scales[("net", BALL)] = ScoreScale(scales[("net", BALL)].working_threshold, 2.0)
    boxes = looked(
        [(0, 50, 50, 9, 0.5), (0, 90, 50, 9, 0.1), (0, 130, 50, 9, 0.5)], ["motion", "net", "net"], [RED] * 3
    )
    assert calibrated(boxes, scales) == pytest.approx([0.0, 0.0, 2 * np.log(9)], abs=1e-6)


def test_looks_that_agree_become_one_box_at_their_mean_weighted_by_what_they_are_worth():
    rows = [(0, 100, 100, 20, 0.9), (0, 104, 100, 20, 0.9), (0, 300, 100, 20, 0.9), (0, 102, 100, 20, 0.9)]
    boxes = looked(rows, ["a", "b", "b", "a"], [RED] * 4).assign(log_odds=np.float32([2, 0, 2, 1]))
    standing, covered = np.array([True, False, True, False]), np.array([False, True, False, True])
    fused, looks = fuse_looks(boxes, standing, covered, CleaningSettings())
    assert looks.tolist() == [2, 1, 1, 1]  # the second box of source "a" is not another look
    share = 0.5 / (0.5 + 1 / (1 + np.exp(-2)))  # probability of log-odds 0 beside that of 2
    assert fused["x1"].tolist() == pytest.approx([90 + 4 * share, 94, 290, 92])
    one_source, looks = fuse_looks(boxes.assign(source="a"), standing, covered, CleaningSettings())
    pd.testing.assert_frame_equal(one_source, boxes.assign(source="a"))
    assert looks.tolist() == [1, 1, 1, 1]


def still(x, y, score, size=12.0):
    return [(frame, x, y, size, score) for frame in range(FRAMES)]


@pytest.mark.parametrize(
    ("size", "look", "sources", "decision"),
    [
        (12.0, RED, ["a", "b"], "keep"),  # it lies there, looks as what flies does, and two looks see it
        (12.0, BLUE, ["a"], "ignore"),  # it looks otherwise, and one look sees it
        (36.0, RED, ["a"], "ignore"),  # three times as large as what flies
    ],
)
def test_what_lies_still_is_known_by_what_flies(size, look, sources, decision):
    rows, of, features = flight(), ["a"] * FRAMES, [RED] * FRAMES
    for source in sources:
        rows, of = rows + still(900, 500, 0.75, size), of + [source] * FRAMES
        features += [look] * FRAMES
    scales = {(source, BALL): ScoreScale(0.5) for source in "ab"}
    # The very same box twice in a frame has one name: the second look saw it a little to the right.
    boxes = looked(rows, of, features)
    boxes.loc[boxes["source"] == "b", ["x1", "x2"]] += np.float32(0.5)
    boxes["label_uid"] = [f"{number:04d}" for number in range(len(boxes))]
    cleaned = clean_table(boxes, 0, scales, CleaningSettings()).boxes
    lying = cleaned[((cleaned["x1"] + cleaned["x2"]) / 2 - 900).abs() < 3]
    best = lying.sort_values("quality").groupby("frame_index").tail(1)
    assert len(best) == FRAMES
    if decision == "keep":
        assert (best["decision"] == "keep").mean() > 0.9
    else:
        assert not (best["decision"] == "keep").any()
    flying = cleaned[((cleaned["x1"] + cleaned["x2"]) / 2 - 900).abs() >= 3]
    assert (flying["decision"] == "keep").mean() > 0.9


def test_cleaning_looks_again_gives_the_same():
    rows = flight() + [(frame, x + 1, y, size, 0.7) for frame, x, y, size, _ in flight()]
    boxes = looked(rows, ["a"] * FRAMES + ["b"] * FRAMES, [RED] * 2 * FRAMES)
    shuffled = boxes.sample(frac=1, random_state=3).reset_index(drop=True)
    shuffled.attrs = boxes.attrs
    once, other = (clean_table(table, 0, {}, CleaningSettings()).boxes for table in (boxes, shuffled))
    pd.testing.assert_frame_equal(once, other)
    assert once["decision"].value_counts().to_dict() == {"keep": FRAMES, "drop": FRAMES}
    assert once.loc[once["decision"] == "drop", "reason"].str.startswith("overlap").all()


def test_appearance_tells_colours_and_edges_and_not_places():
    rgb = np.full((80, 200, 3), 90, dtype=np.uint8)
    rgb[20:40, 20:40] = rgb[20:40, 100:120] = (220, 120, 40)  # the same thing twice
    rgb[20:40, 150:170] = (40, 90, 220)  # and another
    boxes = np.array([[20, 20, 40, 40], [100, 20, 120, 40], [150, 20, 170, 40]])
    looks = appearance(rgb, boxes)
    assert looks.shape == (3, FEATURES)
    assert looks.min() >= 0 and looks.max() <= 1
    same, other = np.linalg.norm(looks[0] - looks[1]), np.linalg.norm(looks[0] - looks[2])
    assert same < 0.01 < 1.0 < other
    assert appearance(rgb, np.zeros((0, 4))).shape == (0, FEATURES)
    assert np.isfinite(appearance(rgb, np.array([[-5.0, -5.0, 3.0, 3.0], [199.0, 79.0, 230.0, 90.0]]))).all()


def test_boxes_from_elsewhere_have_no_looks_and_are_cleaned_all_the_same():
    boxes = boxes_from(flight(), FRAMES)
    meta = boxes.attrs
    bare = boxes.drop(columns=list(tables.SEEN))
    bare.attrs = meta
    pd.testing.assert_frame_equal(
        clean_table(bare, 0, {}, CleaningSettings()).boxes, clean_table(boxes, 0, {}, CleaningSettings()).boxes
    )
