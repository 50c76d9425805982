"""`--detector human`: nobody looks, so that a round's labels are those that a human drew or imported, and no others."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from labels.models.settings import BALL, HUMAN
from labels.records.detections import Detections

if TYPE_CHECKING:
    from labels.videos.decoding import Frame


class NoDetector:
    """A detector (see `models.detector`) that finds nothing."""

    name, digest, every_frame, describes = HUMAN, HUMAN, False, False

    def __init__(self, class_names: tuple[str, ...] | None = None) -> None:
        self.class_names = class_names or (BALL,)
        self.working_threshold = dict.fromkeys(self.class_names, 0.5)
        self.score_slope: dict[str, float] = {}

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        for frame in frames:
            yield frame, Detections.none()
