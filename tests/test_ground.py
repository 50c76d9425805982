"""What lies still is told by its size beside the players who stand there."""

import numpy as np
import pytest
from simulated_balls import boxes_from
from test_cleaning import clean, flight

FRAMES = range(40)


def players(feet=(300.0, 400.0, 500.0), heights=(100.0, 150.0, 200.0)):
    """Three who stand still: where the feet are 100 px lower, a player is 50 px higher."""
    places = zip(feet, heights, (100.0, 500.0, 900.0), strict=True)
    return [(f, x, foot - height / 2, height, 0.9, "person") for foot, height, x in places for f in FRAMES]


def lying(size, score, foot=450.0, frames=FRAMES):
    """A thing that lies where a player would be 175 px high, if `foot` is not another."""
    return [(f, 1100.0, foot - size / 2, size, score) for f in frames]


def thing_in(rows, **settings):
    """The labels of what lies, beside a ball that flies high above."""
    cleaned = clean(boxes_from([*rows, *flight(FRAMES, y=60.0)], len(FRAMES), width=1280, height=720), **settings)
    return cleaned[(cleaned["class_name"] == "sports ball") & (cleaned["x1"] > 1000)]


@pytest.mark.parametrize("size", [8.0, 22.0, 26.0])  # of tennis, football, and a large one
def test_what_lies_still_and_has_the_size_of_a_ball_is_kept_though_the_labeller_is_unsure(size):
    rows = [*players(), *lying(size, 0.75)]
    assert (thing_in(rows)["decision"] == "keep").all()
    without = thing_in(rows, without=("ground",))
    assert (without["decision"] == "ignore").all()
    assert without["reason"].str.startswith("still: ").all()


def test_what_is_too_large_for_a_ball_beside_the_players_is_none_though_the_labeller_is_sure():
    rows = [*players(), *lying(40.0, 0.95)]
    assert not (thing_in(rows)["decision"] == "keep").any()
    assert thing_in(rows)["reason"].str.startswith("quality: ").all()
    assert (thing_in(rows, without=("ground",))["decision"] == "keep").all()


@pytest.mark.parametrize(
    ("why", "rows"),
    [
        ("nobody can stand there", [*players(), *lying(40.0, 0.95, foot=130.0)]),
        ("they stand in one line", [*players((450.0, 450.0, 451.0)), *lying(40.0, 0.95)]),
        ("who is lower is not larger", [*players(heights=(150.0, 150.0, 149.0)), *lying(40.0, 0.95)]),
        ("too few are seen", [*players()[:15], *lying(40.0, 0.95)]),
        ("it lies too short a time", [*players(), *lying(40.0, 0.95, frames=range(8))]),
    ],
)
def test_where_players_do_not_tell_the_labeller_does(why, rows):
    sizes = np.unique(thing_in(rows)["decision"])
    assert sizes.tolist() == np.unique(thing_in(rows, without=("ground",))["decision"]).tolist(), why


def test_what_flies_may_be_near_the_camera():
    near = [(f, 1250 - 6 * f, 400 + 0.5 * (f - 20) ** 2, 50.0, 0.9) for f in FRAMES]
    assert (thing_in([*players(), *near])["decision"] == "keep").all()


def test_what_a_human_drew_has_the_size_it_has():
    rows = boxes_from([*players(), *lying(40.0, 0.6)], len(FRAMES), width=1280, height=720)
    rows.loc[rows.index[-20], "origin"] = "human"
    cleaned = clean(rows)
    assert (cleaned["decision"][cleaned["class_name"] == "sports ball"] == "keep").all()


def test_a_spectator_far_away_does_not_bend_the_ground():
    crowd = [(f, 60.0 + 40 * k, 200.0, 20.0, 0.9, "person") for k in range(2) for f in FRAMES[::4]]
    assert (thing_in([*players(), *crowd, *lying(22.0, 0.75)])["decision"] == "keep").all()
