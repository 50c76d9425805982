"""Stage 5 run whole on a small work folder: what it writes, prints, keeps, and refuses."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from picture_work import FRAMES, Clip, clip_boxes, failed_row, make_work, rows, truth_table, write_cleaned

import visualise
from labels.pictures.overlay.contact_sheets import SHEET_NAMES
from labels.pictures.overlay.round_pictures import overlay_path, sheet_path, videos_worth_seeing
from labels.pictures.report.rounds import read_round
from labels.pictures.report.rounds_table import rounds_table
from labels.pictures.report.survey import survey_rounds
from labels.records import tables
from labels.records.run_records import start_run
from labels.records.safe_writing import write_parquet
from labels.videos.decoding.frames import decode_frames, probe_video


@pytest.fixture(autouse=True)
def without_charts(monkeypatch):
    """Charts take longer to draw than all else on these pages; `test_report.py` looks at them."""
    monkeypatch.setattr("labels.pictures.report.report.as_svg", lambda figure: "<svg></svg>")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two rounds over two training clips and a held-out one, already looked at."""
    clips = [
        Clip("spiel_müller", [range(5), range(10)], wrong=[5, 0]),
        Clip("b", [range(5), range(10)], wrong=[5, 0]),
        Clip("c", [range(10), range(20)], split="test"),
    ]
    made = make_work(tmp_path_factory.mktemp("work") / "Тест", clips, 2, [failed_row("broken", "no video stream")])
    assert visualise.main([str(made.root), "--round", "1", "--set", "limit=2"]) == 0
    return made


