"""A .onnx file as a detector, through onnxruntime where it is installed and through `cv2.dnn` otherwise.

Two layouts are told apart by their shape; C is the number of classes, N the number of boxes:

- `(B, N, 5 + C)`, as YOLOX gives it: centre and size still on the grid of strides 8, 16, 32, objectness, class scores.
  N is the number of cells of those grids. The input is BGR, 0-255.
- `(B, 4 + C, N)`, as many exports have it: centre x, centre y, width, height in pixels of the input, class scores.
  The input is RGB, 0-1.

Both get the frame in the top left corner of the input, the rest grey, its proportions kept.

What a .onnx file says of itself, read from its bytes: inputs, outputs, metadata.

`cv2.dnn` tells neither shapes nor metadata, and onnxruntime is an extra, so the few fields needed are read here, by
the Protobuf wire format (protobuf.dev/programming-guides/encoding) and onnx.proto3's field numbers. The file comes from
outside: whatever does not fit ends in one InputError.

Running a .onnx file: onnxruntime where it is installed, `cv2.dnn` otherwise. One input, one output, float32.
"""

import ast
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from labels.models.detectors.detector import chosen_classes
from labels.models.settings import AS_IT_COMES, DetectorOptions, OnnxSettings
from labels.records.class_lists import read_class_list
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest

MODEL_GRAPH, MODEL_METADATA = 7, 14  # field numbers
GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 5, 11, 12
TENSOR_NAME = 8
FLOAT = 1  # TensorProto.DataType


@dataclass(frozen=True)
class OnnxValue:
    """An input or output: its name, element type and shape; a size that is open is None."""

    name: str
    element_type: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class OnnxHeader:
    inputs: tuple[OnnxValue, ...]  # without the weights, which old files list as inputs too
    outputs: tuple[OnnxValue, ...]
    metadata: dict[str, str]


def read_header(path: Path) -> OnnxHeader:
    """Raises InputError for a file that cannot be read or is not ONNX."""
    try:
        if path.stat().st_size > OnnxSettings.max_file_bytes:
            raise InputError(f"{path}: larger than an ONNX file can be (2 GiB)")
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    try:
        model = list(_fields(data))
        metadata = dict(_pair(value) for number, value in model if number == MODEL_METADATA)
        graph = [field for number, value in model if number == MODEL_GRAPH for field in _fields(_bytes(value))]
        weights = {_text(_only(value, TENSOR_NAME)) for number, value in graph if number == GRAPH_INITIALIZER}
        inputs = [_value(value) for number, value in graph if number == GRAPH_INPUT]
        outputs = [_value(value) for number, value in graph if number == GRAPH_OUTPUT]
    except (ValueError, IndexError):
        raise InputError(f"{path}: not an ONNX file, or a damaged one") from None
    if not outputs:
        raise InputError(f"{path}: not an ONNX file: it holds no graph with an output")
    return OnnxHeader(tuple(value for value in inputs if value.name not in weights), tuple(outputs), metadata)


