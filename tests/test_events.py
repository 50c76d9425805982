"""Events: turns of drawn paths, actions that take them, SoccerNet's JSON, and average precision worked by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from exchange_work import a_round

from labels.cleaning.events import (
    BOUNCE,
    EVENTS,
    HIT,
    average_precision,
    events_in,
    mean_average_precision,
    read_soccernet,
    turns_of,
    write_events,
    write_soccernet,
)
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import write_parquet

FPS = 25.0
NO_ACTIONS = tables.empty_table(tables.ACTIONS)


def falling(frame_count=30, bounce_at=14, pan=0.0, seed=0):
    """A ball of 8 pixels that falls by 0.5 pixels a frame², and goes up with 0.7 of its speed; boxes off by 0.3."""
    x, y, vy, rows = 20.0, 20.0, 0.0, []
    for frame in range(frame_count):
        rows.append((x + pan * frame, y))
        x, y, vy = x + 4, y + vy + 0.25, vy + 0.5
        if frame + 1 == bounce_at:
            vy = -0.7 * vy
    centre = np.array(rows) + np.random.default_rng(seed).normal(0, 0.3, (frame_count, 2))
    return np.arange(frame_count), np.column_stack([centre - 4, centre + 4])


def boxes_of(frames, xyxy, track_id=1, name="sports ball"):
    made = tables.make_boxes(
        "v", 0, frames, frames / FPS, xyxy, np.array([name] * len(frames), object), np.ones(len(frames))
    )
    return made.assign(track_id=track_id)


@pytest.mark.parametrize("pan", [0.0, 7.0, -4.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_bounce_is_where_the_path_turns_whatever_the_camera_does(pan, seed):
    turns = turns_of(*falling(pan=pan, seed=seed), FPS)
    assert [abs(frame - 14) <= 1 for frame in turns["frame_index"]] == [True]
    events = events_in(boxes_of(*falling(pan=pan, seed=seed)), NO_ACTIONS, "v", FPS)
    assert events["class_name"].tolist() == [BOUNCE]


@pytest.mark.parametrize("seed", range(4))
def test_gravity_alone_is_no_turn(seed):
    assert not len(turns_of(*falling(bounce_at=99, seed=seed), FPS))


@pytest.mark.parametrize("keep", [slice(0, 0), slice(0, 1), slice(0, 3), slice(12, 16)])
def test_too_few_boxes_are_no_turn(keep):
    frames, xyxy = falling()
    assert not len(turns_of(frames[keep], xyxy[keep], FPS))


def test_two_missing_boxes_are_bridged_and_a_long_gap_is_not():
    frames, xyxy = falling()
    some = ~np.isin(frames, [11, 12, 18])
    assert len(turns_of(frames[some], xyxy[some], FPS)) == 1
    some = ~np.isin(frames, [12, 13, 14, 15])
    assert not len(turns_of(frames[some], xyxy[some], FPS))


def struck():
    """Flies to the right, is sent back at frame 12 beside a player of 60 pixels; another stands far away."""
    frames = np.arange(25)
    x = np.where(frames <= 12, 20 + 5 * frames, 80 - 6 * (frames - 12))
    xyxy = np.column_stack([x - 4, np.full(25, 46.0), x + 4, np.full(25, 54.0)])
    players = [
        boxes_of(frames, np.tile([[x1, 30.0, x1 + 20, 90.0]], (25, 1)), n, "person") for n, x1 in ((7, 86), (8, 200))
    ]
    return pd.concat([boxes_of(frames, xyxy), *players], ignore_index=True)


def test_a_hit_names_its_player():
    event = events_in(struck(), NO_ACTIONS, "v", FPS).iloc[0]
    assert (event["class_name"], event["frame_index"], event["player_track_id"], event["track_id"]) == (HIT, 12, 7, 1)
    assert event["time_s"] == pytest.approx(12 / FPS)


def actions_of(*rows):
    """class_name, track_id, start_frame, end_frame."""
    named = {
        name: [row[n] for row in rows] for n, name in enumerate(("class_name", "track_id", "start_frame", "end_frame"))
    }
    kinds = {"int64": 0, "float64": 0.0, "float32": 0.5, "str": ""}
    return tables.make_table(tables.ACTIONS, {name: kinds[kind] for name, kind in tables.ACTIONS.items()} | named)


def test_an_action_takes_the_turn_within_it_once_else_its_middle():
    actions = actions_of(
        ("swing", 7, 5, 15),  # holds the hit of its player
        ("tennis swing", 7, 8, 20),  # of the same player: the hit is taken
        ("smash", 8, 0, 20),  # another player
        ("run", 7, 0, 25),  # no event
    )
    events = events_in(struck(), actions, "v", FPS)
    told = [tuple(row) for row in events[["frame_index", "class_name", "player_track_id", "track_id"]].to_numpy()]
    assert told == [(9, "smash", 8, -1), (12, "swing", 7, 1), (13, "tennis swing", 7, -1)]


def events(*rows):
    """video, second, class, score."""
    named = {name: [row[n] for row in rows] for n, name in enumerate(("video_id", "time_s", "class_name", "score"))}
    return tables.make_table(EVENTS, {"frame_index": 0, "track_id": -1, "player_track_id": -1} | named)


TRUTH = events(("a", 1.0, "hit", 1), ("a", 2.0, "hit", 1), ("b", 1.0, "hit", 1), ("b", 5.0, "bounce", 1))


@pytest.mark.parametrize(
    ("found", "within_s", "wanted"),
    [
        # Sure to unsure: right, wrong, right; precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3: 1/3 · 1 + 1/3 · 2/3
        ([("a", 1.0, 0.9), ("a", 3.0, 0.8), ("b", 1.1, 0.7)], 0.2, 1 / 3 + 2 / 9),
        # a second one near the same moment is wrong; best precision at recall 2/3 is 2/3
        ([("a", 1.0, 0.9), ("a", 1.02, 0.8), ("a", 2.0, 0.7)], 0.2, 1 / 3 + 2 / 9),
        ([("a", 1.0, 0.9), ("a", 2.0, 0.8), ("b", 1.0, 0.1)], 0.0, 1.0),
        ([("a", 1.3, 0.9)], 0.2, 0.0),  # too far
        ([("a", 1.3, 0.9)], 0.3, 1 / 3),
        ([("b", 2.0, 0.9)], 0.2, 0.0),  # of another video
        ([("b", 1.6, 0.2), ("a", 1.6, 0.9), ("a", 1.4, 0.5)], 1.0, 1.0),  # the nearest that is free, each once
        ([], 1.0, 0.0),
    ],
)
def test_average_precision_by_hand(found, within_s, wanted):
    made = events(*((video, time_s, "hit", score) for video, time_s, score in found))
    assert average_precision(made, TRUTH, "hit", within_s) == pytest.approx(wanted)
    assert mean_average_precision(made, TRUTH, within_s) == pytest.approx(wanted / 2)  # no bounce is found


def test_soccernet_there_and_back(tmp_path):
    made = events_in(struck(), NO_ACTIONS, "v", FPS)
    write_soccernet(tmp_path / "v.json", made)
    item = json.loads((tmp_path / "v.json").read_text())["predictions"][0]
    assert (item["gameTime"], item["label"], item["position"], item["half"]) == ("1 - 00:00", "hit", "480", "1")
    again = read_soccernet(tmp_path / "v.json", "v", FPS)
    assert again[["frame_index", "class_name", "player_track_id"]].equals(
        made[["frame_index", "class_name", "player_track_id"]]
    )
    labels = [{"gameTime": "1 - 01:05", "label": "PASS", "position": "65040", "team": "left", "visibility": "visible"}]
    (tmp_path / "Labels-v2.json").write_text(json.dumps({"UrlLocal": "x", "annotations": labels}))
    read = read_soccernet(tmp_path / "Labels-v2.json", "v", FPS).iloc[0]
    assert (read["frame_index"], read["time_s"], read["class_name"], read["score"]) == (1626, 65.04, "PASS", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no list"),
        ('{"annotations": 3}', "no list"),
        ('{"annotations": [{"label": "PASS"}]}', "entry 0: needs"),
        ('{"annotations": [{"label": "PASS", "position": "x"}]}', "entry 0: needs"),
        ('{"annotations": [{"label": "", "position": "4"}]}', "entry 0: no label"),
        ('{"annotations": [{"label": "a", "position": -4}]}', "entry 0: no label"),
        ('{"annotations": [7]}', "entry 0: needs"),
    ],
)
def test_what_is_not_soccernets_is_one_line(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_soccernet(path, "v", FPS)


def test_a_round_writes_its_events_and_judges_them_by_a_persons(tmp_path):
    work = a_round(tmp_path / "work", actions=())
    kept = boxes_of(*falling()).assign(video_id="v0", quality=np.float32(1), decision="keep", reason="")
    write_parquet(work.round(0).boxes("cleaned", "v0"), kept)
    assert write_events(work, 0) == ["events: 1 bounce"]
    folder = work.round(0).stage("cleaned") / "events"
    assert {path.name for path in folder.iterdir()} == {"events.csv", "v0.json"}
    table = pd.read_csv(folder / "events.csv")
    assert list(table) == list(EVENTS) and abs(table["frame_index"][0] - 14) <= 1
    truth = work.videos / "truth" / "events" / "v0.json"
    truth.parent.mkdir(parents=True)
    truth.write_text('{"annotations": [{"label": "bounce", "position": "560"}]}')
    assert write_events(work, 0)[1].endswith("1.000 within 0.12 s, 1.000 within 0.2 s, 1.000 within 1 s")
