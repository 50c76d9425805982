"""Stage 3 as a script: whole on a tiny work folder, twice, in the wrong order, with verdicts and with damage."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
from simulated_balls import boxes_from, metadata

import dataset_cleaner
import visualise
from labels.cleaning import box_round
from labels.cleaning import dataset as dataset_writing
from labels.cleaning.box_round import BoxCleaning, recorded_arguments
from labels.cleaning.settings import CleaningSettings, settings_from
from labels.engine.placement import Placement
from labels.engine.runner import run
from labels.exchange.formats.coco import read_coco
from labels.records import next_command, tables
from labels.records.run_records import RunRecord, digest_of_videos, read_run_record, write_run_record
from labels.records.safe_writing import file_digest, read_json, read_parquet, write_parquet
from labels.records.verdicts import append_verdicts, read_verdicts
from labels.records.work_folder import WorkFolder
from labels.videos.frame_store import FrameStore

FRAMES = 30
SIZE = {"width": 320, "height": 192}


def truth_rows(video: int):
    return [(f, 20 + 9 * f, 60 + 20 * video + 0.1 * (f - 15) ** 2, 12.0, 0.8) for f in range(FRAMES)]


def label(work: WorkFolder, number: int, rows_of) -> None:
    """Stage 2 as if it had run: `rows_of(video)` gives what the labeller found."""
    folder = work.round(number)
    digests = []
    for video, video_id in enumerate(work.usable_videos()["video_id"]):
        boxes = boxes_from(rows_of(video), FRAMES, fps=25.0, round_born=number, **SIZE)
        boxes["video_id"] = pd.Series([video_id] * len(boxes), dtype="str")
        boxes["label_uid"] = [f"{video_id}-{uid}" for uid in boxes["label_uid"]]
        write_parquet(folder.boxes("labelled", video_id), boxes, metadata(video_id, FRAMES, fps=25.0, **SIZE))
        digests.append(file_digest(folder.boxes("labelled", video_id)))
    labeller = {
        "name": "test",
        "digest": "1",
        "class_names": ["sports ball"],
        "sources": {"": {"working_threshold": {"sports ball": 0.5}}},
    }
    record = RunRecord("labelled", number, {}, {"videos": digest_of_videos(work)}, facts={"labeller": labeller})
    record.output = str(digests)
    write_run_record(folder, record)


@pytest.fixture
def work(tmp_path, make_video) -> WorkFolder:
    work = WorkFolder(tmp_path / "work")
    rows = []
    for video, split in enumerate(["", "test"]):
        file = make_video(work.videos / f"v{video}.mp4", FRAMES, **SIZE)
        named = {
            "video_id": f"v{video}", "status": "ok", "reason": "", "file": file.name, "source": "test", "url": "",
            "group": f"g{video}", "class_name": "", "split": split, "start_s": 0.0, "end_s": 1.2, "fps": 25.0,
            "frame_count": FRAMES, "sha256": file_digest(file),
        }  # fmt: skip
        rows.append(named | SIZE)
        truth = boxes_from(truth_rows(video), FRAMES)
        values = {name: truth[name].to_numpy() for name in ("frame_index", *tables.BOX_COLUMNS)}
        extra = {"class_name": "sports ball", "track_id": 0, "visibility": 1.0}
        write_parquet(work.truth_boxes(f"v{video}"), tables.make_table(tables.TRUTH, values | extra))
    table = pd.DataFrame(rows)
    work.write_videos(tables.make_table(tables.VIDEOS, {name: table[name].to_numpy() for name in tables.VIDEOS}))
    strays = [(3, 300, 180, 12, 0.51), (22, 40, 20, 12, 0.51)]
    label(work, 0, lambda video: [*truth_rows(video)[:24], *strays])
    return work


def all_bytes(work: WorkFolder) -> dict[str, bytes]:
    paths = sorted(path for path in (work.root / "rounds").rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in paths}


def test_a_round_is_cleaned_into_tables_dataset_and_record(work, capsys):
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    folder = work.round(0)
    cleaned = tables.check_boxes(read_parquet(folder.boxes("cleaned", "v0")), "v0", decided=True)
    assert cleaned["decision"].value_counts().to_dict() == {"keep": 24, "drop": 2}
    dataset = read_coco(folder.dataset / "annotations.json")
    assert len(dataset.boxes) == 48
    assert set(dataset.images["split"]) == {"", "test"}
    for name in dataset.images["file_name"]:
        assert (folder.dataset / name).is_file()
    linked = folder.dataset / dataset.images["file_name"].iloc[0]
    assert linked.samefile(work.frames / "v0" / "000000.jpg")
    # frames 24 and 25 are too near the last ball to be surely without one
    assert dataset.images["frame_index"][dataset.images["video_id"] == "v0"].tolist() == [*range(24), 26, 27, 28, 29]
    quality = read_run_record(folder, "cleaned").counts["quality"]
    assert quality["training"]["kept"]["centre"] | {"mean_iou": None} == {
        "precision": 1.0, "recall": 0.8, "f1": 0.8889, "mean_iou": None, "right": 24, "wrong": 0, "missed": 6,
    }  # fmt: skip
    assert quality["held-out"]["labelled"]["centre"]["wrong"] == 2
    printed = capsys.readouterr().out
    assert "48 kept + 0 ignored + 4 dropped = 52 labelled + 0 merged in + 0 interpolated" in printed
    assert "2 videos = 2 used + 0 skipped" in printed
    assert printed.rstrip().endswith(f"next: python train.py {work.root} --round 0")


def test_again_with_nothing_changed_changes_nothing(work, capsys):
    dataset_cleaner.main([str(work.root), "--round", "0"])
    before = all_bytes(work)
    capsys.readouterr()
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert all_bytes(work) == before
    work.round(0).run_record("cleaned").unlink()  # as if it had been killed before the end
    dataset_cleaner.main([str(work.root), "--round", "0"])
    assert all_bytes(work) == before


def test_several_processes_give_what_one_gives(work, capsys):
    work.round(0).boxes("labelled", "v1").write_bytes(b"no table")
    dataset_cleaner.main([str(work.root), "--round", "0", "--on", "processes:1"])
    before = all_bytes(work)
    printed = capsys.readouterr().out
    assert "2 videos = 1 used + 1 skipped" in printed
    shutil.rmtree(work.round(0).stage("cleaned"))
    dataset_cleaner.main([str(work.root), "--round", "0", "--on", "processes:2"])
    assert all_bytes(work) == before
    assert capsys.readouterr().out == printed


class SlowCleaning(BoxCleaning):
    """Cleans a video for longer than anyone waits, and tells when it has begun and ended."""

    def clean(self, video_id):
        (self.inputs.work.root / f"{video_id}.begun").touch()
        time.sleep(60)
        (self.inputs.work.root / f"{video_id}.ended").touch()


def test_an_interrupted_cleaning_waits_for_nothing(work):
    task = SlowCleaning(box_round.round_inputs(work, 0), CleaningSettings(), None)

    def interrupt():
        while not list(work.root.glob("*.begun")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run(task, ["v0", "v1"], Placement(processes=2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not multiprocessing.active_children() and not list(work.root.glob("*.ended"))


def test_a_video_that_is_cleaned_from_just_this_is_not_cleaned_again(work):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in work.round(0).stage("cleaned").glob("*/*.parquet")}

    dataset_cleaner.main([str(work.root), "--round", "0"])
    before = all_bytes(work)
    work.round(0).run_record("cleaned").unlink()  # as if it had been killed
    work.round(0).boxes("cleaned", "v1").write_bytes(b"half")
    earlier = stamps()
    dataset_cleaner.main([str(work.root), "--round", "0"])
    assert all_bytes(work) == before
    assert {path.stem for path, stamp in stamps().items() if stamp != earlier[path]} == {"v1"}


@pytest.mark.parametrize("lost", ["annotations.json", "images/v0_000003.jpg"])
def test_a_dataset_with_a_hole_is_not_up_to_date(work, capsys, lost):
    dataset_cleaner.main([str(work.root), "--round", "0"])
    before = all_bytes(work)
    (work.round(0).dataset / lost).unlink()
    capsys.readouterr()
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    assert "up to date" not in capsys.readouterr().out
    assert all_bytes(work) == before


def test_pictures_of_an_earlier_video_are_made_anew(work):
    dataset_cleaner.main([str(work.root), "--round", "0"])
    right = (work.round(0).dataset / "images" / "v0_000003.jpg").read_bytes()
    FrameStore(work.frames).write("v0", 3, np.zeros((192, 320, 3), dtype=np.uint8))
    (work.frames / "v0" / "video.sha256").write_text("another\n")
    work.round(0).run_record("cleaned").unlink()
    dataset_cleaner.main([str(work.root), "--round", "0"])
    assert (work.round(0).dataset / "images" / "v0_000003.jpg").read_bytes() == right


def test_another_format_is_another_run(work, capsys, monkeypatch):
    dataset_cleaner.main([str(work.root), "--round", "0"])
    monkeypatch.setattr(box_round, "FORMAT", box_round.FORMAT + 1)
    capsys.readouterr()
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    assert "up to date" not in capsys.readouterr().out


def test_where_the_disk_has_no_links_pictures_are_copied_whole(work, monkeypatch):
    def no_links(*_):
        raise OSError(95, "Operation not supported")

    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset_writing.os, "link", no_links)
    monkeypatch.setattr(dataset_writing.shutil, "copyfile", full)
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 2
    assert list((work.round(0).dataset / "images").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(dataset_writing.os, "link", no_links)
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    copied = work.round(0).dataset / "images" / "v0_000000.jpg"
    assert copied.read_bytes() == (work.frames / "v0" / "000000.jpg").read_bytes()
    assert not copied.samefile(work.frames / "v0" / "000000.jpg")


def test_another_threshold_or_rule_is_another_run(work, capsys):
    dataset_cleaner.main([str(work.root), "--round", "0"])
    assert dataset_cleaner.main([str(work.root), "--round", "0", "--without", "isolated", "--ignore", "0.1"]) == 0
    cleaned = read_parquet(work.round(0).boxes("cleaned", "v0"))
    assert not cleaned["reason"].str.startswith("isolated").any()
    assert "up to date" not in capsys.readouterr().out


def test_the_second_round_fills_what_the_first_missed_and_keeps_what_it_lost(work):
    dataset_cleaner.main([str(work.root), "--round", "0"])
    label(work, 1, lambda video: truth_rows(video)[8:])
    assert dataset_cleaner.main([str(work.root), "--round", "1"]) == 0
    counts = read_run_record(work.round(1), "cleaned").counts
    assert counts["quality"]["training"]["kept"]["centre"]["recall"] == 1.0
    assert (counts["fused"], counts["merged_in"], counts["left_behind"]) == (32, 16, 4)
    assert (counts["labelled"], counts["keep"]) == (44, 60)


def test_verdicts_are_read_and_change_the_labels(work):
    dataset_cleaner.main([str(work.root), "--round", "0"])
    cleaned = read_parquet(work.round(0).boxes("cleaned", "v0"))
    denied = cleaned["label_uid"][cleaned["decision"] == "keep"].iloc[3]
    (work.root / "verdicts.csv").write_text(f"label_uid,verdict\n{denied},n\nother,\n")
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    again = read_parquet(work.round(0).boxes("cleaned", "v0")).set_index("label_uid")
    assert again.loc[denied, "reason"] == "human: no"
    assert read_run_record(work.round(0), "cleaned").counts["verdicts_without_label"] == []


def test_a_drawn_box_is_counted_as_what_it_is_and_reaches_the_dataset(work, capsys):
    box = {"class_name": "sports ball", "x1": 1, "y1": 2, "x2": 11, "y2": 12}
    append_verdicts(work, [{"verdict": "y", "video_id": "v0", "frame_index": 5} | box])
    for _ in range(2):  # the second time nothing is to be done, and the same is said
        assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
        assert " interpolated + 1 from verdicts (" in capsys.readouterr().out
    (drawn,) = read_verdicts(work)
    table = read_parquet(work.round(0).boxes("cleaned", "v0")).set_index("label_uid")
    assert tuple(table.loc[drawn, ["decision", "origin", "quality"]]) == ("keep", "human", 1.0)
    counts = read_run_record(work.round(0), "cleaned").counts
    assert (counts["from_verdicts"], counts["verdicts_without_label"]) == (1, [])
    annotations = read_json(work.round(0).dataset / "annotations.json")["annotations"]
    assert [each["bbox"] for each in annotations if each["attributes"]["label_uid"] == drawn] == [[1, 2, 10, 10]]


def test_verdicts_on_labels_that_are_not_there_are_named(work, capsys):
    known = read_parquet(work.round(0).boxes("labelled", "v0"))["label_uid"].iloc[0]
    strangers = [f"gone{number}" for number in range(7)]
    lines = [f"{uid},n" for uid in (known, *strangers)]
    (work.root / "verdicts.csv").write_text("\n".join(["label_uid,verdict", *lines]))
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    said = "verdicts.csv: 7 of 8 verdicts name no label of this round: gone0, gone1, gone2, gone3, gone4 and 2 more"
    assert said in capsys.readouterr().out
    counts = read_run_record(work.round(0), "cleaned").counts
    assert (counts["verdicts"], counts["verdicts_without_label"]) == (8, strangers)


def test_verdicts_on_actions_are_no_words_on_boxes_that_are_gone(work, capsys):
    write_parquet(work.round(0).actions("cleaned", "v0"), pd.DataFrame({"label_uid": ["action"]}))
    (work.root / "verdicts.csv").write_text("label_uid,verdict\naction,n\ngone,n\n")
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    assert "1 of 2 verdicts name no label of this round: gone\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--round", "1"], "dataset_processor.py"),
        (["--round", "0", "--keep", "0.2", "--ignore", "0.5"], "0 <= ignore <= keep <= 1"),
        (["--round", "0", "--set", "max_aspect=nan"], "--set max_aspect=nan: a number from 0, not 'nan'"),
        (["--round", "0", "--set", "max_per_frame=-1"], "--set max_per_frame=-1: a whole number from 0"),
        (["--round", "0", "--set", "min_size_pixels=-1"], "a number from 0, not '-1'"),
        (["--round", "0", "--set", "min_confident_boxes=2.5"], "a whole number from 0, not '2.5'"),
        (["--round", "0", "--set", "max_aspekt=2"], "no such threshold; is it max_aspect"),
        (["--round", "0", "--set", "max_aspect"], "a threshold and its value"),
        (["--round", "0", "--set", "without=still"], "no such threshold"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(work, capsys, arguments, message):
    assert dataset_cleaner.main([str(work.root), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_a_round_whose_predecessor_is_not_cleaned_names_the_command(work, capsys):
    label(work, 1, truth_rows)
    assert dataset_cleaner.main([str(work.root), "--round", "1"]) == 2
    assert f"python dataset_cleaner.py {work.root} --round 0" in capsys.readouterr().err


def test_no_work_folder_is_not_made(tmp_path, capsys):
    assert dataset_cleaner.main([str(tmp_path / "none"), "--round", "0"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label_uid\nx\n", "needs the columns label_uid and verdict"),
        ("label_uid,verdict\nx,perhaps\n", "line 2: a verdict is y or n, not 'perhaps'"),
        ("label_uid,verdict\nx,y\n,n\n", "line 3: a verdict on no label; label_uid is empty"),
    ],
)
def test_a_bad_verdict_file_is_refused(work, capsys, content, message):
    (work.root / "verdicts.csv").write_text(content)
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 2
    error = capsys.readouterr().err
    assert "verdicts.csv" in error
    assert message in error


def test_a_damaged_shard_is_skipped_and_counted(work, capsys):
    work.round(0).boxes("labelled", "v0").write_bytes(b"PAR1 not at all")
    assert dataset_cleaner.main([str(work.root), "--round", "0", "--strict"]) == 3
    assert "2 videos = 1 used + 1 skipped" in capsys.readouterr().out
    assert not work.round(0).boxes("cleaned", "v0").exists()
    record = json.loads(work.round(0).run_record("cleaned").read_text())
    assert list(record["counts"]["skipped"]) == ["v0"]


def test_what_a_user_may_change_reaches_the_settings(work):
    args = dataset_cleaner.get_args(
        [str(work.root), "--round", "0", "--set", "max_per_frame=1", "--set", "min_size_pixels=2.5"]
    )
    settings = settings_from(args)
    assert (settings.max_per_frame, settings.min_size_pixels, settings.max_overlap) == (1, 2.5, 0.4)
    assert recorded_arguments(settings)["set"] == ["min_size_pixels=2.5"] == settings_said_again(settings)
    assert "set" not in recorded_arguments(CleaningSettings())


def settings_said_again(settings):
    words = next_command.options_of("cleaned", recorded_arguments(settings))
    return words[words.index("--set") + 1 : words.index("--set") + 2]


def test_a_teacher_that_labels_the_scoreboard_trips_the_guard(work, capsys):
    def scoreboard(video):
        return [(f, 40, 20, 14, 0.95) for f in range(FRAMES)]

    label(work, 0, scoreboard)
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 3
    printed = capsys.readouterr()
    assert "alarm: no_confident_track: 1.00 > 0.8: of 60 kept boxes" in printed.err
    assert "next:" not in printed.out
    assert "no confident track in 2 videos" in printed.out
    assert read_run_record(work.round(0), "cleaned") is not None  # nothing is lost
    assert dataset_cleaner.main([str(work.root), "--round", "0", "--force"]) == 0
    assert "next: python train.py" in capsys.readouterr().out


def test_a_round_of_people_alone_is_no_alarm(work, capsys):
    """Nobody flies as a ball does, and nobody needs to."""
    people = [(f, 60 + 2 * f, 100, 60, 0.95, "person") for f in range(FRAMES)]
    label(work, 0, lambda video: people)
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    assert read_run_record(work.round(0), "cleaned").counts["keep"] == 2 * FRAMES
    assert "no confident track in" not in capsys.readouterr().out


def test_a_round_before_of_another_version_is_named(work, capsys):
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    record = read_run_record(work.round(0), "cleaned")
    record.inputs["format"] = "1"
    write_run_record(work.round(0), record)
    label(work, 1, truth_rows)
    assert dataset_cleaner.main([str(work.root), "--round", "1"]) == 2
    assert "another version; run first: python dataset_cleaner.py" in capsys.readouterr().err


def test_a_student_that_forgets_trips_the_guard(work, capsys):
    """Round 1's student finds other things that move, on the same clips, instead of round 0's balls."""
    assert dataset_cleaner.main([str(work.root), "--round", "0"]) == 0
    label(work, 1, lambda video: [(f, 300 - 9 * f, 150, 12, 0.9) for f in range(FRAMES)])
    capsys.readouterr()
    assert dataset_cleaner.main([str(work.root), "--round", "1"]) == 3
    assert "alarm: probe: 0." in capsys.readouterr().err


def test_whoever_sends_to_the_cleaner_says_its_options_again(work, capsys):
    label(work, 0, lambda video: [(f, 20 + 9 * f, 150, 12, 0.9) for f in range(FRAMES)])
    assert dataset_cleaner.main([str(work.root), "--round", "0", "--set", "max_per_frame=1", "--keep", "0.6"]) == 0
    command = f"python dataset_cleaner.py {work.root} --round 0 --keep 0.6 --set max_per_frame=1"
    assert next_command.clean(work, 0) == command
    assert visualise.main([str(work.root), "--round", "0", "--audit", "4"]) == 0
    assert f"next: {command}" in capsys.readouterr().out
