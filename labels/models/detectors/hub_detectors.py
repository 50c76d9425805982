"""Detectors of the Hugging Face hub: `hf:NAME` or `hf:FOLDER`, told apart by the `model_type` of their configuration.

Closed sets (RF-DETR, D-FINE, RT-DETR, DEIMv2, LW-DETR, DETR, …) know their own classes, by `id2label`. Open sets
(Grounding DINO, MM-Grounding-DINO, LLMDet, OWLv2, OmDet-Turbo) are asked with prompts, several a class: those of
`labels/classes/prompts.csv`, or a CSV of one's own with the columns class and prompt.

Closed sets of one frame shape are students too: `train.py --architecture hf:NAME` starts from a detector's weights, all
but the head. Behind torchvision's interface it is trained, labels and is exported as torchvision's detectors are. A
checkpoint's settings hold the configuration, so that the hub is asked once, and never by who reads the student.
"""

import csv
import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from labels.models.detectors.detector import chosen_classes, in_batches
from labels.models.hub import HubModel, find_hub_model
from labels.models.settings import DetectorOptions, HubSettings
from labels.records.class_lists import CLASSES_FOLDER
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, whole_folder, write_json

if TYPE_CHECKING:
    from labels.models.segmenters import Sam3Detector
    from labels.videos.decoding.frames import Frame

PROMPTS = CLASSES_FOLDER / "prompts.csv"
SAM3 = "sam3_video"  # tracks masks through a video
GROUNDING = ("grounding-dino", "mm-grounding-dino")  # which answer in tokens of the text, not in prompts


def load_hub_detector(
    name: str, class_names: tuple[str, ...] | None, device: str, options: DetectorOptions
) -> "HubDetector | Sam3Detector":
    """Raises InputError for a model that cannot be had, is no detector, or knows no class that is wanted."""
    hub = find_hub_model("--detector", name)
    from transformers import AutoModelForObjectDetection, AutoModelForZeroShotObjectDetection
    from transformers.models.auto import modeling_auto

    kind = hub.config.model_type
    if kind == SAM3:
        from labels.models.segmenters import load_sam3

        return load_sam3(name, hub, class_names, device, options)
    if kind in modeling_auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES:
        return OpenSetDetector(name, hub, AutoModelForZeroShotObjectDetection, class_names, device, options)
    if kind not in modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES:
        raise InputError(f"--detector {name}: is a {kind}, which finds no boxes; name a detector")
    if options.prompts is not None:
        raise InputError(f"--class-list: {name} knows its own classes; leave it out")
    return ClosedSetDetector(name, hub, AutoModelForObjectDetection, class_names, device, options)


