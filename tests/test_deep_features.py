"""What networks see in boxes: feature maps made by hand, and real networks with random weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from labels.models.checkpoints import build_network
from labels.models.deep_features import LENGTH, SPREAD, box_features, outputs_of
from labels.models.detectors.detector import NoDetector
from labels.models.detectors.ensemble import load_backbone
from labels.models.detectors.torchvision_detectors import TorchvisionDetector
from labels.models.settings import BACKBONES, backbone_source
from labels.records.detections import as_text, from_text
from labels.records.errors import InputError
from labels.videos.decoding.frames import Frame

LEFT, RIGHT = [1, 1, 3, 3], [5, 1, 7, 3]  # in cells


def halves(channels=4):
    """A map (1, C, 4, 8) whose left half speaks in its first channel and whose right half in its second."""
    map_ = torch.zeros(1, channels, 4, 8)
    map_[:, 0, :, :4], map_[:, 1, :, 4:] = 3.0, 7.0
    return map_


def test_a_box_has_the_direction_of_what_lies_in_it():
    (found,) = box_features(halves(), [np.array([LEFT, RIGHT])])
    directions = (found - 0.5) * 2 * SPREAD / np.sqrt(4)
    assert np.allclose(directions, [[1, 0, 0, 0], [0, 1, 0, 0]], atol=1e-6)  # however strong it is
    both = (box_features(halves(), [np.array([[3, 1, 5, 3]])])[0][0] - 0.5) * 2 * SPREAD / np.sqrt(4)
    assert both[1] / both[0] == pytest.approx(7 / 3, rel=1e-4)


def test_each_map_has_its_own_boxes_and_a_map_may_have_none():
    maps = torch.cat([halves(), halves().flip(3), halves()])
    one, none, other = box_features(maps[[0, 1, 2]], [np.array([LEFT]), np.zeros((0, 4)), np.array([RIGHT, LEFT])])
    assert one.shape == (1, 4) and none.shape == (0, 4) and other.shape == (2, 4)
    assert np.array_equal(one[0], other[1])
    assert [len(part) for part in box_features(maps, [np.zeros((0, 4))] * 3)] == [0, 0, 0]


def test_long_features_are_projected_and_keep_who_is_like_whom():
    torch.manual_seed(1)
    kinds = torch.randn(2, 300)
    map_ = torch.zeros(1, 300, 4, 8)
    map_[0, :, :, :4], map_[0, :, :, 4:] = kinds[0][:, None, None], kinds[1][:, None, None]
    (found,) = box_features(map_, [np.array([LEFT, [0, 0, 2, 2], RIGHT])])
    assert found.shape == (3, LENGTH) and found.dtype == np.float32
    read, known = from_text(as_text(found))
    assert known.all() and np.abs(read - found).max() < 0.5 / 255 + 1e-6
    assert np.linalg.norm(read[0] - read[1]) < 0.05 < 0.5 < np.linalg.norm(read[0] - read[2])


def test_a_network_is_watched_only_while_it_is_asked():
    part = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), outputs_of(part) as (seen,):
        part(torch.ones(2))
        assert len(seen) == 1
        raise ZeroDivisionError
    part(torch.ones(2))
    assert len(seen) == 1 and not part._forward_hooks


class Colours(nn.Module):
    """A network whose features are the colours of what it sees, at a quarter of its size; its boxes are the halves."""

    def __init__(self, side):
        super().__init__()
        self.transform = GeneralizedRCNNTransform(side, 2 * side, [0.0] * 3, [1.0] * 3)
        self.backbone = nn.Sequential(nn.AvgPool2d(4))
        self.as_dictionary = False

    def forward(self, images):
        seen, _ = self.transform(images)
        self.backbone(seen.tensors)
        answers = []
        for image in images:
            height, width = image.shape[1:]
            boxes = torch.tensor([[4.0, 4, width / 2 - 4, height - 4], [width / 2 + 4, 4, width - 4, height - 4]])
            answers.append({"boxes": boxes, "labels": torch.tensor([1, 1]), "scores": torch.tensor([0.9, 0.8])})
        return answers


@pytest.mark.parametrize("long_side", [None, 48])
def test_a_torchvision_detector_looks_at_the_place_of_its_boxes_at_any_size(long_side):
    frames = []
    for number, (width, height) in enumerate([(96, 64), (96, 32)]):  # one is padded to the other
        rgb = np.zeros((height, width, 3), dtype=np.uint8)
        rgb[:, : width // 2, 0], rgb[:, width // 2 :, 1] = 200, 100
        frames.append(Frame(number, number / 25, rgb))
    detector = TorchvisionDetector(
        Colours(80), ("", "ball"), ("ball",), "made", "digest", {"ball": 0.5}, batch_size=2, long_side=long_side
    )
    for frame, found in detector.detect(frames):
        assert found.appearance.shape == (2, 3)
        directions = (found.appearance - 0.5) * 2 * SPREAD / np.sqrt(3)
        assert np.allclose(directions, [[1, 0, 0], [0, 1, 0]], atol=0.02), frame.frame_index


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn"])
def test_real_networks_say_what_is_in_each_box(name):
    torch.manual_seed(0)
    network = build_network(name, ("ball",), {"long_side": 96}, pretrained=False)
    detector = TorchvisionDetector(
        network, ("", "ball"), ("ball",), "made", "digest", {"ball": 0.5}, score_floor=0.0, long_side=96
    )
    rgb = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    ((_, found),) = detector.detect([Frame(0, 0.0, rgb)])
    assert len(found) > 1 and found.appearance.shape == (len(found), LENGTH)
    assert np.isfinite(found.appearance).all() and (found.appearance.std(axis=0) > 0).any()


def weights_of(name, tmp_path, monkeypatch, content):
    """Put a file into a cache of torch, by the name of a network's weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / Path(get_model_weights(name).DEFAULT.url).name
    file.parent.mkdir(parents=True)
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    return file


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_sees_the_same_in_the_same(tmp_path, monkeypatch, name):
    torch.manual_seed(0)
    weights_of(name, tmp_path, monkeypatch, get_model(name).state_dict())
    backbone = load_backbone(name, NoDetector(), "cpu")
    assert backbone.name == name
    rgb = np.full((96, 160, 3), 90, dtype=np.uint8)
    rng = np.random.default_rng(0)
    rgb[32:64, 32:64] = rgb[32:64, 96:128] = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    found = backbone(rgb, np.array([[36, 36, 60, 60], [100, 36, 124, 60], [36, 4, 60, 28]]))
    assert found.shape == (3, LENGTH)
    assert np.linalg.norm(found[0] - found[1]) < np.linalg.norm(found[0] - found[2])
    assert backbone(rgb, np.zeros((0, 4))).shape == (0, LENGTH)


