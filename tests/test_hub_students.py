"""Detectors of the hub as students: tiny networks of the real classes, trained, resumed, read back and exported."""

import numpy as np
import pytest
import torch
from test_train import BALL, FRAMES, SmallSettings, make_work
from tiny_networks import make

import dataset_processor
import train
from labels.models.checkpoints import build_network, load_checkpoint, network_from_checkpoint
from labels.models.detectors.hub_detectors import hub_settings
from labels.models.detectors.loading import load_detector
from labels.models.settings import DetectorOptions
from labels.records.errors import InputError
from labels.records.run_records import read_run_record
from labels.training.boxes.round import train_round
from labels.videos.decoding.frames import Frame, decode_frames

pytest.importorskip("transformers", minversion="5.9")
KINDS = ["rf_detr", "d_fine", "rt_detr_v2"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def settings_for(folder, **more):
    usual = {"epochs": 2, "batch_size": 2, "epoch_frames": 4, "learning_rate": 1e-3, "long_side": 64}
    return SmallSettings(architecture=f"hf:{folder}", **usual | more)


@pytest.mark.parametrize("kind", KINDS)
def test_one_is_trained_read_back_exported_and_labels_the_next_round(tmp_path, kind):
    folder = make(kind, tmp_path / kind)
    work = make_work(tmp_path / "work", stride=5)
    trained = train_round(work, 0, settings_for(folder), "cpu", False, False)
    assert trained.metrics["epochs"] == 2
    checkpoint = load_checkpoint(work.round(0).detector)
    assert checkpoint["class_names"] == [BALL]
    origin = read_run_record(work.round(0), "trained").facts["origin"]
    assert (origin["place"], origin["licence"]) == (str(folder), "apache-2.0")
    before = build_network(f"hf:{folder}", (BALL,), hub_settings(f"hf:{folder}"), True).state_dict()
    moved = [name for name, tensor in checkpoint["network"].items() if not torch.equal(tensor, before[name])]
    assert any("class_embed" in name for name in moved) and any("backbone" not in name for name in moved)
    for path in sorted(folder.iterdir()):  # the student needs nothing of what it was made from
        path.unlink()
    file = work.round(0).detector
    everything = DetectorOptions(score_floor=0.0)
    detector = load_detector(str(file), device="cpu", options=everything)
    assert detector.class_names == (BALL,)
    frames = list(decode_frames(work.videos / "clip0.mp4"))
    answers = [found for _, found in detector.detect(frames)]
    assert len(answers) == FRAMES and all(len(found) for found in answers)
    assert train.main([str(work.root), "--round", "0", "--export", "onnx"]) == 0
    exported = load_detector(str(file.with_suffix(".onnx")), device="cpu", options=everything)
    for found, (_, again) in zip(answers, exported.detect(frames), strict=True):
        order, other = np.argsort(-found.score, kind="stable"), np.argsort(-again.score, kind="stable")
        assert np.allclose(found.score[order], again.score[other], atol=1e-3)
        near = np.abs(found.xyxy[:, None] - again.xyxy[None]).max(axis=2).min(axis=1) <= 1
        assert near.all()
    # and as a folder, which transformers loads; its processor reduces frames otherwise, so only at their own size
    assert train.main([str(work.root), "--round", "0", "--export", "safetensors"]) == 0
    saved = file.with_suffix("")
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {path.name for path in saved.iterdir()}
    teacher = load_detector(f"hf:{saved}", device="cpu", options=everything)
    assert teacher.class_names == (BALL,)
    square = [Frame(0, 0.0, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))]
    (_, one), (_, other) = (next(iter(each.detect(square))) for each in (detector, teacher))
    near = np.abs(one.xyxy[:, None] - other.xyxy[None]).max(axis=2).min(axis=1) <= 1
    assert len(one) == len(other) and near.all()
    assert dataset_processor.main([str(work.root), "--round", "1", "--device", "cpu"]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_are_those_of_the_library_s_own_processor(tmp_path, kind):
    """At the network's own size, where nothing is resized; and a batch gives what single frames give."""
    import transformers

    folder = make(kind, tmp_path / kind)
    names = ("a", "b")
    network = build_network(f"hf:{folder}", names, hub_settings(f"hf:{folder}"), True).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    rng = np.random.default_rng(0)
    rgbs = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    images = [torch.from_numpy(rgb).permute(2, 0, 1).float() / 255 for rgb in rgbs]
    with torch.inference_mode():
        found = network(images)
        single = [network([image])[0] for image in images]
        output = network.model(**processor(images=rgbs, return_tensors="pt"))
        expected = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(64, 64)] * 3)
    for own, alone, theirs in zip(found, single, expected, strict=True):
        assert torch.allclose(own["scores"], theirs["scores"], atol=1e-4)
        assert torch.allclose(own["boxes"], theirs["boxes"], atol=0.05)
        assert torch.equal(own["labels"] - 1, theirs["labels"])
        assert torch.allclose(own["boxes"], alone["boxes"], atol=0.05)


def test_cut_short_and_gone_on_from_gives_the_same_weights(tmp_path):
    folder = make("rt_detr_v2", tmp_path / "model")
    whole, cut = make_work(tmp_path / "whole", stride=5), make_work(tmp_path / "cut", stride=5)
    train_round(whole, 0, settings_for(folder, epochs=3), "cpu", False, False)

    saves = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        from labels.training import fit

        plain = fit.write_history

        def write_and_die(path, history):
            plain(path, history)
            saves.append(path)
            if len(saves) == 2:
                raise KeyboardInterrupt

        patch.setattr(fit, "write_history", write_and_die)
        train_round(cut, 0, settings_for(folder, epochs=3), "cpu", False, False)
    train_round(cut, 0, settings_for(folder, epochs=3), "cpu", False, False)
    one, other = (load_checkpoint(work.round(0).detector)["network"] for work in (whole, cut))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_a_white_square(tmp_path):
    """The loss falls, boxes go where the square is more than at the start."""
    folder = make("rt_detr_v2", tmp_path / "model")
    work = make_work(tmp_path / "work")
    train_round(work, 0, settings_for(folder, epochs=4, epoch_frames=48, batch_size=4), "cpu", False, False)
    rows = (work.round(0).stage("trained") / "metrics.csv").read_text().splitlines()
    loss = [float(row.split(",")[rows[0].split(",").index("loss")]) for row in rows[1:]]
    assert loss[-1] < 0.9 * loss[0]


def test_the_next_round_goes_on_from_the_last(tmp_path):
    folder = make("rt_detr_v2", tmp_path / "model")
    work = make_work(tmp_path / "work", stride=5)
    train_round(work, 0, settings_for(folder, epochs=1), "cpu", False, False)
    checkpoint = load_checkpoint(work.round(0).detector)
    again = network_from_checkpoint(checkpoint, "file")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in checkpoint["network"].items())


def test_what_cannot_be_a_student_is_one_line(tmp_path):
    work = make_work(tmp_path / "work", stride=5)
    clips = make("videomae", tmp_path / "clips")
    with pytest.raises(InputError, match="is a videomae; trained are detectors"):
        train_round(work, 0, settings_for(clips), "cpu", False, False)
    with pytest.raises(InputError, match="holds no config"):
        train_round(work, 0, settings_for(tmp_path), "cpu", False, False)
