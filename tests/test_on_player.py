"""Shoes and heads that a labeller takes for the ball: they stay in their place in a player's box."""

import numpy as np
import pytest
from simulated_balls import boxes_from, clean_table
from test_cleaning import THRESHOLD, clean, flight, terms_of

from labels.cleaning.features.scores import log_odds
from labels.cleaning.settings import CleaningSettings

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
    shoe = rows["label_uid"][rows["class_name"] == "sports ball"]
    terms = terms_of(rows).loc[shoe]
    assert (terms["on_player"] == 1).all()
    assert terms["against"].str.startswith("on_player -").all()
    off = terms_of(rows, without=("on_player",)).loc[shoe, "quality"]
    assert (log_odds(terms["quality"]) < log_odds(off) - 1).all()


@pytest.mark.parametrize(
    ("why", "thing"),
    [
        ("it is in the air beside the head", beside(lambda f: (36.0, -38.0))),
        ("it is held", beside(lambda f: (20.0, 10.0))),
        ("it is dribbled", beside(lambda f: (20.0 * np.sin(f / 3), 38.0))),
        ("it goes along outside the player", beside(lambda f: (62.0, 38.0))),
        ("most of its way is elsewhere", beside(lambda f: (15.0 + 9 * max(0, f - 18), 38.0))),
        ("it flies past", flight(FRAMES, y=320.0)),
    ],
)
def test_what_is_not_on_the_player(why, thing):
    rows = boxes_from([*PLAYER, *thing], len(FRAMES))
    assert (terms_of(rows)["on_player"] <= 0.5).all(), why
    assert (balls_of(clean(rows))["decision"] == "keep").mean() > 0.9, why


def test_the_frames_edge_is_nobodys_feet():
    near = [(f, 300 + 4 * f, 560.0, 320.0, 0.9, "person") for f in FRAMES]  # from 400 to the lower edge, 720
    held = [(f, 340 + 4 * f, 690.0, 30.0, 0.9) for f in FRAMES]
    ball = balls_of(clean(boxes_from([*near, *held], len(FRAMES), width=1280, height=720)))
    assert (ball["decision"] == "keep").all()


def test_a_ball_at_the_feet_of_one_player_after_another_is_on_neither():
    """Half of its way at the one, half of it at the other, who goes along above."""
    other = [(f, x + 70, y - 20, size, score, name) for f, x, y, size, score, name in PLAYER]
    ball = beside(lambda f: (15.0, 38.0) if f < 20 else (15.0 + min(3.0 * (f - 19), 50), 28.0))
    evidence = clean_table(boxes_from([*PLAYER, *other, *ball], len(FRAMES)), 0, THRESHOLD, CleaningSettings()).evidence
    assert 0.4 <= evidence["on_player"].max() <= 0.6


@pytest.mark.parametrize(("place", "is_head"), [(HEAD, True), (SHOE, False)])
def test_of_a_path_that_goes_on_to_the_ball_the_head_alone_is_on_the_player(place, is_head):
    """A third of it at a player, who may dribble with the feet; then it is away."""
    goes = beside(lambda f: (place[0] + 9.0 * max(0, f - 13), place[1]))
    rows = boxes_from([*PLAYER, *goes], len(FRAMES))
    ball = terms_of(rows).loc[rows["label_uid"][rows["class_name"] == "sports ball"]]  # by frame
    on_player = (ball["on_player"] > 0.5).to_numpy()
    assert on_player[:11].all() == on_player[:11].any() == is_head
    assert not on_player[20:].any()


def test_a_shoe_is_no_example_of_the_ball():
    rows = boxes_from([*PLAYER, *beside(lambda f: SHOE), *flight(FRAMES, y=60.0)], len(FRAMES))
    evidence = clean_table(rows, 0, THRESHOLD, CleaningSettings()).evidence
    is_shoe, confident = evidence["on_player"] > 0.5, evidence["on_confident_track"]
    assert evidence["path_displacement"][is_shoe].min() > CleaningSettings.confident_displacement_sizes
    assert confident.sum() == len(FRAMES)
    assert not confident[is_shoe].any()


def test_what_a_human_drew_is_on_no_player():
    rows = boxes_from([*PLAYER, *beside(lambda f: SHOE)], len(FRAMES))
    rows.loc[rows.index[len(PLAYER) + 20], "origin"] = "human"
    assert (balls_of(clean(rows))["decision"] == "keep").all()


def test_without_players_nothing_is_on_one():
    assert (clean(boxes_from(beside(lambda f: SHOE), len(FRAMES)))["decision"] == "keep").all()
