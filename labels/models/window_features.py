"""What a recogniser sees in windows, as a few numbers: what goes into its last layer, projected and squeezed into 0-1.

A random projection keeps who lies near whom (Johnson and Lindenstrauss); it is the same in every run. Features are
comparable within one recogniser only.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

FEATURES = 32
SEED = 20080


def recognise_with_features(recogniser: Any, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) as `recognise` gives them, and features (N, FEATURES) in 0-1, of what is not mirrored.

    Features are (N, 0) where the recogniser is not one network that ends in a linear layer.
    """
    last = _last_layer(getattr(recogniser, "network", None))
    if last is None or not len(windows):
        return recogniser.recognise(windows), np.zeros((len(windows), 0))
    seen: list[np.ndarray] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().float().cpu().numpy()))
    try:
        probabilities = recogniser.recognise(windows)
    finally:
        hook.remove()
    batches = math.ceil(len(windows) / recogniser.batch_size)
    straight = np.concatenate(
        seen[:: max(1, len(seen) // batches)]
    )  # each batch is looked at once, or once more mirrored
    if len(straight) % len(windows):
        return probabilities, np.zeros((len(windows), 0))
    # A network of single frames has a row a frame.
    return probabilities, squeeze(straight.reshape(len(windows), -1, straight.shape[-1]).mean(axis=1))


def squeeze(features: np.ndarray) -> np.ndarray:
    """(N, D) of any size as (N, FEATURES) in 0-1: their directions, projected, 0 at a half."""
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    projection = np.random.default_rng(SEED).normal(size=(features.shape[1], FEATURES)) / math.sqrt(FEATURES)
    return np.clip(0.5 + directions @ projection, 0, 1)


def _last_layer(network: Any) -> nn.Linear | None:
    if not isinstance(network, torch.nn.Module):
        return None
    layers = [part for part in network.modules() if isinstance(part, nn.Linear)]
    return layers[-1] if layers else None
