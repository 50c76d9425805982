"""Players who go out of sight and come back: windows, labels and examples are of what is seen."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_action_decisions import actions

from labels.labelling.action_windows import VideoWindows, cut_windows, subjects_of
from labels.labelling.player_tracks import digest_of_tracks, players_in
from labels.models.recognisers.settings import JOINTS, Preset
from labels.tracks.players import CropPath, crop_path
from labels.training.actions.data import label_windows
from labels.videos.windows import Window

SQUARES = np.tile([50.0, 50.0, 20.0], (40, 1))
HIDDEN = CropPath(7, 0, SQUARES, in_sight=((0, 12), (26, 40)))


def people(*spans):
    frames = np.concatenate([np.arange(first, end) for first, end in spans])
    boxes = {"x1": 0.0, "y1": 0.0, "x2": 10.0, "y2": 20.0, "class_name": "person", "track_id": 7}
    return pd.DataFrame({"frame_index": frames}).assign(**boxes)


def video_windows(windows: list[Window], end) -> VideoWindows:
    frames = np.stack([window.frame_index for window in windows])
    return VideoWindows("v", frames, np.full(len(frames), 7), np.array(end), np.zeros((len(frames), 0)))


@pytest.fixture
def cut():
    """Windows of 8 frames' joints, 4 apart."""
    preset = Preset(8, 25.0, 1, stride=4, reads=JOINTS)
    joints = {7: np.zeros((40, 13, 2), np.float32)}
    return video_windows(list(cut_windows(preset, 40, 25.0, [HIDDEN], list, joints)), [12, 12, 40, 40, 40])


def test_a_time_too_short_to_tell_anything_is_not_looked_at():
    (path,) = players_in(people((0, 20), (60, 63), (90, 110)), 25.0)
    assert path.in_sight == ((0, 20), (90, 110))
    assert players_in(people((0, 3), (60, 63)), 25.0) == []


def test_other_times_in_sight_are_another_track_to_what_is_kept_of_it():
    all_along = CropPath(7, 0, SQUARES)
    assert digest_of_tracks([all_along]) == digest_of_tracks([replace(all_along, in_sight=((0, 40),))])
    one_left = replace(all_along, in_sight=((0, 12),))
    assert len({digest_of_tracks([path]) for path in (all_along, HIDDEN, one_left)}) == 3


def test_windows_and_labels_end_where_the_player_goes_out_of_sight(cut):
    assert [(int(row[0]), int(row[-1])) for row in cut.frames] == [(0, 7), (4, 11), (26, 33), (30, 37), (32, 39)]
    said = np.array([[0.9, 0.1]] * 5)
    subjects = subjects_of(cut, said, ("kick", "run"))
    assert [(int(each.frame_index[0]), int(each.frame_index[-1])) for each in subjects] == [(0, 11), (26, 39)]
    assert {each.track_id for each in subjects} == {7}


def test_an_action_out_of_sight_teaches_nothing(cut):
    table = actions(
        ("seen", "v", "kick", 1.0, "human", 2, 6, 7),
        ("hidden", "v", "kick", 1.0, "human", 14, 24, 7),
        ("short", "v", "run", 0.8, "detected", 39, 40, 7),  # behind the middle of the last window, and in it
    )
    found = label_windows(cut, table.assign(quality=table["score"]), ("kick", "run"), "v")
    assert [(window.label, window.place) for window in found] == [("seen", 0), ("short", 4)]
    assert [window.weight for window in found] == pytest.approx([1.0, 0.8])


def test_boxes_a_few_steps_apart_are_bridged():
    boxes = np.tile([0.0, 0.0, 10.0, 20.0], (5, 1))
    assert crop_path(1, np.array([0, 10, 20, 50, 60]), boxes, 5.0).in_sight == ((0, 61),)
