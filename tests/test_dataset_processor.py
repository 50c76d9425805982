"""Stage 2 as a user runs it: whole on tiny clips, killed and run again, and with arguments that are wrong."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_checkpoints import SETTINGS, payload
from test_labelling import states, work_with
from test_motion import clip

import dataset_cleaner
import dataset_processor
from labels.labelling.box_round import choose_detectors
from labels.models.checkpoints import save_checkpoint
from labels.records.errors import InputError
from labels.records.next_command import label_boxes, with_teachers
from labels.records.run_records import RunRecord, read_run_record, write_run_record
from labels.records.safe_writing import read_parquet
from labels.records.verdicts import append_verdicts
from labels.records.work_folder import WorkFolder

ROOT = Path(dataset_processor.__file__).parent


@pytest.fixture
def balls(tmp_path, make_video):
    """A work folder with three clips of a flying ball."""
    return work_with(tmp_path, lambda path, _: make_video(path, [f.rgb for f in clip(20)]), ["a", "b", "c"], 20)


def run(work, *more):
    return dataset_processor.main([str(work.root), "--detector", "motion", *more])


def test_whole(balls, capsys):
    assert run(balls, "--round", "0") == 0
    said = capsys.readouterr().out
    assert "label: 3 videos = 3 used + 0 skipped" in said
    assert f"next: python dataset_cleaner.py {balls.root} --round 0" in said
    record = read_run_record(balls.round(0), "labelled")
    assert record.facts["labeller"]["name"] == "motion" and record.facts["stride"] == 1
    assert record.facts["labeller"]["sources"][""]["working_threshold"].keys() == {"sports ball"}
    assert set(record.inputs) == {"videos", "labeller"}
    boxes = read_parquet(balls.round(0).boxes("labelled", "a"))
    assert boxes["frame_index"].nunique() >= 15 and record.counts["boxes"] == 3 * len(boxes)


def test_a_round_is_left_to_what_a_human_drew(balls, capsys):
    drawn = {"verdict": "y", "class_name": "shuttlecock", "video_id": "b", "frame_index": 7}
    append_verdicts(balls, [drawn | {"x1": 10, "y1": 20, "x2": 22, "y2": 32}])
    assert dataset_processor.main([str(balls.root), "--detector", "human", "--round", "0"]) == 0
    assert "0 boxes in 60 frames" in capsys.readouterr().out
    assert dataset_cleaner.main([str(balls.root), "--round", "0"]) == 0
    kept = read_parquet(balls.round(0).boxes("cleaned", "b"))
    assert kept[["frame_index", "class_name", "origin", "decision"]].values.tolist() == [
        [7, "shuttlecock", "human", "keep"]
    ]
    assert not len(read_parquet(balls.round(0).boxes("cleaned", "a")))


def test_how_a_round_was_labelled_is_said_again(balls):
    plain = f"python dataset_processor.py {balls.root} --round"
    assert label_boxes(balls, 0) == f"{plain} 0"
    record = RunRecord("labelled", 0, {"detector": ["a b.onnx", "motion"], "stride": 2, "input_size": [320, 640]}, {})
    write_run_record(balls.round(0), record)
    said = "--detector 'a b.onnx' --detector motion --input-size 320,640 --stride 2"
    assert label_boxes(balls, 0) == f"{plain} 0 {said}"
    write_run_record(balls.round(1), RunRecord("labelled", 1, {"detector": None, "mirrored": True, "stride": 1}, {}))
    assert label_boxes(balls, 1) == f"{plain} 1 --mirrored"
    assert label_boxes(balls, 2) == f"{plain} 2"
    said = {"detector": ["student", "motion"], "stride": 3, "tiles": 480}  # who stands beside a student, lasts
    write_run_record(balls.round(1), RunRecord("labelled", 1, said, {}))
    assert label_boxes(balls, 2) == f"{plain} 2 --detector student --detector motion --stride 3"
    write_run_record(balls.round(1), RunRecord("labelled", 1, {"detector": "my/student.onnx"}, {}))  # as they once were
    assert label_boxes(balls, 2) == f"{plain} 2"


def test_again_changes_nothing(balls):
    run(balls, "--round", "0")
    before, record = states(balls.round(0)), balls.round(0).run_record("labelled").read_bytes()
    assert run(balls, "--round", "0") == 0
    assert states(balls.round(0)) == before
    assert balls.round(0).run_record("labelled").read_bytes() == record


def test_killed_and_run_again(balls, tmp_path):
    """A run that is killed once a first video is done, then run again, ends with the files of an undisturbed one."""
    run(balls, "--round", "0")
    undisturbed = {path.name: content for path, (_, content) in states(balls.round(0)).items()}
    record = balls.round(0).run_record("labelled").read_bytes()
    for path in states(balls.round(0)):
        path.unlink()
    balls.round(0).run_record("labelled").unlink()
    slow = (
        "import sys, time; sys.path.insert(0, sys.argv.pop(1))\n"
        "import labels.models.detectors.motion as motion\n"
        "found = motion.find_blobs\n"
        "motion.find_blobs = lambda *given: (time.sleep(0.02), found(*given))[1]\n"
        "import dataset_processor; sys.exit(dataset_processor.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", slow, str(ROOT), str(balls.root), "--round", "0", "--detector", "motion"]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        first = balls.round(0).boxes("labelled", "a")
        deadline = time.monotonic() + 60
        while not first.exists() and time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -signal.SIGKILL
    finished = states(balls.round(0))
    assert first in finished and len(finished) < 6
    assert not balls.round(0).run_record("labelled").exists()
    assert run(balls, "--round", "0") == 0
    after = states(balls.round(0))
    assert {path.name: content for path, (_, content) in after.items()} == undisturbed
    assert balls.round(0).run_record("labelled").read_bytes() == record
    both = [p for p in finished if balls.round(0).boxes("labelled", p.stem) in finished]
    assert both and all(after[path] == finished[path] for path in both)  # untouched, mtime too


def test_a_video_that_is_skipped(balls, capsys):
    (balls.videos / "b.mp4").write_bytes(b"no video")
    assert run(balls, "--round", "0") == 2  # it is not the clip that stage 1 took
    assert run(balls, "--round", "0", "--force") == 0
    said = capsys.readouterr().out
    assert "b: skipped:" in said and "3 videos = 2 used + 1 skipped" in said
    assert run(balls, "--round", "0", "--force", "--strict") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--round", "1"], "train.py"),  # no student of round 0 yet
        (["--round", "0", "--detector", "motoin"], "motion"),
        (["--round", "1", "--detector", "student", "--detector", "motion"], "train.py"),
        (["--round", "0", "--detector", "student"], "round 0 has no round before it"),
        (["--round", "1", "--detector", "studnet"], "student"),
        (["--round", "0", "--detector", "absent.onnx"], "no such file"),
        (["--round", "0", "--detector", "motion", "--classes", "person"], "balls only"),
        (["--round", "0", "--detector", "motion", "--classes", ","], "--classes"),
        (["--round", "0", "--detector", "motion", "--device", "cuda"], "CPU"),
        (["--round", "0", "--detector", "motion", "--class-list", "coco"], "--class-list"),
        (["--round", "0", "--detector", "motion", "--tiles", "480"], "motion has a single view"),
        (["--round", "0", "--detector", "human", "--mirrored"], "human has a single view"),
    ],
)
def test_wrong_input_is_one_line(balls, capsys, arguments, message):
    assert dataset_processor.main([str(balls.root), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1


def test_no_work_folder(tmp_path, capsys):
    assert dataset_processor.main([str(tmp_path / "absent"), "--round", "0"]) == 2
    assert "dataset_downloader.py" in capsys.readouterr().err
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_numbers_that_are_none(tmp_path, value, capsys):
    with pytest.raises(SystemExit) as caught:
        dataset_processor.main([str(tmp_path), "--round", "0", "--stride", value])
    assert caught.value.code == 2


def test_a_round_made_from_a_student_says_so(balls, monkeypatch):
    """Which input is named, and that it is the finished training's digest: the student itself is another's test."""
    record = RunRecord("trained", 0, {}, {}, output="digest of the training")
    balls.round(0).stage("trained").mkdir(parents=True)
    write_run_record(balls.round(0), record)
    student, made_from = str(balls.round(0).detector), {"round 0 trained": "digest of the training"}
    work = WorkFolder(balls.root)
    assert choose_detectors(work, 1, None) == ((student,), made_from)
    assert choose_detectors(work, 1, ["motion"]) == (("motion",), {})
    for said in (student, "student", os.path.relpath(student)):
        assert choose_detectors(work, 1, ["motion", said]) == (("motion", student), made_from)
    with pytest.raises(InputError, match="round 0 has no round before"):
        choose_detectors(work, 0, ["student"])
    assert choose_detectors(work, 0, None)[1] == {}


def test_a_student_looks_twice_beside_motion_and_goes_on_so(balls, capsys):
    first = balls.round(0)
    save_checkpoint(first.detector, payload(settings=SETTINGS | {"min_score": 0.0}, score_slope={"sports ball": 2.0}))
    write_run_record(first, RunRecord("trained", 0, {}, {}, output="digest of the training"))
    command = [str(balls.root), "--detector", "student", "--detector", "motion", "--mirrored", "--round"]
    assert dataset_processor.main([*command, "1"]) == 0
    record = read_run_record(balls.round(1), "labelled")
    sources = record.facts["labeller"]["sources"]
    assert list(sources) == ["detector", "detector mirrored", "motion"]
    assert sources["detector"] == sources["detector mirrored"] != sources["motion"]
    assert sources["detector"]["score_slope"] == {"sports ball": 2.0}
    assert record.inputs["round 0 trained"] == "digest of the training"
    boxes = read_parquet(balls.round(1).boxes("labelled", "a"))
    assert set(boxes["source"]) == set(sources) and set(boxes["round_born"]) == {1}
    assert label_boxes(balls, 2).endswith("--round 2 --detector student --detector motion --mirrored")
    before = states(balls.round(1))
    capsys.readouterr()
    assert dataset_processor.main([*command, "1"]) == 0
    assert "3 videos were labelled already" in capsys.readouterr().out
    assert states(balls.round(1)) == before


def test_a_weak_student_is_one_voice_beside_the_teachers(balls):
    """Round 0 was labelled by motion at stride 2; a strong student labels round 1 alone, a weak one with motion."""
    assert dataset_processor.main([str(balls.root), "--round", "0", "--detector", "motion", "--stride", "2"]) == 0
    first = balls.round(0)
    save_checkpoint(first.detector, payload(settings=SETTINGS | {"min_score": 0.0}))
    strong = RunRecord("trained", 0, {}, {}, facts={"metrics": {"weak_classes": []}}, output="strong")
    write_run_record(first, strong)
    assert with_teachers(balls, 1) == with_teachers(balls, 0) == {}
    assert label_boxes(balls, 1).endswith("--round 1 --stride 2")
    write_run_record(first, replace(strong, facts={"metrics": {"weak_classes": ["sports ball"]}}))
    assert with_teachers(balls, 1)["detector"] == ["motion", "student"]
    assert label_boxes(balls, 1).endswith("--round 1 --detector motion --detector student --stride 2")
    assert dataset_processor.main([str(balls.root), "--round", "1"]) == 0
    assert list(read_run_record(balls.round(1), "labelled").facts["labeller"]["sources"]) == ["motion", "detector"]


def test_motion_needs_no_torch(balls):
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import dataset_processor\n"
        "code = dataset_processor.main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(balls.root), "--round", "0", "--detector", "motion"]
    assert subprocess.run(command, capture_output=True).returncode == 0
