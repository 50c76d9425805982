"""Pose estimators: torchvision's Keypoint R-CNN, rtmlib's RTMPose where it is installed, or what looks at crops.

An estimator sees whole frames. Given boxes, it finds the joints of the people in them; without boxes, it finds the
people too. Joints are the 13 of `videos.pose_tables`, NaN where the estimator is not confident.

`OnnxPoses` and `HubPoses` (ViTPose) find the joints of one person at a time, each in a crop around their box.

Two kinds of .onnx files are told by their outputs; both have COCO's 17 keypoints, or begin with them:

- MoveNet single-pose: (1, 1, 17, 3) of y, x, score as shares of a square crop; RGB 0-255, channels last.
- RTMPose (arXiv 2303.07399): SimCC, (P, K, w * r) and (P, K, h * r), a score for each place along an axis; RGB as of
  ImageNet, channels first. SimCC's r, places a pixel, follows from the shapes.

Given no boxes, the one person of a frame is looked for in the whole of it, and then once more closely.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from labels.models.detectors.onnx_files import open_session, read_header
from labels.models.detectors.onnx_layouts import IMAGENET_MEAN, IMAGENET_STD, image_input
from labels.models.hub import HF, find_hub_model
from labels.models.recognisers.settings import KEYPOINTRCNN, POSE_HELP, RTMLIB
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest
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


CROP = 1.25  # of a person's box, as all of them were trained
LEAST_MOVENET = 0.2  # of a joint, from which MoveNet's own tracking goes on
LEAST_VITPOSE = 0.3  # of a joint, as its library draws them
LEAST_JOINTS = 4  # sure ones, for somebody to be there at all


class CropPoses:
    """See `pose_estimators.PoseEstimator`. A kind says what it finds in crops."""

    name = ""
    digest = ""
    batch_size = 1
    least = 0.0  # score of a joint

    def joints_of(self, rgb: np.ndarray, xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (P, K, 2) in pixels and their scores (P, K) of people in boxes (P, 4), P > 0."""
        raise NotImplementedError

    def look(self, rgbs: Sequence[np.ndarray], boxes: Sequence[np.ndarray] | None = None) -> list[People]:
        if boxes is None:
            return [self._only_person(rgb) for rgb in rgbs]
        return [self._people(rgb, np.asarray(own, dtype=np.float32)) for rgb, own in zip(rgbs, boxes, strict=True)]

    def _people(self, rgb: np.ndarray, xyxy: np.ndarray) -> People:
        xyxy = xyxy.reshape(-1, 4)
        if not len(xyxy):
            return People(xyxy, np.zeros(0, np.float32), np.zeros((0, len(JOINTS), 2), np.float32))
        points, scores = self.joints_of(rgb, xyxy)
        order = joint_order(COCO_NAMES, self.name)
        joints, sure = points[:, order].astype(np.float32), scores[:, order]
        joints[sure < self.least] = np.nan
        return People(xyxy, sure.mean(axis=1).clip(0, 1).astype(np.float32), joints)

    def _only_person(self, rgb: np.ndarray) -> People:
        height, width = rgb.shape[:2]
        box = np.array([[0, 0, width, height]], dtype=np.float32)
        for _ in range(2):
            found = self._people(rgb, box)
            seen = found.joints[0][np.isfinite(found.joints[0, :, 0])]
            if len(seen) < LEAST_JOINTS:
                return self._people(rgb, np.zeros((0, 4), np.float32))
            box = np.concatenate([seen.min(axis=0), seen.max(axis=0)])[None]
        return found