def _fields(data: memoryview) -> Iterator[tuple[int, "memoryview | int"]]:
    """Field numbers and values of one Protobuf message; nested messages and texts stay bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == 2:
            length, at = _varint(data, at)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if at + length > len(data):
            raise ValueError("cut short")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without end")


def _bytes(value: "memoryview | int") -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _text(value: "memoryview | int | None") -> str:
    return "" if value is None else bytes(_bytes(value)).decode()


def _only(message: "memoryview | int", wanted: int) -> "memoryview | int | None":
    """The last value of one field of a message, or None."""
    found: memoryview | int | None = None
    for number, value in _fields(_bytes(message)):
        if number == wanted:
            found = value
    return found


def _pair(message: "memoryview | int") -> tuple[str, str]:
    return _text(_only(message, 1)), _text(_only(message, 2))


def _value(message: "memoryview | int") -> OnnxValue:
    """A ValueInfoProto: name 1, type 2 -> tensor 1 -> element type 1 and shape 2 -> dimensions 1 -> size 1."""
    kind = _only(message, 2)
    tensor = None if kind is None else _only(kind, 1)
    shape: tuple[int | None, ...] = ()
    element_type = 0
    if tensor is not None:
        said = _only(tensor, 1)
        element_type = said if isinstance(said, int) else 0
        dimensions = _only(tensor, 2)
        if dimensions is not None:
            sizes = [_only(value, 1) for number, value in _fields(_bytes(dimensions)) if number == 1]
            shape = tuple(size if isinstance(size, int) and 0 < size < 1 << 31 else None for size in sizes)
    return OnnxValue(_text(_only(message, 1)), element_type, shape)


class Session(Protocol):
    name: str  # of the library: another one gives slightly other numbers

    def run(self, batch: np.ndarray) -> np.ndarray:
        """The output for a batch (B, 3, H, W) float32."""
        ...


def open_session(path: Path, input_name: str, output_name: str, device: str) -> Session:
    """Load the file. Raises InputError when it cannot be loaded, or not on that device ("cpu" or "cuda")."""
    try:
        import onnxruntime
    except ImportError:
        if device == "cuda":
            raise InputError(f"{path}: on the GPU it needs onnxruntime-gpu; install it or say --device cpu") from None
        return OpenCvSession(path, output_name)
    return OnnxRuntimeSession(onnxruntime, path, input_name, output_name, device)


class OnnxRuntimeSession:
    def __init__(self, onnxruntime: Any, path: Path, input_name: str, output_name: str, device: str) -> None:
        self._path, self._input_name, self._output_name = path, input_name, output_name
        if device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise InputError(f"{path}: this onnxruntime has no CUDA; install onnxruntime-gpu or say --device cpu")
        self.name = f"onnxruntime {device}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 0) or 0)
        options.log_severity_level = 4
        first = ["CUDAExecutionProvider"] if device == "cuda" else []
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[*first, "CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes differ by version; the file comes from outside
            raise InputError(f"{path}: onnxruntime cannot load it ({_first_line(error)})") from None

    def run(self, batch: np.ndarray) -> np.ndarray:
        try:
            (answer,) = self._session.run([self._output_name], {self._input_name: batch})
        except Exception as error:
            raise InputError(f"{self._path}: does not take {batch.shape} ({_first_line(error)})") from None
        return np.asarray(answer, dtype=np.float32)


class OpenCvSession:
    name = "cv2.dnn"

    def __init__(self, path: Path, output_name: str) -> None:
        self._path, self._output_name = path, output_name
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise InputError(
                f"{path}: cv2.dnn cannot load it ({_first_line(error)}); try pip install onnxruntime"
            ) from None

    def run(self, batch: np.ndarray) -> np.ndarray:
        try:
            self._net.setInput(np.ascontiguousarray(batch))
            return np.asarray(self._net.forward(self._output_name), dtype=np.float32)
        except cv2.error as error:
            raise InputError(f"{self._path}: does not take {batch.shape} ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]


if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame

COCO_CLASSES = 80
Decode = Callable[[np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]


class OnnxDetector:
    """The detector in a .onnx file; see `models/detector.py` for what its attributes mean.

    Raises InputError, one line, for a file that is not ONNX, not a detector of either layout, or whose classes are
    not known.
    """

    every_frame = False
    describes = False

    def __init__(
        self,
        path: Path,
        class_names: tuple[str, ...] | None = None,
        device: str = "cpu",
        options: DetectorOptions = AS_IT_COMES,
        settings: OnnxSettings | None = None,
    ) -> None:
        settings = settings or OnnxSettings()
        self.name, self._path, self._settings = str(path), path, settings
        self._header = read_header(path)
        self._fixed_size = _check_input(path, self._header)
        self._long_side = _long_side(path, self._fixed_size, options.input_size, settings)
        self._session = open_session(path, self._header.inputs[0].name, self._header.outputs[0].name, device)
        # Large enough that there are more boxes than classes, which is what tells the layouts apart.
        width, height = self._fixed_size or (settings.trial_size, settings.trial_size)
        trial = self._run(np.full((1, 3, height, width), settings.padding / 255, dtype=np.float32))
        self._is_yolox = self._layout_is_yolox(trial.shape, width, height)
        known = self._known_classes(trial.shape[2] - 5 if self._is_yolox else trial.shape[1] - 4, options.class_list)
        self.class_names = chosen_classes(class_names, known, str(path))
        self._wanted = np.array([known.index(name) for name in self.class_names])
        self.working_threshold = dict.fromkeys(self.class_names, settings.working_threshold)
        self.score_slope: dict[str, float] = {}
        self._score_floor = min(options.score_floor, settings.floor_share * settings.working_threshold)
        open_batch = self._header.inputs[0].shape[0] is None
        self._batch_size = (
            (options.batch_size or (settings.batch_size_cuda if device == "cuda" else 1)) if open_batch else 1
        )
        self.digest = digest_of(
            [file_digest(path), self.class_names, known, self._long_side, self._session.name, self._score_floor]
        )

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        stream = iter(frames)
        while batch := list(islice(stream, self._batch_size)):
            if len({frame.rgb.shape for frame in batch}) == 1:
                yield from zip(batch, self._detect_batch([frame.rgb for frame in batch]), strict=True)
            else:  # the video changes its size
                for frame in batch:
                    yield frame, self._detect_batch([frame.rgb])[0]

    def _detect_batch(self, rgbs: list[np.ndarray]) -> list[Detections]:
        """Frames of one size: their detections."""
        height, width = rgbs[0].shape[:2]
        in_width, in_height = self._input_size(width, height)
        scale = min(in_width / width, in_height / height)
        answer = self._run(np.stack([self._letterbox(rgb, in_width, in_height, scale) for rgb in rgbs]))
        decode = decode_yolox if self._is_yolox else decode_pixels
        return [self._select(*decode(one, in_width, in_height), scale, width, height) for one in answer]

    def _run(self, batch: np.ndarray) -> np.ndarray:
        answer = self._session.run(batch)
        if answer.ndim != 3 or answer.shape[0] != len(batch):
            raise InputError(
                f"{self._path}: gives {answer.shape}; a detector gives (1, boxes, 5 + classes), as YOLOX, "
                "or (1, 4 + classes, boxes)"
            )
        return answer

    def _layout_is_yolox(self, shape: tuple[int, ...], in_width: int, in_height: int) -> bool:
        cells = sum((in_width // stride) * (in_height // stride) for stride in self._settings.strides)
        if shape[1] == cells and 5 < shape[2] <= cells:
            return True
        if 4 < shape[1] < shape[2]:
            return False
        raise InputError(
            f"{self._path}: gives {shape} for an input of {in_width}x{in_height}: neither (1, {cells}, 5 + classes), "
            f"as YOLOX gives it, nor (1, 4 + classes, boxes); export it as one of them"
        )

    def _known_classes(self, count: int, class_list: str | None) -> tuple[str, ...]:
        """The names of the file's classes: the list that was given, its metadata, or COCO's when there are 80."""
        if class_list is not None:
            names, where = read_class_list(class_list), f"--class-list {class_list}"
        elif "names" in self._header.metadata:
            names, where = names_from_metadata(self._header.metadata["names"], self._path), "its metadata"
        elif count == COCO_CLASSES:
            names, where = read_class_list("coco"), "coco.csv"
        else:
            raise InputError(f"{self._path}: does not say what its {count} classes are; say --class-list FILE.csv")
        if len(names) != count:
            raise InputError(f"{self._path}: has {count} classes, but {where} names {len(names)}; say --class-list")
        return names

    def _input_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the input for frames of this size: the file's own, or close to the frame's shape."""
        if self._fixed_size is not None:
            return self._fixed_size
        coarse = max(self._settings.strides)
        sides = [self._long_side * side / max(width, height) for side in (width, height)]
        in_width, in_height = (max(coarse, int(np.ceil(round(side, 3) / coarse)) * coarse) for side in sides)
        return in_width, in_height

    def _letterbox(self, rgb: np.ndarray, in_width: int, in_height: int, scale: float) -> np.ndarray:
        """The frame as (3, in_height, in_width) float32."""
        height, width = rgb.shape[:2]
        size = (max(1, min(in_width, round(width * scale))), max(1, min(in_height, round(height * scale))))
        padded = np.full((in_height, in_width, 3), self._settings.padding, dtype=np.uint8)
        padded[: size[1], : size[0]] = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1), dtype=np.float32)
        return planes[::-1] if self._is_yolox else planes / 255

    def _select(self, xyxy: np.ndarray, score: np.ndarray, scale: float, width: int, height: int) -> Detections:
        """From all boxes (N, 4) and scores (N, C) the wanted ones above the floor, one for each object."""
        score = score[:, self._wanted]
        if score.size and not (np.nanmin(score) >= -0.001 and np.nanmax(score) <= 1.001):
            raise InputError(f"{self._path}: gives scores outside 0-1; export it with the sigmoid inside")
        row, column = np.nonzero((score >= self._score_floor) & np.isfinite(xyxy).all(axis=1)[:, None])
        values = np.clip(score[row, column], 0, 1)
        order = np.argsort(-values, kind="stable")[: self._settings.boxes_before_overlap]
        row, column, values = row[order], column[order], values[order]
        if not len(row):
            return Detections.none()
        frame = np.array([width, height, width, height], dtype=np.float32)
        boxes = np.clip(xyxy[row] / scale, -frame, 2 * frame)
        corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        chosen = cv2.dnn.NMSBoxesBatched(
            corner_and_size.tolist(), values.tolist(), column.tolist(), 0.0, self._settings.overlap
        )
        left = np.asarray(chosen, dtype=int).reshape(-1)
        return Detections(boxes[left], values[left], np.array(self.class_names, dtype=object)[column[left]])


