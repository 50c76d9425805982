"""Students of the Hugging Face hub: RF-DETR, D-FINE, RT-DETR and their like, trained for classes of our own.

`train.py --architecture hf:NAME` or `hf:FOLDER` starts from a detector's weights, all but the head. Behind
torchvision's interface it is trained, labels and is exported as torchvision's detectors are. A checkpoint's settings
hold the configuration, so that the hub is asked once, and never by who reads the student.
"""

import json
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from labels.models.hub import find_hub_model
from labels.records.errors import InputError

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
