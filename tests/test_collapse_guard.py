"""The signs of a loop that feeds on its mistakes, by hand-made counts and by a teacher that is wrong on purpose."""

import pytest

import dataset_cleaner
import dataset_downloader
import dataset_processor
from labels.cleaning.guard import find_alarms
from labels.records.run_records import read_run_record
from labels.records.work_folder import WorkFolder


def counts(
    kept=100,
    confident=100,
    kept_confident=90,
    old_kept=100,
    found_again=80,
    f1=0.8,
    classes=None,
    no_confident_track=0,
    videos=2,
):
    return {
        "kept_by_class": classes or {"sports ball": kept},
        "confident": confident,
        "kept_confident": kept_confident,
        "videos": videos,
        "kept_balls": kept,
        "kept_without_confident_track": no_confident_track,
        "old_kept": old_kept,
        "found_again": found_again,
        "quality": {"training": {"kept": {"centre": {"f1": f1}}}},
    }


@pytest.mark.parametrize(
    ("now", "signs"),
    [
        ({}, []),
        ({"kept": 400}, []),  # four times as many is the limit
        ({"kept": 401}, ["growth: 4.0"]),
        ({"kept": 600, "videos": 6}, []),  # more clips, not more boxes in each
        ({"found_again": 30}, []),
        ({"found_again": 29}, ["survival: 0.29"]),
        ({"old_kept": 49, "found_again": 0}, []),  # too few to say anything
        ({"kept_confident": 4}, ["confident: 0.04"]),
        ({"confident": 49, "kept_confident": 0}, []),
        ({"no_confident_track": 80}, []),
        ({"no_confident_track": 81}, ["no_confident_track: 0.81"]),
        ({"f1": 0.71}, []),
        ({"f1": 0.69}, ["probe: 0.11"]),
        ({"classes": {"sports ball": 69, "person": 31}}, ["classes: 0.31"]),
        ({"kept": 500, "found_again": 0, "f1": 0.2}, ["growth", "survival", "probe"]),
    ],
)
def test_each_sign_against_its_limit(now, signs):
    alarms = find_alarms(counts(**now), counts())
    assert len(alarms) == len(signs)
    assert all(alarm.startswith(sign) for alarm, sign in zip(alarms, signs, strict=True))


def test_the_first_round_has_nothing_to_be_held_against():
    assert find_alarms(counts(kept=10_000, old_kept=0, found_again=0), None) == []
    assert find_alarms(counts(kept_confident=0), None)[0].startswith("confident: 0.00 < 0.05: of 100 boxes")


def test_a_detector_that_sees_the_scoreboard_trips_the_guard_on_rendered_clips(tmp_path, capsys):
    """Stages 1 to 3 as a user runs them; the detector is an ONNX file that gives a sure box where the score stands."""
    from test_onnx_detectors import NAMES, pixel_answer, write_model

    work, detector = str(tmp_path / "work"), tmp_path / "scoreboard.onnx"
    clips = "--clips 2 --held-out 1 --set frames=30 --set width=160 --set height=96 --seed 3"
    assert dataset_downloader.main([work, "--from", "synthetic", "--set", "difficulty=medium", *clips.split()]) == 0
    write_model(detector, pixel_answer([(24, 12, 12, 12, 1, 0.95)]), (1, 3, 96, 160), NAMES)
    assert dataset_processor.main([work, "--round", "0", "--detector", str(detector)]) == 0
    capsys.readouterr()
    assert dataset_cleaner.main([work, "--round", "0"]) == 3
    assert "alarm: " in capsys.readouterr().err
    counts = read_run_record(WorkFolder(tmp_path / "work").round(0), "cleaned").counts
    assert counts["confident"] == 90
    assert counts["kept_confident"] == 0 or counts["kept_without_confident_track"] == counts["kept_balls"]