class HubDetector:
    """What both kinds share; see `models/detector.py` for what its attributes mean."""

    every_frame = False
    describes = False
    _prompts: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        hub: HubModel,
        model_class: Any,
        class_names: tuple[str, ...] | None,
        device: str,
        options: DetectorOptions,
        settings: HubSettings | None = None,
    ) -> None:
        import transformers

        settings = settings or HubSettings()
        self.name, self.origin, self._hub, self._device = name, hub.origin, hub, device
        self.class_names, self._processor, post_process = self._asked(class_names, options)
        threshold = _usual_threshold(post_process)
        self._network = hub.load_network(model_class, device)
        self.working_threshold = dict.fromkeys(self.class_names, threshold)
        self.score_slope: dict[str, float] = {}
        self._score_floor = min(options.score_floor, settings.floor_share * threshold)
        self._batch_size = options.batch_size or (settings.batch_size_cuda if device == "cuda" else 1)
        self._size: dict[str, int] | None = None
        self._size = self._usable_size(options)
        facts = [self.class_names, self._prompts, self._size, self._score_floor, device == "cuda"]
        self.digest = digest_of([hub.digest, *facts, transformers.__version__])

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        return in_batches(frames, self._batch_size, self._detect_batch)

    def _asked(self, wanted: tuple[str, ...] | None, options: DetectorOptions) -> tuple[tuple[str, ...], Any, Any]:
        """The classes it gives, the model's processor, and what of it makes boxes of answers."""
        raise NotImplementedError

    def _inputs(self, rgbs: list[np.ndarray], more: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _answers(self, output: Any, inputs: Any, sizes: list[tuple[int, int]]) -> list[Detections]:
        raise NotImplementedError

    def _detect_batch(self, rgbs: list[np.ndarray]) -> list[Detections]:
        more: dict[str, Any] = {"return_tensors": "pt", "input_data_format": "channels_last"}
        if self._size is not None:
            more["size"] = self._size
        try:
            inputs = self._inputs([np.ascontiguousarray(rgb) for rgb in rgbs], more).to(self._device)
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=self._device == "cuda"):
                output = self._network(**inputs)
            with torch.inference_mode():
                return self._answers(output, inputs, [rgb.shape[:2] for rgb in rgbs])
        except torch.OutOfMemoryError:
            raise InputError(
                f"{self.name}: {len(rgbs)} frames at once do not fit into the GPU; say --batch-size {len(rgbs) // 2}"
                if len(rgbs) > 1
                else f"{self.name}: a frame does not fit into the GPU; say --device cpu"
            ) from None

    def _usable_size(self, options: DetectorOptions) -> dict[str, int] | None:
        """What the processor is told of the size; None leaves what the model came with. Tried on a grey frame."""
        side = options.input_size or options.tile_side
        own = getattr(self._processor, "image_processor", self._processor).size
        if side is None:
            return None
        fixed = "height" in own
        self._size = {"height": side, "width": side} if fixed else {"shortest_edge": side, "longest_edge": side}
        try:
            self._detect_batch([np.full((side, side, 3), 114, dtype=np.uint8)])
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            if options.input_size is None:  # a tile is scaled to what the model was made for
                return None
            reason = " ".join(str(error).split())[:120]
            usual = own.get("height") or own.get("longest_edge")
            raise InputError(
                f"--input-size {side}: {self.name} does not take it ({reason}); it was made for {usual}"
            ) from None
        return self._size

    def _detections(self, boxes: Any, scores: Any, names: np.ndarray) -> Detections:
        """The wanted classes, of tensors (N, 4) and (N,) and class names (N,)."""
        xyxy = boxes.float().cpu().numpy()
        there = np.isin(names.astype(str), self.class_names) & np.isfinite(xyxy).all(axis=1)
        score = scores.float().clamp(0, 1).cpu().numpy()
        return Detections(xyxy[there], score[there], names[there])


class ClosedSetDetector(HubDetector):
    def _asked(self, wanted: tuple[str, ...] | None, options: DetectorOptions) -> tuple[tuple[str, ...], Any, Any]:
        from transformers import AutoImageProcessor

        processor = self._hub.load(AutoImageProcessor)
        # By number, not by place: RF-DETR's COCO head has 91 numbers for 80 classes.
        self._names = {int(number): str(label) for number, label in self._hub.config.id2label.items()}
        known = tuple(dict.fromkeys(self._names[number] for number in sorted(self._names)))
        chosen = chosen_classes(wanted, known, f"--detector {self.name}")
        return chosen, processor, processor.post_process_object_detection

    def _inputs(self, rgbs: list[np.ndarray], more: dict[str, Any]) -> Any:
        return self._processor(images=rgbs, **more)

    def _answers(self, output: Any, inputs: Any, sizes: list[tuple[int, int]]) -> list[Detections]:
        found = self._processor.post_process_object_detection(
            _as_float(output), threshold=self._score_floor, target_sizes=sizes
        )
        return [self._detections(one["boxes"], one["scores"], self._named(one["labels"])) for one in found]

    def _named(self, labels: Any) -> np.ndarray:
        return np.array([self._names.get(int(label), "") for label in labels], dtype=object)


