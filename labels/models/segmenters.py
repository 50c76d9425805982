"""Masks by SAM through `transformers`: SAM 2 makes them of boxes, SAM 3 finds them by words and is a detector.

A segmenter (SAM 2, the extra `masks`) is given the frames of one video that hold boxes, in order, and gives a mask for
each box, a frame at a time or tracked through the video.

SAM 3 (`--detector hf:…` of the model type `sam3_video`) tracks what it is asked for. What it remembers of a video grows
with each frame, so that it is shown chunks of `chunk_frames`. Chunks share `shared_frames`: what has the same box there
in both is the same object, and keeps its number (`track_id`).

Weights load by name from the hub or from a folder; only safetensors, so that nothing in them is run.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from labels.models.detectors.detector import chosen_classes
from labels.models.detectors.loading import torch_device
from labels.models.hub import HubModel
from labels.models.settings import BALL, DetectorOptions, Sam3Settings, SegmenterSettings
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.geometry import iou_matrix
from labels.records.masks import encode_mask
from labels.records.safe_writing import digest_of, file_digest

if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame

NO_OBJECT = -1
Masks = tuple[np.ndarray, np.ndarray]  # (N, H, W) bool, and how sure of each, (N,) 0 to 1


@dataclass(frozen=True)
class Prompt:
    """A frame and its boxes, (N, 4) pixels; `track_id` (N,) is -1 for a box on no track."""

    rgb: np.ndarray
    xyxy: np.ndarray
    track_id: np.ndarray


class Segmenter(Protocol):
    name: str
    digest: str  # changes when the masks would

    def masks(self, prompts: Iterable[Prompt]) -> Iterator[Masks]:
        """One pair for each prompt, in order."""
        ...


def load_segmenter(name_or_folder: str, tracked: bool, device: str = "auto") -> Segmenter:
    """A SAM 2 of the hub, such as facebook/sam2.1-hiera-tiny, or a folder that holds one. InputError in one line."""
    try:
        import transformers
    except ImportError:
        raise InputError('--masks needs transformers: pip install -e ".[masks]"') from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = Path(name_or_folder)
    if folder.exists() and not (folder / "config.json").is_file():
        raise InputError(f"--masks {name_or_folder}: no model: it holds no config.json")
    kinds = ("Sam2VideoModel", "Sam2VideoProcessor") if tracked else ("Sam2Model", "Sam2Processor")
    try:
        model = getattr(transformers, kinds[0]).from_pretrained(name_or_folder, use_safetensors=True)
        processor = getattr(transformers, kinds[1]).from_pretrained(name_or_folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--masks {name_or_folder}: cannot be loaded as SAM 2: {reason}") from None
    digest = _digest(folder) if folder.is_dir() else f"{name_or_folder}@{getattr(model.config, '_commit_hash', '')}"
    kind = TrackingSegmenter if tracked else FrameSegmenter
    return kind(model, processor, name_or_folder, digest_of([kinds, digest]), torch_device(device))


def _digest(folder: Path) -> str:
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
    return digest_of([(path.name, file_digest(path)) for path in files])


class _Sam2:
    """What both kinds are made of."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str,
        digest: str,
        device: str = "cpu",
        settings: SegmenterSettings | None = None,
    ):
        self.model, self.processor = model.to(device).eval(), processor
        self.name, self.digest, self.device = name, digest, device
        self.settings = settings or SegmenterSettings()


class FrameSegmenter(_Sam2):
    """Each frame by itself: every box is a prompt, its best mask the answer."""

    def masks(self, prompts: Iterable[Prompt]) -> Iterator[Masks]:
        for prompt in prompts:
            yield self._of_frame(prompt)

    def _of_frame(self, prompt: Prompt) -> Masks:
        import torch

        found, scores = [], []
        embeddings = None
        for start in range(0, len(prompt.xyxy), self.settings.boxes_at_once):
            boxes = prompt.xyxy[start : start + self.settings.boxes_at_once]
            inputs = self.processor(images=prompt.rgb, input_boxes=[boxes.tolist()], return_tensors="pt")
            with torch.inference_mode():
                if embeddings is None:  # the frame is looked at once, however many boxes it holds
                    embeddings = self.model.get_image_embeddings(inputs["pixel_values"].to(self.device))
                output = self.model(
                    image_embeddings=embeddings,
                    input_boxes=inputs["input_boxes"].to(self.device),
                    multimask_output=False,
                )
            masks = self.processor.post_process_masks(output.pred_masks.cpu(), inputs["original_sizes"])[0]
            found.append(masks[:, 0].numpy())
            scores.append(output.iou_scores[0, :, 0].float().clamp(0, 1).cpu().numpy())
        if not found:
            return np.zeros((0, *prompt.rgb.shape[:2]), dtype=bool), np.zeros(0, dtype=np.float32)
        return np.concatenate(found), np.concatenate(scores)


