"""SAM 3 as a detector: `hf:NAME` or `hf:FOLDER` of the model type `sam3_video`. Text in, tracked masks out.

What it remembers of a video grows with each frame, so that it is shown chunks of `chunk_frames`. Chunks share
`shared_frames`: what has the same box there in both is the same object, and keeps its number (`track_id`).
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from labels.models.detectors.detector import chosen_classes
from labels.models.detectors.hub_detectors import read_prompts
from labels.models.hub import HubModel
from labels.models.settings import BALL, DetectorOptions, Sam3Settings
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.geometry import iou_matrix
from labels.records.masks import encode_mask
from labels.records.safe_writing import digest_of

if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame


def load_sam3(
    name: str, hub: HubModel, class_names: tuple[str, ...] | None, device: str, options: DetectorOptions
) -> "Sam3Detector":
    """Raises InputError for a model that cannot be had, and for views: it looks at whole frames at its own size."""
    import transformers

    if options.input_size or options.tile_side:
        raise InputError(f"--input-size, --tiles: {name} looks at whole frames at its own size; leave them out")
    if options.prompts is None:  # its words are open: a class is asked for by its name
        prompts = {label: [label] for label in class_names or (BALL,)}
    else:
        known = read_prompts(Path(options.prompts))
        prompts = {label: known[label] for label in chosen_classes(class_names, tuple(known), f"--detector {name}")}
    processor = hub.load(transformers.Sam3VideoProcessor)
    model = hub.load_network(transformers.Sam3VideoModel, device)
    detector = Sam3Detector(name, model, processor, prompts, device)
    detector.origin = hub.origin
    detector.digest = digest_of([hub.digest, detector.digest, device == "cuda", transformers.__version__])
    return detector


class Found(NamedTuple):
    """The objects of one frame: numbers (N,), boxes (N, 4), scores (N,), class names (N,), masks as COCO's counts."""

    number: np.ndarray
    xyxy: np.ndarray
    score: np.ndarray
    class_name: np.ndarray
    mask_rle: np.ndarray


class Sam3Detector:
    """See `models/detector.py` for what its attributes mean."""

    every_frame = False
    describes = False
    origin: dict[str, str]

    def __init__(
        self,
        name: str,
        model: Any,
        processor: Any,
        prompts: dict[str, list[str]],
        device: str = "cpu",
        settings: Sam3Settings | None = None,
    ) -> None:
        self.name, self._model, self._processor, self._device = name, model, processor, device
        self.settings = settings or Sam3Settings()
        self.class_names = tuple(prompts)
        self._class_of = {prompt: label for label, own in prompts.items() for prompt in own}
        threshold = float(getattr(model.config, "score_threshold_detection", self.settings.working_threshold))
        self.working_threshold = dict.fromkeys(self.class_names, threshold)
        self.score_slope: dict[str, float] = {}
        self.digest = digest_of([self._class_of, self.settings])

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        shared: list[Found] = []  # what was found in the frames that the next chunk sees again
        next_number = 0
        for chunk, seen in chunks_of(frames, self.settings.chunk_frames, self.settings.shared_frames):
            found = self._look([frame.rgb for frame in chunk])
            first, next_number = _numbered(found, shared, seen, next_number, self.settings.same_object_iou)
            shared = first[-self.settings.shared_frames :]
            for frame, objects in zip(chunk[seen:], first[seen:], strict=True):
                yield (
                    frame,
                    Detections(
                        objects.xyxy,
                        objects.score,
                        objects.class_name,
                        track_id=objects.number,
                        mask_rle=objects.mask_rle,
                    ),
                )

    def _look(self, rgbs: list[np.ndarray]) -> list[Found]:
        """One chunk, from nothing: its objects are numbered anew."""
        session = self._processor.init_video_session(
            video=[np.ascontiguousarray(rgb) for rgb in rgbs], inference_device=self._device
        )
        self._processor.add_text_prompt(session, list(self._class_of))
        found = []
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=self._device == "cuda"):
            for output in self._model.propagate_in_video_iterator(session):
                found.append(self._objects(self._processor.postprocess_outputs(session, output)))
        return found

    def _objects(self, answer: dict[str, Any]) -> Found:
        class_of = {
            int(number): self._class_of[prompt]
            for prompt, numbers in answer["prompt_to_obj_ids"].items()
            for number in numbers
        }
        numbers, masks = answer["object_ids"].cpu().numpy(), answer["masks"].cpu().numpy().astype(bool)
        there = masks.any(axis=(1, 2)) if len(masks) else np.zeros(0, dtype=bool)
        numbers, masks = numbers[there].astype(np.int64), masks[there]
        return Found(
            numbers,
            np.array([_box_of(mask) for mask in masks], dtype=np.float32).reshape(-1, 4),
            answer["scores"].float().clamp(0, 1).cpu().numpy()[there],
            np.array([class_of[int(number)] for number in numbers], dtype=object),
            np.array([encode_mask(mask) for mask in masks], dtype=object),
        )


def chunks_of(frames: "Iterable[Frame]", most: int, shared: int) -> "Iterator[tuple[list[Frame], int]]":
    """At most so many frames at a time, and how many of them, the first, were the last ones of the chunk before.

    Frames of another size begin a chunk that shares none.
    """
    chunk: list[Frame] = []
    seen = 0
    for frame in frames:
        if chunk and frame.rgb.shape != chunk[0].rgb.shape:
            if len(chunk) > seen:
                yield chunk, seen
            chunk, seen = [], 0
        elif len(chunk) == most:
            yield chunk, seen
            chunk, seen = chunk[-shared:], shared
        chunk.append(frame)
    if len(chunk) > seen:
        yield chunk, seen


def _numbered(
    found: Sequence[Found], before: Sequence[Found], seen: int, next_number: int, least_iou: float
) -> tuple[list[Found], int]:
    """A chunk's objects under the numbers of the video, and the first number that is free.

    `before`: what the chunk before found in the first `seen` frames. Two objects are one when they are of one class and
    their boxes overlap so much on average over the frames in which either is; the best pairs first.
    """
    overlap: dict[tuple[int, int], float] = {}
    frames: dict[tuple[str, int], int] = {}
    for old, new in zip(before, found[:seen], strict=False):
        iou = iou_matrix(old.xyxy, new.xyxy) * (old.class_name[:, None] == new.class_name[None])
        for row, column in zip(*np.nonzero(iou > 0), strict=True):
            pair = int(old.number[row]), int(new.number[column])
            overlap[pair] = overlap.get(pair, 0.0) + float(iou[row, column])
        for side, objects in (("old", old), ("new", new)):
            for number in objects.number.tolist():
                frames[side, number] = frames.get((side, number), 0) + 1
    number_of: dict[int, int] = {}
    for (old_number, new_number), total in sorted(overlap.items(), key=lambda item: (-item[1], item[0])):
        mean = total / max(frames["old", old_number], frames["new", new_number])
        if mean >= least_iou and new_number not in number_of and old_number not in number_of.values():
            number_of[new_number] = old_number
    renumbered = []
    for objects in found:
        for number in objects.number.tolist():
            if number not in number_of:
                number_of[number] = next_number
                next_number += 1
        own = np.array([number_of[number] for number in objects.number.tolist()], dtype=np.int64)
        renumbered.append(objects._replace(number=own))
    return renumbered, next_number


def _box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The box, half-open, around a mask (H, W) bool that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
