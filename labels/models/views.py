"""Other looks at the same frame through one detector: in tiles, and mirrored. Boxes come back in the frame's pixels."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

from labels.models.detector import Detector
from labels.models.settings import TileSettings
from labels.records.detections import Detections
from labels.records.safe_writing import digest_of

if TYPE_CHECKING:
    from labels.videos.decoding import Frame


class _View:
    """A detector that looks in another way, otherwise the same."""

    describes = False  # looks stand beside each other, and are compared in what all of them have

    def __init__(self, detector: Detector, *looks: object) -> None:
        self._detector = detector
        self.name, self.every_frame, self.class_names = detector.name, detector.every_frame, detector.class_names
        self.working_threshold, self.score_slope = detector.working_threshold, detector.score_slope
        self.digest = digest_of([detector.digest, type(self).__name__, *looks])


class MirroredDetector(_View):
    """Sees each frame with left and right swapped."""

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        seen: deque[Frame] = deque()

        def mirrored() -> "Iterator[Frame]":
            for frame in frames:
                seen.append(frame)
                yield frame._replace(rgb=np.ascontiguousarray(frame.rgb[:, ::-1]))

        for _, found in self._detector.detect(mirrored()):
            frame = seen.popleft()
            x1, y1, x2, y2 = found.xyxy.T
            width = frame.rgb.shape[1]
            yield frame, Detections(np.stack([width - x2, y1, width - x1, y2], axis=1), found.score, found.class_name)


class TiledDetector(_View):
    """Sees each frame in overlapping square tiles, so that small things are seen at the size they have.

    What an inner edge of a tile cuts is left to the neighbour, which sees it whole where it fits into the overlap;
    larger things are for a look at the whole frame.
    """

    def __init__(self, detector: Detector, side: int, settings: TileSettings | None = None) -> None:
        self._settings = settings or TileSettings()
        self._side = side
        super().__init__(detector, side, self._settings)

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        seen: deque[tuple[Frame, list[tuple[int, int]]]] = deque()

        def tiles() -> "Iterator[Frame]":
            for frame in frames:
                height, width = frame.rgb.shape[:2]
                lefts, tops = (tile_starts(length, self._side, self._settings.overlap) for length in (width, height))
                corners = [(left, top) for top in tops for left in lefts]
                seen.append((frame, corners))
                for left, top in corners:
                    rgb = frame.rgb[top : top + self._side, left : left + self._side]
                    yield frame._replace(rgb=np.ascontiguousarray(rgb))

        answers = self._detector.detect(tiles())
        for first in answers:  # which makes `seen` hold the frame it is of
            frame, corners = seen.popleft()
            of_frame = chain([first], islice(answers, len(corners) - 1))
            found = [
                self._whole(found, corner, tile.rgb, frame.rgb)
                for corner, (tile, found) in zip(corners, of_frame, strict=True)
            ]
            yield frame, self._each_once(found)

    def _whole(self, found: Detections, corner: tuple[int, int], tile: np.ndarray, rgb: np.ndarray) -> Detections:
        """One tile's detections in the frame's pixels, without those that an inner edge cuts."""
        low, size = np.array(corner), np.array(tile.shape[1::-1])
        margin = self._settings.edge_pixels
        cut_low = (found.xyxy[:, :2] < margin) & (low > 0)
        cut_high = (found.xyxy[:, 2:] > size - margin) & (low + size < rgb.shape[1::-1])
        whole = found.where(~(cut_low | cut_high).any(axis=1))
        return Detections(whole.xyxy + np.tile(low, 2), whole.score, whole.class_name)

    def _each_once(self, parts: list[Detections]) -> Detections:
        """What two tiles saw is there once, with the better score."""
        xyxy, score, names = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("xyxy", "score", "class_name")
        )
        classes = np.unique(names.astype(str), return_inverse=True)[1]
        corner_and_size = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
        left = cv2.dnn.NMSBoxesBatched(
            corner_and_size.tolist(), score.tolist(), classes.tolist(), 0.0, self._settings.same_iou
        )
        return Detections(xyxy, score, names).where(np.asarray(left, dtype=int).reshape(-1))


def tile_starts(length: int, side: int, overlap: float) -> list[int]:
    """Where tiles of `side` begin that cover `length`, evenly, each at least `overlap` of a side into the next."""
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * (1 - overlap)))) + 1
    return [round(place) for place in np.linspace(0, length - side, count)]
