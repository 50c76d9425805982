"""Detector and recogniser files: a network's weights with what they mean, checked when read.

A file is a dict of plain values and tensors, so that it can be read with `weights_only=True`, which runs no code:

    format             "rally-detector-1" or "rally-recogniser-1"
    architecture       "ballnet" or the name of a torchvision detection builder; of recognisers one of `PRESETS`
    class_names        the classes in the order of the network's outputs (background is not among them)
    settings           what the architecture needs beside its name
    working_threshold  class name -> the score from which a box is more likely right than wrong
    score_slope        class name -> log-odds of being right for each log-odds of the score (optional)
    network            the state dict
    metrics            what validation measured; anything else may stand beside these
"""

import io
from pathlib import Path
from typing import Any

import torch

from labels.records.errors import InputError
from labels.records.safe_writing import write_bytes

DETECTOR, RECOGNISER = "detector", "recogniser"
FORMATS = {DETECTOR: "rally-detector-1", RECOGNISER: "rally-recogniser-1"}
FORMAT = FORMATS[DETECTOR]
NEEDED = {"architecture": str, "class_names": list, "settings": dict, "working_threshold": dict, "network": dict}


def save_checkpoint(path: Path, payload: dict[str, Any], kind: str = DETECTOR) -> None:
    """Write a checkpoint, whole or not at all. The same payload gives the same bytes, whatever the file is called."""
    payload = {"format": FORMATS[kind], **payload}
    _check(payload, str(path), kind)
    buffer = io.BytesIO()  # torch.save writes the file's name into the file when it is given one
    torch.save(payload, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path, kind: str = DETECTOR) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Raises InputError, in one line, for a file that is none or is not sound."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; a {kind} file is made by train.py")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the bytes come from outside: however reading them fails, it means the same
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as a {kind} file ({reason[:120]}); make one with train.py") from None
    _check(payload, str(path), kind)
    return payload


def require_fit(checkpoint: dict[str, Any], architecture: str, class_names: tuple[str, ...], where: str) -> None:
    """InputError unless the checkpoint is of this architecture and of these classes in this order."""
    if checkpoint["architecture"] != architecture:
        raise InputError(f"{where}: is a {checkpoint['architecture']}, not a {architecture}; say which you want")
    if tuple(checkpoint["class_names"]) != class_names:
        found, wanted = ", ".join(checkpoint["class_names"]), ", ".join(class_names)
        raise InputError(f"{where}: was trained for the classes ({found}), not for ({wanted}); train anew without it")


def _check(payload: Any, where: str, kind: str) -> None:
    if not isinstance(payload, dict) or payload.get("format") != FORMATS[kind]:
        raise InputError(f"{where}: not a {kind} file of this version ({FORMATS[kind]}); make one with train.py")
    for name, needed in NEEDED.items():
        if not isinstance(payload.get(name), needed):
            raise InputError(f"{where}: not a sound {kind} file: {name} must be a {needed.__name__}")
    names, threshold = payload["class_names"], payload["working_threshold"]
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise InputError(f"{where}: not a sound {kind} file: its class names are {names}")
    if set(threshold) != set(names) or not all(_is_score(value) for value in threshold.values()):
        raise InputError(f"{where}: not a sound {kind} file: it needs a threshold in 0-1 for each of {names}")
    if not payload["network"]:
        raise InputError(f"{where}: not a sound {kind} file: it holds no weights")
    for name, tensor in payload["network"].items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise InputError(f"{where}: not a sound {kind} file: {name} is no tensor")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{where}: the weights in {name} are not finite; train it again")


def _is_score(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1
