"""Class probabilities and their logarithms, finite also where a probability is 0."""

import numpy as np

LEAST_PROBABILITY = 1e-6


def logs_of(probabilities: np.ndarray) -> np.ndarray:
    """The natural logarithms of probabilities of any shape, those under `LEAST_PROBABILITY` taken as that."""
    return np.log(np.clip(probabilities, LEAST_PROBABILITY, 1))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, K) from logits (N, K) over a temperature."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def tempered(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The softmax of (N, K) logits over a temperature, none under `LEAST_PROBABILITY`."""
    return np.clip(softmax(logits, temperature), LEAST_PROBABILITY, 1)
