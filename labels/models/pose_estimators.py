"""Pose estimators: torchvision's Keypoint R-CNN, rtmlib's RTMPose where it is installed, or `crop_poses`.

An estimator sees whole frames. Given boxes, it finds the joints of the people in them; without boxes, it finds the
people too. Joints are the 13 of `videos.pose_tables`, NaN where the estimator is not confident.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from labels.models.hub import HF
from labels.models.recognisers.settings import KEYPOINTRCNN, POSE_HELP, RTMLIB
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of
from labels.videos.pose_tables import JOINTS

if TYPE_CHECKING:
    import torch
    from torch import nn

NETWORK = "keypointrcnn_resnet50_fpn"
LEAST_PERSON = 0.5  # score of a box that is taken for a person
LEAST_LOGIT = 2.0  # of a joint of Keypoint R-CNN, as Detectron draws them
LEAST_SIMCC = 0.3  # of a joint of RTMPose
BATCH_CPU, BATCH_CUDA = 1, 8
COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip


@dataclass(frozen=True)
class People:
    """Of one frame: boxes (P, 4) xyxy, their scores (P,), and joints (P, 13, 2); pixels, NaN for the unseen."""

    xyxy: np.ndarray
    score: np.ndarray
    joints: np.ndarray


class PoseEstimator(Protocol):
    name: str  # what the user asked for
    digest: str  # changes when its answers may change
    batch_size: int  # frames it likes at once

    def look(self, rgbs: Sequence[np.ndarray], boxes: Sequence[np.ndarray] | None = None) -> list[People]:
        """The people of frames (H, W, 3) uint8: those in `boxes`, (P, 4) of each frame, or whom it finds itself."""
        ...


def load_pose_estimator(name: str, device: str) -> PoseEstimator:
    """The estimator of that name, a .onnx file or `hf:…`. InputError when its weights, or rtmlib, cannot be had."""
    if name.endswith(".onnx") or name.startswith(HF):
        from labels.models.crop_poses import HubPoses, OnnxPoses

        return HubPoses(name, device) if name.startswith(HF) else OnnxPoses(Path(name), device)
    if name == RTMLIB:
        return RtmlibPoses(*_rtmlib_models(device))
    if name != KEYPOINTRCNN:
        raise InputError(f"--pose {name}: finds no joints in pixels; there is {POSE_HELP}")
    from torchvision.models import get_model, get_model_weights

    from labels.models.checkpoints import fetch_coco_weights

    weights: Any = get_model_weights(NETWORK).DEFAULT
    network = get_model(NETWORK, weights=None, weights_backbone=None)
    network.load_state_dict(fetch_coco_weights(NETWORK, f"say --pose {RTMLIB}, or bring joints with the clips"))
    return KeypointRcnn(network, tuple(weights.meta["keypoint_names"]), digest_of(weights.url), device)


class KeypointRcnn:
    """Torchvision's Keypoint R-CNN (arxiv.org/abs/1703.06870). Of boxes it is given it finds only the joints.

    Args:
        keypoint_names: of its outputs, in their order; of weights, `weights.meta["keypoint_names"]`.
    """

    name = KEYPOINTRCNN

    def __init__(self, network: "nn.Module", keypoint_names: tuple[str, ...], digest: str, device: str = "cpu") -> None:
        import torch

        self._order = joint_order(keypoint_names, self.name)
        self._network: Any = network.eval().to(device)
        self._device = torch.device(device)
        self.batch_size = BATCH_CUDA if device == "cuda" else BATCH_CPU
        self.digest = digest_of([self.name, digest, LEAST_PERSON, LEAST_LOGIT])

    def look(self, rgbs: Sequence[np.ndarray], boxes: Sequence[np.ndarray] | None = None) -> list[People]:
        import torch

        images = [torch.from_numpy(np.ascontiguousarray(rgb)).to(self._device).permute(2, 0, 1) / 255 for rgb in rgbs]
        with torch.inference_mode():
            answers = self._network(images) if boxes is None else self._joints_of(images, boxes)
        return [self._people(answer) for answer in answers]

    def _joints_of(self, images: "list[torch.Tensor]", boxes: Sequence[np.ndarray]) -> "list[dict[str, torch.Tensor]]":
        """What the network's own forward pass does with the boxes it has found, for boxes that are known."""
        import torch
        from torchvision.models.detection.roi_heads import keypointrcnn_inference

        given = [
            {"boxes": torch.as_tensor(own, dtype=torch.float32, device=self._device).reshape(-1, 4)} for own in boxes
        ]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        seen, targets = self._network.transform(images, given)
        places = [target["boxes"] for target in targets]
        heads = self._network.roi_heads
        regions = heads.keypoint_roi_pool(self._network.backbone(seen.tensors), places, seen.image_sizes)
        logits = heads.keypoint_predictor(heads.keypoint_head(regions))
        keypoints, scores = keypointrcnn_inference(logits, places)
        found = [
            {"boxes": box, "scores": torch.ones(len(box)), "keypoints": points, "keypoints_scores": score}
            for box, points, score in zip(places, keypoints, scores, strict=True)
        ]
        return self._network.transform.postprocess(found, seen.image_sizes, sizes)

    def _people(self, answer: "dict[str, torch.Tensor]") -> People:
        plain = {name: value.float().cpu().numpy() for name, value in answer.items() if name != "labels"}
        sure = plain["scores"] >= LEAST_PERSON
        points = plain["keypoints"][sure][:, self._order, :2]
        points[plain["keypoints_scores"][sure][:, self._order] < LEAST_LOGIT] = np.nan
        return People(plain["boxes"][sure], plain["scores"][sure], points.astype(np.float32))


