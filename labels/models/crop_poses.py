"""Joints of one person at a time, each in a crop around their box: a .onnx file, or ViTPose of the Hugging Face hub.

Two kinds of .onnx files are told by their outputs; both have COCO's 17 keypoints, or begin with them:

- MoveNet single-pose: (1, 1, 17, 3) of y, x, score as shares of a square crop; RGB 0-255, channels last.
- RTMPose (arXiv 2303.07399): SimCC, (P, K, w * r) and (P, K, h * r), a score for each place along an axis; RGB as of
  ImageNet, channels first. SimCC's r, places a pixel, follows from the shapes.

Given no boxes, the one person of a frame is looked for in the whole of it, and then once more closely.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from labels.models.detectors.onnx_files import open_session, read_header
from labels.models.detectors.onnx_layouts import IMAGENET_MEAN, IMAGENET_STD, image_input
from labels.models.hub import find_hub_model
from labels.models.pose_estimators import COCO_NAMES, LEAST_SIMCC, People, joint_order
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest
from labels.videos.pose_tables import JOINTS

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
