"""Students as ONNX: the file finds what the checkpoint finds, says what it is, and runs without this project."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import dataset_cleaner
import dataset_downloader
import dataset_processor
import train
from labels.models import exported
from labels.models.checkpoints import RECOGNISER, build_network, load_checkpoint, save_checkpoint
from labels.models.detectors.loading import load_detector
from labels.models.detectors.onnx_files import read_header
from labels.models.recognisers.recogniser import build_recogniser, load_recogniser, preset_of
from labels.models.settings import DetectorOptions
from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.training.settings import TrainingSettings
from labels.videos.decoding.frames import Frame, decode_frames

ROOT = Path(__file__).resolve().parent.parent
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@dataclass(frozen=True)
class ShortTraining(TrainingSettings):
    epoch_frames: int = 640


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Rendered clips and the ballnet that was trained on them, as .pt and as .onnx."""
    root = tmp_path_factory.mktemp("exported") / "work"
    clips = ["--clips", "3", "--held-out", "1", "--set", "frames=24", "--set", "width=256", "--set", "height=144"]
    assert dataset_downloader.main([str(root), "--from", "synthetic", *clips]) == 0
    assert dataset_processor.main([str(root), "--round", "0", "--detector", "motion"]) == 0
    assert dataset_cleaner.main([str(root), "--round", "0"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "TrainingSettings", ShortTraining)
        assert train.main([str(root), "--round", "0", "--epochs", "1", "--device", "cpu"]) == 0
    assert train.main([str(root), "--round", "0", "--export", "onnx"]) == 0
    return WorkFolder(root)


def answers_of(work, suffix):
    """Boxes, scores and names of each frame of each clip."""
    detector = load_detector(str(work.round(0).detector.with_suffix(suffix)), device="cpu")
    for path in sorted(work.videos.glob("*.mp4")):
        yield from (found for _, found in detector.detect(decode_frames(path)))


def agree(one, other, pixels=1.0):
    """Whether two answers hold the same boxes, in order of their scores."""
    if len(one) != len(other):
        return False
    first, second = np.argsort(-one.score, kind="stable"), np.argsort(-other.score, kind="stable")
    near = np.abs(one.xyxy[first] - other.xyxy[second]).max(initial=0) <= pixels
    same = list(one.class_name[first]) == list(other.class_name[second])
    return bool(near and same and np.allclose(one.score[first], other.score[second], atol=0.01))


def test_ballnet_finds_the_same_boxes(work):
    pairs = list(zip(answers_of(work, ".pt"), answers_of(work, ".onnx"), strict=True))
    assert len(pairs) == 4 * 24
    assert np.mean([len(one) > 0 for one, _ in pairs]) > 0.5  # or nothing would be compared
    assert np.mean([agree(one, other) for one, other in pairs]) >= 0.99


def test_the_file_says_what_it_is(work):
    checkpoint = load_checkpoint(work.round(0).detector)
    said = read_header(work.round(0).detector.with_suffix(".onnx")).metadata
    assert said["architecture"] == "ballnet"
    assert said["names"] == "{0: 'sports ball'}"
    assert json.loads(said["working_threshold"]) == checkpoint["working_threshold"]
    assert json.loads(said["settings"])["long_side"] == checkpoint["settings"]["long_side"]
    assert "longer side of 512 pixels" in said["preprocessing"]
    one, other = (load_detector(str(work.round(0).detector.with_suffix(suffix))) for suffix in (".pt", ".onnx"))
    assert one.working_threshold == other.working_threshold
    assert one.score_slope == other.score_slope
    assert one.every_frame and other.every_frame


def test_the_next_round_is_labelled_with_it(work, tmp_path):
    copy = shutil.copytree(work.root, tmp_path / "copy")
    file = copy / "rounds" / "00" / "trained" / "detector.onnx"
    assert dataset_processor.main([str(copy), "--round", "1", "--detector", str(file)]) == 0


def test_the_lines_of_the_manual_run_with_onnxruntime_alone(work, tmp_path):
    (code,) = re.findall(r"```python title=\"run_student.py\"\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.S)
    script = tmp_path / "run_student.py"
    script.write_text(code)
    imported = set(re.findall(r"^(?:import|from) (\w+)", code, re.M))
    assert imported <= {"ast", "sys", "cv2", "numpy", "onnxruntime"}
    video = sorted(work.videos.glob("*.mp4"))[0]
    model = work.round(0).detector.with_suffix(".onnx")
    run = subprocess.run([sys.executable, script, model, video], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    rows = [line.split() for line in run.stdout.splitlines()]
    assert all(len(row) >= 6 for row in rows)
    # The camera is not followed there, but most of what it finds is what stage 2 finds.
    found = {frame.frame_index: boxes for frame, boxes in load_detector(str(model)).detect(decode_frames(video))}
    near = []
    for row in rows:
        xyxy, own = np.array(row[1:5], dtype=float), found[int(row[0])].xyxy
        near.append(len(own) > 0 and np.abs(own - xyxy).max(axis=1).min() <= 2)
    assert len(near) >= 5
    assert np.mean(near) > 0.5


@pytest.mark.parametrize("architecture", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_a_torchvision_student_finds_the_same_boxes(tmp_path, architecture):
    torch.manual_seed(0)
    names, settings = ("person", "sports ball"), {"long_side": 160}
    network = build_network(architecture, names, settings, pretrained=False)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():  # which settles the norms: before, all scores are alike
        boxes, labels = torch.tensor([[10.0, 10.0, 40.0, 40.0]]), torch.tensor([1])
        network.train()([torch.rand(3, 120, 160) for _ in range(2)], [{"boxes": boxes, "labels": labels}] * 2)
    source, target = tmp_path / "detector.pt", tmp_path / "detector.onnx"
    checkpoint = {
        "architecture": architecture,
        "class_names": list(names),
        "settings": settings,
        "working_threshold": dict.fromkeys(names, 0.4),
        "network": network.state_dict(),
    }
    save_checkpoint(source, checkpoint)
    exported.export_detector(source, target)
    noise = np.random.default_rng(0)
    frames = [Frame(at, at / 25, noise.integers(0, 255, shape, np.uint8)) for at, shape in enumerate(
        [(120, 214, 3), (120, 214, 3), (144, 100, 3)])]  # fmt: skip
    one, other = load_detector(str(source), device="cpu"), load_detector(str(target), device="cpu")
    one._precise = True  # on a CPU with bf16 the checkpoint alone would be rounded
    for (_, boxes), (_, again) in zip(one.detect(frames), other.detect(frames), strict=True):
        assert len(boxes) > 5
        assert abs(len(boxes) - len(again)) <= 2  # scores at the floor
        distance = np.abs(boxes.xyxy[:, None] - again.xyxy[None]).max(axis=2)
        other_class = boxes.class_name[:, None] != again.class_name[None]
        near = (distance + 1e6 * other_class).min(axis=1) <= 1
        assert near.mean() >= 0.95
    chosen = load_detector(str(target), ("sports ball",), device="cpu")
    assert {name for _, boxes in chosen.detect(frames) for name in boxes.class_name} == {"sports ball"}


@pytest.mark.parametrize("architecture", ["cnn3d", "pose"])
def test_a_recogniser_says_the_same(tmp_path, architecture):
    torch.manual_seed(0)
    preset = preset_of(architecture)
    network = build_recogniser(architecture, 3, preset, pretrained=False)
    source, target = tmp_path / "recogniser.pt", tmp_path / "recogniser.onnx"
    checkpoint = {
        "architecture": architecture,
        "class_names": ["jump", "run", "walk"],
        "settings": {"frames": preset.frames},
        "working_threshold": {"jump": 0.5, "run": 0.6, "walk": 0.7},
        "temperature": 1.5,
        "network": network.state_dict(),
    }
    save_checkpoint(source, checkpoint, RECOGNISER)
    exported.export_recogniser(source, target)
    noise = np.random.default_rng(0)
    if architecture == "pose":
        windows = noise.normal(100, 20, (3, preset.frames, 13, 2)).astype(np.float32)
    else:
        windows = noise.integers(0, 255, (3, preset.frames, preset.side, preset.side + 20, 3), dtype=np.uint8)
    one, other = load_recogniser(str(source)), load_recogniser(str(target))
    assert one.class_names == other.class_names
    assert one.working_threshold == other.working_threshold
    assert one.preset == other.preset
    assert np.allclose(one.recognise(windows), other.recognise(windows), atol=1e-3)


def test_what_cannot_be_exported_or_read_is_one_line(work, tmp_path, capsys, monkeypatch):
    assert train.main([str(work.root), "--round", "7", "--export", "onnx"]) == 2
    assert "no student was trained here" in capsys.readouterr().err
    model = work.round(0).detector.with_suffix(".onnx")
    import onnx

    loaded = onnx.load(model)
    onnx.helper.set_model_props(loaded, {"format": "rally-detector-onnx-1", "names": "{0: 'sports ball'}"})
    onnx.save(loaded, tmp_path / "bare.onnx")
    with pytest.raises(InputError, match=r"bare\.onnx: its metadata hold no sound working_threshold"):
        load_detector(str(tmp_path / "bare.onnx"))
    with pytest.raises(InputError, match="not a recogniser"):
        load_recogniser(str(model))
    with pytest.raises(InputError, match="leave it out"):
        load_detector(str(model), options=DetectorOptions(input_size=64))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"needs the package onnx"):
        exported.export_detector(work.round(0).detector, tmp_path / "x.onnx")
