"""Loading detectors by the names given to `--detector`. torch is imported only for those that need it.

Also sets how the C library returns freed memory when networks run on a CPU.
"""

import ctypes
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labels.models.detectors.detector import Detector, NoDetector, chosen_classes
from labels.models.hub import HF
from labels.models.settings import AS_IT_COMES, HUMAN, DetectorOptions, MotionSettings
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest

# Numbers of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_HELD = 32 << 20  # bytes of a block; glibc takes no larger limit
NEVER = -1


def keep_freed_memory() -> None:
    """Tell glibc to keep what a network frees for the next step, instead of giving each large block back to the system.

    A block that comes anew from the system is zeroed page by page when it is first written to: that was a quarter of a
    training step of BallNet. Costs nothing but that the process stays as large as it once was. No other C library is
    told anything.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_HELD)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)


if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame

DEVICES = ("auto", "cpu", "cuda")


def load_detector(
    name_or_file: str,
    class_names: tuple[str, ...] | None = None,
    device: str = "auto",
    options: DetectorOptions = AS_IT_COMES,
) -> Detector:
    """`motion`, `ballnet`, `human`, a torchvision detector by name, a .onnx file, a .pt file of train.py, or `hf:…`.

    Args:
        class_names: the classes wanted. None: all of a .pt file's; of others balls, or all where they know no balls.
        device: auto, cpu or cuda.

    Raises InputError for whatever is wrong with it, in one line.
    """
    path = Path(name_or_file)
    if options.class_list is not None and path.suffix != ".onnx":
        raise InputError(f"--class-list names the classes of a .onnx file; {name_or_file} knows its own: leave it out")
    if options.prompts is not None and not name_or_file.startswith(HF):
        raise InputError(f"--class-list: prompts are for detectors that read text, as --detector {HF}…; leave it out")
    if name_or_file.startswith(HF):
        from labels.models.detectors.hub_detectors import load_hub_detector

        return load_hub_detector(name_or_file, class_names, torch_device(device), options)
    if name_or_file == "motion":
        return _motion(class_names, device, options)
    if name_or_file == HUMAN:
        return NoDetector(class_names)
    if name_or_file == "ballnet":
        from labels.models.checkpoints import BALLNET_WEIGHTS

        return detector_from_checkpoint(BALLNET_WEIGHTS, device, class_names, options)
    if path.suffix in (".onnx", ".pt") or path.is_file():
        if not path.is_file():
            raise InputError(f"--detector {name_or_file}: no such file")
        if path.suffix == ".onnx":
            from labels.models.detectors.onnx_detectors import load_onnx_detector

            return load_onnx_detector(path, class_names, onnx_device(device), options)
        if path.suffix == ".pt":
            return detector_from_checkpoint(path, device, class_names, options)
        raise InputError(f"--detector {name_or_file}: a detector file ends in .onnx, or in .pt when train.py made it")
    from labels.models.detectors.torchvision_detectors import pretrained_detector

    return pretrained_detector(name_or_file, class_names, torch_device(device), options)


def detector_from_checkpoint(
    path: Path,
    device: str = "auto",
    class_names: tuple[str, ...] | None = None,
    options: DetectorOptions = AS_IT_COMES,
) -> Detector:
    """The detector in a file that train.py made; `class_names` picks some of its classes."""
    from labels.models.checkpoints import BALLNET, load_checkpoint, network_from_checkpoint

    checkpoint = load_checkpoint(path)
    own = tuple(checkpoint["class_names"])
    wanted = own if class_names is None else chosen_classes(class_names, own, str(path))
    network = network_from_checkpoint(checkpoint, str(path))
    threshold = {name: float(checkpoint["working_threshold"][name]) for name in own}
    slope = {name: float(value) for name, value in checkpoint.get("score_slope", {}).items() if name in wanted}
    digest, device = file_digest(path), torch_device(device)
    if checkpoint["architecture"] == BALLNET:
        from labels.models.detectors.ballnet import BallNet, BallNetDetector

        assert isinstance(network, BallNet)
        if options.input_size is not None:
            raise InputError(f"--input-size: {path} looks at frames at the size it was trained with; leave it out")
        ball_net = BallNetDetector(network, own, str(path), digest, threshold, device, options.batch_size)
        ball_net.score_slope = slope
        return ball_net if wanted == own else OnlyClasses(ball_net, wanted)
    from labels.models.detectors.torchvision_detectors import TorchvisionDetector, set_input_size

    long_side = set_input_size(network, options, str(path))
    detector = TorchvisionDetector(
        network,
        ("__background__", *own),
        wanted,
        str(path),
        digest_of([digest, long_side]),
        {name: threshold[name] for name in wanted},
        device,
        options.batch_size,
        options.score_floor,
        long_side=long_side or checkpoint["settings"].get("long_side"),
        describes=options.describes,
    )
    detector.score_slope = slope
    return detector


class OnlyClasses:
    """A detector of which only some classes are wanted."""

    def __init__(self, detector: Detector, class_names: tuple[str, ...]) -> None:
        self._detector, self.class_names = detector, class_names
        self.name, self.every_frame, self.describes = detector.name, detector.every_frame, detector.describes
        self.digest = digest_of([detector.digest, class_names])
        self.working_threshold = {name: detector.working_threshold[name] for name in class_names}
        self.score_slope = detector.score_slope

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        for frame, found in self._detector.detect(frames):
            yield frame, found.where(np.isin(found.class_name.astype(str), self.class_names))


def torch_device(device: str) -> str:
    """ "cpu" or "cuda" for what a user said. InputError for cuda where there is none.

    Whoever asks is about to run a network: where it is the CPU, this process keeps the memory that networks free.
    """
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            return "cuda"
        if device == "cuda":
            raise InputError("--device cuda: torch sees no CUDA device here; leave it out or say --device cpu")
    keep_freed_memory()
    return "cpu"


def onnx_device(device: str) -> str:
    """The same for .onnx files, where it is onnxruntime that has CUDA or not."""
    if device != "auto":
        return device  # opening the file says what is missing
    try:
        import onnxruntime
    except ImportError:
        return "cpu"
    return "cuda" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "cpu"


def _motion(class_names: tuple[str, ...] | None, device: str, options: DetectorOptions) -> Detector:
    from labels.models.detectors.motion import MotionDetector

    if device == "cuda":
        raise InputError("--device cuda: the motion labeller runs on the CPU; leave it out")
    long_side = MotionSettings.long_side if options.input_size is None else options.input_size
    floor = min(options.score_floor, MotionSettings.score_floor)
    return MotionDetector(class_names, MotionSettings(long_side=long_side, score_floor=floor))
