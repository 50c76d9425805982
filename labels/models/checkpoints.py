"""Checkpoints: a network's weights with all that is needed to use them, checked when read; and building the networks.

A file is a dict of plain values and tensors, so that it can be read with `weights_only=True`, which runs no code:

    format             "rally-detector-1" or "rally-recogniser-1"
    architecture       "ballnet", the name of a torchvision detection builder, "hf:…"; of recognisers one of `PRESETS`
    class_names        the classes in the order of the network's outputs (background is not among them)
    settings           what the architecture needs beside its name
    working_threshold  class name -> the score from which a box is more likely right than wrong
    score_slope        class name -> log-odds of being right for each log-odds of the score (optional)
    network            the state dict
    metrics            what validation measured; anything else may stand beside these

It is a zip archive, as torch writes it, whose own checksums tell a flipped bit. What its tensors would take is checked
before one is made, and their shapes against those of the architecture.

torchvision's builders count background as class 0, so they get one class more: the labels' classes are 1 to K there.
"""

import io
import socket
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labels.models.detectors.ballnet import BallNet, BallNetSettings
from labels.models.hub import HF
from labels.models.settings import TorchvisionSettings
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
        _check_bytes(path)
        _check_sizes(torch.load(path, map_location="meta", weights_only=True), path)  # shapes alone
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # the bytes come from outside: however reading them fails, it means the same
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as a {kind} file ({reason[:120]}); make one with train.py") from None
    _check(payload, str(path), kind)
    return payload


def _check_bytes(path: Path) -> None:
    """InputError for a file that changed since it was written; other errors for one that is no such archive at all."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its parts are packed, which torch never does")
        try:
            damaged = archive.testzip()
        except zipfile.BadZipFile as error:
            damaged = str(error)
    if damaged is not None:
        raise InputError(f"{path}: is damaged ({ascii(damaged)[1:-1][:80]} is not as it was written); copy it anew")


def _check_sizes(value: Any, path: Path, most: int | None = None) -> None:
    """InputError for tensors, here without their numbers, that would take more memory than the file has bytes."""
    most = path.stat().st_size if most is None else most
    if isinstance(value, torch.Tensor):
        if value.numel() * value.element_size() > most:
            raise InputError(f"{path}: holds a tensor of the shape {tuple(value.shape)}, but only {most} bytes")
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_sizes(inner, path, most)


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


BALLNET = "ballnet"
# Trained on rendered clips by `tests/bench/pretrain_ballnet.py`: `--detector ballnet`, and where students start.
BALLNET_WEIGHTS = Path(__file__).with_name("detectors") / "ballnet.pt"
TORCHVISION_SETTINGS = frozenset({"long_side"})


def torchvision_names() -> list[str]:
    """The names of torchvision's detection builders."""
    from torchvision.models import detection, list_models  # costs seconds: only when such a network is wanted

    return list_models(module=detection)


def check_architecture(architecture: str) -> None:
    """InputError, with the names there are, for an architecture nobody knows."""
    if architecture == BALLNET or architecture.startswith(HF):  # which says itself what cannot be had
        return
    if architecture not in torchvision_names():
        raise InputError(
            f"architecture '{architecture}': unknown; there is {BALLNET}, {HF}…, {', '.join(torchvision_names())}"
        )


def build_network(
    architecture: str, class_names: tuple[str, ...], settings: dict[str, Any], pretrained: bool
) -> nn.Module:
    """A network for these classes.

    Args:
        settings: of `BallNetSettings` for ballnet; for torchvision `long_side`, the pixels frames are brought to
            (an SSD, which has its own size, brings them from there to that); of the hub's see `hub_settings`.
        pretrained: start from trained weights, all but the head, whose shape is the classes': torchvision's of COCO,
            the hub's, or those of ballnet in `BALLNET_WEIGHTS`.
    """
    check_architecture(architecture)
    if architecture == BALLNET:
        ball_net = BallNet(len(class_names), _ballnet_settings(settings))
        if pretrained:
            _take_what_fits(ball_net, load_checkpoint(BALLNET_WEIGHTS)["network"])
        return ball_net
    if architecture.startswith(HF):
        from labels.models.detectors.hub_detectors import build_hub_student

        return build_hub_student(architecture, class_names, settings, pretrained)
    from torchvision.models import get_model

    _refuse_unknown(architecture, settings, TORCHVISION_SETTINGS)
    network = get_model(architecture, weights=None, weights_backbone=None, num_classes=len(class_names) + 1)
    if "long_side" in settings:
        look_at(network, settings["long_side"])
    if pretrained:
        state = fetch_coco_weights(architecture, f"train with --from-scratch, or as --architecture {BALLNET}")
        _take_what_fits(network, state)
        freeze_batch_norms(network.get_submodule("backbone"))
    return network


