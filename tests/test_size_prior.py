"""What lies still is told by its size beside the players who stand there."""

import numpy as np
import pandas as pd
import pytest
from simulated_balls import boxes_from, clean_table
from test_cleaning import THRESHOLD, clean, flight, terms_of

from labels.cleaning.features.scores import log_odds
from labels.cleaning.settings import CleaningSettings
from labels.tracks.camera_motion import MATRIX_COLUMNS

FRAMES = range(40)
HIGH = flight(FRAMES, y=60.0)


def players(feet=(300.0, 400.0, 500.0), heights=(100.0, 150.0, 200.0)):
    """Three who stand still: where the feet are 100 px lower, a player is 50 px higher."""
    places = zip(feet, heights, (100.0, 500.0, 900.0), strict=True)
    return [(f, x, foot - height / 2, height, 0.9, "person") for foot, height, x in places for f in FRAMES]


def lying(size, score, foot=450.0, frames=FRAMES):
    """A thing that lies where a player would be 175 px high, if `foot` is not another."""
    return [(f, 1100.0, foot - size / 2, size, score) for f in frames]


def scene(rows, **meta):
    """The labels of a clip in which a ball flies high above all."""
    return boxes_from([*rows, *HIGH], len(FRAMES), width=1280, height=720, **meta)


def thing_in(rows, **settings):
    """What became of the thing that lies."""
    cleaned = clean(scene(rows), **settings)
    return cleaned[(cleaned["class_name"] == "sports ball") & (cleaned["x1"] > 1000)]


def size_prior_of(rows, camera=None):
    """Its size as players tell it; NaN where they do not."""
    evidence = clean_table(scene(rows), 0, THRESHOLD, CleaningSettings(), None, camera).evidence
    known = evidence["size_prior"].dropna().unique()
    return float(known[0]) if len(known) == 1 else np.nan


def test_what_is_too_large_for_a_ball_beside_the_players_is_less_likely():
    for size, expected in ((22.0, 0.0), (26.0, 0.0), (40.0, np.log(40 / 175 / 0.15))):
        rows = scene([*players(), *lying(size, 0.95)])
        lies = rows["label_uid"][(rows["class_name"] == "sports ball") & (rows["x1"] > 1000)]
        terms = terms_of(rows).loc[lies]
        assert terms["size_prior"].to_numpy() == pytest.approx(expected, abs=0.02)
        off = log_odds(terms_of(rows, without=("size_prior",)).loc[lies, "quality"])
        assert (log_odds(terms["quality"]) < off - 0.5).all() == (size == 40.0)


def test_a_spot_is_too_small_to_tell():
    assert size_prior_of([*players(), *lying(5.0, 0.75)]) == pytest.approx(5 / 175)


BALL = lying(22.0, 0.75)
CUT_OFF = [(f, 1150.0, 600.0, 240.0, 0.9, "person") for f in FRAMES]  # to the lower edge
HOLDING = [(f, 1100.0, 400.0, 200.0, 0.9, "person") for f in FRAMES]  # from 300 to 500


@pytest.mark.parametrize(
    ("why", "rows"),
    [
        ("nobody can stand there", [*players(), *lying(40.0, 0.95, foot=130.0)]),
        ("they stand in one line", [*players((450.0, 450.0, 451.0)), *BALL]),
        ("who is lower is not larger", [*players(heights=(150.0, 150.0, 149.0)), *BALL]),
        ("too few are seen", [*players()[::7], *BALL]),
        ("the frame cuts them off", [*players((719.5, 719.5, 719.5), (300.0, 350.0, 400.0)), *BALL]),
        ("it lies too short a time", [*players(), *lying(22.0, 0.75, frames=range(8))]),
        ("one holds it", [*players(), *HOLDING, *[(f, 1100.0, 400.0, 26.0, 0.9) for f in FRAMES]]),
        (
            "one holds it whom the frame cuts off",
            [*players(), *CUT_OFF, *[(f, 1150.0, 600.0, 26.0, 0.9) for f in FRAMES]],
        ),
        ("it is no ball", [*players(), *[(*row, "tennis racket") for row in BALL]]),
    ],
)
def test_where_players_do_not_tell(why, rows):
    assert np.isnan(size_prior_of(rows)), why
    assert size_prior_of([*players(), *BALL]) == pytest.approx(22 / 175, rel=0.01)


def test_what_a_player_holds_still_is_kept():
    held = [(f, 1100.0, 400.0, 26.0, 0.95) for f in FRAMES]
    assert (thing_in([*players(), *HOLDING, *held])["decision"] == "keep").all()


def test_players_of_another_shot_do_not_tell():
    cut = pd.DataFrame({"frame_index": list(FRAMES), "shot_index": [int(f >= 20) for f in FRAMES]})
    for name, value in zip(MATRIX_COLUMNS, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), strict=True):
        cut[name] = value
    cut["is_cut"] = cut["frame_index"] == 20
    before = [row for row in players() if row[0] < 20]
    later = lying(22.0, 0.75, frames=range(20, 40))
    assert np.isnan(size_prior_of([*before, *later], cut))
    assert size_prior_of([*before, *later]) == pytest.approx(22 / 175, rel=0.01)


def test_what_flies_may_be_near_the_camera():
    near = [(f, 1250 - 6 * f, 400 + 0.5 * (f - 20) ** 2, 50.0, 0.9) for f in FRAMES]
    assert (thing_in([*players(), *near])["decision"] == "keep").all()


def test_what_a_human_drew_has_the_size_it_has():
    rows = boxes_from([*players(), *lying(40.0, 0.6)], len(FRAMES), width=1280, height=720)
    rows.loc[rows.index[-20], "origin"] = "human"
    cleaned = clean(rows)
    assert (cleaned["decision"][cleaned["class_name"] == "sports ball"] == "keep").all()


def test_what_the_round_before_kept_is_not_measured_again():
    first = clean(boxes_from([*players(), *lying(22.0, 0.95), *HIGH], len(FRAMES), width=1280, height=720))
    assert (first["decision"][(first["x1"] > 1000) & (first["class_name"] == "sports ball")] == "keep").all()
    boxes_shrunk = players(heights=(50.0, 75.0, 100.0))  # a student that boxes players badly
    again = boxes_from([*boxes_shrunk, *lying(22.0, 0.95), *HIGH], len(FRAMES), round_born=1, width=1280, height=720)
    later = clean_table(again, 1, THRESHOLD, CleaningSettings(), first).evidence
    fresh = clean_table(again, 0, THRESHOLD, CleaningSettings()).evidence
    assert later["size_prior"].isna().all()
    assert fresh["size_prior"].dropna().unique() == pytest.approx(22 / 87.5, rel=0.02)


def test_a_spectator_far_away_does_not_bend_the_size_prior():
    crowd = [(f, 60.0 + 40 * k, 280.0, 20.0, 0.9, "person") for k in range(2) for f in FRAMES[::2]]
    assert size_prior_of([*players(), *crowd, *BALL]) == pytest.approx(22 / 175, rel=0.02)
