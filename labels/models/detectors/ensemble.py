"""An ensemble of views: several detectors, or one at several sizes, in tiles or mirrored, on the same frames.

Every view's boxes are returned in the frame's pixels, with the view they came from as `source`; cleaning fuses them.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, groupby, islice, tee
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from labels.models.detectors.detector import Clock, Detector
from labels.models.detectors.loading import load_detector, torch_device
from labels.models.hub import HF
from labels.models.settings import BALL, HUMAN, DetectorOptions, TileSettings, Views
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of
from labels.records.video_labels import Stretches, in_stretches

if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame


class _View:
    """Another view of the frames by the same detector."""

    describes = False  # features of different views cannot be compared

    def __init__(self, detector: Detector, *views: object) -> None:
        self._detector = detector
        self.name, self.every_frame, self.class_names = detector.name, detector.every_frame, detector.class_names
        self.working_threshold, self.score_slope = detector.working_threshold, detector.score_slope
        if hasattr(detector, "origin"):
            self.origin = detector.origin
        self.digest = digest_of([detector.digest, type(self).__name__, *views])


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


if TYPE_CHECKING:
    from labels.models.deep_features import BoxFeatures
    from labels.videos.decoding.frames import Frame


class Ensemble:
    """The boxes of all its members, each with the member's name as `source`.

    Members that do not need every frame are asked of every `stride`th one only; for the others they have no boxes.
    `asked`: the members that look in `stretches` of a video alone.
    """

    describes = False  # what different networks see in boxes cannot be compared

    def __init__(
        self,
        members: Mapping[str, Detector],
        stride: int = 1,
        asked: Collection[str] = (),
        stretches: Stretches | None = None,
    ) -> None:
        self.members, self._stride = dict(members), stride
        self._asked, self._stretches = asked, stretches
        self.clocks = {source: Clock() for source in members}
        self.name = " + ".join(members)
        self.digest = digest_of([[name, detector.digest] for name, detector in members.items()])
        self.class_names = tuple(dict.fromkeys(name for each in members.values() for name in each.class_names))
        self.every_frame = any(detector.every_frame for detector in members.values())

    def of_video(self, stretches: Stretches | None) -> "Ensemble":
        """The same for one video, in which those `asked` look in these stretches alone; None: everywhere."""
        return Ensemble(self.members, self._stride, self._asked, stretches)

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        streams = tee(frames, len(self.members) + 1)
        answers = [self._answers(*member) for member in zip(self.members.items(), streams[1:], strict=True)]
        for frame, *found in zip(streams[0], *answers, strict=True):
            yield frame, together(found)

    def _answers(self, member: tuple[str, Detector], frames: "Iterator[Frame]") -> Iterator[Detections]:
        """One member's detections for every frame, in order. Each stretch is to it a video of its own."""
        source, _ = member
        stretches = self._stretches if source in self._asked else None
        if stretches is None:
            yield from self._looking(member, frames)
            return
        for looks, part in groupby(frames, lambda frame: bool(in_stretches(np.array([frame.frame_index]), stretches))):
            if looks:
                yield from self._looking(member, part)
            else:
                yield from (Detections.none() for _ in part)

    def _looking(self, member: tuple[str, Detector], frames: "Iterator[Frame]") -> Iterator[Detections]:
        source, detector = member
        stride = 1 if detector.every_frame else self._stride
        asked, all_frames = tee(frames)
        answers = self.clocks[source].watch(detector, (frame for frame in asked if frame.frame_index % stride == 0))
        for frame in all_frames:
            found = next(answers)[1] if frame.frame_index % stride == 0 else Detections.none()
            sources = np.full(len(found), source, dtype=object)
            yield Detections(found.xyxy, found.score, found.class_name, sources, mask_rle=found.mask_rle)


def sources_of(detector: Detector | Ensemble) -> dict[str, Detector]:
    """The detector of each view, by the `source` of its boxes."""
    return detector.members if isinstance(detector, Ensemble) else {"": detector}


