"""Stage 4 whole, on clips of a few frames: it trains, is killed and goes on, leaks nothing, and says what is wrong."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import train
from labels.models.checkpoints import load_checkpoint, save_checkpoint
from labels.models.detectors.loading import detector_from_checkpoint
from labels.records import next_command, tables
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, read_run_record, write_run_record
from labels.records.safe_writing import file_digest, read_parquet_and_metadata, write_parquet
from labels.records.video_labels import write_video_labels
from labels.records.work_folder import WorkFolder
from labels.training.boxes import round as box_folds
from labels.training.boxes import round as round_training
from labels.training.boxes.ballnet_task import BallNetTask
from labels.training.boxes.data import gather_data, read_cleaned
from labels.training.boxes.round import train_round, truth_frames
from labels.training.boxes.task import detection_tables
from labels.training.optimisation import seed_everything
from labels.training.settings import TrainingSettings
from labels.videos.decoding.frames import decode_frames
from labels.videos.encoding import VideoWriter

BALL = "sports ball"
WIDTH, HEIGHT, FRAMES = 64, 48, 10


@dataclass(frozen=True)
class SmallSettings(TrainingSettings):
    epochs: int = 2
    batch_size: int = 4
    crop: int = 32
    epoch_frames: int = 16


def write_clip(path: Path, seed: int) -> np.ndarray:
    """A white square of 8 pixels that crosses a grey picture; returns its boxes (FRAMES, 4)."""
    noise = np.random.default_rng(seed)
    ground = noise.integers(60, 120, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    boxes = np.array([[4 + 5 * n, 12 + seed, 12 + 5 * n, 20 + seed] for n in range(FRAMES)], dtype=np.float32)
    with VideoWriter(path, 25.0) as video:
        for x1, y1, x2, y2 in boxes.astype(int):
            frame = ground.copy()
            frame[y1:y2, x1:x2] = 255
            video.write(frame)
    return boxes


def make_work(
    root: Path, clips: int = 4, test_clips: int = 1, decision: str = "keep", truth: bool = False, stride: int = 1
) -> WorkFolder:
    """A work folder with cleaned labels of round 0, as stages 1 to 3 leave it."""
    work = WorkFolder(root)
    folder = work.round(0)
    rows = []
    for seed in range(clips):
        video_id = f"clip{seed}"
        path = work.videos / f"{video_id}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        xyxy = write_clip(path, seed)
        frame_index = np.arange(FRAMES)
        names = np.array([BALL] * FRAMES, dtype=object)
        boxes = tables.make_boxes(video_id, 0, frame_index, frame_index / 25, xyxy, names, np.full(FRAMES, 0.9))
        boxes = boxes[boxes["frame_index"] % stride == 0]
        boxes = boxes.assign(quality=np.float32(1), decision=decision, reason="" if decision == "keep" else "test")
        meta = {
            "video_id": video_id,
            "frame_count": FRAMES,
            "stride": stride,
            "width": WIDTH,
            "height": HEIGHT,
            "fps": 25.0,
        }
        write_parquet(folder.boxes("cleaned", video_id), tables.sort_boxes(boxes), meta)
        if truth:
            known = boxes[["frame_index", *tables.BOX_COLUMNS, "class_name"]].assign(track_id=0, visibility=1.0)
            write_parquet(work.truth_boxes(video_id), known.astype({"visibility": "float32"}))
        empty = {name: "" if kind == "str" else 0 for name, kind in tables.VIDEOS.items()}
        split, sha256 = "test" if seed >= clips - test_clips else "", file_digest(path)
        rows.append(
            empty
            | {"video_id": video_id, "status": "ok", "file": path.name, "group": f"group{seed}", "split": split}
            | {
                "fps": 25.0,
                "frame_count": FRAMES,
                "width": WIDTH,
                "height": HEIGHT,
                "sha256": sha256,
            }
        )
    work.write_videos(pd.DataFrame(rows).astype(tables.VIDEOS))
    write_run_record(folder, RunRecord("cleaned", 0, {}, {}, output=f"cleaned {clips} {decision}"))
    return work


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(train, "TrainingSettings", SmallSettings)


def test_a_round_is_trained_and_then_left_alone(tmp_path, small, capsys):
    work = make_work(tmp_path, truth=True)
    command = [str(tmp_path), "--round", "0", "--epochs", "2", "--batch-size", "4", "--device", "cpu"]
    assert train.main(command) == 0
    printed = capsys.readouterr()
    skipped = "1 skipped (1 held-out clips, never trained nor validated on)"
    assert f"train round 0: 4 videos = 3 used + {skipped}" in printed.out
    assert "agreement with the validation labels: F1" in printed.out
    assert f"next: python dataset_processor.py {tmp_path} --round 1" in printed.out
    folder = work.round(0).stage("trained")
    assert {path.name for path in folder.iterdir()} == {
        "detector.pt", "last.pt", "metrics.csv", "metrics.json", "curves.png", "run.json",
    }  # fmt: skip
    with open(folder / "metrics.csv") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    measured = {"precision", "recall", "f1", "f1_error", "mean_iou", "ap"}
    assert {"loss", "learning_rate"} | measured <= set(rows[0])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["accuracy"]["against"] == "truth"
    assert metrics["accuracy"]["frames"] == FRAMES
    assert set(metrics["agreement_with_labels"]) == measured
    # what came out is a detector, and the test clip is on no side of the split
    detector = detector_from_checkpoint(work.round(0).detector, "cpu")
    assert detector.class_names == (BALL,)
    assert detector.working_threshold == metrics["working_threshold"]
    assert len(list(detector.detect(decode_frames(work.videos / "clip0.mp4")))) == FRAMES
    assert "group3,test,0" in work.split_table.read_text()
    assert sorted(metrics["validation_videos"]) == [
        f"clip{line.split(',')[0][5:]}" for line in work.split_table.read_text().splitlines() if ",val," in line
    ]
    assert not list(work.frames.glob("clip3/*"))

    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    assert train.main(command) == 0
    assert "was trained already" in capsys.readouterr().out
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before

    # a file that is gone means not done, and what training there was serves again
    for name in ("curves.png", "metrics.json", "metrics.csv"):
        (folder / name).unlink()
        assert train.main(command) == 0
        printed = capsys.readouterr()
        assert "was trained already" not in printed.out
        assert "epoch 1/2" not in printed.err
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("run.json", name)} == {
            path: content for path, (_, content) in before.items() if path not in ("run.json", name)
        }
        assert (folder / name).is_file()

    # another setting is another training
    assert train.main([*command, "--seed", "1"]) == 0
    assert (folder / "detector.pt").read_bytes() != before["detector.pt"][1]


KILLED = """
import sys
from pathlib import Path
from labels.records.work_folder import WorkFolder
from labels.training.boxes.round import train_round
from labels.training.settings import TrainingSettings
settings = TrainingSettings(**eval(sys.argv[2]))
train_round(WorkFolder(Path(sys.argv[1])), 0, settings, "cpu", False, False)
"""


def test_killed_in_the_middle_and_run_again_gives_the_same_weights(tmp_path, capsys):
    settings = SmallSettings(epochs=5, epoch_frames=160, patience=9)
    straight, killed = make_work(tmp_path / "straight"), make_work(tmp_path / "killed")
    train_round(straight, 0, settings, "cpu", False, False)
    capsys.readouterr()

    command = [sys.executable, "-c", KILLED, str(killed.root), repr(asdict(settings))]
    environment = os.environ | {"PYTHONPATH": str(Path(train.__file__).parent)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    folder = killed.round(0).stage("trained")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "metrics.csv").is_file() and len((folder / "metrics.csv").read_text().splitlines()) >= 3:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "run.json").exists()
    finished = load_checkpoint(folder / "last.pt")["epoch"]
    assert 2 <= finished < 5

    train_round(killed, 0, settings, "cpu", False, False)
    redone = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "epoch " in line]
    assert sum("loss" in line and "/5:" in line for line in redone) == 5 - finished
    expected = straight.round(0).stage("trained")
    for name in ("detector.pt", "metrics.csv", "metrics.json"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    one, other = (load_checkpoint(path / "last.pt") for path in (folder, expected))
    assert all(torch.equal(one["network"][name], other["network"][name]) for name in one["network"])


def test_the_next_round_may_go_on_from_the_last(tmp_path):
    work = make_work(tmp_path)
    settings = SmallSettings(epochs=1)
    train_round(work, 0, settings, "cpu", False, False)
    for video_id in ("clip0", "clip1", "clip2"):
        shard = work.round(1).boxes("cleaned", video_id)
        shard.parent.mkdir(parents=True, exist_ok=True)
        shard.write_bytes(work.round(0).boxes("cleaned", video_id).read_bytes())
    write_run_record(work.round(1), RunRecord("cleaned", 1, {}, {}, output="cleaned 1"))
    slow = SmallSettings(epochs=1, learning_rate=1e-12, weight_decay=0.0, average_decay=0.0)
    train_round(work, 1, slow, "cpu", False, True)
    first = load_checkpoint(work.round(0).detector)["network"]
    second = load_checkpoint(work.round(1).detector)["network"]
    assert torch.allclose(first["head.1.weight"], second["head.1.weight"], atol=1e-6)
    record = read_run_record(work.round(1), "trained")
    assert set(record.inputs) == {"format", "round 1 cleaned", "round 0 trained", "split", "validation truth"}
    with pytest.raises(InputError, match="round 0 has no round before it"):
        train_round(work, 0, settings, "cpu", False, True)


def test_run_json_is_written_last(tmp_path):
    work = make_work(tmp_path)

    def fail(table: Path, picture: Path) -> None:
        assert table.is_file() and not picture.exists()
        raise KeyboardInterrupt

    settings = SmallSettings(epochs=1, epoch_frames=4)
    with pytest.raises(KeyboardInterrupt):
        train_round(work, 0, settings, "cpu", False, False, fail)
    assert not work.round(0).run_record("trained").exists()


@pytest.mark.parametrize("broken", ["last.pt", "detector.pt"])
def test_files_of_another_training_are_not_gone_on_from(tmp_path, capsys, broken):
    work, settings = make_work(tmp_path), SmallSettings(epochs=1, epoch_frames=4)
    train_round(work, 0, settings, "cpu", False, False)
    folder = work.round(0).stage("trained")
    whole = (folder / "detector.pt").read_bytes()
    other = load_checkpoint(folder / broken)
    save_checkpoint(folder / broken, other | {"identity": "another"})
    (folder / "run.json").unlink()
    assert not train_round(work, 0, settings, "cpu", False, False).done_before
    assert (folder / "detector.pt").read_bytes() == whole
    (folder / "run.json").unlink()
    (folder / broken).write_bytes(b"cut")
    capsys.readouterr()
    train_round(work, 0, settings, "cpu", False, False)
    assert f"training starts anew, because where it stood cannot be read: {folder / broken}" in capsys.readouterr().err
    assert (folder / "detector.pt").read_bytes() == whole


def test_a_gpu_that_is_too_small_names_a_smaller_batch(tmp_path, monkeypatch):
    work = make_work(tmp_path)

    def fail(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(BallNetTask, "losses", fail)
    with pytest.raises(InputError, match=r"say --batch-size 2$"):
        train_round(work, 0, SmallSettings(epochs=1), "cpu", False, False)
    with pytest.raises(InputError, match="--set long_side=N with N below 512"):
        train_round(work, 0, SmallSettings(epochs=1, batch_size=1), "cpu", False, False)


def test_another_split_or_truth_is_another_training(tmp_path):
    work, settings = make_work(tmp_path, truth=True), SmallSettings(epochs=1, epoch_frames=4)
    assert not train_round(work, 0, settings, "cpu", False, False).done_before
    assert train_round(work, 0, settings, "cpu", False, False).done_before
    text = work.split_table.read_text()
    text = text.replace(",train,", ",x,", 1).replace(",val,", ",train,").replace(",x,", ",val,")
    work.split_table.write_text(text)
    moved = train_round(work, 0, settings, "cpu", False, False)
    assert not moved.done_before
    (validated,) = moved.metrics["validation_videos"]
    truth = work.read_truth(validated)
    write_parquet(work.truth_boxes(validated), truth[:5])
    again = train_round(work, 0, settings, "cpu", False, False)
    assert (again.done_before, again.metrics["accuracy"]["frames"]) == (False, 5)
    # truth that says nothing of the clip's frames is named, and the training is whole without it
    write_parquet(work.truth_boxes(validated), truth.assign(frame_index=truth["frame_index"] + FRAMES))
    without = train_round(work, 0, settings, "cpu", False, False).metrics
    assert without["accuracy"] is None
    assert without["truth_not_used"] == {validated: f"it names no frame below {FRAMES}"}


def test_the_classes_are_those_of_the_clips_to_train_on(tmp_path):
    work = make_work(tmp_path)
    settings = SmallSettings(epochs=1, epoch_frames=4)
    data = gather_data(work, work.round(0), settings)
    for video_id, side in data.splits.items():
        if side != "train":
            cleaned = read_cleaned(work.round(0), video_id)
            boxes = cleaned.boxes
            other = pd.concat(
                [boxes, boxes.assign(class_name="person", label_uid="p" + boxes["label_uid"].str[1:])],
                ignore_index=True,
            )
            write_video_labels(work.round(0).boxes("cleaned", video_id), cleaned.with_boxes(tables.sort_boxes(other)))
    assert gather_data(work, work.round(0), settings).class_names == (BALL,)


def test_a_round_that_keeps_nothing_in_the_clips_to_validate_on_says_so_and_goes_on(tmp_path):
    work = make_work(tmp_path / "work")
    assert not gather_data(work, work.round(0), SmallSettings()).validates_on_training
    divided = gather_data(work, work.round(0), SmallSettings()).splits
    for video_id in (video_id for video_id, split in divided.items() if split == "val"):
        path = work.round(0).boxes("cleaned", video_id)
        table, metadata = read_parquet_and_metadata(path)
        write_parquet(path, table.assign(decision="ignore", reason="quality: 0.5 < 0.7"), metadata)
    data = gather_data(work, work.round(0), SmallSettings())
    assert data.validates_on_training
    assert data.frames["val"] == data.frames["train"]


def test_a_single_clip_trains_and_says_that_nothing_else_validates(tmp_path, small, capsys):
    work = make_work(tmp_path, clips=2, test_clips=1)
    assert train.main([str(tmp_path), "--round", "0", "--epochs", "1", "--batch-size", "4", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "no box was kept in clips of another source to validate on" in printed
    assert "agreement with the training labels" in printed
    assert "val" not in work.split_table.read_text()


def test_only_so_many_frames_of_a_truth_are_looked_at():
    truth = pd.DataFrame({"frame_index": np.repeat(np.arange(-1, 50), 2)})
    assert [frame.frame_index for frame in truth_frames("v", 40, truth, most=4)] == [0, 10, 20, 30]


def test_a_loss_that_is_not_finite_stops_with_its_place(tmp_path):
    work = make_work(tmp_path)
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in epoch \d+, step \d+; .*--lr") as error:
        train_round(work, 0, SmallSettings(learning_rate=1e30, clip_norm=1e30, epochs=9), "cpu", False, False)
    assert "\n" not in str(error.value)
    assert not work.round(0).run_record("trained").exists()


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, small, capsys):
    def error_of(*arguments: str) -> str:
        assert train.main([*arguments]) == 2
        text = capsys.readouterr().err.strip().splitlines()
        return text[-1]

    assert "no such folder" in error_of(str(tmp_path / "absent"), "--round", "0")
    assert not (tmp_path / "absent").exists()
    nothing_kept = make_work(tmp_path / "ignored", decision="ignore").root
    assert "no box was kept" in error_of(str(nothing_kept), "--round", "0")
    assert "round 1 is not cleaned yet; run first: python dataset_cleaner.py" in error_of(
        str(nothing_kept), "--round", "1"
    )
    assert "unknown; there is ballnet" in error_of(str(nothing_kept), "--round", "0", "--architecture", "resnet")
    for seed in ("-1", "0.5", "x"):
        with pytest.raises(SystemExit, match="2"):
            train.get_args([str(nothing_kept), "--round", "0", f"--seed={seed}"])
        assert "must be a whole number from 0" in capsys.readouterr().err
    whole = make_work(tmp_path / "whole").root
    for clip in (whole / "videos").glob("*.mp4"):
        clip.write_bytes(b"no video")
    assert "no kept box in the clips to train on" in error_of(str(whole), "--round", "0", "--force")


@pytest.mark.parametrize("architecture", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_a_torchvision_detector_is_trained_saved_loaded_and_measured(tmp_path, architecture):
    work = make_work(tmp_path, stride=5)
    settings = SmallSettings(
        architecture=architecture, epochs=1, batch_size=2, epoch_frames=2, learning_rate=1e-3, long_side=96
    )
    before = _start_of(architecture)
    trained = train_round(work, 0, settings, "cpu", True, False)
    assert trained.metrics["epochs"] == 1
    checkpoint = load_checkpoint(work.round(0).detector)
    assert (checkpoint["architecture"], checkpoint["settings"]) == (architecture, {"long_side": 96})
    moved = [name for name, tensor in checkpoint["network"].items() if not torch.equal(tensor, before[name])]
    assert any(name.endswith("weight") for name in moved)
    detector = detector_from_checkpoint(work.round(0).detector, "cpu")
    assert detector.class_names == (BALL,)
    answers = list(detector.detect(decode_frames(work.videos / "clip0.mp4")))
    assert len(answers) == FRAMES
    assert {name for _, found in answers for name in found.class_name} <= {BALL}


def _start_of(architecture: str) -> dict[str, torch.Tensor]:
    from labels.models.checkpoints import build_network

    seed_everything(SmallSettings.seed, 2**32 - 1)
    return build_network(architecture, (BALL,), {}, pretrained=False).state_dict()


def test_ignored_regions_are_blanked_for_torchvision():
    from labels.training.boxes.torchvision_task import MEAN_COLOUR, blank_regions

    picture = torch.zeros(3, 10, 12)
    blank_regions(picture, np.array([[2.2, 3.5, 5.1, 6.0], [-4, -4, 1, 1], [20, 20, 30, 30], [-9, -9, -3, -3]]))
    expected = torch.zeros(10, 12, dtype=torch.bool)
    expected[3:6, 2:6] = True
    expected[0:1, 0:1] = True
    assert torch.equal(picture[0] == MEAN_COLOUR[0], expected)


def test_what_only_actions_know_is_refused_for_boxes(tmp_path, capsys):
    work = make_work(tmp_path)
    assert train.main([str(work.root), "--round", "0", "--set", "window_frames=3"]) == 2
    assert "--set window_frames: is of actions; say --task actions, or leave it out" in capsys.readouterr().err


def test_students_of_the_other_groups_say_how_far_they_agree(tmp_path, small, capsys, monkeypatch):
    work = make_work(tmp_path, clips=5)
    trained_on, real = [], box_folds.fit

    def watched(network, task, frames, *rest):
        trained_on.append({frame.video_id for frame in frames})
        return real(network, task, frames, *rest)

    def all_but(lost):  # what they find is what is labelled, except in one clip
        def tables_of(task, network, frames):
            _, labels = detection_tables(task, network, frames)
            found = {video: label.assign(score=0.9) for video, label in labels.items()}
            return {video: table[:0] if video == lost else table for video, table in found.items()}, labels

        return tables_of

    monkeypatch.setattr(box_folds, "fit", watched)
    command = [str(tmp_path), "--round", "0", "--epochs", "1", "--folds", "3", "--device", "cpu"]
    assert train.main([*command[:-3], "9", *command[-2:]]) == 2
    assert "--folds 9: fewer groups than that are trained on" in capsys.readouterr().err
    kinds = pd.read_csv(work.split_table).set_index("group")["split"]
    own = {group.replace("group", "clip") for group in kinds.index[kinds == "train"]}
    assert len(own) == 3
    monkeypatch.setattr(box_folds, "detection_tables", all_but(min(own)))
    assert train.main(command) == 0
    assert "students that never saw the labels' groups 0.800 (0.00 to 1.00)" in capsys.readouterr().out
    students = [own, *(own - {clip} for clip in own)]  # the round's own, and one without each group
    assert sorted(map(sorted, trained_on)) == sorted(map(sorted, students))
    said = json.loads((work.round(0).stage("trained") / "folds.json").read_text())["agreement"]["folds"]
    assert (said["agreed"], said["asked"], said["groups"]) == (40, 50, 3)
    assert not list(work.round(0).stage("trained").glob("fold_*"))
    assert train.main(command) == 0 and len(trained_on) == 4  # not once more
    assert next_command.train(work, 0) == next_command.train(work, 1).replace("--round 1", "--round 0")
    assert "--folds 3" in next_command.train(work, 1)
    assert train.main([*command, "--seed", "1"]) == 0 and len(trained_on) == 8
    work.round(0).folds.write_text("[")
    assert "--folds" not in next_command.train(work, 0)


def test_students_of_the_folds_of_a_continued_round_start_anew(tmp_path, small, monkeypatch):
    """The student of the round before has seen every group."""
    work = make_work(tmp_path, clips=5)
    command = ["--epochs", "1", "--device", "cpu"]
    assert train.main([str(tmp_path), "--round", "0", *command]) == 0
    shutil.copytree(work.round(0).stage("cleaned"), work.round(1).stage("cleaned"))
    write_run_record(work.round(1), RunRecord("cleaned", 1, {}, {}, output="cleaned again"))
    started, real = [], box_folds.fit

    def watched(network, task, frames, *rest):
        started.append(network.stem[0][0].weight.detach().clone())
        return real(network, task, frames, *rest)

    monkeypatch.setattr(box_folds, "fit", watched)
    assert train.main([str(tmp_path), "--round", "1", *command, "--continue", "--folds", "2"]) == 0
    before = load_checkpoint(work.round(0).detector)["network"]["stem.0.0.weight"]
    anew = [weights for weights in started if not torch.equal(weights, before)]
    assert len(started) == 3 and len(anew) == 2 and torch.equal(*anew)


def test_one_fold_is_none(tmp_path, capsys):
    work = make_work(tmp_path)
    assert train.main([str(work.root), "--round", "0", "--folds", "1"]) == 2
    assert "error: --folds 1: two at least" in capsys.readouterr().err


def test_another_version_trains_anew(tmp_path, monkeypatch):
    work = make_work(tmp_path)
    settings = SmallSettings(epochs=1)
    train_round(work, 0, settings, "cpu", False, False)
    assert train_round(work, 0, settings, "cpu", False, False).done_before
    monkeypatch.setattr(round_training, "FORMAT", 99)
    assert not train_round(work, 0, settings, "cpu", False, False).done_before