class OpenSetDetector(HubDetector):
    def _asked(self, wanted: tuple[str, ...] | None, options: DetectorOptions) -> tuple[tuple[str, ...], Any, Any]:
        from transformers import AutoProcessor

        processor = self._hub.load(AutoProcessor)
        prompts = read_prompts(Path(options.prompts) if options.prompts is not None else PROMPTS)
        chosen = chosen_classes(wanted, tuple(prompts), f"--detector {self.name}")
        self._prompts = tuple(prompt for label in chosen for prompt in prompts[label])
        self._labels = np.array([label for label in chosen for _ in prompts[label]], dtype=object)
        return chosen, processor, processor.post_process_grounded_object_detection

    def _inputs(self, rgbs: list[np.ndarray], more: dict[str, Any]) -> Any:
        return self._processor(images=rgbs, text=[list(self._prompts)] * len(rgbs), **more)

    def _answers(self, output: Any, inputs: Any, sizes: list[tuple[int, int]]) -> list[Detections]:
        if self._hub.config.model_type in GROUNDING:
            return self._grounded(output, inputs["input_ids"], sizes)
        found = self._processor.post_process_grounded_object_detection(
            _as_float(output), threshold=self._score_floor, target_sizes=sizes
        )
        return [self._detections(one["boxes"], one["scores"], self._labels[one["labels"].cpu()]) for one in found]

    def _grounded(self, output: Any, input_ids: Any, sizes: list[tuple[int, int]]) -> list[Detections]:
        """Of Grounding DINO, which says for each token of the text how well a box fits.

        A prompt fits as well as its best token; a box is of the prompt that fits best. (The library's own answer is
        the text of all tokens that fit, which may be of two prompts together, or half of one.)
        """
        token = self._token_prompts(input_ids[0].cpu().numpy())
        fit = output.logits.float().sigmoid()[..., : len(token)].cpu().numpy()  # (B, queries, tokens)
        by_prompt = np.stack([fit[..., token == at].max(axis=-1) for at in range(len(self._prompts))], axis=-1)
        centre, size = output.pred_boxes.float().split(2, dim=-1)
        corners = torch.cat([centre - size / 2, centre + size / 2], dim=-1)
        found = []
        for boxes, fits, (height, width) in zip(corners, by_prompt, sizes, strict=True):
            score = fits.max(axis=1)
            keep = np.flatnonzero(score > self._score_floor)
            pixels = boxes[keep] * torch.tensor([width, height, width, height], device=boxes.device)
            found.append(
                self._detections(pixels, torch.from_numpy(score[keep]), self._labels[fits.argmax(axis=1)[keep]])
            )
        return found

    def _token_prompts(self, input_ids: np.ndarray) -> np.ndarray:
        """For each token the prompt it is of, or -1: a full stop ends each prompt."""
        tokenizer = self._processor.tokenizer
        stop = tokenizer.convert_tokens_to_ids(".")
        prompt = np.cumsum(np.concatenate([[0], input_ids[:-1] == stop]))
        special = np.isin(input_ids, [stop, *tokenizer.all_special_ids]) & (input_ids != tokenizer.unk_token_id)
        prompt[special | (prompt >= len(self._prompts))] = -1
        if set(range(len(self._prompts))) - set(prompt.tolist()):
            raise InputError(
                f"--class-list: {len(self._prompts)} prompts, more text than {self.name} reads; ask fewer --classes"
            )
        return prompt


def read_prompts(path: Path) -> dict[str, list[str]]:
    """Class -> its prompts, in the file's order. InputError for a CSV without them."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8: {error}") from None
    prompts: dict[str, list[str]] = {}
    for number, row in enumerate(rows, start=2):
        label = (row.get("class") or "").strip()
        prompt = (row.get("prompt") or "").strip().rstrip(".").lower()  # as Grounding DINO was trained
        if not label or not prompt or "." in prompt:
            raise InputError(f"{path}: line {number}: needs a class and a prompt, without a full stop inside")
        prompts.setdefault(label, []).append(prompt)
    if not prompts:
        raise InputError(f"{path}: needs the columns class and prompt, and a row")
    return prompts


def _usual_threshold(post_process: Any) -> float:
    """The score from which a model's own library takes a box for right."""
    return float(inspect.signature(post_process).parameters["threshold"].default)


def _as_float(output: Any) -> Any:
    """Numbers of bf16 are too coarse to be made pixels of."""
    for name, value in output.items():
        if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:
            output[name] = value.float()
    return output


PLAIN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # mean and deviation of what takes 0-1