def freeze_batch_norms(network: nn.Module) -> None:
    """Keep the statistics that batch norms were trained with: those of a few frames a step are much worse.

    A state dict of theirs fits the network as it is built too, where it means the same in evaluation mode.
    """
    from torchvision.ops import FrozenBatchNorm2d

    for name, part in network.named_children():
        if isinstance(part, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(part.num_features, eps=part.eps)
            frozen.load_state_dict(part.state_dict())
            setattr(network, name, frozen)
        else:
            freeze_batch_norms(part)


def look_at(network: nn.Module, long_side: int) -> bool:
    """Let a torchvision network see frames at this size; False for one whose size is fixed."""
    transform = getattr(network, "transform", None)
    if transform is None or getattr(transform, "fixed_size", None) is not None:
        return False
    transform.min_size, transform.max_size = (long_side,), long_side
    return True


def own_long_side(architecture: str) -> int:
    """The pixels of the longer side that an architecture was made for."""
    check_architecture(architecture)
    if architecture == BALLNET:
        return BallNetSettings.long_side
    if architecture.startswith(HF):
        from labels.models.detectors.hub_detectors import hub_settings

        return int(hub_settings(architecture)["long_side"])
    from torchvision.models import get_model

    transform: Any = get_model(architecture, weights=None, weights_backbone=None).transform
    return int(max(transform.fixed_size or (transform.max_size,)))


def fetch_weights(name: str, other_ways: str, trained_on: str = "") -> dict[str, torch.Tensor]:
    """The weights of a torchvision network, from torch's cache or fetched into it. No code in the file is run.

    Args:
        other_ways: what to do without them, for the message.
        trained_on: whose weights they are called there.

    Raises InputError when they cannot be fetched, or are not what torchvision says they are.
    """
    from torchvision.models import get_model_weights

    url = get_model_weights(name).DEFAULT.url
    timeout = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(TorchvisionSettings.download_timeout_s)  # torch.hub sets none and would wait for ever
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # net and bytes come from outside: however they fail, it means the same
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
        way = f"delete {file}, which is not sound" if file.is_file() else f"put {file.name} into {file.parent}"
        raise InputError(
            f"{name}: its {trained_on}weights cannot be had from {url} ({reason[:120]}); {way}, or {other_ways}"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)


def fetch_coco_weights(name: str, other_ways: str) -> dict[str, torch.Tensor]:
    """The COCO weights of a torchvision detector; see `fetch_weights`."""
    return fetch_weights(name, other_ways, "COCO ")


def network_from_checkpoint(checkpoint: dict[str, Any], where: str) -> nn.Module:
    """The network of a checkpoint (see `checkpoints`), with its weights, in evaluation mode on the CPU.

    Raises InputError when the weights are not those of the architecture it names.
    """
    names = tuple(checkpoint["class_names"])
    architecture, settings = checkpoint["architecture"], checkpoint["settings"]
    check_shapes(checkpoint, lambda: build_network(architecture, names, settings, pretrained=False), where)
    network = build_network(architecture, names, settings, pretrained=False)
    try:
        network.load_state_dict(checkpoint["network"])
    except RuntimeError:
        raise InputError(
            f"{where}: its weights do not fit the architecture {checkpoint['architecture']} with {len(names)} classes"
        ) from None
    return network.eval()


def check_shapes(checkpoint: dict[str, Any], build: Callable[[], nn.Module], where: str) -> None:
    """InputError unless the weights have the shapes of the network that `build` makes, told before it is made.

    Settings from outside may ask for a network of any size. One of the hub is not looked at: it asks its own weights.
    """
    if checkpoint["architecture"].startswith(HF):
        return
    with torch.device("meta"):  # shapes without numbers
        own = _shapes(build().state_dict())
    found = _shapes(checkpoint["network"])
    if found != own:
        wrong = sorted(name for name in found | own if found.get(name) != own.get(name))
        raise InputError(
            f"{where}: its weights do not fit the architecture {checkpoint['architecture']} with "
            f"{len(checkpoint['class_names'])} classes ({len(wrong)} differ: {', '.join(wrong[:3])[:120]})"
        )


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """By name; frozen batch norms do not count their batches, others do."""
    return {name: tuple(each.shape) for name, each in state.items() if not name.endswith(".num_batches_tracked")}


def _take_what_fits(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load every tensor whose name and shape the network has: all but the layers that depend on the classes."""
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    network.load_state_dict(fitting, strict=False)


def _ballnet_settings(settings: dict[str, Any]) -> BallNetSettings:
    _refuse_unknown(BALLNET, settings, frozenset(field.name for field in fields(BallNetSettings)))
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    return BallNetSettings(**values)


def _refuse_unknown(architecture: str, settings: dict[str, Any], known: frozenset[str]) -> None:
    unknown = set(settings) - known
    if unknown:
        raise InputError(f"{architecture}: has no settings {', '.join(sorted(unknown))}")