class RtmlibPoses:
    """rtmlib's person detector and its RTMPose (arxiv.org/abs/2303.07399): a frame at a time, BGR, COCO's keypoints.

    Args:
        detect: BGR frame -> boxes (P, 4); pose: BGR frame, bboxes= -> keypoints (P, 17, 2) and scores (P, 17).
    """

    name = RTMLIB
    batch_size = 1

    def __init__(self, detect: Any, pose: Any, digest: str) -> None:
        self._detect, self._pose = detect, pose
        self._order = joint_order(COCO_NAMES, self.name)
        self.digest = digest_of([self.name, digest, LEAST_SIMCC])

    def look(self, rgbs: Sequence[np.ndarray], boxes: Sequence[np.ndarray] | None = None) -> list[People]:
        return [self._look(rgb, None if boxes is None else boxes[at]) for at, rgb in enumerate(rgbs)]

    def _look(self, rgb: np.ndarray, known: np.ndarray | None) -> People:
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        xyxy = np.asarray(self._detect(bgr) if known is None else known, dtype=np.float32).reshape(-1, 4)
        if not len(xyxy):  # it would take the whole frame for a person
            return People(xyxy, np.zeros(0, np.float32), np.zeros((0, len(JOINTS), 2), np.float32))
        points, scores = self._pose(bgr, bboxes=xyxy)
        joints = np.asarray(points, dtype=np.float32)[:, self._order].copy()
        joints[np.asarray(scores)[:, self._order] < LEAST_SIMCC] = np.nan
        return People(xyxy, np.ones(len(xyxy), np.float32), joints)


def joint_order(keypoint_names: Sequence[str], where: str) -> list[int]:
    """Which keypoint each of our joints is. InputError when one of them is missing."""
    missing = [name for name in JOINTS if name not in keypoint_names]
    if missing:
        raise InputError(f"{where}: its weights know no joint '{missing[0]}'; they are not COCO's of people")
    return [list(keypoint_names).index(name) for name in JOINTS]


def _rtmlib_models(device: str) -> tuple[Any, Any, str]:
    try:
        from rtmlib import Body
    except ImportError:
        raise InputError(f'--pose {RTMLIB}: is not installed; pip install -e ".[rtmlib]"') from None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it says what it loads
            body = Body(mode="balanced", backend="onnxruntime", device=device)
    except Exception as error:  # net, files and onnxruntime come from outside: however they fail, it means the same
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--pose {RTMLIB}: its weights cannot be had ({reason[:120]}); say --pose {KEYPOINTRCNN}"
        ) from None
    return body.det_model, body.pose_model, digest_of(Body.MODE["balanced"])
