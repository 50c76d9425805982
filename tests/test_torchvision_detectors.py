"""torchvision's detectors with random weights: nothing is fetched."""

import pickle
import socket
from http.client import IncompleteRead
from pickle import UnpicklingError
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from labels.models.checkpoints import build_network
from labels.models.detectors import torchvision_detectors
from labels.models.detectors.ballnet import to_working
from labels.models.detectors.detector import chosen_classes
from labels.models.detectors.loading import load_detector, torch_device
from labels.models.detectors.torchvision_detectors import TorchvisionDetector, set_input_size
from labels.models.settings import DetectorOptions
from labels.records.errors import InputError
from labels.videos.decoding.frames import Frame

LABELS = ("__background__", "person", "sports ball")


def frames(count, width=96, height=64):
    rng = np.random.default_rng(0)
    return [Frame(n, n / 25, rng.integers(0, 255, (height, width, 3), dtype=np.uint8)) for n in range(count)]


def detector_of(network, class_names=("sports ball",), batch_size=1, floor=0.05):
    return TorchvisionDetector(
        network, LABELS, class_names, "made", "digest", dict.fromkeys(class_names, 0.5), "cpu", batch_size, floor
    )


class Answers(nn.Module):
    """A network that gives the same boxes for each image, and keeps what it saw."""

    score_thresh = 0.9
    detections_per_img = 1

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        boxes = torch.tensor([[1.0, 2, 3, 4], [5, 6, 9, 9], [0, 0, 9, 9], [2, 2, 4, 4]])
        answer = {"boxes": boxes, "labels": torch.tensor([2, 1, 2, 2]), "scores": torch.tensor([0.9, 0.8, 0.06, 0.04])}
        return [answer for _ in images]


def test_the_wanted_classes_above_the_floor():
    network = Answers()
    ((given, found),) = detector_of(network).detect(frames(1))
    assert given.frame_index == 0
    assert found.xyxy.tolist() == [[1, 2, 3, 4], [0, 0, 9, 9]]
    assert found.score == pytest.approx([0.9, 0.06])
    assert found.class_name.tolist() == ["sports ball"] * 2
    assert (network.score_thresh, network.detections_per_img) == (0.05, 300)  # it says all it has
    ((_, both),) = detector_of(Answers(), ("person", "sports ball")).detect(frames(1))
    assert both.class_name.tolist() == ["sports ball", "person", "sports ball"]


def test_batches():
    network = Answers()
    answers = list(detector_of(network, batch_size=3).detect(iter(frames(7))))
    assert [frame.frame_index for frame, _ in answers] == list(range(7))
    assert [len(batch) for batch in network.seen] == [3, 3, 1]
    image = network.seen[0][0]
    assert image.shape == (3, 64, 96) and image.dtype == torch.float32 and 0 <= image.min() < image.max() <= 1
    assert list(detector_of(network).detect([])) == []


