"""Frozen backbones: their windows and features, probes trained on them through the stages, recognisers of the hub."""

import numpy as np
import pytest
import torch
from conftest import write_test_video
from test_deep_features import write_features
from tiny_networks import CLIPS, make

import dataset_cleaner
import dataset_downloader
import dataset_processor
import train
from labels.labelling import action_windows
from labels.models.recognisers import frozen
from labels.models.recognisers.frozen import Probe, probe_preset, window_features
from labels.models.recognisers.recogniser import load_recogniser, mirrored
from labels.models.recognisers.settings import FEATURES
from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder

pytest.importorskip("transformers", minversion="5.9")


HALF, IMAGENET = np.full(3, 0.5), np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
COLOURS = {"videomae": (HALF, HALF), "vjepa2": IMAGENET}  # mean and deviation, as their processors have them


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    frozen._opened.cache_clear()


def window_of(preset, seed=0):
    shape = (preset.frames, preset.side, preset.side + 8, 3)
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def test_features_of_pictures_are_those_of_each_frame_and_of_its_mirror_image(tmp_path):
    file = write_features(tmp_path / "mean.onnx", ("n", 3, 32, 32))
    preset = probe_preset(f"probe:{file}")
    assert (preset.reads, preset.crop, preset.frames) == (FEATURES, 32, 8)
    window = window_of(preset)
    found = window_features(preset)(window)
    assert found.shape == (2, *preset.features) and found.dtype == np.float16
    # Of frame 3 alone, in the middle: 36 x 44 pixels become 32 x 32.
    own = frozen.OnnxFeatures(file, "cpu").vectors(window[3:4, 2:34, 6:38]).numpy()
    assert found[0, 3] == pytest.approx(own[0], abs=2e-3)
    turned = window_features(preset)(window[:, :, ::-1])
    assert turned[0] == pytest.approx(found[1], abs=2e-3)
    assert torch.equal(mirrored(torch.from_numpy(found[None]), FEATURES)[0], torch.from_numpy(found[::-1].copy()))


@pytest.mark.parametrize("kind", ["videomae", "vjepa2"])
def test_features_of_clips_have_a_moment_for_each_pair_of_frames(tmp_path, kind):
    import transformers

    folder = make(kind, tmp_path / kind)
    preset = probe_preset(f"probe:hf:{folder}")
    assert (preset.frames, preset.crop, preset.features[0]) == (8, 32, 4)
    window = window_of(preset)
    found = window_features(preset)(window)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    mean, std = COLOURS[kind]
    pixels = (window[:, 2:34, 6:38] / 255 - mean) / std
    with torch.inference_mode():
        output = model(**{model.main_input_name: torch.from_numpy(pixels).float().permute(0, 3, 1, 2)[None]})
    expected = output.last_hidden_state[0].view(4, 4, -1).mean(dim=1).numpy()  # four patches of 16 x 16 at a moment
    assert found[0].astype(np.float32) == pytest.approx(expected, abs=5e-3)


