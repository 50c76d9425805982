"""Every detection model of torchvision by the name of its builder, with its COCO weights or a student's."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms.functional import convert_image_dtype

from labels.models.checkpoints import fetch_coco_weights, look_at, torchvision_names
from labels.models.deep_features import box_features, outputs_of
from labels.models.detectors.ballnet import to_working
from labels.models.detectors.detector import chosen_classes
from labels.models.settings import DEFAULT_DETECTOR, HUMAN, STUDENT, DetectorOptions, TorchvisionSettings
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of
from labels.videos.decoding.frames import Frame

SETTINGS = TorchvisionSettings()


class TorchvisionDetector:
    """A torchvision detection network as a detector (see `models/detector.py`).

    Args:
        network: takes a list of (3, H, W) float images, gives dicts of boxes, labels, scores. It is changed: it is
            moved to the device, put into evaluation mode, and its own score threshold is lowered to the floor.
        label_names: the name of each label id the network gives, background (0) included.
        class_names: which of them are wanted.
        transforms: from (3, H, W) uint8 to what the network wants; of a weights entry, `weights.transforms()`.
        long_side: larger frames are reduced to it as training reduces them; None leaves that to the network.
        describes: whether to say what its backbone sees in each box, which costs a little.
    """

    every_frame = False

    def __init__(
        self,
        network: nn.Module,
        label_names: tuple[str, ...],
        class_names: tuple[str, ...],
        name: str,
        digest: str,
        working_threshold: dict[str, float],
        device: str = "cpu",
        batch_size: int | None = None,
        score_floor: float = DetectorOptions.score_floor,
        transforms: Callable[[Tensor], Tensor] = convert_image_dtype,
        long_side: int | None = None,
        describes: bool = True,
    ) -> None:
        self.name, self.class_names, self.working_threshold = name, class_names, working_threshold
        self.score_slope: dict[str, float] = {}
        self.device = torch.device(device)
        self._precise = not _bf16_pays(network, self.device)
        self.digest = digest_of([digest, class_names, "float32" if self._precise else "bfloat16", score_floor])
        self._batch_size = batch_size or (
            SETTINGS.batch_size_cuda if self.device.type == "cuda" else SETTINGS.batch_size_cpu
        )
        self._score_floor, self._transforms, self._long_side = score_floor, transforms, long_side
        self._label_names = np.array(label_names, dtype=object)
        self._wanted = torch.tensor([label_names.index(name) for name in class_names], device=self.device)
        keep_every_score(network, score_floor)
        self._network = network.eval().to(self.device)
        parts = dict(network.named_children())
        self.describes = describes and {"transform", "backbone"} <= parts.keys()
        self._watched = [parts["transform"], parts["backbone"]] if self.describes else []
        if not self._precise:
            self._network.to(memory_format=torch.channels_last)

    def detect(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Detections]]:
        stream = iter(frames)
        while batch := list(islice(stream, self._batch_size)):
            yield from zip(batch, self._detect_batch([frame.rgb for frame in batch]), strict=True)

    def _detect_batch(self, rgbs: list[np.ndarray]) -> list[Detections]:
        bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=not self._precise)
        try:
            seen = [to_working(rgb, self._long_side) if self._long_side else rgb for rgb in rgbs]
            with torch.inference_mode(), bf16, outputs_of(*self._watched) as outputs:
                answers = self._network([self._as_image(rgb) for rgb in seen])
                found = [self._as_detections(answer) for answer in answers]
            if self.describes:
                found = _with_appearance(found, seen, *(output for (output,) in outputs))
        except torch.OutOfMemoryError:
            raise InputError(
                f"{self.name}: {len(rgbs)} frames at once do not fit into the GPU; say --batch-size {len(rgbs) // 2}"
                if len(rgbs) > 1
                else f"{self.name}: a frame does not fit into the GPU; say --input-size 640 or --device cpu"
            ) from None

        return [_enlarged(one, small, rgb) for one, small, rgb in zip(found, seen, rgbs, strict=True)]

    def _as_image(self, rgb: np.ndarray) -> Tensor:
        """A frame (H, W, 3) uint8 as the network wants it; it travels to the device as bytes."""
        pixels = torch.from_numpy(np.ascontiguousarray(rgb))
        return self._transforms(pixels.to(self.device).permute(2, 0, 1))

    def _as_detections(self, answer: dict[str, Tensor]) -> Detections:
        score = answer["scores"].float()
        keep = torch.isin(answer["labels"], self._wanted) & (score >= self._score_floor)
        names = self._label_names[answer["labels"][keep].cpu().numpy()]
        return Detections(answer["boxes"][keep].float().cpu().numpy(), score[keep].clamp(0, 1).cpu().numpy(), names)


def pretrained_detector(
    name: str, class_names: tuple[str, ...] | None, device: str, options: DetectorOptions
) -> TorchvisionDetector:
    """The torchvision detector of that name with its COCO weights; without `class_names`, balls where it knows them.

    Raises InputError for an unknown name or class, and when the weights cannot be fetched.
    """
    if name not in torchvision_names():
        near = get_close_matches(name, [*torchvision_names(), "motion", STUDENT, HUMAN], n=3, cutoff=0.3)
        raise InputError(
            f"--detector {name}: neither a file nor a detector of torchvision; "
            f"{'did you mean ' + ' or '.join(near) if near else 'try ' + DEFAULT_DETECTOR + ' or motion'}?"
        )
    weights = get_model_weights(name).DEFAULT
    label_names = tuple(weights.meta["categories"])
    class_names = chosen_classes(class_names, label_names, f"--detector {name}")
    # Fetched and read as plain tensors first: get_model reads the file again, in a way that would run code in it.
    fetch_coco_weights(name, "say --detector motion, or --detector with a .onnx or .pt file of your own")
    network = get_model(name, weights=weights)
    long_side = set_input_size(network, options, name)
    return TorchvisionDetector(
        network,
        label_names,
        class_names,
        name,
        digest_of([weights.url, long_side]),
        dict.fromkeys(class_names, SETTINGS.working_threshold),
        device,
        options.batch_size,
        options.score_floor,
        weights.transforms(),
        describes=options.describes,
    )


def set_input_size(network: nn.Module, options: DetectorOptions, name: str) -> int | None:
    """Let the network see frames with their longer side at so many pixels; None leaves what it was built with.

    Tiles are seen at their own size where that can be, and are scaled where the network's is fixed.
    """
    long_side = options.input_size or options.tile_side
    if long_side is None or look_at(network, long_side):
        return long_side
    if options.input_size is not None:
        raise InputError(f"--input-size: {name} looks at frames of one fixed size; leave it out")
    return None


def _with_appearance(
    found: list[Detections],
    seen: list[np.ndarray],
    transformed: tuple[ImageList, Any],
    maps: Tensor | dict[str, Tensor],
) -> list[Detections]:
    """Detections in frames, with what the backbone's finest map (its first) shows of them.

    `transformed` is what the network made of the frames: enlarged or reduced, then padded to a common size.
    """
    finest = maps if isinstance(maps, Tensor) else next(iter(maps.values()))
    images = transformed[0]
    cell = np.array(finest.shape[:1:-1]) / np.array(images.tensors.shape[:1:-1])  # a pixel's width and height in cells
    scales = [
        np.tile(np.array(size[::-1]) / rgb.shape[1::-1] * cell, 2)
        for size, rgb in zip(images.image_sizes, seen, strict=True)
    ]
    appearances = box_features(finest, [one.xyxy * scale for one, scale in zip(found, scales, strict=True)])
    return [replace(one, appearance=appearance) for one, appearance in zip(found, appearances, strict=True)]


def _enlarged(found: Detections, seen: np.ndarray, rgb: np.ndarray) -> Detections:
    """What was found in a reduced frame, in pixels of the frame it was made from."""
    if seen.shape == rgb.shape:
        return found
    scale = np.array([rgb.shape[1] / seen.shape[1], rgb.shape[0] / seen.shape[0]] * 2, dtype=np.float32)
    return replace(found, xyxy=found.xyxy * scale)


def keep_every_score(network: nn.Module, score_floor: float) -> None:
    """Make the network give all boxes down to the floor: deciding is a later step."""
    for part in (network, getattr(network, "roi_heads", None)):
        if hasattr(part, "score_thresh"):
            part.score_thresh = score_floor  # type: ignore[union-attr]
        if hasattr(part, "detections_per_img"):
            part.detections_per_img = SETTINGS.boxes_per_frame  # type: ignore[union-attr]


def _bf16_pays(network: nn.Module, device: torch.device) -> bool:
    """Whether bf16 with channels_last is faster: on GPUs that have it, and for MobileNet R-CNN on such CPUs (1.5x).

    Measured on a CPU with avx512_bf16: MobileNet-320 120 to 78 ms, SSDlite 62 to 57 ms, ResNet-50 slower.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot say
    if device.type != "cpu" or not cpu.get("avx512_bf16", False):
        return False
    mobile = any(type(module).__module__ == "torchvision.models.mobilenetv3" for module in network.modules())
    return mobile and isinstance(network, FasterRCNN)