def test_the_table_is_what_counting_by_hand_gives(work, capsys):
    assert visualise.main([str(work.root), "--round", "1", "--set", "limit=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("round"))
    cells = [line.split() for line in lines[start : start + 3]]
    # Training clips, round 0: 2 × (5 of 20 found, 5 wrong): precision 10/20, recall 10/40. Held out: 10 of 20.
    assert cells[1] == ["0", "motion", "30", "0.500", "0.250", "0.333", "1.000", "0.500", "0.667", "1.000"]
    assert cells[2][-9:] == ["0", "40", "1.000", "0.500", "0.667", "1.000", "1.000", "1.000", "1.000"]
    assert "student of round 0" in lines[start + 2]
    assert lines[-1] == "visualise: 2 videos = 2 used + 0 skipped"


def test_it_writes_overlays_that_play_and_every_sheet(work):
    folder = work.round(1)
    overlays = sorted(folder.pictures.glob("*.mp4"))
    assert len(overlays) == 2
    for path in overlays:
        info = probe_video(path)
        assert (info.codec, info.frame_count, info.width) == ("h264", FRAMES, 960)
        assert info.height > 960 * 96 / 160
    for name in SHEET_NAMES:
        assert cv2.imread(str(sheet_path(folder, name))).shape[1] > 800
    assert 10_000 < work.report.stat().st_size < 20_000_000


def test_finished_overlays_stay_and_those_of_other_labels_go(work):
    folder = work.round(1)
    video_id = sorted(folder.pictures.glob("*.mp4"))[0].stem.removeprefix("overlay_")
    before = {path: path.stat().st_mtime_ns for path in folder.pictures.glob("*.mp4")}
    report = work.report.read_bytes()
    assert visualise.main([str(work.root), "--round", "1", "--set", "limit=2"]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.pictures.glob("*.mp4")} == before
    assert work.report.read_bytes() == report
    changed = read_round(work, 1).boxes(video_id)[:-1]
    original = folder.boxes("cleaned", video_id).read_bytes()
    other = next(name for name in ("spiel_müller", "b", "c") if name != video_id)
    write_cleaned(work, 1, {video_id: changed})
    try:
        assert visualise.main([str(work.root), "--round", "1", "--videos", other]) == 0
        assert not overlay_path(folder, video_id).exists()
        assert overlay_path(folder, other).exists()
    finally:
        folder.boxes("cleaned", video_id).write_bytes(original)


def test_the_overlay_shows_the_frame_and_the_boxes_of_it(work):
    assert visualise.main([str(work.root), "--round", "1", "--videos", "c"]) == 0
    frames = [frame.rgb for frame in decode_frames(overlay_path(work.round(1), "c"))]
    scale, header = 6, 30
    for frame_index in (0, 10, 19):
        x, y = int((10 + 4 * frame_index + 6) * scale), header + int((40 + 3) * scale)
        assert frames[frame_index][y, x].min() > 200  # the ball of this frame
        outline = frames[frame_index][header + 40 * scale - 2, x].astype(int)
        assert outline[2] > outline[0] + 30  # with a blue line above it


def test_no_truth_is_said(tmp_path, capsys):
    work = make_work(tmp_path / "w", [Clip("a", [range(5)], truth=False)], 1)
    assert visualise.main([str(work.root)]) == 0
    out = capsys.readouterr().out
    assert "no truth" in out and "–" in out
    assert "agreement" in work.report.read_text()


def test_a_round_that_kept_nothing_has_pictures_too(tmp_path):
    work = make_work(tmp_path / "w", [Clip("a", [range(0)]), Clip("b", [range(0)])], 1)
    write_cleaned(work, 0, {name: tables.empty_table(tables.BOXES | tables.DECIDED) for name in ("a", "b")})
    assert visualise.main([str(work.root), "--round", "0"]) == 0
    assert len(list(work.round(0).pictures.glob("*.mp4"))) == 2
    assert "None was kept" in work.report.read_text()


def test_truth_counts_only_in_frames_the_labeller_looked_at(tmp_path):
    clip = Clip("a", [range(0, FRAMES, 5)])
    work = make_work(tmp_path / "w", [clip], 1)
    found = list(range(0, FRAMES, 5))
    kept = rows("a", 0, found, [[10 + 4 * frame, 40, 22 + 4 * frame, 52] for frame in found])
    write_cleaned(work, 0, {"a": kept}, stride=5)
    (survey,) = survey_rounds(work, work.usable_videos(), [read_round(work, 0)])
    counts = survey.counts()
    assert (counts.right, counts.wrong, counts.missed) == (4, 0, 0) and survey.frames == 4
    assert visualise.main([str(work.root)]) == 0
    assert probe_video(overlay_path(work.round(0), "a")).frame_count == 4


def test_truth_of_what_nobody_was_asked_for_is_not_missed(tmp_path):
    work = make_work(tmp_path / "w", [Clip("a", [range(10)])], 1)
    person = truth_table("person").assign(x1=0.0, x2=50.0).astype(tables.TRUTH)
    only_person = person.assign(frame_index=person["frame_index"] + FRAMES)[:5]
    both = pd.concat([truth_table(), person, only_person], ignore_index=True)
    write_parquet(work.truth_boxes("a"), both)
    (survey,) = survey_rounds(work, work.usable_videos(), [read_round(work, 0)])
    counts = survey.counts()
    assert (counts.right, counts.wrong, counts.missed) == (10, 0, 10)
    assert set(survey.matched["class_name"]) == {"sports ball"}


def test_every_box_is_counted_once(tmp_path):
    clips = [Clip("a", [range(6), range(9)]), Clip("b", [range(2), range(3)])]
    work = make_work(tmp_path / "w", clips, 2)
    surveys = survey_rounds(work, work.usable_videos(), [read_round(work, number) for number in (0, 1)])
    for survey in surveys:
        total = sum(len(survey.round.boxes(clip.video_id)) for clip in clips)
        assert survey.decided["labels"].sum() == total == sum(counts.sum() for counts in survey.quality.values())
        assert survey.count("ignored") == 2 and survey.count("dropped") == 4
    assert (surveys[1].changed["added"].sum(), surveys[1].changed["lost"].sum()) == (4, 0)
    assert surveys[0].changed.empty


def test_videos_worth_seeing_are_the_same_every_time_and_as_many_as_asked(tmp_path):
    clips = [Clip(f"v{n}", [range(5), range(5 + n)], wrong=[0, n % 3]) for n in range(6)]
    work = make_work(tmp_path / "w", clips, 2)
    survey = survey_rounds(work, work.usable_videos(), [read_round(work, number) for number in (0, 1)])[1]
    videos = work.usable_videos()
    chosen = videos_worth_seeing(survey, videos, 3)
    assert next(iter(chosen)) == "v5" and len(chosen) == 3
    assert chosen == videos_worth_seeing(survey, videos[::-1], 3)
    assert len(videos_worth_seeing(survey, videos, 0)) == 6


def test_a_video_that_cannot_be_decoded_costs_only_itself(tmp_path, capsys):
    work = make_work(tmp_path / "w", [Clip("a", [range(5)]), Clip("b", [range(5)])], 1)
    (work.videos / "b.mp4").write_bytes(b"not a video")
    assert visualise.main([str(work.root)]) == 2  # it is not the clip that was labelled
    assert visualise.main([str(work.root), "--force"]) == 0
    out = capsys.readouterr().out
    assert "visualise: 2 videos = 1 used + 1 skipped" in out and "b: no overlay" in out
    assert visualise.main([str(work.root), "--force", "--strict"]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--round", "7"], "no round 7; there are rounds 0 to 1"),
        (["--videos", "nobody"], "nobody"),
        (["--set", "limit=-1"], "--set limit"),
        (["--set", "seconds=nan"], "--set seconds"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(work, capsys, arguments, said):
    assert visualise.main([str(work.root), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "Traceback" not in error and len(error.splitlines()) == 1


def test_a_round_that_is_labelled_but_not_cleaned_names_the_command(tmp_path, capsys):
    work = make_work(tmp_path / "w", [Clip("a", [range(5)])], 1)
    start_run(work.round(0), "cleaned")
    assert visualise.main([str(work.root), "--round", "0"]) == 2
    assert f"python dataset_cleaner.py {work.root} --round 0" in capsys.readouterr().err
    assert visualise.main([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_damaged_table_is_named(tmp_path, capsys):
    work = make_work(tmp_path / "w", [Clip("a", [range(5)])], 1)
    work.round(0).boxes("cleaned", "a").write_bytes(b"junk")
    assert visualise.main([str(work.root)]) == 2
    assert "a.parquet" in capsys.readouterr().err


def test_many_classes_and_tracks_of_people(tmp_path):
    clip = Clip("a", [range(10)])
    work = make_work(tmp_path / "w", [clip], 1)
    people = [
        rows("a", 0, list(range(FRAMES)), [[x + f, 20, x + f + 20, 80] for f in range(FRAMES)], class_name="person")
        .assign(track_id=track)
        for track, x in enumerate((5, 60, 110), start=2)
    ]  # fmt: skip
    boxes = tables.sort_boxes(tables.concatenate([clip_boxes(clip, 0), *people], tables.BOXES | tables.DECIDED))
    write_cleaned(work, 0, {"a": boxes})
    assert visualise.main([str(work.root)]) == 0
    text = work.report.read_text()
    assert "By class" in text and '<td class="text">person</td><td>60</td><td>–</td>' in text
    survey = survey_rounds(work, work.usable_videos(), [read_round(work, 0)])[0]
    assert survey.counts().wrong == 0  # no truth of people: they are not judged
    assert any("person" not in line for line in rounds_table([survey]))


def test_the_ledger_of_overlays_may_be_damaged(work):
    ledger = work.round(1).pictures / "overlays.json"
    ledger.write_text("[1")
    assert visualise.main([str(work.root), "--round", "1", "--set", "limit=1"]) == 0
    assert len(json.loads(ledger.read_text())) == 1


def test_the_crop_holds_its_object(work):
    sheet = cv2.imread(str(sheet_path(work.round(1), "kept")))
    assert np.ptp(sheet.reshape(-1, 3).astype(int), axis=0).min() > 150  # white balls on a dark ground


def test_rounds_judged_on_different_clips_are_not_compared_in_silence(tmp_path, capsys):
    # Clip b has no labels in round 0. Clip a: 5 of 20 found, then 10; on it alone F1 is 10/25, then 20/30.
    work = make_work(tmp_path / "w", [Clip("a", [range(5), range(10)]), Clip("b", [range(5), range(20)])], 2)
    assert visualise.main([str(work.root), "--set", "limit=1"]) == 0
    assert "not like for like" not in capsys.readouterr().out
    work.round(0).boxes("cleaned", "b").unlink()
    assert visualise.main([str(work.root), "--set", "limit=1"]) == 0
    said = "not like for like: of the training clips, round 0 on 1, round 1 on 2; on the 1 that all were judged on"
    assert f"{said}, F1 0.400, 0.667" in capsys.readouterr().out