def score_scales(detector: Detector | Ensemble) -> dict[str, dict[str, dict[str, float]]]:
    """How the scores of each source are to be read: source -> working_threshold and score_slope, by class."""
    return {
        source: {"working_threshold": each.working_threshold, "score_slope": each.score_slope}
        for source, each in sources_of(detector).items()
    }


def origins_of(detector: Detector | Ensemble) -> dict[str, dict[str, str]]:
    """Where the networks are from that come from elsewhere, by source: place, revision, licence."""
    return {source: each.origin for source, each in sources_of(detector).items() if hasattr(each, "origin")}


def together(parts: list[Detections]) -> Detections:
    """All boxes of one frame, whoever found them. Their tracks are left out: two may number theirs alike."""
    names = ("xyxy", "score", "class_name", "source", "mask_rle")
    return Detections(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def load_ensemble(
    names: tuple[str, ...],
    class_names: tuple[str, ...] | None,
    device: str,
    options: DetectorOptions,
    views: Views,
    stride: int,
    asked: Collection[str] = (),
) -> Detector | Ensemble:
    """The detectors that a user named, each with the views it supports; a single one with a single view as it is.

    `asked`: those of the names that may be told to look in some stretches of a video alone (`Ensemble.of_video`).

    Raises InputError for whatever is wrong with one of them, and for views that none of the detectors supports.
    """
    if len(set(names)) < len(names):
        raise InputError("--detector: one of them is named twice")
    if len(names) == 1 and not views.are_several:
        size = views.input_sizes[0] if views.input_sizes else None
        return load_detector(names[0], class_names, device, replace(options, input_size=size))
    options = replace(options, describes=False)
    members: dict[str, Detector] = {}
    asked_members: list[str] = []
    stems = [Path(name).stem for name in names]
    all_single_view = True
    for name in names:
        known = (BALL,) if name == "motion" and class_names is not None and BALL in class_names else class_names
        if len(names) > 1 and name.endswith(".pt"):
            known = None  # a student beside others says what it was made for
        own = replace(
            options,
            class_list=options.class_list if name.endswith(".onnx") else None,
            prompts=options.prompts if name.startswith(HF) else None,
        )
        first = load_detector(name, known, device, own)
        label = Path(name).stem if stems.count(Path(name).stem) == 1 else name
        known_members = len(members)
        whole_frame, taken = first, _taken(views, name, first)
        all_single_view &= taken == Views()
        for size in reversed(taken.input_sizes):
            whole_frame = load_detector(name, known, device, replace(own, input_size=size))
            members[f"{label} {size}"] = whole_frame
        if not taken.input_sizes:
            members[label] = first
        if taken.tile_side:
            side = load_detector(name, known, device, replace(own, tile_side=taken.tile_side))
            members[f"{label} tiles {taken.tile_side}"] = TiledDetector(side, taken.tile_side)
        if taken.mirrored:
            members[f"{label} mirrored"] = MirroredDetector(whole_frame)
        if name in asked:
            asked_members += list(members)[known_members:]
    if all_single_view and views != Views():
        verb = "have" if len(names) > 1 else "has"
        raise InputError(
            f"--input-size, --tiles, --mirrored: {' and '.join(names)} {verb} a single view of a frame; leave them out"
        )
    return Ensemble(members, stride, asked_members)


def _taken(views: Views, name: str, detector: Detector) -> Views:
    """The views that a detector supports.

    What lays frames over each other does so at the size that it learnt; `motion` would see the same in a mirror.
    """
    if name in ("motion", HUMAN):
        return Views()
    return Views(mirrored=views.mirrored) if detector.every_frame else views


def load_backbone(name: str | None, detector: Detector | Ensemble, device: str) -> "BoxFeatures | None":
    """The network that says what is in the boxes of a detector that does not. InputError for one that does."""
    if name is None:
        return None
    if detector.describes:
        raise InputError(f"--set backbone {name}: {detector.name} says itself what is in its boxes; leave it out")
    from labels.models.deep_features import load_box_features

    return load_box_features(name, torch_device(device))
