"""A clip on the review page: what boxes, players and actions are told of it, with students made here."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import write_test_video
from picture_work import action_rows, rows

from labels.labelling.action_intervals import FrameProbabilities
from labels.models.checkpoints import RECOGNISER, save_checkpoint
from labels.models.pose_estimators import People
from labels.models.recognisers.recogniser import build_recogniser, preset_of
from labels.pictures.overlay.clip import ClipActions
from labels.pictures.review.clip import ClipShape, actions_as_json, boxes_as_json, look_at, players_as_json
from labels.pictures.review.uploads import CurrentModels
from labels.pictures.settings import ReviewSettings
from labels.records import tables
from labels.records.detections import Detections
from labels.videos.decoding.frames import decode_frames

SHAPE = ClipShape(25.0, 160, 96, 20, 0.8)
NAMES = ("run", "walk")


class TwoPeople:
    """Sees the two squares of the clip as people, always surely."""

    name, digest, class_names, every_frame = "people", "one", ("person",), False
    working_threshold = {"person": 0.5}  # noqa: RUF012
    score_slope = {}  # noqa: RUF012

    def detect(self, frames):
        for frame in frames:
            left = 10 + frame.frame_index
            boxes = [[left, 20, left + 14, 60], [100 - left, 20, 114 - left, 60]]
            yield frame, Detections(boxes, [0.95, 0.9], ["person"] * 2)


@pytest.fixture
def clip(tmp_path):
    """20 frames, in which two bright squares walk towards each other."""
    frames = []
    for number in range(20):
        rgb = np.full((96, 160, 3), 60, dtype=np.uint8)
        for left in (10 + number, 90 - number):
            rgb[20:60, left : left + 14] = 220
        frames.append(rgb)
    return write_test_video(tmp_path / "people.mp4", frames, width=160, height=96)


@pytest.fixture
def recogniser(tmp_path):
    """A recogniser's file with chance weights."""

    def save(architecture="cnn3d", **settings):
        torch.manual_seed(0)
        preset = replace(preset_of(architecture), **settings)
        network = build_recogniser(architecture, len(NAMES), preset, pretrained=False)
        payload = {"architecture": architecture, "class_names": list(NAMES), "settings": settings}
        payload |= {"working_threshold": dict.fromkeys(NAMES, 0.1), "network": network.state_dict()}
        save_checkpoint(tmp_path / f"{architecture}.pt", payload, RECOGNISER)
        return str(tmp_path / f"{architecture}.pt")

    return save


def looked_at(clip, models, **settings):
    *steps, last = look_at(clip, clip.parent, models, replace(ReviewSettings(), **settings))
    return [step["step"] for step in steps], last["result"]


def test_players_and_what_each_does_are_told_and_drawn(clip, recogniser, monkeypatch):
    monkeypatch.setattr("labels.models.detectors.loading.load_detector", lambda name: TwoPeople())
    models = CurrentModels("people.pt", 1, recogniser(frames=4), 2, "player")
    steps, told = looked_at(clip, models)
    assert steps == ["reading the clip", "looking for boxes", "recognising actions", "drawing"]
    assert [player["frames"] for player in told["players"]] == [20, 20]
    assert {(player["start_s"], player["end_s"]) for player in told["players"]} == {(0.0, 0.8)}
    tracks = {player["track"] for player in told["players"]}
    strips = told["actions"]["strips"]
    assert {strip["track"] for strip in strips} == tracks == {row["track"] for row in told["actions"]["intervals"]}
    for strip in strips:
        assert set(strip["classes"]) == set(NAMES)
        assert np.sum(strip["values"], axis=0) == pytest.approx(1, abs=0.01)  # of both classes, at every time
    assert told["counts"]["person"]["tracks"] == 2
    assert told["actions"]["notes"] == []
    drawn = list(decode_frames(clip.parent / "overlay.mp4"))
    assert len(drawn) == 20


def test_only_those_seen_longest_are_recognised_and_that_is_said(clip, recogniser, monkeypatch):
    monkeypatch.setattr("labels.models.detectors.loading.load_detector", lambda name: TwoPeople())
    _, told = looked_at(clip, CurrentModels("people.pt", 0, recogniser(frames=4), 0, "player"), clip_players=1)
    assert len(told["players"]) == 2 and len(told["actions"]["strips"]) == 1
    assert "Of 2 players it looked at the 1" in told["actions"]["notes"][0]


def test_without_a_detector_the_whole_frame_is_recognised(clip, recogniser):
    steps, told = looked_at(clip, CurrentModels("", None, recogniser(frames=4), 0, "player"))
    assert "looking for boxes" not in steps
    assert (told["counts"], told["players"]) == ({}, [])
    assert [strip["track"] for strip in told["actions"]["strips"]] == [tables.NO_TRACK]
    assert "whole frame" in told["actions"]["notes"][0]


