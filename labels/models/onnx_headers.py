"""What a .onnx file says of itself, read from its bytes: inputs, outputs, metadata.

`cv2.dnn` tells neither shapes nor metadata, and onnxruntime is an extra, so the few fields needed are read here, by
the Protobuf wire format (protobuf.dev/programming-guides/encoding) and onnx.proto3's field numbers. The file comes from
outside: whatever does not fit ends in one InputError.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labels.models.settings import OnnxSettings
from labels.records.errors import InputError

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
