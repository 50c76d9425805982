"""Masks from boxes: SAM 2 through `transformers` (the extra `masks`), a frame at a time or tracked through a video.

A segmenter is given the frames of one video that hold boxes, in order, and gives a mask for each box. Weights load by
name from the hub or from a folder; only safetensors, so that nothing in them is run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from labels.models.detectors.loading import torch_device
from labels.models.settings import SegmenterSettings
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest

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