class HubStudent(nn.Module):
    """Images (3, h, w) 0-1 and, in training, targets of boxes and labels from 1; losses or detections come out.

    Images are stretched to the shape that the network was made for, as its own processor does.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.size = model, (int(settings["height"]), int(settings["width"]))
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(settings[name]).view(3, 1, 1), persistent=False)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        seen = [nn.functional.interpolate(image[None], self.size, mode="bilinear")[0] for image in images]
        pixels = (torch.stack(seen) - self.mean) / self.std
        if self.training:
            assert targets is not None
            labels = [_as_labels(image, target) for image, target in zip(images, targets, strict=True)]
            return {"detection": self.model(pixel_values=pixels, labels=labels).loss}
        output = self.model(pixel_values=pixels)
        score = output.logits.float().sigmoid()  # (B, queries, K)
        queries, classes = score.shape[1:]
        best, at = score.flatten(1).topk(int(queries), dim=1)
        boxes = box_convert(output.pred_boxes.float(), "cxcywh", "xyxy")
        found = []
        for image, xyxy, scores, places in zip(images, boxes, best, at, strict=True):
            height, width = torch._shape_as_tensor(image)[-2:].to(xyxy.device).unbind()  # traced, unlike a shape
            scale = torch.stack([width, height, width, height])
            labels = places % classes + 1
            found.append({"boxes": xyxy[places // classes] * scale, "scores": scores, "labels": labels})
        return found


def _as_labels(image: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the networks want them: centres and sizes as shares of the image, classes from 0."""
    height, width = image.shape[-2:]
    boxes = box_convert(target["boxes"], "xyxy", "cxcywh") / target["boxes"].new_tensor([width, height] * 2)
    return {"class_labels": target["labels"] - 1, "boxes": boxes}


def hub_settings(architecture: str, long_side: int | None = None) -> dict[str, Any]:
    """What makes a student of `hf:…`, for its checkpoint. InputError for what cannot be had, or cannot be trained.

    Args:
        long_side: both sides of what the network sees; None: its own.
    """
    from transformers import AutoImageProcessor
    from transformers.models.auto import modeling_auto

    hub = find_hub_model("--architecture", architecture)
    if hub.config.model_type not in modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES:
        raise InputError(
            f"--architecture {architecture}: is a {hub.config.model_type}; trained are detectors that know their own "
            "classes, such as RF-DETR, D-FINE and RT-DETR"
        )
    processor = hub.load(AutoImageProcessor)
    if not processor.size.get("height"):
        raise InputError(
            f"--architecture {architecture}: looks at frames of any shape; trained are those of one, such as RF-DETR"
        )
    height, width = (int(processor.size[name]) for name in ("height", "width"))
    if long_side is not None and long_side != max(height, width):
        height = width = long_side
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else PLAIN
    return {
        "long_side": max(height, width),
        "height": height,
        "width": width,
        "mean": list(mean),
        "std": list(std),
        "config": json.dumps(hub.config.to_dict(), sort_keys=True, default=str),
        "processor": processor.to_json_string(),
        "origin": hub.origin | {"digest": hub.digest},
    }


def build_hub_student(
    architecture: str, class_names: tuple[str, ...], settings: dict[str, Any], pretrained: bool
) -> HubStudent:
    """The network for these classes; `pretrained`: with the hub's weights, all but the head, else of chance."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        values = json.loads(settings["config"])
        config = transformers.AutoConfig.for_model(**values)
        config.id2label = dict(enumerate(class_names))
        config.label2id = {name: at for at, name in enumerate(class_names)}
        kind = transformers.AutoModelForObjectDetection
        if not pretrained:
            return HubStudent(kind.from_config(config), settings)
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{architecture}: its settings make no network ({reason}); train it again") from None
    hub = find_hub_model("--architecture", architecture)
    model = hub.load(kind, config=config, ignore_mismatched_sizes=True, use_safetensors=True)
    return HubStudent(model, settings)


def save_hub_student(network: HubStudent, settings: dict[str, Any], folder: Path) -> None:
    """Write a student as a folder in the hub's form: safetensors, its configuration, how frames are prepared."""
    size = {"height": settings["height"], "width": settings["width"]}
    with whole_folder(folder) as aside:
        network.model.save_pretrained(aside)  # type: ignore[operator]
        write_json(aside / "preprocessor_config.json", json.loads(settings["processor"]) | {"size": size})