def test_a_probe_learns_what_comes_first():
    """Two classes that differ by the order of what is seen alone, and which no average over time tells apart."""
    torch.manual_seed(0)
    probe, kinds = Probe(2, 6, 10), torch.randn(2, 10)
    order = torch.tensor([[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    optimiser = torch.optim.Adam(probe.parameters(), lr=1e-2)
    for _ in range(60):
        values = kinds[order].repeat(8, 1, 1)[:, None] + 0.1 * torch.randn(16, 1, 6, 10)
        loss = torch.nn.functional.cross_entropy(probe(values), torch.tensor([0, 1] * 8))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert probe.eval()(kinds[order][:, None]).argmax(dim=1).tolist() == [0, 1]


def test_a_probe_is_trained_through_the_stages_and_looks_once(tmp_path, monkeypatch):
    """Two moves that differ in colour; each window's features are computed once for all rounds."""
    file = write_features(tmp_path / "mean.onnx", ("n", 3, 32, 32))
    for number, colour in enumerate([(230, 40, 40), (40, 40, 230)]):
        for clip in range(5):
            frames = []
            for at in range(12):
                rgb = np.full((48, 64, 3), 60 + 10 * clip, dtype=np.uint8)
                rgb[10:30, 2 * at : 2 * at + 20] = colour
                frames.append(rgb)
            split = "test" if clip == 4 else "train"
            path = tmp_path / "archive" / split / f"move {number}" / f"m{number}_{clip}.mp4"
            write_test_video(path, frames, width=64, height=48)
    work = tmp_path / "work"
    looks = []
    plain = action_windows.window_features

    def counted(preset):
        see = plain(preset)
        return lambda window: (looks.append(1), see(window))[1]

    monkeypatch.setattr(action_windows, "window_features", counted)
    assert dataset_downloader.main([str(work), "--from", "kinetics-folder", "--path", str(tmp_path / "archive")]) == 0
    assert dataset_processor.main([str(work), "--round", "0", "--recogniser", "human"]) == 0
    assert dataset_cleaner.main([str(work), "--round", "0"]) == 0
    command = [str(work), "--round", "0", "--architecture", f"probe:{file}", "--epochs", "2"]
    assert train.main(command) == 0
    once = len(looks)
    assert once >= 10
    assert train.main([*command, "--seed", "1"]) == 0
    assert dataset_processor.main([str(work), "--round", "1"]) == 0
    assert len(looks) == once
    student = load_recogniser(str(WorkFolder(work).round(0).recogniser))
    assert student.preset.features == (8, student.preset.features[1])
    labelled = [read_parquet(path) for path in (work / "rounds/01/labelled/actions").glob("*.parquet")]
    test = [table for table in labelled if (table["origin"] == "detected").all() and len(table)]
    assert len(labelled) == 10 and test
    # exported, it says the same of the same features
    assert train.main([str(work), "--round", "0", "--export", "onnx"]) == 0
    exported = load_recogniser(str(WorkFolder(work).round(0).recogniser.with_suffix(".onnx")))
    values = np.random.default_rng(0).normal(size=(3, 2, *student.preset.features)).astype(np.float32)
    assert exported.recognise(values) == pytest.approx(student.recognise(values), abs=1e-4)
    # another file in its place is refused
    frozen._opened.cache_clear()
    write_features(file, ("n", 3, 64, 64))
    with pytest.raises(InputError, match="another network than the probe was trained on"):
        window_features(student.preset)


@pytest.mark.parametrize("kind", ["videomae", "vjepa2"])
def test_a_recogniser_of_the_hub_labels_with_its_own_classes(tmp_path, kind):
    import transformers

    folder = make(kind, tmp_path / kind)
    recogniser = load_recogniser(f"hf:{folder}")
    assert recogniser.class_names == tuple(CLIPS.values())
    windows = np.stack([window_of(recogniser.preset, seed) for seed in range(2)])
    model = transformers.AutoModelForVideoClassification.from_pretrained(folder).eval()
    mean, std = COLOURS[kind]
    both = []
    for turned in (False, True):
        seen = (windows[:, :, 2:34, 6:38] / 255 - mean) / std
        seen = seen[:, :, :, ::-1].copy() if turned else seen
        with torch.inference_mode():
            pixels = torch.from_numpy(seen).float().permute(0, 1, 4, 2, 3)
            both.append(model(**{model.main_input_name: pixels}).logits.softmax(dim=1).numpy())
    assert recogniser.recognise(windows) == pytest.approx((both[0] + both[1]) / 2, abs=1e-4)


def test_what_is_no_backbone_or_recogniser_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no such backbone file"):
        probe_preset(f"probe:{tmp_path}/nothing.onnx")
    with pytest.raises(InputError, match=r"a probe is of a \.onnx file"):
        probe_preset("probe:resnet18")
    folder = make("dinov2", tmp_path / "dino")
    with pytest.raises(InputError, match="which recognises no actions"):
        load_recogniser(f"hf:{folder}")
    assert probe_preset(f"probe:hf:{folder}").features == (8, 16)