def test_what_is_wrong_with_a_backbone_is_told_in_one_line(tmp_path, monkeypatch):
    file = weights_of("resnet18", tmp_path, monkeypatch, b"no weights")
    with pytest.raises(InputError, match=f"delete .*{file.name}, which is not sound, or leave it out"):
        load_backbone("resnet18", NoDetector(), "cpu")
    torch.save(get_model("resnet34").state_dict(), file)
    with pytest.raises(
        InputError, match="--set backbone resnet18: the file of it in torch's cache holds other weights"
    ):
        load_backbone("resnet18", NoDetector(), "cpu")
    detector = TorchvisionDetector(Colours(80), ("", "ball"), ("ball",), "made", "digest", {"ball": 0.5})
    with pytest.raises(
        InputError, match="--set backbone resnet18: made says itself what is in its boxes; leave it out"
    ):
        load_backbone("resnet18", detector, "cpu")
    assert load_backbone(None, detector, "cpu") is None


def test_a_network_of_unknown_parts_and_one_that_shall_not_tell_nothing():
    rgb = np.zeros((64, 96, 3), dtype=np.uint8)
    unknown = Colours(80)
    del unknown.transform
    unknown.forward = lambda images: [{"boxes": torch.ones(1, 4), "labels": torch.tensor([1]), "scores": torch.ones(1)}]
    for network, describes in ((unknown, True), (Colours(80), False)):
        detector = TorchvisionDetector(
            network, ("", "ball"), ("ball",), "made", "digest", {"ball": 0.5}, describes=describes
        )
        ((_, found),) = detector.detect([Frame(0, 0.0, rgb)])
        assert not detector.describes and found.appearance.shape == (len(found), 0) and len(found)


def write_features(path, shape=("n", 3, 32, 32), flat=True):
    """The mean colour of each quarter of a crop, (n, 12), or its map (n, 3, 2, 2)."""
    nodes = [helper.make_node("AveragePool", ["crops"], ["map"], kernel_shape=[16, 16], strides=[16, 16])]
    if flat:
        nodes.append(helper.make_node("Flatten", ["map"], ["flat"]))
    out = ("flat", [shape[0], 12]) if flat else ("map", [shape[0], 3, 2, 2])
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(out[0], TensorProto.FLOAT, out[1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("flat", [True, False])
def test_a_file_sees_the_same_in_the_same(tmp_path, batch, flat):
    path = write_features(tmp_path / "tiny.onnx", (batch, 3, 32, 32), flat)
    backbone = load_backbone(str(path), NoDetector(), "cpu")
    assert backbone.name.startswith("tiny@")
    rgb = np.zeros((64, 160, 3), dtype=np.uint8)
    rgb[10:20, 10:20] = rgb[10:20, 110:120] = (255, 0, 0)
    rgb[40:50, 50:60] = (0, 255, 0)
    found = backbone(rgb, np.array([[10, 10, 20, 20], [110, 10, 120, 20], [50, 40, 60, 50], [0, 60, 3, 64]]))
    assert found.shape == (4, 12 if flat else 3) and found.min() >= 0 and found.max() <= 1
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert np.linalg.norm(found[0] - found[2]) > 0.1


def test_a_backbone_of_the_hub(tmp_path, monkeypatch):
    pytest.importorskip("transformers", minversion="5.9")
    from tiny_networks import make

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = make("dinov2", tmp_path / "dino")
    backbone = load_backbone(f"hf:{folder}", NoDetector(), "cpu")
    rng = np.random.default_rng(0)
    rgb = np.zeros((64, 160, 3), dtype=np.uint8)
    rgb[10:30, 10:30] = rgb[10:30, 110:130] = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
    found = backbone(rgb, np.array([[10, 10, 30, 30], [110, 10, 130, 30], [60, 30, 70, 40]]))
    assert found.shape == (3, 16)
    assert found[0] == pytest.approx(found[1], abs=1e-4) and np.abs(found[0] - found[2]).max() > 1e-3


def test_what_is_no_backbone(tmp_path):
    with pytest.raises(InputError, match="no such backbone file"):
        load_backbone(str(tmp_path / "nothing.onnx"), NoDetector(), "cpu")
    with pytest.raises(InputError, match="crops are square"):
        load_backbone(str(write_features(tmp_path / "a.onnx", ("n", 3, 32, 64))), NoDetector(), "cpu")
    with pytest.raises(Exception, match="is no backbone"):
        backbone_source("dragon")