class TrackingSegmenter(_Sam2):
    """Tracked through the video: a track's first box is the prompt, what follows is remembered.

    Where a remembered mask has left its box, and after `session_frames`, memory begins anew from the boxes of the
    frame. A box on no track is a prompt of its own.
    """

    def masks(self, prompts: Iterable[Prompt]) -> Iterator[Masks]:
        session: _Session | None = None
        for prompt in prompts:
            size = prompt.rgb.shape[:2]
            masks, scores = np.zeros((len(prompt.xyxy), *size), dtype=bool), np.zeros(len(prompt.xyxy), np.float32)
            loose = prompt.track_id == NO_OBJECT
            rows = np.flatnonzero(loose)
            if len(rows):
                masks[rows], scores[rows] = _Session(self).look(prompt.rgb, prompt.xyxy[rows], np.arange(len(rows)))
            rows = np.flatnonzero(~loose)
            if len(rows):
                boxes, ids = prompt.xyxy[rows], prompt.track_id[rows]
                if session is None or session.has_outgrown(len(rows)):
                    session = _Session(self)
                was_new = not session.objects
                found = session.look(prompt.rgb, boxes, ids)
                if not was_new and not all(
                    fits(mask, box, self.settings) for mask, box in zip(found[0], boxes, strict=True)
                ):
                    session = _Session(self)
                    found = session.look(prompt.rgb, boxes, ids)
                masks[rows], scores[rows] = found
            yield masks, scores


class _Session:
    """A stretch of a video in the tracker's memory."""

    def __init__(self, owner: TrackingSegmenter):
        self.owner = owner
        self.state = owner.processor.init_video_session(inference_device=owner.device)
        self.objects: set[int] = set()
        self.frames = 0

    def has_outgrown(self, present: int) -> bool:
        settings = self.owner.settings
        return self.frames >= settings.session_frames or len(self.objects) > 2 * present + settings.idle_objects

    def look(self, rgb: np.ndarray, xyxy: np.ndarray, ids: np.ndarray) -> Masks:
        """The masks of the objects `ids` in the next frame; those that are new are prompted by their boxes."""
        import torch

        owner = self.owner
        inputs = owner.processor(images=rgb, return_tensors="pt")
        new = [place for place, number in enumerate(ids.tolist()) if number not in self.objects]
        if new:
            owner.processor.add_inputs_to_inference_session(
                self.state,
                frame_idx=self.frames,
                obj_ids=[int(ids[place]) for place in new],
                input_boxes=[[xyxy[place].tolist() for place in new]],
                original_size=inputs.original_sizes[0],
            )
            self.objects |= {int(ids[place]) for place in new}
        with torch.inference_mode():
            output = owner.model(inference_session=self.state, frame=inputs.pixel_values[0].to(owner.device))
        masks = owner.processor.post_process_masks([output.pred_masks.cpu()], original_sizes=inputs.original_sizes)[0]
        sure = output.object_score_logits.float().sigmoid().reshape(-1).cpu().numpy()
        place_of = {int(number): place for place, number in enumerate(output.object_ids)}
        places = [place_of[int(number)] for number in ids]
        self._let_go()
        self.frames += 1
        return masks[places, 0].numpy().astype(bool), sure[places].astype(np.float32)

    def _let_go(self) -> None:
        """Frames are kept by their number for ever; what the tracker no longer looks back on is emptied."""
        import torch

        old = self.frames - self.owner.settings.remembered_frames
        if self.frames in self.state.processed_frames:
            self.state.processed_frames[self.frames] = torch.empty(0)
        for memory in self.state.output_dict_per_obj.values():
            memory["non_cond_frame_outputs"].pop(old, None)


def fits(mask: np.ndarray, xyxy: np.ndarray, settings: SegmenterSettings) -> bool:
    """Whether a mask, (H, W) bool, is of what is in the box: not empty, and mostly inside."""
    total = int(mask.sum())
    if not total:
        return False
    grow = settings.grow * np.array([xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]])
    low = np.floor(np.maximum(xyxy[:2] - grow, 0)).astype(int)
    high = np.ceil(np.maximum(xyxy[2:] + grow, 0)).astype(int)
    return int(mask[low[1] : high[1], low[0] : high[0]].sum()) >= settings.min_inside * total


def load_sam3(
    name: str, hub: HubModel, class_names: tuple[str, ...] | None, device: str, options: DetectorOptions
) -> "Sam3Detector":
    """Raises InputError for a model that cannot be had, and for views: it looks at whole frames at its own size."""
    import transformers

    from labels.models.detectors.hub_detectors import read_prompts

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


class FoundMasks(NamedTuple):
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
        shared: list[FoundMasks] = []  # what was found in the frames that the next chunk sees again
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

    def _look(self, rgbs: list[np.ndarray]) -> list[FoundMasks]:
        """One chunk, from nothing: its objects are numbered anew."""
        import torch

        session = self._processor.init_video_session(
            video=[np.ascontiguousarray(rgb) for rgb in rgbs], inference_device=self._device
        )
        self._processor.add_text_prompt(session, list(self._class_of))
        found = []
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=self._device == "cuda"):
            for output in self._model.propagate_in_video_iterator(session):
                found.append(self._objects(self._processor.postprocess_outputs(session, output)))
        return found

    def _objects(self, answer: dict[str, Any]) -> FoundMasks:
        class_of = {
            int(number): self._class_of[prompt]
            for prompt, numbers in answer["prompt_to_obj_ids"].items()
            for number in numbers
        }
        numbers, masks = answer["object_ids"].cpu().numpy(), answer["masks"].cpu().numpy().astype(bool)
        there = masks.any(axis=(1, 2)) if len(masks) else np.zeros(0, dtype=bool)
        numbers, masks = numbers[there].astype(np.int64), masks[there]
        return FoundMasks(
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
    found: Sequence[FoundMasks], before: Sequence[FoundMasks], seen: int, next_number: int, least_iou: float
) -> tuple[list[FoundMasks], int]:
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
