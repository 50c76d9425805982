"""How much of what a GPU and its machine could do is reached: decoding, a detector, ballnet, a recogniser, training.

    python tests/bench/gpu.py                                        # on a GPU; under 8 minutes
    python tests/bench/gpu.py --device cpu --seconds 2 --height 180  # the same script, tried without one

A line a part: what a second got done; the bound, the smallest of what the cores decode and what the arithmetic allows
(FLOPs that PyTorch counts, over the rate of a large product of matrices on this device); the share of it reached; how
busy nvidia-smi says the GPU was; the peak of memory. The clip is noise over which a ball flies, H.264; networks have
weights of chance, which cost the same. The detector and ballnet start from the file, as stage 2 does; the recogniser
and training from arrays, so that cutting windows and augmentation are not in these figures.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import detection

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from labels.engine.pools import cores, in_processes
from labels.models.detectors.ballnet import BallNet, BallNetDetector
from labels.models.detectors.torchvision_detectors import TorchvisionDetector
from labels.models.recognisers.recogniser import NetworkRecogniser, build_recogniser, preset_of
from labels.models.recognisers.settings import DEFAULT_ON_CPU, DEFAULT_ON_GPU
from labels.training.boxes.ballnet_task import LossSettings, TargetDrawer, TargetMaps, ballnet_loss
from labels.training.optimisation import Optimisation
from labels.training.settings import TrainingSettings
from labels.videos.decoding.frames import Frame, decode_ahead, decode_frames
from labels.videos.encoding import VideoWriter

FRAMES = 250  # of the clip
CROP = 256  # pixels that ballnet is trained on


def write_clip(path: Path, height: int) -> None:
    width = height * 16 // 9 // 2 * 2
    ground = np.random.default_rng(0).integers(60, 140, (height, width + 2 * FRAMES, 3), dtype=np.uint8)
    with VideoWriter(path, fps=25.0) as writer:
        for index in range(FRAMES):
            rgb = ground[:, 2 * index : 2 * index + width].copy()  # the camera pans
            x = 20 + (width - 40) * index // FRAMES
            rgb[height // 2 - 4 : height // 2 + 4, x - 4 : x + 4] = 250
            writer.write(rgb)


def again_and_again(path: Path, streams: int) -> Iterator[Frame]:
    """Frames without end, the next clips decoded ahead as in stage 2."""
    while True:
        requests = [(str(at), path, 1) for at in range(8)]
        yield from chain.from_iterable(frames for _, frames in decode_ahead(requests, streams))


def per_second(done: Iterator[int], seconds: float, device: str) -> float:
    """What the iterator says it has done, a second; the first round is a warm-up."""
    next(done)
    _settle(device)
    started, count = time.perf_counter(), 0
    while not count or time.perf_counter() - started < seconds:
        count += next(done)
    _settle(device)
    return count / (time.perf_counter() - started)


def _settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def decoded_per_second(path: Path, seconds: float) -> float:
    """By one process."""
    return per_second((1 for _ in chain.from_iterable(decode_frames(path) for _ in range(10**6))), seconds, "cpu")


def by_all(path: Path, seconds: float) -> float:
    """Frames a second, of as many processes as there are cores."""
    return sum(in_processes(partial(decoded_per_second, path), [seconds] * cores(), cores()))


def product_rate(device: str) -> float:
    """FLOP a second of a product of matrices, bf16 on a GPU."""
    side, kind = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    one, two = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))

    def products() -> Iterator[int]:
        while True:
            torch.mm(one, two)
            yield 2 * side**3

    return per_second(products(), 1.0, device)


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@dataclass
class Part:
    name: str
    unit: str
    done: Iterator[int]
    flops_each: float  # of one unit
    from_file: bool = False


def detector_part(path: Path, device: str) -> Part:
    name = "fasterrcnn_resnet50_fpn" if device == "cuda" else "fasterrcnn_mobilenet_v3_large_320_fpn"
    network = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=3)
    names = ("__background__", "person", "sports ball")
    # Weights of chance are sure of nothing: without a floor all proposals would be boxes, as never after training.
    found = TorchvisionDetector(network, names, names[1:], name, "", {}, device, score_floor=0.6)
    frames = list(decode_frames(path))[:1]
    each = flops(lambda: list(found.detect(frames)))
    return Part("detector", "frames", (1 for _ in found.detect(again_and_again(path, 4))), each, True)


def ballnet_part(path: Path, device: str) -> Part:
    detector = BallNetDetector(BallNet(1), ("sports ball",), "ballnet", "", {}, device)
    frames = list(decode_frames(path))[:4]
    each = flops(lambda: list(detector.detect(frames))) / len(frames)
    return Part("ballnet", "frames", (1 for _ in detector.detect(again_and_again(path, 4))), each, True)


def recogniser_part(device: str) -> Part:
    name = DEFAULT_ON_GPU if device == "cuda" else DEFAULT_ON_CPU
    preset = preset_of(name)
    network = build_recogniser(name, 10, preset, pretrained=False)
    recogniser = NetworkRecogniser(network, tuple("abcdefghij"), preset, name, "", device)
    shape = (recogniser.batch_size, preset.frames, preset.side, preset.side, 3)
    windows = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def recognised() -> Iterator[int]:
        while True:
            yield len(recogniser.recognise(windows))

    return Part("recogniser", "windows", recognised(), flops(lambda: recogniser.recognise(windows[:1])))


class MadeBatches:
    """BallNet's loss on a batch that is there; its way to the GPU is in."""

    def __init__(self, count: int) -> None:
        drawer = TargetDrawer(count, 1, CROP, LossSettings())
        for crop in range(count):
            drawer.add_object(crop, 0, torch.tensor([100.0, 100.0, 108.0, 108.0]) + crop, 1.0)
        self.target = drawer.maps()
        self.triples = torch.randint(0, 256, (count, 5, CROP, CROP), dtype=torch.uint8)

    def make_batch(self, examples: list[int]) -> tuple[torch.Tensor, TargetMaps]:
        return self.triples, self.target

    def losses(self, network: torch.nn.Module, batch: tuple[torch.Tensor, TargetMaps], progress: float) -> dict:
        device = next(network.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            maps = network(batch[0].to(device, non_blocking=True))
        return ballnet_loss(maps, batch[1].to(device), progress, LossSettings())


def training_part(device: str) -> Part:
    count = 32 if device == "cuda" else 4
    settings = replace(TrainingSettings(), batch_size=count, epoch_frames=count, epochs=10**6)
    network = BallNet(1).to(device).to(memory_format=torch.channels_last)
    loop = Optimisation(network, MadeBatches(count), list(range(count)), settings)

    def steps() -> Iterator[int]:
        for epoch in range(10**6):
            loop.run_epoch(epoch)
            yield count

    return Part("training", "crops", steps(), flops(lambda: loop.run_epoch(0)) / count)


class Watch:
    """What nvidia-smi says while a block runs."""

    def __init__(self, device: str) -> None:
        self.device, self.process = device, None

    def __enter__(self) -> "Watch":
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            if shutil.which("nvidia-smi"):
                asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
                self.process = subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.busy = "?"
        if self.process is not None:
            self.process.terminate()
            said = [int(line) for line in self.process.communicate()[0].split() if line.isdigit()]
            self.busy = f"{np.mean(said):.0f} %" if said else "?"
        on_gpu = self.device == "cuda"
        peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        self.peak = f"{peak / 2**20:.0f} MB{'' if on_gpu else ' (of the process)'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each part")
    parser.add_argument("--height", type=int, default=720, help="of the clip, pixels")
    args = parser.parse_args()
    torch.manual_seed(0)
    device = args.device
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, args.height)
        one, decoded = decoded_per_second(clip, args.seconds), by_all(clip, args.seconds)
        name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        arithmetic = product_rate(device)
        print(f"{name}, {cores()} cores; products of matrices: {arithmetic / 1e12:.2f} TFLOP/s; {args.height} rows")
        line = f"{'decoding':<10} {decoded:9.1f} frames/s   bound {one * cores():9.1f} (one process x cores)"
        print(f"{line}   {decoded / one / cores():4.0%}", flush=True)
        makers = (partial(detector_part, clip), partial(ballnet_part, clip), recogniser_part, training_part)
        for make in makers:
            part = make(device)
            with Watch(device) as watch:
                reached = per_second(part.done, args.seconds, device)
            bounds = {"arithmetic": arithmetic / part.flops_each} | ({"decoding": decoded} if part.from_file else {})
            why = min(bounds, key=bounds.__getitem__)
            line = f"{part.name:<10} {reached:9.1f} {part.unit + '/s':<10} bound {bounds[why]:9.1f} ({why})"
            more = f"GPU busy {watch.busy}, " if device == "cuda" else ""
            line += f"   {reached / bounds[why]:4.0%}   {more}peak {watch.peak}, {part.flops_each / 1e9:.2f} GFLOP each"
            print(line, flush=True)


if __name__ == "__main__":
    main()
