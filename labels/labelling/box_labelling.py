"""One video through a detector: its boxes, its camera motion, and JPEGs of the frames that may become training data.

A pure function a video: what it gives depends on its arguments alone, so that many processes can run it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby, takewhile
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from labels.labelling.settings import LabellingSettings
from labels.models.appearance import appearance
from labels.models.detectors.detector import Clock, Detector
from labels.models.detectors.ensemble import Ensemble, sources_of
from labels.records.detections import Detections, as_text
from labels.records.geometry import clip_boxes
from labels.records.masks import MASKS
from labels.records.tables import BOX_COLUMNS, BOXES, CAMERA, concatenate, make_boxes, make_table, sort_boxes
from labels.records.video_labels import Stretches, in_stretches
from labels.tracks.camera_motion import IDENTITY, CameraMotion, CameraStep, camera_table
from labels.tracks.trajectories import PLAYER_CLASSES
from labels.videos.decoding.frames import Frame
from labels.videos.frame_store import FrameStore

if TYPE_CHECKING:
    from labels.models.deep_features import BoxFeatures


@dataclass(frozen=True)
class LabelledVideo:
    boxes: pd.DataFrame  # BOXES of the labelled frames
    camera: pd.DataFrame  # CAMERA of every frame that was decoded
    labelled_frames: int
    degenerate_boxes: int  # that the detector gave and that have no area inside the frame
    surplus_boxes: int  # beyond the most that are taken of a frame
    repeated_boxes: int  # that it had said of the same frame before, to the last bit
    repeated_frames: tuple[int, ...] = ()  # labelled frames that show what the frame before shows, and have its boxes
    clocks: Mapping[str, Clock] = field(default_factory=dict)  # by source, what its detector was given and took
    masks: pd.DataFrame | None = None  # MASKS, of a detector that gives some


def label_video(
    video_id: str,
    frames: Iterable[Frame],
    detector: Detector | Ensemble,
    round_number: int,
    settings: LabellingSettings,
    store: FrameStore | None = None,
    backbone: "BoxFeatures | None" = None,
    asked: Stretches | None = None,
) -> LabelledVideo:
    """Label one video.

    Args:
        frames: every `decode_stride(detector, settings.stride)`th frame of it, from frame 0, in order.
        store: where the JPEGs go; None writes none.
        backbone: says what is in the boxes, for a detector that does not.
        asked: where those of an ensemble look that are asked in some stretches alone.

    A frame that repeats the one before has its boxes: no detector sees it, so that nothing moves across it.

    Raises whatever `frames` raises when it cannot be decoded to its end.
    """
    camera, clock = CameraMotion(), Clock()
    if isinstance(detector, Ensemble):
        detector = detector.of_video(asked)
    frame_index: list[int] = []
    repeats: deque[Frame] = deque()  # that wait for the boxes of the frame before them
    repeated: list[int] = []
    rows = _Rows(backbone, settings.most_boxes)
    # Camera motion and JPEGs cost about as much as a small detector: they run beside it.
    with _Beside(settings.pending) as steps, _Beside(settings.pending) as pictures:

        def watched() -> Iterator[Frame]:
            seen = -1  # the last frame that the detector was given
            for frame in frames:
                frame_index.append(frame.frame_index)
                labels_are_there = seen % settings.stride == 0 or frame.frame_index % settings.stride != 0
                if frame.is_repeated and seen >= 0 and labels_are_there:
                    steps.submit(_standing_still)
                    repeats.append(frame)
                    continue
                steps.submit(camera.update, frame.rgb)
                seen = frame.frame_index
                yield frame

        def take(frame: Frame, found: Detections) -> None:
            if frame.frame_index % settings.stride:
                return
            worth = is_worth_a_row(found, detector)
            rows.surplus += int((~worth).sum())
            found = rows.add(frame, found.where(worth))
            wanted = store is not None and is_worth_a_picture(found, detector, settings.image_share)
            if store is not None and wanted and not store.has(video_id, frame.frame_index):
                pictures.submit(store.write, video_id, frame.frame_index, frame.rgb)

        def take_repeats(found: Detections, until: float) -> None:
            while repeats and repeats[0].frame_index < until:
                frame = repeats.popleft()
                if frame.frame_index % settings.stride == 0:
                    repeated.append(frame.frame_index)
                take(frame, found)

        found = Detections.none()
        answers = detector.detect(watched()) if isinstance(detector, Ensemble) else clock.watch(detector, watched())
        for frame, found_next in answers:
            take_repeats(found, frame.frame_index)
            found = found_next
            take(frame, found)
        take_repeats(found, float("inf"))
        pictures.finish()
        table = camera_table(frame_index, steps.finish())
    boxes = rows.as_boxes(video_id, round_number)
    # A detector may say one box twice; a label is named by its box.
    once = sort_boxes(boxes.drop_duplicates("label_uid", keep="first"))
    counts = (rows.frames, rows.degenerate, rows.surplus, len(boxes) - len(once))
    clocks = detector.clocks if isinstance(detector, Ensemble) else {"": clock}
    masks = rows.as_masks(boxes)
    masks = masks[masks["label_uid"].isin(once["label_uid"])].drop_duplicates("label_uid", ignore_index=True)
    return LabelledVideo(once, table, *counts, tuple(repeated), clocks, masks if len(masks) else None)


def parts_of(frames: Iterable[Frame], stretches: Stretches | None) -> Iterator[Iterator[Frame]]:
    """The frames of each stretch of a video, to be taken in order; None: all, as one. No frame after them is taken."""
    if stretches is None:
        yield iter(frames)
        return
    ends = [0, *(end for _, end in stretches)]
    until_last = takewhile(lambda frame: frame.frame_index < ends[-1], frames)
    for looks, part in groupby(until_last, lambda frame: bool(in_stretches(np.array([frame.frame_index]), stretches))):
        if looks:
            yield part


def joined(parts: Sequence[LabelledVideo], video_id: str, round_number: int) -> LabelledVideo:
    """The stretches of a video that were labelled each by itself. Nothing moves from one to the other: each begins a
    shot of its own.
    """
    if len(parts) == 1:
        return parts[0]
    cameras, shots = [], 0
    for part in parts:
        cameras.append(part.camera.assign(shot_index=part.camera["shot_index"] + shots))
        shots = int(cameras[-1]["shot_index"].max()) + 1
    clocks: dict[str, Clock] = {}
    for part in parts:
        clocks |= {source: clocks.get(source, Clock()) + clock for source, clock in part.clocks.items()}
    boxes = [part.boxes for part in parts] or [_Rows().as_boxes(video_id, round_number)]
    return LabelledVideo(
        sort_boxes(concatenate(boxes, BOXES)) if any(map(len, boxes)) else boxes[0],
        concatenate(cameras, CAMERA),
        sum(part.labelled_frames for part in parts),
        sum(part.degenerate_boxes for part in parts),
        sum(part.surplus_boxes for part in parts),
        sum(part.repeated_boxes for part in parts),
        tuple(index for part in parts for index in part.repeated_frames),
        clocks,
        concatenate(masks, MASKS) if (masks := [part.masks for part in parts if part.masks is not None]) else None,
    )


def _standing_still() -> CameraStep:
    return CameraStep(IDENTITY.copy(), False)


def decode_stride(detector: Detector | Ensemble, stride: int) -> int:
    """Every how many frames must be decoded so that each `stride`th can be labelled."""
    return 1 if detector.every_frame else stride


def is_worth_a_row(found: Detections, detector: Detector | Ensemble) -> np.ndarray:
    """(N,) bool: all but people below their detector's working threshold.

    Spectators whom it hardly sees are nine of ten boxes of a broadcast, and tell nothing of the players.
    """
    is_person = np.isin(found.class_name.astype(str), list(PLAYER_CLASSES))
    if not is_person.any():
        return ~is_person
    sources, worth = sources_of(detector), ~is_person
    for row in np.flatnonzero(is_person):
        known = sources[found.source[row]].working_threshold if found.source[row] in sources else {}
        worth[row] = found.score[row] >= known.get(found.class_name[row], 0.0)
    return worth


def is_worth_a_picture(found: Detections, detector: Detector | Ensemble, image_share: float) -> bool:
    """Whether a box is likely enough to be kept by cleaning; a frame that turns out needed is decoded again there."""
    sources = sources_of(detector)
    needed = [sources[who].working_threshold[name] for who, name in zip(found.source, found.class_name, strict=True)]
    return bool((found.score >= image_share * np.array(needed)).any())


def best_of_each(found: Detections, most: int) -> np.ndarray:
    """Indices, in order, of the `most` boxes of each class and source with the highest scores."""
    if len(found) <= most:
        return np.arange(len(found))
    groups = pd.Series(found.score).groupby([found.class_name, found.source])
    return np.flatnonzero(groups.rank(method="first", ascending=False).to_numpy() <= most)


@dataclass
class _Rows:
    """The boxes of one video as they come in."""

    backbone: "BoxFeatures | None" = None
    most_boxes: int = LabellingSettings.most_boxes
    parts: list[tuple[int, float, Detections, np.ndarray]] = field(default_factory=list)
    frames: int = 0
    degenerate: int = 0
    surplus: int = 0

    def add(self, frame: Frame, found: Detections) -> Detections:
        """Take one frame's detections; returns them clipped to the frame, those without area or too many left out."""
        height, width = frame.rgb.shape[:2]
        clipped = replace(found, xyxy=clip_boxes(found.xyxy, width, height))
        there = (clipped.xyxy[:, 2] > clipped.xyxy[:, 0]) & (clipped.xyxy[:, 3] > clipped.xyxy[:, 1])
        clipped = clipped.where(there)
        self.frames += 1
        self.degenerate += int((~there).sum())
        best = best_of_each(clipped, self.most_boxes)
        self.surplus += len(clipped) - len(best)
        clipped = clipped.where(best)
        if len(clipped):
            deep = clipped.appearance if self.backbone is None else self.backbone(frame.rgb, clipped.xyxy)
            features = np.concatenate([appearance(frame.rgb, clipped.xyxy), deep], axis=1)
            self.parts.append((frame.frame_index, frame.time_s, clipped, as_text(features)))
        return clipped

    def as_boxes(self, video_id: str, round_number: int) -> pd.DataFrame:
        found = [detections for _, _, detections, _ in self.parts]
        counts = [len(detections) for detections in found]
        return make_boxes(
            video_id,
            round_number,
            np.repeat(np.array([index for index, *_ in self.parts], dtype=np.int64), counts),
            np.repeat(np.array([time_s for _, time_s, *_ in self.parts], dtype=np.float64), counts),
            np.concatenate([np.zeros((0, 4), np.float32), *(detections.xyxy for detections in found)]),
            np.concatenate([np.zeros(0, dtype=object), *(detections.class_name for detections in found)]),
            np.concatenate([np.zeros(0, np.float32), *(detections.score for detections in found)]),
            track_id=np.concatenate([np.zeros(0, np.int64), *(detections.track_id for detections in found)]),
            source=np.concatenate([np.zeros(0, dtype=object), *(detections.source for detections in found)]),
            appearance=np.concatenate([np.zeros(0, dtype=object), *(features for _, _, _, features in self.parts)]),
        )

    def as_masks(self, boxes: pd.DataFrame) -> pd.DataFrame:
        """The masks of those of `boxes`, as `as_boxes` gave them, that have one."""
        masks = [np.zeros(0, dtype=object), *(detections.mask_rle for _, _, detections, _ in self.parts)]
        values = {name: boxes[name].to_numpy() for name in ("label_uid", *BOX_COLUMNS)}
        values |= {"mask_rle": np.concatenate(masks), "mask_score": boxes["score"].to_numpy()}
        table = make_table(MASKS, values)
        return table[table["mask_rle"] != ""].reset_index(drop=True)


class _Beside:
    """A thread that does what it is given in order; whoever gives it more than `pending` waits."""

    def __init__(self, pending: int) -> None:
        self._pending = pending
        self._worker = ThreadPoolExecutor(1)
        self._waiting: deque[Future[Any]] = deque()
        self._results: list[Any] = []

    def submit(self, work: Callable[..., Any], *arguments: Any) -> None:
        while len(self._waiting) >= self._pending:
            self._results.append(self._waiting.popleft().result())
        self._waiting.append(self._worker.submit(work, *arguments))

    def finish(self) -> list[Any]:
        """Wait for all of it; the results in order. Raises what the work raised."""
        while self._waiting:
            self._results.append(self._waiting.popleft().result())
        return self._results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)