def test_a_recogniser_that_a_clip_cannot_serve_costs_only_itself(clip, recogniser, monkeypatch):
    monkeypatch.setattr("labels.models.detectors.loading.load_detector", lambda name: TwoPeople())
    _, told = looked_at(clip, CurrentModels("people.pt", 0, recogniser(frames=4, masked=True), 0, "frame"))
    assert told["counts"]["person"]["keep"] > 0 and told["actions"]["strips"] == []
    assert "masks" in told["actions"]["notes"][0]


class Middles:
    """Stands in for a keypoint network: all joints of a person in the middle of the box that is given."""

    name, digest, batch_size = "middles", "1", 8

    def look(self, rgbs, boxes):
        return [
            People(each, np.ones(len(each)), np.repeat((each[:, None, :2] + each[:, None, 2:]) / 2, 13, axis=1))
            for each in boxes
        ]


def test_the_joints_of_each_player_are_found_where_a_recogniser_looks_at_joints(clip, recogniser, monkeypatch):
    monkeypatch.setattr("labels.models.detectors.loading.load_detector", lambda name: TwoPeople())
    monkeypatch.setattr("labels.pictures.overlay.clip.load_pose_estimator", lambda name, device: Middles())
    _, told = looked_at(clip, CurrentModels("people.pt", 0, recogniser("pose_gru", frames=4), 0, "player"))
    assert {strip["track"] for strip in told["actions"]["strips"]} == {each["track"] for each in told["players"]}
    assert len(told["players"]) == 2 and told["actions"]["notes"] == []


def test_boxes_and_players_are_counted_by_hand():
    boxes = tables.concatenate(
        [
            rows("clip", 0, [5, 6, 7], [[0, 0, 9, 20]] * 3, class_name="person", track_id=3),
            rows("clip", 0, [7, 9], [[50, 0, 59, 20]] * 2, "ignore", "quality: 0.4", class_name="person", track_id=4),
            rows("clip", 0, [1], [[50, 0, 59, 20]], "drop", "shape: 1", class_name="person", track_id=5),
            rows("clip", 0, [7], [[90, 0, 99, 9]]),
        ],
        tables.BOXES | tables.DECIDED,
    )
    assert boxes_as_json(boxes) == {
        "person": {"keep": 3, "ignore": 2, "drop": 1, "tracks": 1, "frames": 3},
        "sports ball": {"keep": 1, "ignore": 0, "drop": 0, "tracks": 0, "frames": 1},
    }
    players = players_as_json(boxes, SHAPE)
    assert [(each["track"], each["start_s"], each["end_s"], each["frames"]) for each in players] == [
        (3, 0.2, 0.32, 3),
        (4, 0.28, 0.4, 2),
    ]


def test_a_strip_shows_the_means_of_its_stretches(monkeypatch):
    monkeypatch.setattr("labels.pictures.review.clip.MOST_TIMES", 2)
    likely = np.array([[0.2, 0.8], [0.4, 0.6], [1.0, 0.0], [1.0, 0.0]])
    decided = action_rows("clip", [(-1, 5, 9, "run", 0.65, "keep", "")])
    told = actions_as_json(ClipActions([FrameProbabilities(-1, np.arange(5, 9), likely)], NAMES, decided), SHAPE)
    assert told["strips"] == [
        {
            "track": -1, "start_s": 0.2, "end_s": 0.36, "classes": ["run", "walk"], "means": [0.65, 0.35],
            "values": [[0.3, 1.0], [0.7, 0.0]],
        }
    ]  # fmt: skip
    assert told["intervals"] == [
        {"track": -1, "start_s": 0.2, "end_s": 0.36, "class": "run", "score": 0.65, "decision": "keep"}
    ]


def test_a_player_who_was_out_of_sight_has_one_strip_with_a_gap():
    sights = [
        FrameProbabilities(3, np.arange(0, 2), np.array([[0.2, 0.8], [0.4, 0.6]])),
        FrameProbabilities(4, np.arange(0, 2), np.array([[0.1, 0.9], [0.1, 0.9]])),
        FrameProbabilities(3, np.arange(4, 5), np.array([[0.9, 0.1]])),
    ]
    decided = action_rows("clip", [(3, 0, 2, "run", 0.7, "keep", "")])
    told = actions_as_json(ClipActions(sights, NAMES, decided), SHAPE)
    mine, other = told["strips"]
    assert (mine["track"], mine["start_s"], mine["end_s"], other["track"]) == (3, 0.0, 0.2, 4)
    assert mine["classes"] == ["run", "walk"]
    assert mine["means"] == [0.5, 0.5]  # over the three frames in sight
    assert mine["values"] == [[0.2, 0.4, 0.0, 0.0, 0.9], [0.8, 0.6, 0.0, 0.0, 0.1]]
