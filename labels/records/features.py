"""Features of boxes as a column of text: shares in 0-1, a byte each, in hexadecimal, as any table can hold them."""

from collections.abc import Iterable

import numpy as np


def as_text(features: np.ndarray) -> np.ndarray:
    """(N, F) shares in 0-1 as (N,) texts."""
    return np.array([row.tobytes().hex() for row in np.round(features * 255).astype(np.uint8)], dtype=object)


def from_text(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """(N, F) float32 features, zeros where there are none, and (N,) bool: where there are. Of one length only."""
    rows = [np.frombuffer(bytes.fromhex(text), dtype=np.uint8) for text in texts]
    known = np.array([len(row) > 0 for row in rows], dtype=bool)
    lengths = {len(row) for row in rows} - {0}
    if len(lengths) > 1:
        raise ValueError(f"features of different lengths: {sorted(lengths)}")
    features = np.zeros((len(rows), lengths.pop() if lengths else 0), dtype=np.float32)
    for place in np.flatnonzero(known):
        features[place] = rows[place] / np.float32(255)
    return features, known
