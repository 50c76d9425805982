"""Arrays from `.npy` files that hold a pickle, without running anything the pickle says.

A pickle is a program: loading one from outside can start any command. Here its instructions are looked at before the
first is carried out, only those that build plain values are let through, and the few names numpy writes stand for small
classes of this module, so that not even numpy's own unpickling sees a hostile value.
"""

import io
import math
import pickle
import pickletools
import stat
import tokenize
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 4 * 2**20
MAX_VALUES = 200_000
MAX_DEPTH = 6
NUMBER_KINDS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
PLAIN_OPCODES = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"}
    | {
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "INT",
        "LONG",
        "LONG1",
        "LONG4",
        "BININT",
        "BININT1",
        "BININT2",
        "FLOAT",
        "BINFLOAT",
    }
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
    | {"EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"}
    | {"GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
    | {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}
)
MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class BadPickle(Exception):
    """Why a file is not read, in one line."""


def read_pickled_array(path: Path) -> Any:
    """The content of an `.npy` file: a numeric array, or for an array of objects a list of dicts, tuples, numbers.

    Raises BadPickle for anything that is not made of plain values and arrays of numbers.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadPickle("not a regular file")
        if status.st_size > MAX_BYTES:
            raise BadPickle(f"{status.st_size} bytes are more than the {MAX_BYTES} such a file may have")
        data = path.read_bytes()
    except OSError as error:
        raise BadPickle(f"cannot be read: {error.strerror}") from None
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, kind = header(stream)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise BadPickle(f"not an .npy file: {str(error).splitlines()[0][:100]}") from None
    rest = data[stream.tell() :]
    if not kind.hasobject:
        if kind.fields or math.prod(shape) * kind.itemsize != len(rest):
            raise BadPickle("its size is not what its header says")
        return np.frombuffer(rest, kind).reshape(shape, order="F" if is_fortran else "C")
    return unpickle_plain(rest)


def unpickle_plain(data: bytes) -> Any:
    """The value of a pickle of plain values and numpy arrays. Raises BadPickle before anything else is carried out."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name not in PLAIN_OPCODES:
                raise BadPickle(f"its pickle does what labels have no need of ({opcode.name})")
            # A place far up in the memo would make the loader clear gigabytes.
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= len(data):
                raise BadPickle("its pickle is not sound")
        value = _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
        return _Budget().plain(value)
    except BadPickle:
        raise
    except Exception as error:  # a damaged pickle fails in any way it likes; nothing of it has been carried out
        raise BadPickle(f"its pickle is damaged: {type(error).__name__}") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in MODULES and name in ("_reconstruct", "scalar"):
            return _Maker(_Array if name == "_reconstruct" else _scalar)
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _Maker(_Kind if name == "dtype" else _nothing)
        if (module, name) == ("_codecs", "encode"):
            return _Maker(_latin1)
        raise BadPickle(f"its pickle asks for {module}.{name}"[:120])


class _Maker:
    """A name of numpy's: it can be called, and nothing about it can be changed."""

    __slots__ = ("_make",)

    def __init__(self, make: Any):
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise BadPickle("its pickle is not sound")


class _Kind:
    """What a pickle says of an array's dtype: `text` such as f8, and the byte order."""

    __slots__ = ("order", "text")

    def __init__(self, text: Any, *_: Any):
        self.text, self.order = str(text), "<"
        if self.text not in NUMBER_KINDS and self.text not in ("O", "O8", "O4"):
            raise BadPickle(f"an array of {self.text[:20]}")

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"

    @property
    def holds_objects(self) -> bool:
        return self.text.startswith("O")


class _Array:
    """An array in the making; `value` is a list of objects or an array of numbers."""

    __slots__ = ("value",)

    def __init__(self, *_: Any):
        self.value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, content = state
        if not isinstance(kind, _Kind) or not isinstance(shape, tuple) or len(shape) > 4:
            raise BadPickle("its pickle is not sound")
        count = math.prod(int(length) for length in shape)
        if kind.holds_objects:
            if not isinstance(content, list) or len(content) != count:
                raise BadPickle("an array of objects has not as many as its shape says")
            self.value = content
            return
        numbers = np.frombuffer(content, np.dtype(kind.order + kind.text))
        if len(numbers) != count:
            raise BadPickle("an array has not as many numbers as its shape says")
        self.value = numbers.reshape(shape, order="F" if is_fortran else "C")


def _scalar(kind: _Kind, data: bytes) -> Any:
    if not isinstance(kind, _Kind) or kind.holds_objects:
        raise BadPickle("its pickle is not sound")
    return np.frombuffer(data, np.dtype(kind.order + kind.text), count=1)[0].item()


def _nothing(*_: Any) -> None:
    raise BadPickle("its pickle is not sound")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise BadPickle(f"its pickle encodes to {str(encoding)[:20]}")
    return text.encode("latin1")


class _Budget:
    """Turns what was unpickled into plain values, as long as they are not absurdly many or deep."""

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def plain(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH:
            raise BadPickle("its pickle holds too many values, or nests them too deeply")
        if isinstance(value, _Array):
            value = value.value
        if value is None or isinstance(value, (bool, int, float, str, bytes, np.ndarray)):
            return value
        if isinstance(value, (list, tuple)):
            return type(value)(self.plain(item, depth + 1) for item in value)
        if isinstance(value, dict):
            return {self.plain(key, depth + 1): self.plain(item, depth + 1) for key, item in value.items()}
        raise BadPickle("its pickle holds something that is no plain value")
