"""What training recognisers is made of: augmentation of whole clips, rates by layer, norms, the weight of a fusion."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

from labels.models.checkpoints import load_checkpoint
from labels.models.recognisers.pose_networks import JOINTS as JOINT_NAMES
from labels.models.recognisers.recogniser import build_recogniser, fuse, preset_of
from labels.models.recognisers.settings import CNN3D, JOINTS, PIXELS, Preset
from labels.training.actions.data import ActionData, LabelledWindow
from labels.training.actions.fusion import choose_weight, fusion_parts
from labels.training.actions.round import preset_for
from labels.training.actions.task import RecognitionTask, augment_clip, layer_rates
from labels.training.fit import fit
from labels.training.settings import ClipAugmentation, RecognitionSettings
from labels.training.training_folder import TrainingFolder

STILL = torch.randint(0, 256, (1, 24, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("seed", range(8))
def test_all_frames_of_a_window_are_augmented_alike(seed):
    torch.manual_seed(seed)
    window = STILL.expand(5, -1, -1, -1)
    moved = augment_clip(window, 16, True, ClipAugmentation()).transpose(0, 1)
    assert all(torch.equal(moved[0], frame) for frame in moved)


def test_layers_learn_the_faster_the_nearer_they_are_to_the_head():
    names = ["backbone.stem.0.weight", "backbone.layer1.0.conv1.weight", "backbone.layer1.0.conv2.weight"]
    names += ["backbone.layer1.1.conv1.weight", "backbone.norm.weight", "backbone.fc.weight", "head.bias"]
    rates = layer_rates(names, 0.1)
    assert [rates[name] for name in names] == pytest.approx(
        [0.1, 0.1**0.75, 0.1**0.75, 0.1**0.5, 0.1**0.25, 1, 1], abs=1e-5
    )


def test_norms_are_settled_by_the_training_windows():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.weight = nn.BatchNorm3d(3), nn.Parameter(torch.ones(1))

        def forward(self, clips):
            return self.norm(clips)

    network = Normed().eval()
    values = np.full((2, 16, 16, 3), 77, np.uint8)
    settings = RecognitionSettings(CNN3D, norm_windows=8, batch_size=4)
    task = RecognitionTask(("left", "b"), Preset(2, 5.0, 16, 16), lambda window: values, settings)
    task._augmented = lambda window, turned: task._plain(window).permute(3, 0, 1, 2).float()
    task.settled(network, [LabelledWindow("a", "a", "a", 0, 0), LabelledWindow("b", "b", "b", 0, 1)], 0)
    assert network.norm.running_mean.tolist() == pytest.approx([77] * 3) and not network.training


def test_fusing_averages_logarithms():
    one, other = np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])
    assert fuse(one, other, 1.0) == pytest.approx(one) and fuse(one, other, 0.0) == pytest.approx(other)
    assert fuse(one, other, 0.5)[0] == pytest.approx([2 / 3, 1 / 3])  # square roots: 2 to 1
    assert fuse(one, one, 0.3, temperature=0.5)[0] == pytest.approx([16 / 17, 1 / 17])


@pytest.mark.parametrize(
    ("pixels", "joints", "wanted"),
    [
        ([[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.9, 0.1]], 1.0),  # joints are always wrong
        ([[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]], 0.0),  # pixels say nothing
        ([[0.7, 0.3], [0.3, 0.7]], [[0.7, 0.3], [0.3, 0.7]], 0.5),  # both say the same
    ],
)
def test_the_weight_of_a_fusion_is_what_validation_is_likeliest_with(pixels, joints, wanted):
    assert choose_weight(np.array([0, 1]), np.array(pixels), np.array(joints)) == wanted
    assert choose_weight(np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2))) == 0.5


def test_each_part_of_a_fusion_has_its_own_learning_rate_and_windows_and_only_joints_a_source():
    settings = RecognitionSettings("mvit_v2_s+pose", learning_rate=5e-4, frames=16, pose="keypointrcnn")
    pixels, joints = fusion_parts(settings)
    assert (pixels.architecture, pixels.learning_rate, pixels.pose) == ("mvit_v2_s", 5e-4, "")
    assert (joints.architecture, joints.learning_rate, joints.frames, joints.pose) == ("pose", 3e-3, 0, "keypointrcnn")
    windows = preset_for(replace(settings, seconds=0.48))
    assert (windows.frames, windows.rate) == (16, 16 / 0.48)
    assert windows.beside is not None and (windows.beside.frames, windows.beside.rate) == (12, 25.0)


@pytest.mark.parametrize(
    ("settings", "frames", "rate"),
    [
        (RecognitionSettings("pose", seconds=0.48), 12, 25.0),
        (RecognitionSettings("pose", seconds=0.5), 12, 24.0),
        (RecognitionSettings("pose", seconds=0.05), 2, 40.0),
        (RecognitionSettings("pose", seconds=0.48, frames=24), 24, 50.0),
        (RecognitionSettings("pose", frames=12), 12, 25.0),
        (RecognitionSettings("cnn3d", seconds=0.5), 16, 32.0),
    ],
)
def test_windows_of_joints_keep_their_rate_and_windows_of_pixels_their_frames(settings, frames, rate):
    preset = preset_for(settings)
    assert preset.frames == frames and preset.rate == pytest.approx(rate)


def test_classes_that_a_split_does_not_show():
    window = LabelledWindow("label", "clip", "clip", 0, 1)
    data = ActionData(("jump", "run", "swing"), {"train": [], "val": [window, window], "test": []}, {}, None)
    assert data.not_shown("val") == ["jump", "swing"] and data.not_shown("test") == []


def test_recognisers_of_joints_see_more_windows_an_epoch(tmp_path):
    steps = {}
    for kind, reads in (("pose_gru", JOINTS), (CNN3D, PIXELS)):
        settings = RecognitionSettings(kind, epochs=1, batch_size=4, epoch_frames=4, epoch_poses=12, norm_windows=4)
        preset = replace(preset_of(kind), frames=4, crop=16)
        shape = (4, len(JOINT_NAMES), 2) if reads == JOINTS else (4, 16, 16, 3)
        task = RecognitionTask(("left", "b"), preset, lambda window, shape=shape: np.ones(shape, np.float32), settings)
        files = TrainingFolder(tmp_path / kind, "recogniser")
        windows = [LabelledWindow(name, name, name, 0, at) for at, name in enumerate("ab")]
        network = build_recogniser(kind, 2, preset, pretrained=False)
        fit(network, task, windows, [], files, "test", asdict(preset))
        steps[reads] = load_checkpoint(files.last, "recogniser")["step"]
    assert steps == {JOINTS: 3, PIXELS: 1}
