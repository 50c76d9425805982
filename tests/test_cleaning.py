"""Cleaning of one video: rules one by one on hand-made boxes, gaps, people, and simulated scenes as a whole."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from simulated_balls import as_verdicts, boxes_from, clean_table, make_scene

from labels.cleaning.features.quality import TERMS, WEIGHTS, quality_terms, weighted
from labels.cleaning.features.scores import ScoreScale, log_odds, probability
from labels.cleaning.rules import TERM_HELP
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.matching import MatchCounts, count_matches
from labels.tracks.camera_motion import IDENTITY, CameraStep, camera_table

THRESHOLD = {("", name): ScoreScale(0.5) for name in ("sports ball", "person")}


def clean(boxes, old=None, camera=None, verdicts=None, number=0, **settings):
    cleaned = clean_table(boxes, number, THRESHOLD, CleaningSettings(**settings), old, camera, as_verdicts(verdicts))
    return cleaned.boxes


def terms_of(boxes, camera=None, **settings):
    """What the quality of each box is the sum of, unweighted, by label_uid; and the quality, and what is against it."""
    evidence = clean_table(boxes, 0, THRESHOLD, CleaningSettings(**settings), None, camera).evidence
    terms = quality_terms(evidence).set_axis(evidence.index)
    return terms.assign(quality=evidence["quality"], against=evidence["against"])


def flight(frames=range(30), score=0.8, size=12.0, y=300.0):
    """A ball that flies 10 px a frame."""
    return [(f, 100 + 10 * f, y + 0.2 * (f - 15) ** 2, size, score) for f in frames]


def decision_at(cleaned, x, frame):
    centre = (cleaned["x1"] + cleaned["x2"]) / 2
    row = cleaned[(cleaned["frame_index"] == frame) & ((centre - x).abs() < 3)]
    assert len(row) == 1
    return row["decision"].iloc[0], row["reason"].iloc[0]


def test_a_flight_is_kept_whole_and_a_weak_box_on_it_too():
    rows = flight()
    rows[12] = (*rows[12][:4], 0.2)
    cleaned = clean(boxes_from(rows, 30))
    assert (cleaned["decision"] == "keep").all()
    assert cleaned["track_id"].nunique() == 1


@pytest.mark.parametrize(
    ("extra", "decision", "rule"),
    [
        ((15, 900, 100, 12, 0.3), "drop", "quality"),
        ((15, 253.5, 300, 12, 0.6), "drop", "overlap"),
        ((15, 900, 300, 400, 0.9), "drop", "large"),
        ((15, 900, 300, 2, 0.9), "drop", "small"),
    ],
)
def test_one_wrong_box_and_its_reason(extra, decision, rule):
    cleaned = clean(boxes_from([*flight(), extra], 30))
    found = decision_at(cleaned, extra[1], 15)
    assert found[0] == decision
    assert found[1].startswith(f"{rule}: ")
    assert (cleaned["decision"] == "keep").sum() == 30
    without = clean(boxes_from([*flight(), extra], 30), without=(rule,))
    assert not without["reason"].str.startswith(rule).any()


def test_a_long_thin_box_is_dropped_unless_the_edge_of_the_frame_cut_it():
    boxes = boxes_from([*flight(), (5, 900, 300, 20, 0.95), (9, 1275, 300, 20, 0.95)], 30)
    boxes.loc[[30, 31], "y2"] = boxes.loc[[30, 31], "y1"] + np.float32(5)
    boxes.loc[31, "x2"] = np.float32(1280)
    cleaned = clean(boxes)
    assert decision_at(cleaned, 900, 5) == ("drop", "aspect: 4 > 3")
    assert cleaned["reason"].str.startswith("aspect").sum() == 1


def test_where_one_ball_is_in_play_the_shorter_path_is_ignored():
    second = [row for row in flight(range(5, 25), y=600.0) if row[0] != 12]
    boxes = boxes_from([*flight(), *second], 30)
    assert (clean(boxes)["decision"] == "keep").sum() >= 49
    one = clean(boxes, max_per_frame=1)
    lower = one["y1"] > 450
    assert (one["decision"][~lower] == "keep").all()
    assert (one["decision"][lower] == "ignore").all()
    assert (one["reason"][lower & (one["origin"] == "detected")] == "max_objects: 2 > 1").all()
    two = clean(boxes, max_per_frame=2)
    assert (two["decision"] == "keep").sum() >= 49


def test_a_gap_in_the_stronger_path_is_no_opening_for_another():
    boxes = boxes_from([*[row for row in flight() if row[0] not in (14, 15)], *flight(range(8, 22), y=600.0)], 30)
    one = clean(boxes, max_per_frame=1)
    assert (one["decision"][one["y1"] > 450] == "ignore").all()


def test_a_box_of_another_size_on_the_path_is_less_likely():
    rows = flight()
    rows[15] = (*rows[15][:3], 26, 0.8)
    boxes = boxes_from(rows, 30)
    terms = terms_of(boxes).loc[boxes["label_uid"]]
    assert terms["size_jump"].to_numpy() == pytest.approx([0.0] * 15 + [np.log(26 / 12)] + [0.0] * 14, abs=1e-3)
    assert terms["quality"].iloc[15] < terms["quality"].drop(terms.index[15]).min() - 0.02
    assert terms["against"].iloc[15].startswith("size_jump -")


def test_what_never_moves_is_ignored_and_what_moves_with_the_screen_is_dropped():
    lamp = [(f, 640, 100, 14, 0.5) for f in range(30)]
    still = clean(boxes_from([*flight(), *lamp], 30))
    reasons = still[still["y1"] < 200]["reason"]
    assert "keep" not in set(still[still["y1"] < 200]["decision"])
    assert reasons.str.contains("still_unsure -").all()
    # The same boxes while the camera pans 8 px a frame: the thing is painted on the screen.
    pan = np.array([[1.0, 0, 8], [0, 1, 0]])
    camera = camera_table(range(30), [CameraStep(IDENTITY if f == 0 else pan, False) for f in range(30)])
    moving = clean(boxes_from([*flight(), *lamp], 30), camera=camera)
    logo = moving[moving["y1"] < 200]
    assert set(logo["decision"]) == {"drop"}
    assert logo["reason"].str.startswith("overlay: ").all()


def test_a_labeller_that_is_sure_may_keep_a_ball_that_lies():
    lying = [(f, 640, 500, 14, 0.9) for f in range(30)]
    assert (clean(boxes_from(lying, 30))["decision"] == "keep").all()


def test_where_nothing_flies_a_label_must_be_surer():
    """Something creeps along for half a second, two sizes in all; it would be kept beside a ball that flies."""
    drifts = [(f, 600 + 2.5 * f, 100, 14, 0.7) for f in range(12)]
    alone = clean(boxes_from(drifts, 60), keep_quality=0.3)
    assert set(alone["decision"]) == {"ignore"}
    assert alone["reason"].str.match(r"no_confident_track: 0\.\d+ < 0\.9").all()
    switched_off = clean(boxes_from(drifts, 60), keep_quality=0.3, without=("no_confident_track",))
    assert set(switched_off["decision"]) == {"keep"}
    drawn = boxes_from([*drifts, (40, 900, 500, 14, 0.9)], 60)
    drawn["origin"] = np.where(drawn["frame_index"] == 40, "human", drawn["origin"])
    assert set(clean(drawn, keep_quality=0.3)["decision"]) == {"keep"}  # a human showed a ball


def test_a_thing_that_lies_where_a_human_drew_a_ball_is_one_all_along():
    lying = [(f, 640, 500, 14, 0.6) for f in range(30)]
    lamp = [(f, 200, 100, 14, 0.45) for f in range(30)]
    boxes = boxes_from([*lying, *lamp], 30)
    drawn = boxes["label_uid"][(boxes["frame_index"] == 12) & (boxes["y1"] > 300)].iloc[0]
    cleaned = clean(boxes, verdicts={drawn: "y"})
    assert set(cleaned["decision"][cleaned["y1"] > 300]) == {"keep"}
    assert "keep" not in set(cleaned["decision"][cleaned["y1"] < 300])


def drawn_twice(x_then, frames=(4, 14), size_then=14):
    """A box that a human drew in one frame, and one in another; how they were decided, and what came in between."""
    boxes = boxes_from([(frames[0], 300, 200, 14, 0.9), (frames[1], x_then, 210, size_then, 0.9)], 60, fps=10.0)
    return clean(boxes.assign(origin="human"))


def test_what_hardly_moves_between_two_drawn_frames_is_there_in_between():
    cleaned = drawn_twice(320)
    between = cleaned[cleaned["origin"] == "interpolated"]
    assert between["frame_index"].tolist() == list(range(5, 14)) and set(between["decision"]) == {"keep"}
    middle = between[between["frame_index"] == 9].iloc[0]
    assert [middle[name] for name in ("x1", "y1", "x2", "y2")] == pytest.approx([303, 198, 317, 212])


@pytest.mark.parametrize(
    ("x_then", "frames", "size_then"), [(340, (4, 14), 14), (320, (4, 34), 14), (320, (4, 14), 40), (320, (4, 5), 14)]
)
def test_what_may_be_another_thing_or_was_drawn_too_long_ago_is_not(x_then, frames, size_then):
    assert set(drawn_twice(x_then, frames, size_then)["origin"]) == {"human"}


def test_short_gaps_are_kept_long_ones_ignored_and_all_are_marked():
    rows = [row for row in flight() if row[0] not in (8, 9, 18, 19, 20, 21, 22)]
    cleaned = clean(boxes_from(rows, 30))
    filled = cleaned[cleaned["origin"] == "interpolated"]
    assert filled["frame_index"].tolist() == [8, 9, 18, 19, 20, 21, 22]
    assert filled["decision"].tolist() == ["keep"] * 2 + ["ignore"] * 5
    assert set(filled["reason"][filled["decision"] == "ignore"]) == {"gap: 5 > 2"}
    assert (filled["score"] <= 0.8 * 0.9 + 1e-6).all()


def test_people_are_tracked_and_a_weak_one_alone_is_not_believed():
    rows = [(f, 100 + 5 * f, 300, 90, 0.9 if f % 7 != 3 else 0.25, "person") for f in range(40)]
    cleaned = clean(boxes_from([*rows, (20, 900, 300, 90, 0.2, "person")], 40))
    assert decision_at(cleaned, 900, 20)[0] == "drop"
    on_track = cleaned[cleaned["track_id"] == 0]
    assert len(on_track) == 40
    assert (on_track["decision"] == "keep").all()


def test_scores_are_read_against_the_labellers_own_threshold():
    """Scores around 0.2 of a labeller whose threshold is 0.1 are good, of one with 0.5 they are not."""
    rows = flight(score=0.2, frames=range(6))
    low = clean_table(boxes_from(rows, 30), 0, {("", "sports ball"): ScoreScale(0.1)}, CleaningSettings()).boxes
    high = clean_table(boxes_from(rows, 30), 0, {("", "sports ball"): ScoreScale(0.5)}, CleaningSettings()).boxes
    assert low["quality"].min() > high["quality"].max() + 0.2
    assert (high["decision"] != "keep").all()


def test_an_empty_video_stays_empty():
    cleaned = clean_table(boxes_from([], 30), 0, THRESHOLD, CleaningSettings())
    tables.check_boxes(cleaned.boxes, "empty", decided=True)
    assert cleaned.decisions == {"keep": 0, "ignore": 0, "drop": 0}


def test_thresholds_are_all_numbers():
    for field in dataclasses.fields(CleaningSettings):
        assert field.name == "without" or isinstance(field.default, int | float)


def test_simulated_scenes_end_precise_and_nearly_whole():
    """Balls among strays, heads and a lamp under a moving camera; the labeller alone has precision 0.42."""
    raw, kept = MatchCounts(), MatchCounts()
    for seed in range(100, 106):
        scene = make_scene(seed, balls=1 + seed % 2)
        cleaned = clean(scene.labelled, camera=scene.camera)
        raw += count_matches(scene.labelled[scene.labelled["score"] >= 0.5], scene.truth)
        kept += count_matches(cleaned[cleaned["decision"] == "keep"], scene.truth)
    assert raw.precision < 0.5
    assert kept.precision > 0.94
    assert kept.recall > 0.75


def test_no_torch():
    code = (
        "import sys; sys.path[:0] = ['tests', '.'];"
        "from simulated_balls import clean_table, make_scene;"
        "import dataset_cleaner, labels.cleaning.box_round;"
        "from labels.cleaning.settings import CleaningSettings;"
        "clean_table(make_scene(0, 40).labelled, 0, {}, CleaningSettings());"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_labeller_that_sees_balls_everywhere_is_recalibrated_and_one_that_sees_many_clearly_is_not():
    """The same weak flight, among finds that are as weak and everywhere, and among three balls that are clear."""
    rng = np.random.default_rng(0)
    weak = [(f, 100 + 10 * f, 300 + 0.2 * (f - 15) ** 2, 12, 0.6) for f in range(30)]
    strays = [(f, *rng.uniform([0, 0], [1280, 720]), 12, 0.6) for f in range(30) for _ in range(5)]
    clear = [(f, 300 * k + 9 * f, 100 + 5 * f, 12, 0.95) for f in range(30) for k in range(1, 4)]
    among_strays = clean(boxes_from([*weak, *strays], 30)).set_index("label_uid")
    among_balls = clean(boxes_from([*weak, *clear], 30)).set_index("label_uid")
    flight_uids = boxes_from(weak, 30)["label_uid"]
    assert among_balls.loc[flight_uids, "log_odds"].min() == pytest.approx(0.405, abs=0.01)
    assert among_strays.loc[flight_uids, "log_odds"].max() == pytest.approx(0.0, abs=0.01)


def test_a_flight_past_a_lamp_does_not_end_in_it():
    flying = [(f, 100 + 10 * f, 300, 12, 0.7) for f in range(60)]
    lamp = [(f, 400, 306, 12, 0.5) for f in range(60)]
    cleaned = clean(boxes_from([*flying, *lamp], 60))
    centre = (cleaned["x1"] + cleaned["x2"]) / 2
    far = (centre - 400).abs() > 25
    assert "keep" not in set(cleaned["decision"][~far & ((centre - 400).abs() < 1) & (cleaned["y1"] > 299)])
    assert (cleaned["decision"][far] == "keep").mean() > 0.95


def with_shadow(boxes, flat=1.8, start=30):
    """Rows from `start` on are made `flat` times as wide as they are high, about their centres."""
    height = (boxes["y2"] - boxes["y1"]) / np.float32(flat)
    middle = (boxes["y1"] + boxes["y2"]) / 2
    at = boxes.index >= start
    boxes.loc[at, "y1"], boxes.loc[at, "y2"] = (middle - height / 2)[at], (middle + height / 2)[at]
    return boxes


@pytest.mark.parametrize(
    ("step", "flat", "ignored"), [((0.5, 9), 1.8, True), ((0.5, 9), 1.3, False), ((9, 0.5), 1.8, False)]
)
@pytest.mark.parametrize("stride", [1, 3])
def test_what_is_flat_all_along_its_path_and_not_for_its_speed_is_doubtful(step, flat, ignored, stride):
    frames = range(0, 60, stride)
    path = [(f, 300 + step[0] * f, 100 + step[1] * f, 8.0, 0.9) for f in frames]
    boxes = with_shadow(boxes_from(path, 60, stride), flat, start=0)
    terms = terms_of(boxes)
    assert (terms["flat"] > np.log(1.5)).all() == ignored
    off = log_odds(terms_of(boxes, without=("flat",))["quality"])
    assert (log_odds(terms["quality"]) < off - 1).all() == ignored


ALONG = [(f, 108 + 9.5 * f, 640.0, 12.0, 0.9) for f in range(30)]
ALONG_UNSURE = [(*place, 0.5) for *place, _ in ALONG]


@pytest.mark.parametrize(("below", "flat"), [(ALONG, 1.8), (ALONG_UNSURE, 1.0)])
def test_what_goes_along_straight_below_the_ball_is_its_shadow(below, flat):
    boxes = with_shadow(boxes_from([*flight(score=0.7), *below], 30), flat)
    terms = terms_of(boxes).loc[boxes["label_uid"]]
    assert (terms["shadow"][30:] > np.log(2)).all() and (terms["shadow"][:30] == 0).all()
    off = log_odds(terms_of(boxes, without=("shadow",)).loc[terms.index, "quality"])
    assert (log_odds(terms["quality"])[30:] < off[30:] - 0.5).all()


@pytest.mark.parametrize(
    ("why", "below", "flat"),
    [
        ("as round as the ball, and surer", ALONG, 1.0),
        ("it goes the other way", [(f, 400 - 9.5 * f, 640.0, 12.0, 0.9) for f in range(30)], 1.8),
        ("seen for too short", ALONG[:5], 1.8),
        ("it rises and falls as the upper one does", flight(score=0.5, y=500.0), 1.8),
        ("it bounces", [(f, 108 + 9.5 * f, 640.0 - 3 * (f % 10) * (10 - f % 10), 12, 0.5) for f in range(30)], 1.0),
    ],
)
def test_no_shadow(why, below, flat):
    terms = terms_of(with_shadow(boxes_from([*flight(score=0.7), *below], 30), flat))
    assert (terms["shadow"] < np.log(2)).all(), why


def test_the_quality_is_the_sum_of_bounded_terms_and_names_the_worst():
    """By hand: the weights times the terms; a term that is switched off says nothing, and is not named."""
    boxes = boxes_from(flight(), 30)
    terms = terms_of(boxes)
    parts = sum(terms[name] * WEIGHTS[name] for name in TERMS) + WEIGHTS["constant"]
    assert terms["quality"].to_numpy() == pytest.approx(probability(parts.to_numpy()))
    table = pd.DataFrame(0.0, index=range(2), columns=list(TERMS)).assign(support=[2.0, -1.0], on_player=[1.0, 0.0])
    by_term = weighted(table)
    assert by_term.sum(axis=1).tolist() == pytest.approx(
        [2 * WEIGHTS["support"] + WEIGHTS["on_player"], -WEIGHTS["support"]]
    )
    assert weighted(table, ("on_player",)).sum(axis=1)[0] == pytest.approx(2 * WEIGHTS["support"])


def test_no_term_may_overrule_all_the_others_and_each_has_its_sign_and_its_words():
    assert set(TERMS) == set(TERM_HELP) == set(WEIGHTS) - {"constant"}
    for name, term in TERMS.items():
        assert WEIGHTS[name] * term.sign >= 0, name
        assert abs(WEIGHTS[name]) * term.limit <= 3.01, name
    wild = terms_of(boxes_from([*flight(), (3, 900.0, 90.0, 100.0, 0.999)], 30))
    for name, term in TERMS.items():
        assert wild[name].between(-term.limit if term.sign >= 0 else 0, term.limit).all(), name


def test_margin_and_strength_by_hand():
    """Two boxes of log-odds 2 and 1 in a frame: the surer leads by 1, the other trails by 1; alone one leads by 5."""
    scores = [float(probability(np.array(odds))) for odds in (2.0, 1.0)]
    evidence = clean_table(
        boxes_from([(0, 100, 100, 12, scores[0]), (0, 400, 100, 12, scores[1]), (20, 100, 100, 12, scores[0])], 30),
        0, THRESHOLD, CleaningSettings(),
    ).evidence  # fmt: skip
    by_odds = evidence.sort_values(["log_odds", "margin"])
    assert by_odds["margin"].tolist() == pytest.approx([-1, 1, 5], abs=1e-3)
    assert by_odds["strength"].tolist() == pytest.approx([np.log(scores[1] / scores[0]), 0, 0], abs=1e-3)
    assert by_odds["one_view"].all() and by_odds["path_boxes"].tolist() == [1, 1, 1]


PULLED_DOWN = [index for index in range(40) if index % 5 == 4]  # 24 pictures a second shown at 30 frames a second


def pulled_down(missed=()):
    """A flight of 32 pictures, every fourth shown twice: a repeated frame has the boxes of the one before."""
    rows = []
    for index in range(40):
        picture = index - index // 5 - (index % 5 == 4)
        if picture not in missed:
            rows.append((index, 100 + 25 * picture, 300 + 0.4 * (picture - 16) ** 2, 12.0, 0.8))
    boxes = boxes_from(rows, 40)
    boxes.attrs["repeated_frames"] = PULLED_DOWN
    return boxes


def test_a_repeated_frame_has_the_labels_of_the_one_before_and_no_picture_is_interpolated_twice():
    boxes = pulled_down(missed=(11, 18))  # picture 11 is shown twice, by frames 13 and 14; 18 once, by frame 22
    cleaned = clean(boxes)
    assert (cleaned["decision"] == "keep").all()
    assert cleaned["track_id"].nunique() == 1
    assert sorted(cleaned["frame_index"]) == list(range(40))
    assert cleaned["label_uid"].is_unique
    made = cleaned[cleaned["origin"] == "interpolated"]
    assert made["frame_index"].tolist() == [13, 14, 22]
    for repeated in PULLED_DOWN:
        here, before = (cleaned[cleaned["frame_index"] == index] for index in (repeated, repeated - 1))
        assert (here[tables.BOX_COLUMNS].to_numpy() == before[tables.BOX_COLUMNS].to_numpy()).all()
        assert here["time_s"].iloc[0] == pytest.approx(repeated / 30)
    centre = (made["x1"] + made["x2"]) / 2
    assert np.abs(centre - [375, 375, 550]).max() < 2


def test_a_human_may_deny_a_box_in_a_repeated_frame_alone():
    boxes = pulled_down()
    denied = boxes.loc[boxes["frame_index"] == 9, "label_uid"].iloc[0]
    cleaned = clean(boxes, verdicts={denied: "n"})
    assert cleaned.loc[cleaned["label_uid"] == denied, "decision"].tolist() == ["drop"]
    assert (cleaned.loc[cleaned["frame_index"] == 8, "decision"] == "keep").all()


def test_what_lies_in_a_repeated_frame_alone_is_ignored():
    boxes = pulled_down()
    lone = boxes_from([(14, 900, 100, 30, 0.9)], 40)
    both = pd.concat([boxes, lone], ignore_index=True)
    both.attrs = boxes.attrs
    row = clean(both).set_index("label_uid").loc[lone["label_uid"].iloc[0]]
    assert (row["decision"], row["reason"].split(":")[0]) == ("ignore", "repeated")
