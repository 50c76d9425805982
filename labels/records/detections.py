"""What a detector says of one frame, as arrays that are checked where they are made."""

from dataclasses import dataclass

import numpy as np

from labels.records.geometry import as_xyxy


@dataclass(frozen=True)
class Detections:
    """N boxes of one frame: `xyxy` (N, 4) float32 pixels, `score` (N,) float32 in 0-1, `class_name` (N,) str."""

    xyxy: np.ndarray
    score: np.ndarray
    class_name: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyxy", as_xyxy(self.xyxy))
        object.__setattr__(self, "score", np.asarray(self.score, dtype=np.float32).reshape(-1))
        object.__setattr__(self, "class_name", np.asarray(self.class_name, dtype=object).reshape(-1))
        if not len(self.xyxy) == len(self.score) == len(self.class_name):
            raise ValueError(f"{len(self.xyxy)} boxes, {len(self.score)} scores, {len(self.class_name)} class names")
        if not np.isfinite(self.xyxy).all():
            raise ValueError("a detector gave a box that is not finite")

    @classmethod
    def none(cls) -> "Detections":
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=object))

    def __len__(self) -> int:
        return len(self.score)

    def where(self, mask: np.ndarray) -> "Detections":
        """The detections that a boolean mask (N,) or an index array picks."""
        return Detections(self.xyxy[mask], self.score[mask], self.class_name[mask])
