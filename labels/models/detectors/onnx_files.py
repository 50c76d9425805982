"""What a .onnx file says of itself, and running it: onnxruntime where it is installed, `cv2.dnn` otherwise.

`cv2.dnn` tells neither shapes nor metadata, and onnxruntime is an extra, so the few fields needed are read here, by
the Protobuf wire format (protobuf.dev/programming-guides/encoding) and onnx.proto3's field numbers. The file comes from
outside: whatever does not fit ends in one InputError.
"""

import ast
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from labels.models.settings import OnnxSettings
from labels.records.errors import InputError

MODEL_GRAPH, MODEL_METADATA = 7, 14  # field numbers
GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 5, 11, 12
TENSOR_NAME = 8
STUDENT_FORMAT = "rally-detector-onnx-1"  # in the metadata of a detector that train.py exported
# TensorProto.DataType -> what an input of it is fed with.
ELEMENT_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 10: np.float16, 11: np.float64}


@dataclass(frozen=True)
class OnnxValue:
    """An input or output: its name, element type and shape; a size that is open is None."""

    name: str
    element_type: int
    shape: tuple[int | None, ...]

    @property
    def dtype(self) -> "np.dtype[Any] | None":
        """None for a type that nothing here can feed."""
        found = ELEMENT_TYPES.get(self.element_type)
        return None if found is None else np.dtype(found)

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({sizes}) of {self.dtype or f'type {self.element_type}'}"


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
        entry = _only(tensor, 1)
        element_type = entry if isinstance(entry, int) else 0
        dimensions = _only(tensor, 2)
        if dimensions is not None:
            sizes = [_only(value, 1) for number, value in _fields(_bytes(dimensions)) if number == 1]
            shape = tuple(size if isinstance(size, int) and 0 < size < 1 << 31 else None for size in sizes)
    return OnnxValue(_text(_only(message, 1)), element_type, shape)


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


class Session(Protocol):
    name: str  # of the library: another one gives slightly other numbers

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs in the header's order, floating ones as float32, for the inputs by name."""
        ...


def open_session(path: Path, header: OnnxHeader, device: str) -> Session:
    """Load the file. Raises InputError when it cannot be loaded, or not on that device ("cpu" or "cuda")."""
    try:
        import onnxruntime
    except ImportError:
        if device == "cuda":
            raise InputError(f"{path}: on the GPU it needs onnxruntime-gpu; install it or say --device cpu") from None
        return OpenCvSession(path, header)
    return OnnxRuntimeSession(onnxruntime, path, header, device)


class OnnxRuntimeSession:
    def __init__(self, onnxruntime: Any, path: Path, header: OnnxHeader, device: str) -> None:
        self._path, self._outputs = path, [value.name for value in header.outputs]
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

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return [_plain(answer) for answer in self._session.run(self._outputs, dict(feeds))]
        except Exception as error:
            raise InputError(f"{self._path}: does not take {_shapes(feeds)} ({_first_line(error)})") from None


class OpenCvSession:
    name = "cv2.dnn"

    def __init__(self, path: Path, header: OnnxHeader) -> None:
        self._path, self._outputs = path, [value.name for value in header.outputs]
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise InputError(
                f"{path}: cv2.dnn cannot load it ({_first_line(error)}); try pip install onnxruntime"
            ) from None

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            for name, value in feeds.items():
                self._net.setInput(np.ascontiguousarray(value), name)
            return [_plain(answer) for answer in self._net.forward(self._outputs)]
        except (cv2.error, TypeError) as error:
            raise InputError(
                f"{self._path}: cv2.dnn does not take {_shapes(feeds)} ({_first_line(error)}); "
                "try pip install onnxruntime"
            ) from None


def _plain(answer: Any) -> np.ndarray:
    found = np.asarray(answer)
    return found.astype(np.float32) if np.issubdtype(found.dtype, np.floating) else found


def _shapes(feeds: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{value.shape} of {value.dtype}" for value in feeds.values())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
