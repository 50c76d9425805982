"""Every recogniser: built, fed its own preset's input, trained a step, saved, loaded, run.

The large ones of torchvision only with LABELS_ALL_RECOGNISERS=1: together they take minutes on a CPU.
"""

import os
from dataclasses import asdict

import numpy as np
import pytest
import torch

from labels.models.checkpoints import RECOGNISER, load_checkpoint, save_checkpoint
from labels.models.recognisers.clip_networks import build_clip_network, preset_colours
from labels.models.recognisers.recogniser import (
    MappedRecogniser,
    NetworkRecogniser,
    build_recogniser,
    load_recogniser,
    preset_of,
    read_class_map,
)
from labels.models.recognisers.settings import CNN3D, JOINTS, POSE, POSE_GRU, PRESETS, TSN, ZOO, Preset
from labels.records.class_lists import CLASSES_FOLDER, read_class_list
from labels.records.errors import InputError

QUICK = {CNN3D, POSE, POSE_GRU}
SMALL = {"mc3_18": Preset(4, 15.0, 36, 32), TSN: Preset(2, 4.0, 36, 32)}  # of the large ones, by default
ALL = bool(os.environ.get("LABELS_ALL_RECOGNISERS"))


def windows_for(preset, count=1):
    random = np.random.default_rng(0)
    if preset.reads == JOINTS:
        return random.normal(size=(count, preset.frames, 13, 2)).astype(np.float32)
    side = preset.side
    return random.integers(0, 256, (count, preset.frames, side, side + 10, 3), dtype=np.uint8)


@pytest.mark.parametrize("architecture", sorted(PRESETS))
def test_each_is_built_fed_trained_saved_loaded_and_run(architecture, tmp_path):
    if architecture not in {*QUICK, *SMALL} and not ALL:
        pytest.skip("LABELS_ALL_RECOGNISERS=1 runs the large ones too")
    preset = preset_of(architecture) if ALL else SMALL.get(architecture, preset_of(architecture))
    names = ("kick", "run", "stand")
    torch.manual_seed(0)
    network = build_recogniser(architecture, 3, preset, pretrained=False)
    student = NetworkRecogniser(network, names, preset, architecture, "")
    windows = windows_for(preset)
    if preset.reads == JOINTS:
        from labels.models.recognisers.pose_networks import normalise

        batch = torch.from_numpy(np.stack([normalise(joints, preset.frames) for joints in windows]))
    else:
        batch = network.prepare(torch.from_numpy(windows))
        assert batch.shape == (1, 3, preset.frames, preset.crop, preset.crop)
    before = next(parameter.clone() for parameter in network.parameters())
    network.train()
    pair = torch.cat([batch, batch + torch.randn_like(batch)])  # batch norms want more than one value
    loss = torch.nn.functional.cross_entropy(network(pair), torch.tensor([1, 1]))
    loss.backward()
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    assert not torch.equal(before, next(network.parameters()))
    path = tmp_path / "recogniser.pt"
    payload = {"architecture": architecture, "class_names": list(names), "settings": asdict(preset)}
    payload |= {"working_threshold": dict.fromkeys(names, 0.5), "network": network.state_dict()}
    save_checkpoint(path, payload, RECOGNISER)
    loaded = load_recogniser(str(path))
    student.network.eval()
    said = loaded.recognise(windows)
    assert said == pytest.approx(student.recognise(windows), abs=1e-5)
    assert said.shape == (1, 3) and said.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("architecture", sorted(ZOO))
def test_presets_are_those_of_the_weights(architecture):
    from torchvision.models import get_model_weights

    weights = get_model_weights(architecture).DEFAULT
    transform = weights.transforms()
    preset = PRESETS[architecture]
    assert preset.crop == transform.crop_size[0] and preset.side == min(transform.resize_size)
    docs = weights.meta["_docs"]
    assert f"``frame_rate={preset.rate:g}``".replace("``", "`") in docs and f"`clip_len={preset.frames}`" in docs
    assert len(weights.meta["categories"]) == 400
    assert preset_colours(weights) == (transform.mean, transform.std)


@pytest.mark.parametrize("architecture", ["mvit_v1_b", "mvit_v2_s"])
def test_networks_of_one_size_are_built(architecture):
    assert build_clip_network(architecture, 3, preset_of(architecture), False).backbone.head[-1].out_features == 3


def test_frozen_norms_keep_their_statistics():
    network = build_clip_network(CNN3D, 2, preset_of(CNN3D), False)
    network.frozen_norms = True
    network.train()
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm3d)]
    assert norms and not any(part.training for part in norms) and network.training


def test_a_window_of_another_size_is_brought_to_the_preset():
    network = build_clip_network(CNN3D, 2, Preset(2, 5.0, 20, 16), False)
    small = torch.full((1, 2, 10, 12, 3), 7, dtype=torch.uint8)
    assert network.prepare(small).shape == (1, 3, 2, 16, 16) and (network.prepare(small) == 7).all()


@pytest.mark.parametrize("name", ["nothing", "cnn3d", "missing.pt"])
def test_what_cannot_label_is_refused_in_one_line(name):
    with pytest.raises(InputError) as refused:
        load_recogniser(name)
    assert "\n" not in str(refused.value)


def test_a_detector_file_is_no_recogniser(tmp_path):
    path = tmp_path / "detector.pt"
    payload = {"architecture": "ballnet", "class_names": ["ball"], "settings": {}, "working_threshold": {"ball": 0.5}}
    save_checkpoint(path, payload | {"network": {"weight": torch.zeros(1)}})
    with pytest.raises(InputError, match="not a recogniser file"):
        load_checkpoint(path, RECOGNISER)


class Fixed:
    """Says the same of every window."""

    name, digest, class_names, preset = "fixed", "1", ("jab", "hook", "bow", "walk"), preset_of(CNN3D)
    device = "cpu"

    def __init__(self):
        self.working_threshold = {}

    def recognise(self, windows):
        return np.tile([0.3, 0.2, 0.4, 0.1], (len(windows), 1))


def test_another_data_sets_classes_add_up_to_ours_and_the_rest_is_none_of_them(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("kinetics_class,class_name\njab,strike\nhook,strike\nbow,neutral\nwalk,\n")
    mapped = MappedRecogniser(Fixed(), read_class_map(str(path)), "map")
    assert mapped.class_names == ("neutral", "strike")
    assert mapped.recognise(np.zeros((2, 1))).tolist() == [pytest.approx([0.4, 0.5])] * 2
    path.write_text("kinetics_class,class_name\nfly,strike\n")
    with pytest.raises(InputError, match="fly"):
        MappedRecogniser(Fixed(), read_class_map(str(path)), "map")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="kinetics_class"):
        read_class_map(str(path))


@pytest.mark.parametrize("path", sorted(CLASSES_FOLDER.glob("kinetics400_to_*.csv")), ids=lambda path: path.stem)
def test_the_maps_that_come_along_name_classes_of_kinetics_400(path):
    assert set(read_class_map(path.stem)) <= set(read_class_list("kinetics400"))
