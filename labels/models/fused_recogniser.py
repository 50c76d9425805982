"""Late fusion: a recogniser of pixels and one of joints look at the same moment, and what they say is averaged."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from labels.models.probabilities import logs_of, softmax
from labels.models.recogniser_settings import JOINTS, PIXELS, Preset
from labels.records.safe_writing import digest_of

if TYPE_CHECKING:
    from labels.models.recogniser import Recogniser


def fuse(pixels: np.ndarray, joints: np.ndarray, weight: float, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, K) of two, as softmax((weight log pixels + (1 - weight) log joints) / temperature)."""
    return softmax(weight * logs_of(pixels) + (1 - weight) * logs_of(joints), temperature)


def fused_preset(pixels: Preset, joints: Preset) -> Preset:
    """Windows of pixels, with those of joints beside them."""
    return replace(pixels, beside=joints)


class FusedRecogniser:
    """Two recognisers of the same classes as one. `weight` is what the one of pixels counts, 0 to 1."""

    def __init__(
        self,
        pixels: "Recogniser",
        joints: "Recogniser",
        weight: float,
        name: str,
        temperature: float = 1.0,
        working_threshold: dict[str, float] | None = None,
    ) -> None:
        if pixels.class_names != joints.class_names:
            raise ValueError(f"recognisers of other classes: {pixels.class_names} and {joints.class_names}")
        self.pixels, self.joints, self.weight, self.temperature = pixels, joints, weight, temperature
        self.name, self.class_names, self.working_threshold = name, pixels.class_names, working_threshold or {}
        self.device = pixels.device
        self.preset = fused_preset(pixels.preset, joints.preset)
        self.digest = digest_of([pixels.digest, joints.digest, weight, temperature])

    @property
    def parts(self) -> "dict[str, Recogniser]":
        """By what they look at."""
        return {PIXELS: self.pixels, JOINTS: self.joints}

    def recognise(self, windows: np.ndarray) -> np.ndarray:
        """Probabilities (N, K) of records of pixels and joints, (N,)."""
        return self.join(*(part.recognise(windows[reads]) for reads, part in self.parts.items()))

    def join(self, pixels: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """What it says of windows of which its parts say this, all (N, K)."""
        return fuse(pixels, joints, self.weight, self.temperature)