def decode_yolox(answer: np.ndarray, in_width: int, in_height: int) -> tuple[np.ndarray, np.ndarray]:
    """One answer (N, 5 + C) of the YOLOX layout as xyxy (N, 4) input pixels and scores (N, C).

    Centre = (xy + cell) * stride, size = exp(wh) * stride, score = objectness * class score (arXiv 2107.08430).
    """
    corners, strides = [], []
    for stride in OnnxSettings.strides:
        y, x = np.mgrid[: in_height // stride, : in_width // stride]
        corners.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    scale = np.concatenate(strides).astype(np.float32)
    centre = (answer[:, :2] + np.concatenate(corners)) * scale
    half = np.exp(np.minimum(answer[:, 2:4], 20)) * scale / 2  # nonsense must not overflow
    return np.concatenate([centre - half, centre + half], axis=1), answer[:, 4:5] * answer[:, 5:]


def decode_pixels(answer: np.ndarray, in_width: int, in_height: int) -> tuple[np.ndarray, np.ndarray]:
    """One answer (4 + C, N) of the other layout as xyxy (N, 4) input pixels and scores (N, C)."""
    centre, half = answer[:2].T, answer[2:4].T / 2
    return np.concatenate([centre - half, centre + half], axis=1), answer[4:].T


def names_from_metadata(text: str, path: Path) -> tuple[str, ...]:
    """Class names from the metadata entry "names": a Python dict {0: 'person', …} or a list, as a text."""
    try:
        value = ast.literal_eval(text) if len(text) < 1_000_000 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if isinstance(value, dict) and set(value) == set(range(len(value))):
        value = [value[index] for index in range(len(value))]
    if (
        not isinstance(value, (list, tuple))
        or not value
        or not all(isinstance(name, str) and name.strip() for name in value)
        or len(set(value)) < len(value)
    ):
        raise InputError(f"{path}: the class names in its metadata make no list of names; say --class-list FILE.csv")
    return tuple(name.strip() for name in value)


def _check_input(path: Path, header: OnnxHeader) -> tuple[int, int] | None:
    """The file's own (width, height), or None when it takes any. InputError when it takes no images."""
    if len(header.inputs) != 1 or len(header.outputs) != 1:
        raise InputError(
            f"{path}: has {len(header.inputs)} inputs and {len(header.outputs)} outputs, where one of each is needed; "
            "export it without its own overlap removal"
        )
    image = header.inputs[0]
    if len(image.shape) != 4 or image.shape[1] not in (3, None) or image.element_type != FLOAT:
        shape = ", ".join("any" if size is None else str(size) for size in image.shape)
        raise InputError(f"{path}: its input ({shape}) is not (1, 3, height, width) of float32, so no frame fits")
    if image.shape[0] not in (1, None):
        raise InputError(f"{path}: takes {image.shape[0]} frames at once; export it with a batch of 1 or an open one")
    height, width = image.shape[2:]
    return None if height is None or width is None else (width, height)


def _long_side(path: Path, fixed: tuple[int, int] | None, wanted: int | None, settings: OnnxSettings) -> int:
    coarse = max(settings.strides)
    if fixed is not None:
        if wanted not in (None, max(fixed)):
            raise InputError(f"{path}: takes frames of {fixed[0]}x{fixed[1]} only; leave --input-size out")
        return max(fixed)
    if wanted is not None and (wanted < coarse or wanted % coarse):
        raise InputError(f"--input-size {wanted}: must be a multiple of {coarse}")
    return wanted or settings.input_size