class OnnxPoses(CropPoses):
    """InputError, one line, for a file that is not ONNX or finds no joints."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        if not path.is_file():
            raise InputError(f"--pose {path}: no such file")
        header = read_header(path)
        self.name, self._path = str(path), path
        self._image = image_input(path, header, poses=True)
        if self._image.size is None:
            raise InputError(f"{path}: takes crops of any size; export it with the size it was trained with")
        self._session = open_session(path, header, device)
        width, height = self._image.size
        trial = self._session.run({self._image.name: self._image.feed([np.zeros((height, width, 3))], self._count(1))})
        self._is_movenet = len(trial) == 1 and trial[0].ndim == 4 and trial[0].shape[2:] == (17, 3)
        is_simcc = len(trial) == 2 and all(one.ndim == 3 and one.shape[1] >= 17 for one in trial)
        if not self._is_movenet and not (is_simcc and trial[0].shape[1] == trial[1].shape[1]):
            shapes = " and ".join(str(one.shape) for one in trial)
            raise InputError(
                f"{path}: gives {shapes}; joints are (1, 1, 17, 3), as MoveNet's single-pose, or two outputs "
                "(1, 17, places), as RTMPose's"
            )
        self.least = LEAST_MOVENET if self._is_movenet else LEAST_SIMCC
        self.digest = digest_of([file_digest(path), self._session.name, CROP, self.least])

    def _count(self, wanted: int) -> int:
        return self._image.batch or wanted

    def joints_of(self, rgb: np.ndarray, xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self._image.size is not None
        regions = [crop_region(box, self._image.size) for box in xyxy]
        crops = [self._prepare(_cut(rgb, region, self._image.size)) for region in regions]
        at_once = self._image.batch or (1 if self._is_movenet else len(crops))
        answers = [
            answer
            for start in range(0, len(crops), at_once)
            for answer in self._run(crops[start : start + at_once], at_once)
        ]
        shares = np.stack([points for points, _ in answers])
        low, size = np.array(regions)[:, None, :2], np.array(regions)[:, None, 2:]
        return low + shares * size, np.stack([scores for _, scores in answers])

    def _prepare(self, crop: np.ndarray) -> np.ndarray:
        if self._is_movenet:
            return crop
        return (crop.astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD

    def _run(self, crops: list[np.ndarray], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Points as shares of each crop (K, 2), and their scores (K,)."""
        answers = self._session.run({self._image.name: self._image.feed(crops, min(count, self._count(len(crops))))})
        if self._is_movenet:
            return [(one[0, :, [1, 0]].T, one[0, :, 2]) for one in answers[0][: len(crops)]]
        x, y = answers
        points = np.stack([x.argmax(axis=2) / x.shape[2], y.argmax(axis=2) / y.shape[2]], axis=2)
        scores = np.minimum(x.max(axis=2), y.max(axis=2))
        return list(zip(points[: len(crops)], scores, strict=False))


class HubPoses(CropPoses):
    """ViTPose (arXiv 2204.12484)."""

    least = LEAST_VITPOSE

    def __init__(self, name: str, device: str = "cpu") -> None:
        hub = find_hub_model("--pose", name)
        if hub.config.model_type != "vitpose":
            raise InputError(f"--pose {name}: is a {hub.config.model_type}, and joints are found by a vitpose")
        from transformers import VitPoseForPoseEstimation, VitPoseImageProcessor

        self.name, self._device = name, device
        self._processor = hub.load(VitPoseImageProcessor)
        self._network = hub.load_network(VitPoseForPoseEstimation, device)
        self._experts = int(getattr(hub.config.backbone_config, "num_experts", 1))
        self.digest = digest_of([hub.digest, self.least])

    def joints_of(self, rgb: np.ndarray, xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        corner_and_size = [np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)]
        inputs = self._processor(images=rgb, boxes=corner_and_size, return_tensors="pt").to(self._device)
        more = {} if self._experts == 1 else {"dataset_index": torch.zeros(len(xyxy), dtype=torch.long)}  # COCO's
        with torch.inference_mode():
            output = self._network(**inputs, **{key: value.to(self._device) for key, value in more.items()})
        (found,) = self._processor.post_process_pose_estimation(output, boxes=corner_and_size)
        points = np.stack([one["keypoints"].cpu().numpy() for one in found])
        return points, np.stack([one["scores"].cpu().numpy() for one in found])


def crop_region(xyxy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """x, y, width, height of CROP times a box (4,), widened to the proportions of an input of (width, height)."""
    centre, sides = (xyxy[:2] + xyxy[2:]) / 2, np.maximum(xyxy[2:] - xyxy[:2], 1) * CROP
    width = max(sides[0], sides[1] * size[0] / size[1])
    region = np.array([width, width * size[1] / size[0]])
    return np.concatenate([centre - region / 2, region])


def _cut(rgb: np.ndarray, region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A region of a frame at (height, width, 3) of the input; what lies beyond the frame is black."""
    x, y, width, height = region
    scale_x, scale_y = width / size[0], height / size[1]
    grid = np.array([[scale_x, 0, x + (scale_x - 1) / 2], [0, scale_y, y + (scale_y - 1) / 2]])
    return cv2.warpAffine(rgb, grid, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