def test_a_student_sees_the_pixels_it_was_trained_on_and_answers_in_those_of_the_frame():
    network, (frame,) = Answers(), frames(1)
    detector = detector_of(network)
    assert [found.xyxy[0].tolist() for _, found in detector.detect([frame])] == [[1, 2, 3, 4]]
    student = TorchvisionDetector(
        network, LABELS, ("sports ball",), "made", "digest", {"sports ball": 0.5}, batch_size=1, long_side=48
    )
    ((_, found),) = student.detect([frame])
    assert found.xyxy[0].tolist() == [2, 4, 6, 8]
    seen = (network.seen[-1][0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(seen, to_working(frame.rgb, 48))  # as WorkingFrames gives it to training


@pytest.fixture(scope="module")
def ssdlite():
    torch.manual_seed(0)
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    return network.eval()


def test_batched_is_single(ssdlite):
    singles = [found for _, found in detector_of(ssdlite, batch_size=1).detect(frames(3))]
    batched = [found for _, found in detector_of(ssdlite, batch_size=3).detect(frames(3))]
    assert sum(len(found) for found in singles) > 0
    for single, other in zip(singles, batched, strict=True):
        assert len(single) == len(other)
        assert single.score == pytest.approx(other.score, abs=1e-4)
        assert single.xyxy == pytest.approx(other.xyxy, abs=0.05)


def test_a_digest_changes_with_what_changes_the_answers(ssdlite):
    digests = {
        detector_of(ssdlite, ("person",)).digest,
        detector_of(ssdlite, ("sports ball",)).digest,
        detector_of(ssdlite, ("person",), floor=0.1).digest,
    }
    assert len(digests) == 3
    assert detector_of(ssdlite, ("person",), batch_size=4).digest in digests


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(InputError, match="ssdlite320_mobilenet_v3_large"):
        load_detector("ssdlite320_mobilnet", None, "cpu")
    with pytest.raises(InputError, match=r"knows no class 'sport ball'.*sports ball"):
        load_detector("ssdlite320_mobilenet_v3_large", ("sport ball",), "cpu")


FAILURES = [
    URLError("no route"), RuntimeError("invalid hash value\nmore"), TimeoutError("timed out"), EOFError(),
    UnpicklingError("Weights only load failed\nmore"), IncompleteRead(b""),
]  # fmt: skip


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_weights_that_cannot_be_fetched_name_the_ways_out(monkeypatch, error):
    asked = {}

    def fail(url, **more):
        asked.update(more, timeout=socket.getdefaulttimeout())
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(InputError) as caught:
        load_detector("fasterrcnn_resnet50_fpn_v2", ("sports ball",), "cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert "--detector motion" in message and ".onnx" in message and ".pt" in message
    assert asked["weights_only"] and asked["check_hash"] and asked["timeout"] == 30
    assert socket.getdefaulttimeout() is None
    with pytest.raises(InputError, match="--from-scratch, or as --architecture ballnet") as caught:
        build_network("ssdlite320_mobilenet_v3_large", ("sports ball",), {}, pretrained=True)
    assert "\n" not in str(caught.value)


class Malicious:
    def __reduce__(self):
        return (print, ("code of the file was run",))


@pytest.mark.parametrize("contents", [b"", b"cut", pickle.dumps(Malicious())], ids=["empty", "cut", "code"])
def test_weights_in_the_cache_that_are_not_sound_are_named_and_not_run(monkeypatch, tmp_path, capsys, contents):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(contents)
    with pytest.raises(
        InputError, match=r"delete .*ssdlite320_mobilenet_v3_large_coco-a79551df\.pth, which is not sound"
    ):
        load_detector("ssdlite320_mobilenet_v3_large", ("sports ball",), "cpu")
    assert "code of the file" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn"])
def test_other_families_load_by_name(monkeypatch, name):
    """The network itself is not built: what is asked is whether names, classes and transforms are found."""
    monkeypatch.setattr(torchvision_detectors, "fetch_coco_weights", lambda name, other_ways: {})
    monkeypatch.setattr(torchvision_detectors, "get_model", lambda name, weights: Answers())
    detector = load_detector(name, ("person",), "cpu")
    assert detector.class_names == ("person",) and not detector.every_frame
    if name == "keypointrcnn_resnet50_fpn":  # it knows people only
        assert load_detector(name, None, "cpu").class_names == ("person",)


@pytest.mark.parametrize(
    ("wanted", "known", "chosen"),
    [
        (None, LABELS, ("sports ball",)),
        (None, ("__background__", "N/A", "a", "b"), ("a", "b")),
        (("person", "person"), LABELS, ("person",)),
        (("sports ball", "person"), LABELS, ("sports ball", "person")),
    ],
)
def test_which_classes(wanted, known, chosen):
    assert chosen_classes(wanted, known, "here") == chosen


def test_input_size(ssdlite):
    with pytest.raises(InputError, match="one fixed size"):
        set_input_size(ssdlite, DetectorOptions(input_size=640), "ssdlite")
    assert set_input_size(ssdlite, DetectorOptions(), "ssdlite") is None
    assert set_input_size(ssdlite, DetectorOptions(tile_side=640), "ssdlite") is None  # tiles are scaled


def test_loading_refuses(tmp_path):
    for name, message in [("absent.onnx", "no such file"), ("absent.pt", "no such file")]:
        with pytest.raises(InputError, match=message):
            load_detector(str(tmp_path / name))
    other = tmp_path / "weights.bin"
    other.write_bytes(b"x")
    with pytest.raises(InputError, match=r"\.onnx"):
        load_detector(str(other))
    with pytest.raises(InputError, match="--class-list"):
        load_detector("motion", None, "cpu", DetectorOptions(class_list="coco"))
    with pytest.raises(InputError, match="--device cuda"):
        load_detector("motion", None, "cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_where_there_is_none():
    with pytest.raises(InputError, match="no CUDA device"):
        torch_device("cuda")
    assert torch_device("auto") == torch_device("cpu") == "cpu"
