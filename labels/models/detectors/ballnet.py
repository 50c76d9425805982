"""BallNet: our own small detector for small, fast, blurred objects. Three frames in, a heat map of centres out.

Three consecutive frames are the idea of TrackNet (Huang et al. 2019, arXiv 1907.03698) and WASB (Tarashima et al. 2023,
arXiv 2311.05237); heat map of centres, size and offset are CenterNet's (Zhou et al. 2019, arXiv 1904.07850). A U-Net of
plain 3x3 convolutions in channels_last is the fastest form of it on a CPU: 7 ms for 320x180 on one core.

The neighbours are aligned to the middle frame as if the camera had stood still, so that what differs is what moved by
itself. The network works at a reduced size (`long_side`); boxes are returned in pixels of the original frame.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from labels.records.detections import Detections
from labels.records.geometry import centre_of, clip_boxes, iou_matrix, size_of
from labels.tracks.camera_motion import CameraMotion
from labels.videos.decoding.frames import Frame

CHANNELS = 5  # red, green and blue now, grey before, grey after
Given = TypeVar("Given")


class SmallFrame(NamedTuple):
    """A frame at its working size."""

    rgb: np.ndarray  # (h, w, 3) uint8
    grey: np.ndarray  # (h, w) uint8
    to_before: np.ndarray | None  # (2, 3), takes its pixels to those of the frame before; None: a cut, or the first


def working_size(width: int, height: int, long_side: int) -> tuple[int, int]:
    """(width, height) at which the network looks at a frame: reduced to the long side, never enlarged."""
    scale = min(1.0, long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def to_working(rgb: np.ndarray, long_side: int) -> np.ndarray:
    """A frame (H, W, 3) uint8 at its working size. One way for training and for detecting."""
    size = working_size(rgb.shape[1], rgb.shape[0], long_side)
    return rgb if size == (rgb.shape[1], rgb.shape[0]) else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


class FrameFollower:
    """Makes `SmallFrame`s of working-size frames of one video, given in order without gaps."""

    def __init__(self) -> None:
        self._camera, self._size = CameraMotion(), (0, 0)

    def follow(self, rgb: np.ndarray) -> SmallFrame:
        is_first = rgb.shape[:2] != self._size  # a video that changes its size starts anew
        if is_first:
            self._camera, self._size = CameraMotion(), rgb.shape[:2]
        step = self._camera.update(rgb)
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        return SmallFrame(rgb, grey, None if is_first or step.is_cut else step.matrix)


def align(before: SmallFrame | None, now: SmallFrame, after: SmallFrame | None) -> Tensor:
    """(5, h, w) uint8 of a frame and its neighbours; None: there is none.

    A neighbour that is missing or of another shot is replaced by the other one: what is here and not there stays
    visible. Without either, the frame is its own neighbour.
    """
    laid_before = laid_after = None
    if before is not None and now.to_before is not None:
        laid_before = _lay_over(before.grey, now.grey, now.to_before)
    if after is not None and after.to_before is not None:
        laid_after = _lay_over(after.grey, now.grey, cv2.invertAffineTransform(after.to_before))
    if laid_before is None:
        laid_before = now.grey if laid_after is None else laid_after
    if laid_after is None:
        laid_after = laid_before
    return torch.from_numpy(np.stack([*np.moveaxis(now.rgb, 2, 0), laid_before, laid_after]))


def aligned_stream(frames: Iterable[tuple[Given, np.ndarray]]) -> Iterator[tuple[Given, Tensor]]:
    """`align` for each working-size frame of one video, one frame late; what came with a frame goes along with it."""
    follower = FrameFollower()
    before: SmallFrame | None = None
    waiting: tuple[Given, SmallFrame] | None = None
    for given, rgb in frames:
        now = follower.follow(rgb)
        if waiting is not None:
            yield waiting[0], align(before, waiting[1], now)
            before = waiting[1]
        waiting = (given, now)
    if waiting is not None:
        yield waiting[0], align(before, waiting[1], None)


def _lay_over(neighbour: np.ndarray, grey: np.ndarray, to_neighbour: np.ndarray) -> np.ndarray:
    """The neighbour (h, w) as seen by the camera of `grey`; where it does not reach, nothing differs."""
    return cv2.warpAffine(
        neighbour,
        to_neighbour,
        (grey.shape[1], grey.shape[0]),
        dst=grey.copy(),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_TRANSPARENT,
    )


STRIDE = 2  # working pixels to a cell of the heat map
GREY = torch.tensor([0.299, 0.587, 0.114])  # as OpenCV makes the neighbours grey
PRIOR = 0.01  # the heat an untrained network gives everywhere (focal loss, arXiv 1708.02002, section 4.1)
LOG_SIZE_LIMIT = 6.0  # of the logarithm of a size in cells: 400 cells


@dataclass(frozen=True)
class BallNetSettings:
    """What a BallNet is; saved in its checkpoint."""

    long_side: int = 512  # working pixels; larger frames are reduced to it, smaller ones never enlarged
    channels: tuple[int, ...] = (16, 32, 64, 96)  # at strides 2, 4, 8, 16
    min_score: float = 0.05  # raw scores are saved; deciding is cleaning's step
    most_boxes: int = 20  # a frame and class


class HeatMaps(NamedTuple):
    """What the network says of B triples; h and w are the working size over STRIDE, rounded up."""

    heat_logit: Tensor  # (B, K, h, w), one map a class
    log_size: Tensor  # (B, 2, h, w), logarithm of width and height in cells
    offset: Tensor  # (B, 2, h, w), from a cell's corner to the centre of the box, x and y in cells


class FoundBoxes(NamedTuple):
    """The boxes of one triple: `xyxy` (N, 4) working pixels, `score` (N,), `class_ids` (N,) from 0."""

    xyxy: np.ndarray
    score: np.ndarray
    class_ids: np.ndarray


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU; in evaluation the norm can be folded into the convolution."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out, momentum=0.05),
            nn.ReLU(inplace=True),
        )

    def fold(self) -> None:
        convolution, norm = self[0], self[1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            self[0], self[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()


class BallNet(nn.Module):
    """A U-Net from three frames to `HeatMaps`, for `class_count` classes."""

    def __init__(self, class_count: int, settings: BallNetSettings = BallNetSettings()) -> None:
        super().__init__()
        self.class_count, self.settings = class_count, settings
        channels = settings.channels
        steps = list(pairwise(channels))
        self.stem = nn.Sequential(ConvBlock(CHANNELS + 1, channels[0], stride=2), ConvBlock(channels[0], channels[0]))
        self.down = nn.ModuleList(nn.Sequential(ConvBlock(a, b, stride=2), ConvBlock(b, b)) for a, b in steps)
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in steps)
        self.merge = nn.ModuleList(ConvBlock(a, a) for a, _ in steps)
        last = nn.Conv2d(2 * channels[0], class_count + 4, 1)
        self.head = nn.Sequential(ConvBlock(channels[0], 2 * channels[0]), last)
        assert last.bias is not None
        with torch.no_grad():
            last.bias[:class_count] = -float(np.log((1 - PRIOR) / PRIOR))
            last.bias[class_count : class_count + 2] = 1.4  # 4 cells
            last.bias[class_count + 2 :] = 0.5

    def forward(self, triples: Tensor) -> HeatMaps:
        """Args: triples: (B, 5, H, W) of 0-255, uint8 or float (see `align`)."""
        features = [self.stem(network_input(triples))]
        for down in self.down:
            features.append(down(features[-1]))
        map_ = features.pop()
        for narrow, merge in zip(reversed(self.narrow), reversed(self.merge), strict=True):
            finer = features.pop()
            doubled = functional.interpolate(narrow(map_), scale_factor=2.0, mode="nearest")
            map_ = merge(finer + doubled[..., : finer.shape[-2], : finer.shape[-1]])
        out = self.head(map_).float()  # (B, K + 4, h, w)
        heat, log_size, offset = out.split([self.class_count, 2, 2], dim=1)
        return HeatMaps(heat, log_size.clamp(-3.0, LOG_SIZE_LIMIT), offset)

    def folded(self) -> "BallNet":
        """Fold the batch norms into the convolutions, in place: the same answers, faster. For evaluation only."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvBlock):
                module.fold()
        return self


