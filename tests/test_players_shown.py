"""Who does what where: players found in an earlier round, or told by truth, in AVA's CSV and on the overlay."""

import csv

import numpy as np
import pytest
from exchange_work import a_round
from picture_work import Clip, action_rows, make_work

import labels.pictures.overlay.round_pictures as picture_making
from labels.cleaning.label_export import export_round
from labels.exchange.formats.ava import read_ava
from labels.exchange.known_videos import KnownVideos
from labels.labelling.player_tracks import boxes_of_players
from labels.pictures.overlay.overlay import OverlayPanel
from labels.pictures.palette import STYLES
from labels.pictures.report.rounds import read_round
from labels.pictures.settings import PictureSettings
from labels.records import tables
from labels.records.run_records import RunRecord, write_run_record
from labels.records.safe_writing import read_parquet, write_parquet
from labels.records.work_folder import ACTIONS_CLEANED


def true_people(rows):
    """(frame, x1, y1, x2, y2, track)"""
    return tables.make_table(
        tables.TRUTH,
        {
            "frame_index": [row[0] for row in rows],
            **{name: [row[1 + place] for row in rows] for place, name in enumerate(tables.BOX_COLUMNS)},
            "class_name": "person",
            "track_id": [row[5] for row in rows],
            "visibility": 1.0,
        },
    )


@pytest.fixture
def work(tmp_path):
    """Round 0 has the boxes of player 7, round 1 nothing but what the player does."""
    work = a_round(tmp_path / "w")
    shard = read_parquet(work.round(0).actions("cleaned", "v0"))
    write_parquet(work.round(1).actions("cleaned", "v0"), shard[shard["track_id"] == 7].reset_index(drop=True))
    write_run_record(work.round(1), RunRecord(ACTIONS_CLEANED, 1, {}, {}))
    return work


def test_a_round_of_actions_alone_says_where_its_players_are(work):
    folder = export_round(work, 1, "ava").folder / "annotations"
    rows = list(csv.reader((folder / "ava_train_v2.2.csv").open()))
    assert [(row[0], row[1], row[7]) for row in rows] == [("v0", "0001", "7"), ("v0", "0002", "7")]
    assert [float(value) for value in rows[0][2:6]] == [0.5, 0.5, 0.6, 0.9]
    found = read_ava(folder / "ava_train_v2.2.csv", KnownVideos(work.usable_videos()))
    assert found.boxes["track_id"].tolist() == [7, 7] and found.boxes["class_name"].tolist() == ["person"] * 2
    assert found.actions[["video_id", "track_id", "class_name"]].to_numpy().tolist() == [["v0", 7, "hit (a ball)"]]


def test_truth_tells_where_players_are_before_any_round(work):
    write_parquet(work.truth_boxes("v0"), true_people([(25, 20.0, 10.0, 40.0, 60.0, 7), (26, 0.0, 0.0, 9.0, 9.0, -1)]))
    boxes = tables.check_boxes(boxes_of_players(work, 1, "v0"), "test", decided=True)
    assert boxes[["frame_index", "time_s", "track_id", "x1", "decision"]].to_numpy().tolist() == [
        [25, 1.0, 7, 20, "keep"]
    ]
    assert not len(boxes_of_players(work, 1, "v1"))
    row = next(csv.reader((export_round(work, 1, "ava").folder / "annotations/ava_train_v2.2.csv").open()))
    assert [float(value) for value in row[2:6]] == [0.1, 0.1, 0.2, 0.6]


def test_the_overlay_shows_the_players_of_a_round_of_actions_alone(tmp_path, monkeypatch):
    work = make_work(tmp_path / "w", [Clip("a", [range(8)])], 1)
    folder = work.round(0)
    folder.boxes("cleaned", "a").unlink()
    folder.run_record("cleaned").unlink()
    write_parquet(folder.actions("cleaned", "a"), action_rows("a", [(3, 0, 8, "run", 0.9, "keep", "")]))
    write_run_record(folder, RunRecord(ACTIONS_CLEANED, 0, {}, {}))
    write_parquet(work.truth_boxes("a"), true_people([(at, 30.0, 20.0, 50.0, 60.0, 3) for at in range(8)]))
    drawn = []
    monkeypatch.setattr(picture_making, "draw_overlay", lambda subject, *_: drawn.append(subject))
    picture_making.make_overlays(work, read_round(work, 0), work.usable_videos(), {"a": "first"}, PictureSettings())
    (subject,) = drawn
    assert subject.boxes["track_id"].tolist() == [3] * 8
    canvas = OverlayPanel(subject, PictureSettings()).draw(2, 0.1, np.zeros((96, 160, 3), np.uint8))
    assert tuple(STYLES["kept"].colour) in {tuple(colour) for colour in canvas[30:].reshape(-1, 3).tolist()}
