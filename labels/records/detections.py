"""Detections: the boxes a detector found in one frame, as arrays that are checked when they are made.

Features of boxes are stored as text, so that any table can hold them: values in 0-1, one byte each, in hexadecimal.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from labels.records.geometry import as_xyxy
from labels.records.tables import NO_TRACK


@dataclass(frozen=True)
class Detections:
    """N boxes of one frame: `xyxy` (N, 4) float32 pixels, `score` (N,) float32 in 0-1, `class_name` (N,) str.

    `source` (N,) str names the view (detector, size, tiles) that found each; "" where there is only one.
    `appearance` (N, F) float32 in 0-1 is what the detector itself sees in each (see `models/deep_features`); F is 0
    where it does not tell.
    `track_id` (N,) int64, NO_TRACK: none, and `mask_rle` (N,) str, "": none (see `records.masks`), are of detectors
    that track masks.
    """

    xyxy: np.ndarray
    score: np.ndarray
    class_name: np.ndarray
    source: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=object))
    appearance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    track_id: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    mask_rle: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=object))

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyxy", as_xyxy(self.xyxy))
        object.__setattr__(self, "score", np.asarray(self.score, dtype=np.float32).reshape(-1))
        object.__setattr__(self, "class_name", np.asarray(self.class_name, dtype=object).reshape(-1))
        source = np.asarray(self.source, dtype=object).reshape(-1)
        object.__setattr__(self, "source", source if len(source) else np.full(len(self.score), "", dtype=object))
        seen = self.appearance if self.appearance.shape[1] else np.zeros((len(self.score), 0), dtype=np.float32)
        object.__setattr__(self, "appearance", seen)
        tracks = np.asarray(self.track_id, dtype=np.int64).reshape(-1)
        object.__setattr__(self, "track_id", tracks if len(tracks) else np.full(len(self.score), NO_TRACK))
        masks = np.asarray(self.mask_rle, dtype=object).reshape(-1)
        object.__setattr__(self, "mask_rle", masks if len(masks) else np.full(len(self.score), "", dtype=object))
        lengths = [len(column) for column in self._columns]
        if len(set(lengths)) > 1:
            text = "{} boxes, {} scores, {} class names, {} sources, {} appearances, {} tracks, {} masks"
            raise ValueError(text.format(*lengths))
        if not np.isfinite(self.xyxy).all():
            raise ValueError("a detector gave a box that is not finite")

    @classmethod
    def none(cls) -> "Detections":
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=object))

    def __len__(self) -> int:
        return len(self.score)

    def where(self, mask: np.ndarray) -> "Detections":
        """The detections that a boolean mask (N,) or an index array picks."""
        return Detections(*(column[mask] for column in self._columns))

    @property
    def _columns(self) -> tuple[np.ndarray, ...]:
        own = (self.xyxy, self.score, self.class_name, self.source, self.appearance)
        return (*own, self.track_id, self.mask_rle)


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
