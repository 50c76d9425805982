"""Running a .onnx file: onnxruntime where it is installed, `cv2.dnn` otherwise. One input, one output, float32."""

import os
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from labels.records.errors import InputError


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
