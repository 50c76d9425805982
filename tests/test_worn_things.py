"""Shoes and heads that a labeller takes for the ball: they stay in their place in a player's box."""

import numpy as np
import pytest
from simulated_balls import boxes_from
from test_cleaning import clean, flight

FRAMES = range(40)
PLAYER = [(f, 100 + 5 * f, 300.0, 90.0, 0.9, "person") for f in FRAMES]  # from 255 to 345, to the right
SHOE, HEAD = (15.0, 38.0), (0.0, -38.0)  # from the middle of the player


def beside(place, frames=FRAMES, score=0.9):
    """A thing of 12 pixels that goes with the player. `place(f)`: where, from the middle of the player."""
    return [(f, 100 + 5 * f + place(f)[0], 300 + place(f)[1], 12.0, score) for f in frames]


def balls_of(cleaned):
    return cleaned[cleaned["class_name"] == "sports ball"]


@pytest.mark.parametrize("place", [SHOE, HEAD])
def test_what_stays_at_a_players_head_or_feet_is_doubtful(place):
    rows = boxes_from([*PLAYER, *beside(lambda f: place)], len(FRAMES))
    shoe = balls_of(clean(rows))
    assert (shoe["decision"] == "ignore").all()
    assert (shoe["reason"] == "worn: 1 > 0.5").all()
    assert (balls_of(clean(rows, without=("worn",)))["decision"] == "keep").all()


@pytest.mark.parametrize(
    ("why", "thing"),
    [
        ("it is held", beside(lambda f: (20.0, 10.0))),
        ("it is dribbled", beside(lambda f: (20.0 * np.sin(f / 3), 38.0))),
        ("it goes along outside the player", beside(lambda f: (62.0, 38.0))),
        ("most of its way is elsewhere", beside(lambda f: (15.0 + 9 * max(0, f - 18), 38.0))),
        ("it flies past", flight(FRAMES, y=320.0)),
    ],
)
def test_what_a_player_does_not_wear(why, thing):
    ball = balls_of(clean(boxes_from([*PLAYER, *thing], len(FRAMES))))
    assert not ball["reason"].str.startswith("worn").any(), why
    assert (ball["decision"] == "keep").mean() > 0.9, why


def test_a_shoe_does_not_take_the_place_of_the_one_ball_in_play():
    rows = [*PLAYER, *beside(lambda f: SHOE), *flight(FRAMES, score=0.55, y=60.0)]
    cleaned = balls_of(clean(boxes_from(rows, len(FRAMES)), max_per_frame=1))
    is_shoe = cleaned["reason"].str.startswith("worn")
    assert is_shoe.sum() == len(FRAMES)
    assert (cleaned["decision"][~is_shoe] == "keep").all()


def test_what_a_human_drew_is_worn_by_nobody():
    rows = boxes_from([*PLAYER, *beside(lambda f: SHOE)], len(FRAMES))
    rows.loc[rows.index[len(PLAYER) + 20], "origin"] = "human"
    assert (balls_of(clean(rows))["decision"] == "keep").all()


def test_without_players_nothing_is_worn():
    assert (clean(boxes_from(beside(lambda f: SHOE), len(FRAMES)))["decision"] == "keep").all()
