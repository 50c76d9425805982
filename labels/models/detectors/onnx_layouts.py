"""What frames a detector in a .onnx file is fed with, and how its outputs are read: the table LAYOUTS.

A layout is told by the file's metadata, the shapes of its outputs and the values they hold for one grey frame. Rows are
tried from the top, the first that fits is taken. C is the number of classes, N of boxes; batch axes are left out here.

| layout | outputs | told by | frame |
|---|---|---|---|
| RT-DETR, D-FINE | labels (N), boxes (N, 4), scores (N) | three outputs of one N | RGB 0-1, stretched |
| RF-DETR | boxes (N, 4) as shares, logits (N, C) | two outputs of one N | RGB as of ImageNet, stretched |
| YOLOv7 end to end | (N, 7): batch, corners, class, score | seven columns and no batch axis | RGB 0-1 |
| YOLO26, YOLOv10, nms=True | (N, 6): corners, score, class | N is no grid's, classes are whole numbers | RGB 0-1 |
| YOLOv5, YOLOv7 | (N, 5 + C) | N is three boxes for each cell of a grid | RGB 0-1 |
| YOLOv6 | (N, 5 + C) | a box for each cell, objectness 0 or 1 | RGB 0-1 |
| YOLOX decoded | (N, 5 + C) | a box for each cell, values that no raw output has | BGR 0-255 |
| YOLOX | (N, 5 + C), on the grid | a box for each cell | BGR 0-255 |
| YOLOv8 to YOLO12, YOLO11 | (4 + C, N) | more boxes than attributes, or the number of names | RGB 0-1 |
| the same, transposed | (N, 4 + C) | the number of names, or of a grid's cells | RGB 0-1 |
| RT-DETR of ultralytics | (N, 4 + C) as shares | the same, and N is no grid's | RGB 0-1, stretched |

Segmentation exports have mask coefficients beside the classes and an output (coefficients, h, w): the boxes are used.
Boxes as shares of the input, 0-1, are told by their values. Frames lie in the top left corner, the rest grey, unless
they are stretched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from labels.models.detectors.onnx_files import OnnxHeader, OnnxValue
from labels.records.errors import InputError

Boxes = tuple[np.ndarray, np.ndarray]  # xyxy (N, 4) in pixels of the input, scores (N, C)

GRIDS = ((8, 16, 32), (8, 16, 32, 64), (16, 32))  # strides of the cells that boxes are of
STRIDES = GRIDS[0]
COCO_CLASSES, COCO_IDS = 80, 91
UNUSED_COCO_IDS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # of the 91
LARGEST_SHARE = 1.5  # boxes whose corners all lie below are shares of the frame: in pixels they would be none
RAW_LIMIT = 8.0  # a raw box of YOLOX is exp(its size) strides large: 8 would be 24,000 pixels
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
REFUSED_TASKS = {
    "pose": "finds people's joints: say --pose, or export the model without -pose",
    "obb": "finds rotated boxes, and labels are upright: export the model without -obb",
    "classify": "names whole pictures and finds no boxes: export a detection model",
    "semantic": "colours pixels and finds no boxes: export a detection model",
}


@dataclass(frozen=True)
class ImageInput:
    """The input that takes frames."""

    name: str
    dtype: "np.dtype[np.generic]"
    channels_last: bool
    channels: int  # 3, or 9 for three frames
    batch: int | None  # None: any
    size: tuple[int, int] | None  # (width, height), or None: any

    @property
    def takes_bytes(self) -> bool:
        """Whether it takes 0-255, and what makes numbers of them is in the file."""
        return self.dtype.kind in "iu"

    def feed(self, frames: list[np.ndarray], batch: int) -> np.ndarray:
        """Frames (H, W, channels) as the input wants them, the last one repeated until there are `batch`."""
        stacked = np.stack(frames + frames[-1:] * (batch - len(frames)))
        return np.ascontiguousarray(stacked if self.channels_last else stacked.transpose(0, 3, 1, 2), dtype=self.dtype)


def image_input(path: Path, header: OnnxHeader, poses: bool = False) -> ImageInput:
    """Raises InputError for a file whose task is another, that takes no frames, or needs what nobody can give it.

    Args:
        poses: it shall find joints, not boxes.
    """
    task = header.metadata.get("task", "")
    if task in REFUSED_TASKS and not poses:
        raise InputError(f"{path}: {REFUSED_TASKS[task]}")
    images = [value for value in header.inputs if len(value.shape) == 4]
    if len(images) != 1:
        given = "; ".join(map(str, header.inputs)) or "none"
        raise InputError(f"{path}: no input of it is (1, 3, height, width), so no frame fits ({given})")
    image = images[0]
    for value in header.inputs:
        if value is not image and not is_frame_size(value):
            raise InputError(f"{path}: needs an input {value}, which a frame does not give; export it without")
    batch, *rest = image.shape
    channels_last = rest[0] not in (3, 9, None) and rest[2] in (3, 9)
    channels = rest[2 if channels_last else 0] or 3
    dtype = image.dtype
    if channels not in (3, 9) or dtype is None or dtype.name not in ("float32", "float16", "uint8", "int32"):
        raise InputError(f"{path}: its input {image} is not (1, 3, height, width) of floats or bytes, so no frame fits")
    height, width = rest[:2] if channels_last else rest[1:]
    size = None if height is None or width is None else (width, height)
    return ImageInput(image.name, dtype, channels_last, channels, batch, size)


def is_frame_size(value: OnnxValue) -> bool:
    """Whether an input is the width and height of the frames, `orig_target_sizes` of RT-DETR and D-FINE."""
    return len(value.shape) == 2 and value.shape[1] == 2 and value.dtype is not None


@dataclass(frozen=True)
class Trial:
    """What a file gave for one grey frame of `width` x `height`."""

    outputs: tuple[np.ndarray, ...]
    width: int
    height: int
    names: int | None  # of its classes, where they are known
    end_to_end: bool = False  # its metadata says so
    has_no_batch: bool = False  # its rows say themselves which frame they are of

    @property
    def coefficients(self) -> int:
        """How many attributes of a box are a mask's."""
        prototypes = [output.shape[0] for output in self.outputs[1:] if output.ndim == 3]
        return prototypes[0] if len(self.outputs) == 2 and prototypes else 0

    @property
    def shape(self) -> tuple[int, int] | None:
        """Of the one output that boxes are in; None when that cannot be said."""
        boxes = [output for output in self.outputs if output.ndim == 2]
        alone = len(self.outputs) == 1 or bool(self.coefficients)
        return (boxes[0].shape[0], boxes[0].shape[1]) if len(boxes) == 1 and alone else None

    @property
    def boxes_per_cell(self) -> int:
        """1 or 3 when the rows are those of a grid, else 0."""
        if self.shape is None:
            return 0
        counts = [sum((self.width // s) * (self.height // s) for s in strides) for strides in GRIDS]
        return next((each for each in (1, 3) if self.shape[0] in [each * count for count in counts]), 0)

    @property
    def has_objectness(self) -> bool:
        """Whether rows are those of a grid, and hold objectness before their classes."""
        if not self.boxes_per_cell or self.shape is None or self.shape[1] >= self.shape[0]:
            return False
        scores = self.shape[1] - self.coefficients - 4
        if self.names is not None and self.boxes_per_cell == 1:
            return scores != self.names and scores > 1
        return scores > 1 and (self.boxes_per_cell == 3 or scores != COCO_CLASSES)


@dataclass(frozen=True)
class Layout:
    name: str
    fits: Callable[[Trial], bool]
    decode: Callable[["Answer"], Boxes]
    class_count: Callable[[Trial], int | None]  # None: the outputs do not tell
    colours: str = "RGB 0-1"  # or "BGR 0-255", or "ImageNet"
    stretched: bool = False  # to the input's shape; else in its top left corner, proportions kept
    one_each: bool = False  # overlapping boxes were removed already

    def prepare(self, rgb: np.ndarray, image: ImageInput, size: tuple[int, int], padding: int) -> np.ndarray:
        """A frame (H, W, 3) uint8 as (height, width, 3) of what the input takes, for an input of `size`."""
        width, height = size
        if self.stretched:
            seen = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)
        else:
            seen = np.full((height, width, 3), padding, dtype=np.uint8)
            small = self.seen_size(rgb, size)
            seen[: small[1], : small[0]] = cv2.resize(rgb, small, interpolation=cv2.INTER_LINEAR)
        if self.colours == "BGR 0-255":
            seen = seen[..., ::-1]
        if image.takes_bytes:
            return seen
        values = seen.astype(np.float32)
        if self.colours == "BGR 0-255":
            return values
        if self.colours == "ImageNet":
            return (values / 255 - IMAGENET_MEAN) / IMAGENET_STD
        return values / 255

    def seen_size(self, rgb: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a frame within the input."""
        if self.stretched:
            return size
        height, width = rgb.shape[:2]
        scale = min(size[0] / width, size[1] / height)
        return max(1, min(size[0], round(width * scale))), max(1, min(size[1], round(height * scale)))

    def scale(self, rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(4,): pixels of the input for each of the frame, for x1, y1, x2, y2."""
        height, width = rgb.shape[:2]
        x, y = size[0] / width, size[1] / height
        return np.array([x, y, x, y] if self.stretched else [min(x, y)] * 4, dtype=np.float32)


@dataclass(frozen=True)
class Answer:
    """What a file gave for one frame."""

    outputs: tuple[np.ndarray, ...]
    width: int  # of the input
    height: int
    classes: int  # how many there are

    @property
    def size(self) -> np.ndarray:
        """(4,), as corners are."""
        return np.array([self.width, self.height] * 2, dtype=np.float32)


def recognise_layout(path: Path, trial: Trial) -> Layout:
    """The first of LAYOUTS that fits. Raises InputError, with what to do, when none does."""
    for layout in LAYOUTS:
        if layout.fits(trial):
            return layout
    shapes = " and ".join(str((1, *output.shape)) for output in trial.outputs)
    names = "" if trial.names is None else f" with {trial.names} classes"
    raise InputError(
        f"{path}: gives {shapes} for an input of {trial.width}x{trial.height}{names}, which is no layout known here; "
        "export its boxes as one output, (1, 4 + classes, boxes), or (1, boxes, 6) with the overlaps removed"
    )


def decode_yolox(answer: Answer) -> Boxes:
    """(N, 5 + C) on the grid: centre = (xy + cell) * stride, size = exp(wh) * stride (arXiv 2107.08430)."""
    rows = answer.outputs[0]
    corners, strides = [], []
    for stride in _grid_of(len(rows), answer):
        y, x = np.mgrid[: answer.height // stride, : answer.width // stride]
        corners.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    scale = np.concatenate(strides).astype(np.float32)
    centre = (rows[:, :2] + np.concatenate(corners)) * scale
    size = np.exp(np.minimum(rows[:, 2:4], 20)) * scale  # nonsense must not overflow
    return _corners(np.concatenate([centre, size], axis=1)), rows[:, 4:5] * rows[:, 5 : 5 + answer.classes]


def decode_objectness(answer: Answer) -> Boxes:
    """(N, 5 + C): centre, size, objectness, class scores."""
    rows = _rows(answer)
    return _in_pixels(_corners(rows[:, :4]), answer), rows[:, 4:5] * rows[:, 5 : 5 + answer.classes]


def decode_columns(answer: Answer) -> Boxes:
    """(4 + C, N): centre, size, class scores."""
    return _centres_and_scores(_rows(answer).T, answer)


def decode_rows(answer: Answer) -> Boxes:
    """(N, 4 + C): the same, transposed."""
    return _centres_and_scores(_rows(answer), answer)


def decode_end_to_end(answer: Answer) -> Boxes:
    """(N, 6): corners, score, class; rows of zeros fill up."""
    rows = _rows(answer)
    return _in_pixels(rows[:, :4], answer), _one_hot(rows[:, 5], rows[:, 4], answer.classes)


def decode_yolov7(answer: Answer) -> Boxes:
    """(N, 7): frame of the batch, corners, class, score."""
    rows = answer.outputs[0]
    return _in_pixels(rows[:, 1:5], answer), _one_hot(rows[:, 5], rows[:, 6], answer.classes)


def decode_labels_boxes_scores(answer: Answer) -> Boxes:
    """labels (N), boxes (N, 4) as corners, scores (N): the frame's size that was given is the input's."""
    boxes = next(output for output in answer.outputs if output.ndim == 2)
    labels, scores = [output for output in answer.outputs if output.ndim == 1]
    if np.any(labels != np.round(labels)):  # the other order
        labels, scores = scores, labels
    return _in_pixels(boxes, answer), _one_hot(labels, scores, answer.classes)


def decode_rfdetr(answer: Answer) -> Boxes:
    """boxes (N, 4): centre and size as shares; logits (N, C): each class its own sigmoid."""
    boxes, logits = _boxes_and_logits(answer.outputs)
    return _corners(boxes) * answer.size, 1 / (1 + np.exp(-np.clip(logits, -60, 60)))


def _boxes_and_logits(outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    first, second = [output for output in outputs if output.ndim == 2]
    return (second, first) if first.shape[1] != 4 and second.shape[1] == 4 else (first, second)


def _rows(answer: Answer) -> np.ndarray:
    return next(output for output in answer.outputs if output.ndim == 2)


def _grid_of(count: int, answer: Answer) -> tuple[int, ...]:
    return next(g for g in GRIDS if sum((answer.width // s) * (answer.height // s) for s in g) == count)


def _centres_and_scores(rows: np.ndarray, answer: Answer) -> Boxes:
    return _in_pixels(_corners(rows[:, :4]), answer), rows[:, 4 : 4 + answer.classes]


def _corners(centre_and_size: np.ndarray) -> np.ndarray:
    centre, half = centre_and_size[:, :2], centre_and_size[:, 2:4] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _in_pixels(xyxy: np.ndarray, answer: Answer) -> np.ndarray:
    finite = xyxy[np.isfinite(xyxy)]
    shares = bool(len(finite)) and float(finite.max()) <= LARGEST_SHARE
    return xyxy * answer.size if shares else xyxy


def _one_hot(labels: np.ndarray, scores: np.ndarray, classes: int) -> np.ndarray:
    """(N, C) scores from one class and score a box; other classes' are 0. A class that is none is left out."""
    found = np.zeros((len(labels), classes), dtype=np.float32)
    at = np.flatnonzero((labels >= 0) & (labels < classes))
    found[at, labels[at].astype(int)] = scores[at]
    return found


def _is_yolov7_end_to_end(trial: Trial) -> bool:
    return trial.has_no_batch and trial.outputs[0].shape[1] == 7


def _is_labels_boxes_scores(trial: Trial) -> bool:
    shapes = sorted((output.shape for output in trial.outputs), key=len)
    return len(shapes) == 3 and shapes[0] == shapes[1] and shapes[2] == (*shapes[0], 4)


def _is_rfdetr(trial: Trial) -> bool:
    flat = [output for output in trial.outputs if output.ndim == 2]
    if len(flat) != 2 or len(flat[0]) != len(flat[1]) or len(trial.outputs) > 3:
        return False
    return 4 in (flat[0].shape[1], flat[1].shape[1])


def _is_end_to_end(trial: Trial) -> bool:
    if trial.shape is None or trial.shape[1] != 6 + trial.coefficients:
        return False
    rows = trial.outputs[0]
    whole = bool(np.all(rows[:, 5] == np.round(rows[:, 5])) and np.all((rows[:, 4] >= 0) & (rows[:, 4] <= 1)))
    return trial.end_to_end or (whole and not trial.boxes_per_cell)


def _is_yolov5(trial: Trial) -> bool:
    return trial.has_objectness and trial.boxes_per_cell == 3


def _is_yolov6(trial: Trial) -> bool:
    if not trial.has_objectness:
        return False
    objectness = trial.outputs[0][:, 4]
    return bool(np.all(objectness == 1) or (np.isin(objectness, (0, 1)).all() and _is_decoded_yolox(trial)))


def _is_decoded_yolox(trial: Trial) -> bool:
    if not trial.has_objectness:
        return False
    boxes = trial.outputs[0][:, :4]
    return bool((boxes[:, 2:] >= 0).all() and boxes.max() > RAW_LIMIT)


def _is_columns(trial: Trial) -> bool:
    """(4 + C, N): by the number of names where it decides, else there are more boxes than attributes."""
    if trial.shape is None:
        return False
    attributes, boxes = trial.shape
    if trial.names is not None and attributes != boxes:
        own = 4 + trial.coefficients + trial.names
        if own in trial.shape:
            return attributes == own
    return 4 + trial.coefficients < attributes < boxes


def _is_rows(trial: Trial) -> bool:
    return trial.shape is not None and 4 + trial.coefficients < trial.shape[1] < trial.shape[0]


def _is_ultralytics_rtdetr(trial: Trial) -> bool:
    if not _is_rows(trial) or trial.boxes_per_cell:
        return False
    boxes = trial.outputs[0][:, :4]
    return bool(boxes.min() >= 0 and boxes.max() <= LARGEST_SHARE)


def _own_classes(before: int, axis: int) -> Callable[[Trial], int | None]:
    """Attributes along an axis of the output with boxes, but those `before` the classes and the masks'."""
    return lambda trial: None if trial.shape is None else trial.shape[axis] - before - trial.coefficients


def _unrecognised(trial: Trial) -> int | None:
    return None


LAYOUTS = (
    Layout(
        "RT-DETR, D-FINE",
        _is_labels_boxes_scores,
        decode_labels_boxes_scores,
        _unrecognised,
        stretched=True,
        one_each=True,
    ),
    Layout(
        "RF-DETR",
        _is_rfdetr,
        decode_rfdetr,
        lambda trial: _boxes_and_logits(trial.outputs)[1].shape[1],
        colours="ImageNet",
        stretched=True,
        one_each=True,
    ),
    Layout("YOLOv7 end to end", _is_yolov7_end_to_end, decode_yolov7, _unrecognised, one_each=True),
    Layout("YOLO end to end", _is_end_to_end, decode_end_to_end, _unrecognised, one_each=True),
    Layout("YOLOv5", _is_yolov5, decode_objectness, _own_classes(5, axis=1)),
    Layout("YOLOv6", _is_yolov6, decode_objectness, _own_classes(5, axis=1)),
    Layout("YOLOX decoded", _is_decoded_yolox, decode_objectness, _own_classes(5, axis=1), colours="BGR 0-255"),
    Layout("YOLOX", lambda trial: trial.has_objectness, decode_yolox, _own_classes(5, axis=1), colours="BGR 0-255"),
    Layout("YOLOv8", _is_columns, decode_columns, _own_classes(4, axis=0)),
    Layout(
        "RT-DETR of ultralytics",
        _is_ultralytics_rtdetr,
        decode_rows,
        _own_classes(4, axis=1),
        stretched=True,
        one_each=True,
    ),
    Layout("YOLOv8 transposed", _is_rows, decode_rows, _own_classes(4, axis=1)),
)
