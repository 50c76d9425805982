"""Several views of a frame, and similarity in size and appearance to what is on confident tracks."""

import numpy as np
import pandas as pd
import pytest
from simulated_balls import boxes_from, clean_table

from labels.cleaning.features.feature import Scene
from labels.cleaning.features.scores import ScoreScale, calibrated, log_odds, scales_from
from labels.cleaning.features.single_boxes import views
from labels.cleaning.settings import CleaningSettings
from labels.models.appearance import FEATURES, appearance
from labels.records import tables
from labels.records.detections import as_text
from labels.tracks.candidates import make_timeline
from labels.tracks.settings import PathSettings, PlayerSettings

BALL = "sports ball"
FRAMES = 40
RED, BLUE = np.eye(FEATURES)[[0, 1]]  # two appearances as different as can be


def seen(rows, sources, features):
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
    boxes = seen([(0, 50, 50, 9, 0.5), (0, 90, 50, 9, 0.1), (0, 130, 50, 9, 0.5)], ["motion", "net", "net"], [RED] * 3)
    assert calibrated(boxes, scales) == pytest.approx([0.0, 0.0, 2 * np.log(9)], abs=1e-6)


def test_views_that_agree_become_one_box_at_their_mean_weighted_by_what_they_are_worth():
    rows = [(0, 100, 100, 20, 0.9), (0, 104, 100, 20, 0.9), (0, 300, 100, 20, 0.9), (0, 102, 100, 20, 0.9)]
    boxes = seen(rows, ["a", "b", "b", "a"], [RED] * 4).assign(log_odds=np.float32([2, 0, 2, 1]))
    standing, covered = np.array([True, False, True, False]), np.array([False, True, False, True])
    columns = {"usable": standing, "covered": covered, "human": np.zeros(4, dtype=bool)}
    found = views(columns, scene_of(boxes))
    assert found["views"].tolist() == [2, 1, 1, 1]  # the second box of source "a" is not another view
    share = 0.5 / (0.5 + 1 / (1 + np.exp(-2)))  # probability of log-odds 0 beside that of 2
    assert found["xyxy"][:, 0].tolist() == pytest.approx([90 + 4 * share, 94, 290, 92])
    one_source = views(columns, scene_of(boxes.assign(source="a")))
    assert one_source["xyxy"].tolist() == boxes[tables.BOX_COLUMNS].to_numpy().tolist()
    assert one_source["views"].tolist() == [1, 1, 1, 1]


def scene_of(boxes):
    """All that fusion asks of a scene."""
    timeline = make_timeline(np.arange(FRAMES), 30.0, 1280, 720, boxes, None)
    denied = np.zeros(len(boxes), dtype=bool)
    return Scene(
        boxes, denied, denied, timeline, FRAMES, False, None, CleaningSettings(), PathSettings(), PlayerSettings()
    )


def still(x, y, score, size=12.0):
    return [(frame, x, y, size, score) for frame in range(FRAMES)]


def quality_of_what_lies(size, colour, sources):
    """The best quality of a thing that lies in each frame, beside a ball that flies, and the flying ball's."""
    rows, of, features = flight(), ["a"] * FRAMES, [RED] * FRAMES
    for source in sources:
        rows, of = rows + still(900, 500, 0.75, size), of + [source] * FRAMES
        features += [colour] * FRAMES
    scales = {(source, BALL): ScoreScale(0.5) for source in "ab"}
    # The very same box twice in a frame has one name: the second view saw it a little to the right.
    boxes = seen(rows, of, features)
    boxes.loc[boxes["source"] == "b", ["x1", "x2"]] += np.float32(0.5)
    boxes["label_uid"] = [f"{number:04d}" for number in range(len(boxes))]
    cleaned = clean_table(boxes, 0, scales, CleaningSettings()).boxes
    lies = ((cleaned["x1"] + cleaned["x2"]) / 2 - 900).abs() < 3
    best = cleaned[lies].groupby("frame_index")["quality"].max()
    assert len(best) == FRAMES
    return best, cleaned["quality"][~lies]


def test_what_lies_still_is_known_by_what_flies():
    known, flying = quality_of_what_lies(12.0, RED, ["a", "b"])  # it looks as what flies does, and two views see it
    assert (known >= CleaningSettings.keep_quality).mean() > 0.9 < (flying >= CleaningSettings.keep_quality).mean()
    for other in ((12.0, BLUE, ["a", "b"]), (36.0, RED, ["a", "b"])):  # of another colour, three times as large
        assert (log_odds(quality_of_what_lies(*other)[0]) < log_odds(known) - 0.3).mean() > 0.9, other


def test_cleaning_views_again_gives_the_same():
    rows = flight() + [(frame, x + 1, y, size, 0.7) for frame, x, y, size, _ in flight()]
    boxes = seen(rows, ["a"] * FRAMES + ["b"] * FRAMES, [RED] * 2 * FRAMES)
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
    found = appearance(rgb, boxes)
    assert found.shape == (3, FEATURES)
    assert found.min() >= 0 and found.max() <= 1
    same, other = np.linalg.norm(found[0] - found[1]), np.linalg.norm(found[0] - found[2])
    assert same < 0.01 < 1.0 < other
    assert appearance(rgb, np.zeros((0, 4))).shape == (0, FEATURES)
    assert np.isfinite(appearance(rgb, np.array([[-5.0, -5.0, 3.0, 3.0], [199.0, 79.0, 230.0, 90.0]]))).all()


def test_boxes_from_elsewhere_have_no_appearance_and_are_cleaned_all_the_same():
    boxes = boxes_from(flight(), FRAMES)
    meta = boxes.attrs
    bare = boxes.drop(columns=list(tables.SEEN))
    bare.attrs = meta
    pd.testing.assert_frame_equal(
        clean_table(bare, 0, {}, CleaningSettings()).boxes, clean_table(boxes, 0, {}, CleaningSettings()).boxes
    )
