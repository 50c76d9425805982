"""Backbones that are not trained: probes on their features, and recognisers of the hub with heads of their own.

`probe:FILE.onnx`, `probe:hf:NAME` or `probe:hf:FOLDER` is a frozen network of pictures (DINOv2, CLIP, any feature
extractor in a .onnx file) or of clips (V-JEPA 2, VideoMAE, ViViT, TimeSformer) below a small head. The features of each
window are computed once, as they are and mirrored, and kept with the windows (`labelling.action_windows`); a round then
trains the head alone, in seconds. As in V-JEPA (arXiv 2404.08471, section 4) a learnt query attends over time.

`--recogniser hf:…` is a network of clips with its own head and classes (`id2label`).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labels.models.deep_features import CropFeatures, HubFeatures, OnnxFeatures
from labels.models.detectors.loading import torch_device
from labels.models.hub import HF, HubModel, find_hub_model
from labels.models.recognisers.clip_networks import IMAGENET_MEAN, IMAGENET_STD, ClipNetwork
from labels.models.recognisers.settings import FEATURES, PROBE, Preset
from labels.records.errors import InputError

OPEN_BACKBONES = 2  # at once: the student's, and the one that is trained
PICTURES = 8, 8.0  # frames, and frames a second, of a window of a backbone of pictures
SHORT, SHORT_RATE, LONG_RATE = 16, 7.5, 15.0  # a clip of so many frames is sampled sparsely, as VideoMAE was trained

Backbone = Callable[[np.ndarray], np.ndarray]  # windows (B, T, h, w, 3) uint8 to features (B, times, F)


class Probe(nn.Module):
    """Features (B, 2, T, F), of windows and of the same mirrored, to logits (B, K) of the former."""

    frozen_norms = True  # there are none to settle

    def __init__(self, classes: int, times: int, features: int, width: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features, elementwise_affine=False)
        self.narrow = nn.Linear(2 * features, width)
        self.when = nn.Parameter(torch.zeros(times, width))
        self.query = nn.Linear(width, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, values: Tensor) -> Tensor:
        seen = self.norm(values[:, 0].float())  # (B, T, F)
        change = torch.zeros_like(seen)
        change[:, 1:] = seen[:, 1:] - seen[:, :-1]
        moments = nn.functional.gelu(self.narrow(self.dropout(torch.cat([seen, change], dim=2))) + self.when)
        attention = self.query(moments).softmax(dim=1)  # (B, T, 1)
        return self.head(self.dropout((attention * moments).sum(dim=1)))


def probe_preset(architecture: str) -> Preset:
    """The windows of `probe:…`, as its backbone wants them. InputError where it cannot be had."""
    return _opened(architecture.removeprefix(PROBE))[0]


def window_features(preset: Preset) -> Callable[[np.ndarray], np.ndarray]:
    """What turns a window (T, h, w, 3) uint8 into features (2, times, F) float16, as it is and mirrored.

    InputError where the backbone is another one than the preset was made with.
    """
    made, backbone = _opened(preset.backbone)
    if made.backbone_digest != preset.backbone_digest:
        raise InputError(f"{preset.backbone}: is another network than the probe was trained on; train it anew")
    crop = preset.crop

    def see(window: np.ndarray) -> np.ndarray:
        clips = torch.from_numpy(np.stack([window, window[:, :, ::-1]]))
        prepared = ClipNetwork(nn.Identity(), preset, IMAGENET_MEAN, IMAGENET_STD).prepare(clips)
        assert prepared.shape[3:] == (crop, crop)
        pictures = prepared.permute(0, 2, 3, 4, 1).round().clamp(0, 255).to(torch.uint8).numpy()
        return backbone(pictures).astype(np.float16)

    return see


@lru_cache(maxsize=OPEN_BACKBONES)
def _opened(name: str) -> tuple[Preset, Backbone]:
    device = torch_device("auto")
    if name.startswith(HF):
        hub = find_hub_model(f"--architecture {PROBE}", name)
        if _is_of_clips(hub):
            network, preset = hub_clips(hub, head=False, device=device)

            def of_clips(windows: np.ndarray) -> np.ndarray:
                with torch.inference_mode():
                    return network(torch.from_numpy(windows).to(device)).float().cpu().numpy()

            return _as_probed(preset, name, hub.digest[:12], of_clips), of_clips
        pictures: CropFeatures = HubFeatures(name, device)
    elif name.endswith(".onnx"):
        pictures = OnnxFeatures(Path(name), device)
    else:
        raise InputError(f"--architecture {PROBE}{name}: a probe is of a .onnx file, {HF}NAME or {HF}FOLDER")

    def of_pictures(windows: np.ndarray) -> np.ndarray:
        found = pictures.vectors(windows.reshape(-1, *windows.shape[2:]))
        return found.float().cpu().numpy().reshape(len(windows), windows.shape[1], -1)

    frames, rate = PICTURES
    preset = Preset(frames, rate, pictures.side + pictures.side // 8, crop=pictures.side)
    return _as_probed(preset, name, pictures.name.rpartition("@")[2], of_pictures), of_pictures


def _as_probed(preset: Preset, name: str, digest: str, backbone: Backbone) -> Preset:
    trial = backbone(np.zeros((1, preset.frames, preset.crop, preset.crop, 3), dtype=np.uint8))
    _, times, length = trial.shape
    return replace(preset, reads=FEATURES, backbone=name, backbone_digest=digest, features=(times, length))


def _is_of_clips(hub: HubModel) -> bool:
    from transformers.models.auto import modeling_auto

    return hub.config.model_type in modeling_auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES


class _HubClips(nn.Module):
    """A network of the hub where a backbone of clips (B, 3, T, H, W) is expected."""

    def __init__(self, model: nn.Module, config: Any, head: bool) -> None:
        super().__init__()
        self.model, self.config, self.head = model, config, head

    def forward(self, clips: Tensor) -> Tensor:
        output = self.model(**{str(self.model.main_input_name): clips.transpose(1, 2)})
        if self.head:
            return output.logits
        tokens = output.last_hidden_state  # (B, times * places, F), with or without one of all before
        tubelet = getattr(self.config, "tubelet_size", 1)
        times = clips.shape[2] // int(tubelet[0] if isinstance(tubelet, list | tuple) else tubelet)
        return tokens[:, tokens.shape[1] % times :].unflatten(1, (times, -1)).mean(dim=2)


def hub_clips(hub: HubModel, head: bool, device: str) -> tuple[ClipNetwork, Preset]:
    """A network of clips of the hub and the windows it takes; with its head logits (B, K), else (B, times, F)."""
    import transformers

    config = hub.config
    kind = transformers.AutoModelForVideoClassification if head else transformers.AutoModel
    model = hub.load_network(kind, device)
    is_vjepa = config.model_type == "vjepa2"
    processor = hub.load(transformers.AutoVideoProcessor if is_vjepa else transformers.AutoImageProcessor)
    frames = int(getattr(config, "num_frames", None) or config.frames_per_clip)
    size = getattr(config, "image_size", None) or config.crop_size
    crop = int(size[0] if isinstance(size, list | tuple) else size)
    preset = Preset(frames, SHORT_RATE if frames <= SHORT else LONG_RATE, crop + crop // 8, crop=crop)
    network = ClipNetwork(_HubClips(model, config, head), preset, processor.image_mean, processor.image_std)
    return network.to(device).eval(), preset


def hub_recogniser(name: str, device: str) -> tuple[ClipNetwork, tuple[str, ...], Preset, str]:
    """Network, class names, windows and digest of a recogniser of the hub. InputError for what is none."""
    hub = find_hub_model("--recogniser", name)
    if not _is_of_clips(hub):
        raise InputError(
            f"--recogniser {name}: is a {hub.config.model_type}, which recognises no actions; name another"
        )
    network, preset = hub_clips(hub, head=True, device=device)
    names = tuple(str(hub.config.id2label[number]) for number in sorted(hub.config.id2label))
    if len(set(names)) < len(names):
        raise InputError(f"--recogniser {name}: two of its classes have one name")
    return network, names, preset, hub.digest