def network_input(triples: Tensor) -> Tensor:
    """(B, 5, H, W) of 0-255 (see `align`) to (B, 6, H, W): colours around 0, and what moved.

    The last three channels are the grey differences to the frame before and after, and the smaller of both: what is in
    this frame and in neither neighbour.
    """
    scaled = triples.mul(1 / 64).sub_(2)
    colour, neighbours = scaled[:, :3], scaled[:, 3:]
    grey = (colour * GREY.to(colour.device)[:, None, None]).sum(dim=1, keepdim=True)
    change = (grey - neighbours).mul_(2)  # (B, 2, H, W)
    alone = change.abs().amin(dim=1, keepdim=True)
    return torch.cat([colour, change, alone], dim=1).contiguous(memory_format=torch.channels_last)


def peaks_of(maps: HeatMaps, most_boxes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Peaks of the heat maps of B triples as boxes (B, N, 4) working pixels, scores (B, N) and class ids (B, N).

    A peak is a cell that none of its eight neighbours exceeds. N is `most_boxes` a class, the rest has a score of 0.
    """
    heat = maps.heat_logit.sigmoid()
    classes, height, width = heat.shape[1:]
    is_peak = functional.max_pool2d(heat, 3, stride=1, padding=1) == heat
    count = min(most_boxes, int(height * width))
    score, cell = (heat * is_peak).flatten(2).topk(count, dim=2)  # (B, K, count)
    at = cell.flatten(1)[:, None].expand(-1, 2, -1)  # (B, 2, K * count)
    size = maps.log_size.flatten(2).gather(2, at).exp()
    corner = torch.stack([cell.flatten(1) % width, cell.flatten(1) // width], dim=1)
    centre = corner + maps.offset.flatten(2).gather(2, at)
    xyxy = (torch.cat([centre - size / 2, centre + size / 2], dim=1) * STRIDE).transpose(1, 2)  # (B, K * count, 4)
    class_ids = torch.arange(int(classes), device=heat.device).repeat_interleave(count)
    return xyxy, score.flatten(1), class_ids.expand_as(score.flatten(1))


def decode_heat_maps(maps: HeatMaps, min_score: float, most_boxes: int) -> list[FoundBoxes]:
    """The boxes of each of B triples; several peaks on one thing leave the best."""
    boxes, scores, labels = (part.cpu() for part in peaks_of(maps, most_boxes))
    answers = []
    for each in zip(boxes.float(), scores.float(), labels, strict=True):
        xyxy, score, classes = (part.numpy() for part in each)
        found = np.flatnonzero(score >= min_score)
        found = found[best_of_each(xyxy[found], score[found], classes[found])]
        answers.append(FoundBoxes(xyxy[found], score[found], classes[found]))
    return answers


def best_of_each(xyxy: np.ndarray, score: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """Indices of the boxes left when each takes away the worse ones of its class that are the same thing."""
    if len(score) < 2:
        return np.arange(len(score))
    distance = np.linalg.norm(centre_of(xyxy)[:, None] - centre_of(xyxy)[None], axis=2)
    inside = distance < size_of(xyxy).min(axis=1)[:, None] / 2  # the other's centre is well within mine
    same = (class_ids[:, None] == class_ids[None]) & (inside | (iou_matrix(xyxy, xyxy) > 0.4))
    left: list[int] = []
    for candidate in np.argsort(-score, kind="stable"):
        if not same[left, candidate].any():
            left.append(int(candidate))
    return np.array(left, dtype=int)


def detect_triples(network: BallNet, triples: Tensor) -> list[FoundBoxes]:
    """`decode_heat_maps` of (B, 5, H, W) uint8 triples on the network's device; bf16 on a GPU."""
    device = next(network.parameters()).device
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        maps = network(triples.to(device, non_blocking=True))
        return decode_heat_maps(maps, network.settings.min_score, network.settings.most_boxes)


class BallNetDetector:
    """A trained BallNet as a detector (see `models.detector`): frames stream in, one answer each streams out."""

    every_frame = True  # the neighbours of a labelled frame are needed too
    describes = False  # what its maps show of a box tells nothing more, see `deep_features`

    def __init__(
        self,
        network: BallNet,
        class_names: tuple[str, ...],
        name: str,
        digest: str,
        working_threshold: dict[str, float],
        device: str = "cpu",
        batch_size: int | None = None,
    ) -> None:
        self.network = network.folded().to(device).to(memory_format=torch.channels_last)
        self.class_names, self.name, self.digest = class_names, name, digest
        self.working_threshold = working_threshold
        self.score_slope: dict[str, float] = {}
        # On a CPU a batch gains nothing but fewer calls, and costs memory.
        self.batch_size = batch_size or (32 if str(device).startswith("cuda") else 4)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: dict[str, Any], network: BallNet, name: str, digest: str, device: str = "cpu"
    ) -> "BallNetDetector":
        """The detector of a loaded checkpoint and its network (`networks.network_from_checkpoint`)."""
        return cls(network, tuple(checkpoint["class_names"]), name, digest, checkpoint["working_threshold"], device)

    def detect(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Detections]]:
        """One answer for each frame, in order. The first and the last frame have one neighbour only."""
        long_side = self.network.settings.long_side
        stream = aligned_stream((frame, to_working(frame.rgb, long_side)) for frame in frames)
        for batch in _batches(stream, self.batch_size):
            found = detect_triples(self.network, torch.stack([triple for _, triple in batch]))
            for (frame, triple), boxes in zip(batch, found, strict=True):
                yield frame, self._as_detections(frame, triple, boxes)

    def _as_detections(self, frame: Frame, triple: Tensor, boxes: FoundBoxes) -> Detections:
        height, width = frame.rgb.shape[:2]
        xyxy = to_frame_pixels(boxes.xyxy, triple, width, height)
        there = np.all(size_of(xyxy) > 0, axis=1)
        names = np.array(self.class_names, dtype=object)[boxes.class_ids]
        return Detections(xyxy, boxes.score, names).where(there)


def to_frame_pixels(xyxy: np.ndarray, triple: Tensor, width: int, height: int) -> np.ndarray:
    """Boxes in pixels of a triple (5, h, w) as boxes in pixels of the frame it was made from, clipped to it."""
    scale_x, scale_y = width / triple.shape[-1], height / triple.shape[-2]
    return clip_boxes(xyxy * np.array([scale_x, scale_y, scale_x, scale_y], dtype=np.float32), width, height)


def _batches(stream: Iterable[tuple[Frame, Tensor]], most: int) -> Iterator[list[tuple[Frame, Tensor]]]:
    """Consecutive frames of one size, at most so many."""
    batch: list[tuple[Frame, Tensor]] = []
    for item in stream:
        if batch and (len(batch) == most or item[1].shape != batch[0][1].shape):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
