"""A GPU answers as the CPU does, within what bf16 costs; skipped without one. And the script that measures it runs."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torchvision.models.detection import ssdlite320_mobilenet_v3_large  # noqa: E402

from labels.models.detectors.ballnet import BallNet, BallNetSettings  # noqa: E402
from labels.models.detectors.loading import load_detector  # noqa: E402
from labels.models.detectors.torchvision_detectors import TorchvisionDetector  # noqa: E402
from labels.models.recognisers.recogniser import NetworkRecogniser, build_recogniser, preset_of  # noqa: E402
from labels.models.recognisers.settings import CNN3D, JOINTS, POSE  # noqa: E402
from labels.models.settings import DetectorOptions  # noqa: E402
from labels.records.geometry import iou_matrix  # noqa: E402
from labels.training.boxes.ballnet_task import LossSettings, TargetDrawer, ballnet_loss  # noqa: E402
from labels.videos.decoding.frames import Frame  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "cuda"
needs_gpu = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA here")

SCORE = 0.03  # bf16 has 8 bits: how far a score may be off
IOU = 0.85  # of the same box on both, of balls of 8 pixels too
SHARE = 0.95  # of the boxes; of the others one stood at the floor, or two were as good
FLOOR = 0.1
WANTED = ("sports ball", "person", "tennis racket")


def frames(count=8, width=320, height=180):
    """A ball of 8 pixels that flies over a ground of noise."""
    ground = np.random.default_rng(0).integers(40, 120, (height, width, 3), dtype=np.uint8)
    made = []
    for index in range(count):
        rgb = ground.copy()
        x, y = 40 + 12 * index, 60 + (index - 4) ** 2
        rgb[y - 4 : y + 4, x - 4 : x + 4] = (250, 250, 200)
        made.append(Frame(index, index / 25, rgb))
    return made


def share_found(of, among, floor):
    """Of each box clearly above the floor, whether it has a partner."""
    clear = of.score >= floor
    if not clear.any():
        return []
    if not len(among):
        return [False] * int(clear.sum())
    near = iou_matrix(of.xyxy[clear], among.xyxy) >= IOU
    alike = abs(of.score[clear][:, None] - among.score[None]) <= SCORE
    return (near & alike & (of.class_name[clear][:, None] == among.class_name[None])).any(axis=1).tolist()


def assert_same_boxes(detector_on, floor=FLOOR + SCORE):
    """`detector_on`: a device -> the detector on it."""
    answers = [[found for _, found in detector_on(device).detect(frames())] for device in ("cpu", DEVICE)]
    pairs = list(zip(*answers, strict=True))
    partners = [found for a, b in pairs for found in (*share_found(a, b, floor), *share_found(b, a, floor))]
    assert len(partners) >= 8
    assert np.mean(partners) >= SHARE


@needs_gpu
def test_a_detector_of_torchvision(monkeypatch):
    """In float32: weights of chance give a thousand boxes that are as good as each other, and bf16 others."""
    monkeypatch.setattr("labels.models.detectors.torchvision_detectors._bf16_pays", lambda network, device: False)
    names = ("__background__", "person", "sports ball")

    def on(device):
        torch.manual_seed(0)
        network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
        with torch.no_grad():  # scores that differ, as after training
            for last in network.head.classification_head.module_list:
                last[1].weight.normal_(std=2.0)
        return TorchvisionDetector(network, names, names[1:], "made", "", {}, device, 4, FLOOR)

    assert_same_boxes(on)


@needs_gpu
@pytest.mark.parametrize(("kind", "bf16"), [("rf_detr", False), ("d_fine", True), ("rt_detr_v2", True)])
def test_a_detector_of_the_hub(kind, bf16, tmp_path, monkeypatch):
    """The classes of the first are as good as each other, with weights of chance: bf16 chooses others."""
    pytest.importorskip("transformers", minversion="5.9")
    from tiny_networks import make

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if not bf16:
        monkeypatch.setattr("torch.autocast", lambda *_, **__: nullcontext())
    folder = make(kind, tmp_path / kind)
    options = DetectorOptions(score_floor=0.0)
    assert_same_boxes(lambda device: load_detector(f"hf:{folder}", WANTED, device, options), floor=0.0)


@needs_gpu
def test_ballnet_with_its_own_weights():
    assert_same_boxes(lambda device: load_detector("ballnet", None, device))


@needs_gpu
@pytest.mark.parametrize("architecture", [CNN3D, POSE])
def test_a_recogniser(architecture):
    preset, random = preset_of(architecture), np.random.default_rng(0)
    if preset.reads == JOINTS:
        windows = random.normal(size=(4, preset.frames, 13, 2)).astype(np.float32)
    else:
        windows = random.integers(0, 256, (4, preset.frames, preset.side, preset.side, 3), dtype=np.uint8)
    said = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        network = build_recogniser(architecture, 3, preset, pretrained=False)
        said.append(NetworkRecogniser(network, ("kick", "run", "stand"), preset, "", "", device).recognise(windows))
    assert said[1] == pytest.approx(said[0], abs=SCORE)


@needs_gpu
def test_a_training_step():
    """Loss and gradients of BallNet; a GPU multiplies with 10 bits (TF32) where the CPU has 23."""
    triples = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 5, 64, 64), dtype=np.uint8))
    settings = LossSettings()
    losses, gradients = [], []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        network = BallNet(1, BallNetSettings(channels=(4, 6, 8, 8))).to(device).train()
        drawer = TargetDrawer(4, 1, 64, settings)
        for crop in range(4):
            drawer.add_object(crop, 0, torch.tensor([20.0, 20.0, 30.0, 30.0]) + 4 * crop, 1.0)
        target = drawer.maps().to(torch.device(device))
        loss = torch.stack(list(ballnet_loss(network(triples.to(device)), target, 0.0, settings).values())).sum()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([weights.grad.flatten().cpu() for weights in network.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99


def test_the_script_that_measures_a_gpu_runs_on_a_cpu(warm_stages):
    script = [str(ROOT / "tests/bench/gpu.py"), "--device", "cpu", "--seconds", "0.05", "--height", "96"]
    done = warm_stages.run([sys.executable, *script], cwd=ROOT, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    for part in ("decoding", "detector", "ballnet", "recogniser", "training"):
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(part))
        assert float(line.split()[1]) > 0, line
