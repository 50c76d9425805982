"""A .onnx file as a detector. How its outputs are told apart and read is the table in `onnx_layouts`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from labels.models.detectors.detector import Detector, chosen_classes, in_batches
from labels.models.detectors.onnx_files import STUDENT_FORMAT, names_from_metadata, open_session, read_header
from labels.models.detectors.onnx_heat_maps import HeatMapDetector
from labels.models.detectors.onnx_layouts import (
    COCO_CLASSES,
    COCO_IDS,
    STRIDES,
    UNUSED_COCO_IDS,
    Answer,
    Trial,
    image_input,
    recognise_layout,
)
from labels.models.settings import AS_IT_COMES, DetectorOptions, OnnxSettings
from labels.records.class_lists import read_class_list
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest

if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame

JOINT_NUMBERS = 51  # of a box of a pose export: x, y and visibility of 17 joints


class OnnxDetector:
    """The detector in a .onnx file; see `models/detector.py` for what its attributes mean.

    Raises InputError, one line, for a file that is not ONNX, not a detector of a known layout, or whose classes are
    not known.
    """

    every_frame = False
    describes = False

    def __init__(
        self,
        path: Path,
        class_names: tuple[str, ...] | None = None,
        device: str = "cpu",
        options: DetectorOptions = AS_IT_COMES,
        settings: OnnxSettings | None = None,
    ) -> None:
        settings = settings or OnnxSettings()
        self.name, self._path, self._settings = str(path), path, settings
        header = read_header(path)
        self._image = image_input(path, header)
        self._sizes = [value for value in header.inputs if value.name != self._image.name]
        self._long_side = _long_side(path, self._image.size, options, settings)
        self._session = open_session(path, header, device)
        self._has_no_batch = False
        if "pred_boxes" in {value.name for value in header.outputs}:
            raise InputError(
                f"{path}: a transformers export does not say how its frames are prepared; "
                "name the folder it was made from: --detector hf:FOLDER"
            )
        names, where = self._given_names(header.metadata, options.class_list)
        # Large enough that there are more boxes than classes, which is what tells layouts apart.
        size = self._image.size or (settings.trial_size, settings.trial_size)
        grey = np.full((size[1], size[0], 3), settings.padding / (1 if self._image.takes_bytes else 255))
        (outputs,) = self._run([grey], size)
        end_to_end = header.metadata.get("end2end", "").lower() == "true"
        count = None if names is None else len(names)
        trial = Trial(outputs, *size, count, end_to_end, has_no_batch=self._has_no_batch)
        self._layout = recognise_layout(path, trial)
        known = self._known_classes(self._layout.class_count(trial), names, where)
        self._class_count = len(known)
        self.class_names = chosen_classes(class_names, known, str(path))
        self._wanted = np.array([known.index(name) for name in self.class_names])
        self.working_threshold = dict.fromkeys(self.class_names, settings.working_threshold)
        self.score_slope: dict[str, float] = {}
        self._score_floor = min(options.score_floor, settings.floor_share * settings.working_threshold)
        usual = settings.batch_size_cuda if device == "cuda" else 1
        self._batch_size = self._image.batch or options.batch_size or usual
        facts = [self.class_names, known, self._long_side, self._session.name, self._score_floor, self._layout.name]
        self.digest = digest_of([file_digest(path), *facts])

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        return in_batches(frames, self._batch_size, self._detect_batch)

    def _detect_batch(self, rgbs: list[np.ndarray]) -> list[Detections]:
        """Frames of one size: their detections."""
        size, layout = self._input_size(rgbs[0]), self._layout
        prepared = [layout.prepare(rgb, self._image, size, self._settings.padding) for rgb in rgbs]
        scale = layout.scale(rgbs[0], size)
        return [
            self._select(*layout.decode(Answer(outputs, *size, self._class_count)), scale, rgbs[0])
            for outputs in self._run(prepared, size)
        ]

    def _run(self, prepared: list[np.ndarray], size: tuple[int, int]) -> list[tuple[np.ndarray, ...]]:
        """The outputs for each of some frames, without the batch axis."""
        count = self._image.batch or len(prepared)
        feeds = {self._image.name: self._image.feed(prepared, count)}
        for value in self._sizes:
            feeds[value.name] = np.tile(np.asarray(size, dtype=value.dtype), (count, 1))
        answers = self._session.run(feeds)
        self._has_no_batch = len(answers) == 1 and answers[0].ndim == 2 and answers[0].shape[1] == 7
        if self._has_no_batch:  # boxes of all frames together, as of YOLOv7
            return [(answers[0][answers[0][:, 0] == at],) for at in range(len(prepared))]
        if any(answer.ndim < 2 or len(answer) != count for answer in answers):
            shapes = " and ".join(str(answer.shape) for answer in answers)
            raise InputError(
                f"{self._path}: gives {shapes} for {count} frames, which is no layout known here; "
                "export its boxes as one output, (1, 4 + classes, boxes)"
            )
        return [tuple(answer[at] for answer in answers) for at in range(len(prepared))]

    def _given_names(self, metadata: dict[str, str], class_list: str | None) -> tuple[tuple[str, ...] | None, str]:
        """The names of the file's classes: the list that was given, or its metadata; and where they are from."""
        if class_list is not None:
            return read_class_list(class_list), f"--class-list {class_list}"
        if "names" in metadata:
            return names_from_metadata(metadata["names"], self._path), "its metadata"
        return None, ""

    def _known_classes(self, count: int | None, names: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
        """The names by the number that the file gives; COCO's where it says none and has as many classes."""
        if count == COCO_IDS and (names is None or len(names) == COCO_CLASSES):
            left = iter(names or read_class_list("coco"))
            return tuple("N/A" if at in UNUSED_COCO_IDS else next(left) for at in range(COCO_IDS))
        if names is None and count == COCO_CLASSES:
            return read_class_list("coco")
        if names is None:
            classes = "its classes" if count is None else f"its {count} classes"
            pose = "; or is it a pose export? Export the model without -pose" if count == 1 + JOINT_NUMBERS else ""
            raise InputError(
                f"{self._path}: does not say what {classes} are; say --class-list FILE.csv, or --class-list coco "
                f"for a model of COCO{pose}"
            )
        if count is not None and len(names) != count:
            kinds = {JOINT_NUMBERS: "-pose", 1: "-obb"}
            kind = kinds.get(count - len(names)) if self._layout.name.startswith("YOLOv8") else None
            odd = f"; or is it an export of another kind? Export the model without {kind}" if kind else ""
            raise InputError(
                f"{self._path}: has {count} classes, but {where} names {len(names)}; name all {count}, in their order, "
                f"with --class-list{odd}"
            )
        return names

    def _input_size(self, rgb: np.ndarray) -> tuple[int, int]:
        """Width and height of the input for a frame: the file's own, or close to the frame's shape."""
        if self._image.size is not None:
            return self._image.size
        if self._layout.stretched:
            return self._long_side, self._long_side
        coarse, (height, width) = max(STRIDES), rgb.shape[:2]
        sides = [self._long_side * side / max(width, height) for side in (width, height)]
        in_width, in_height = (max(coarse, int(np.ceil(round(side, 3) / coarse)) * coarse) for side in sides)
        return in_width, in_height

    def _select(self, xyxy: np.ndarray, score: np.ndarray, scale: np.ndarray, rgb: np.ndarray) -> Detections:
        """From all boxes (N, 4) and scores (N, C) the wanted ones above the floor, one for each object."""
        score = score[:, self._wanted]
        if score.size and not (np.nanmin(score) >= -0.001 and np.nanmax(score) <= 1.001):
            raise InputError(f"{self._path}: gives scores outside 0-1; export it with the sigmoid inside")
        row, column = np.nonzero((score >= self._score_floor) & np.isfinite(xyxy).all(axis=1)[:, None])
        values = np.clip(score[row, column], 0, 1)
        order = np.argsort(-values, kind="stable")[: self._settings.boxes_before_overlap]
        row, column, values = row[order], column[order], values[order]
        if not len(row):
            return Detections.none()
        height, width = rgb.shape[:2]
        frame = np.array([width, height, width, height], dtype=np.float32)
        boxes = np.clip(xyxy[row] / scale, -frame, 2 * frame)
        names = np.array(self.class_names, dtype=object)[column]
        if self._layout.one_each:
            return Detections(boxes, values, names)
        corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        chosen = cv2.dnn.NMSBoxesBatched(
            corner_and_size.tolist(), values.tolist(), column.tolist(), 0.0, self._settings.overlap
        )
        left = np.asarray(chosen, dtype=int).reshape(-1)
        return Detections(boxes[left], values[left], names[left])


def load_onnx_detector(
    path: Path, class_names: tuple[str, ...] | None, device: str, options: DetectorOptions
) -> Detector:
    """Whatever a .onnx file holds: a student, boxes of a frame, or heat maps of three. InputError as of each."""
    header = read_header(path)
    if header.metadata.get("format") == STUDENT_FORMAT:
        from labels.models.exported import ExportedDetector  # which imports torch

        return ExportedDetector(path, header, class_names, device, options)
    image = image_input(path, header)
    if image.channels == 3:
        return OnnxDetector(path, class_names, device, options)
    if options.class_list is not None:
        raise InputError(f"--class-list: {path} gives heat maps of one class; leave it out")
    return HeatMapDetector(path, header, image, class_names, device, options)


def _long_side(path: Path, fixed: tuple[int, int] | None, options: DetectorOptions, settings: OnnxSettings) -> int:
    """Of the input. A tile is brought to it, so its own side is only a wish; what a user says of frames must hold."""
    coarse, wanted = max(STRIDES), options.input_size
    if fixed is not None:
        if wanted not in (None, max(fixed)):
            raise InputError(
                f"{path}: takes frames of {fixed[0]}x{fixed[1]} only; leave --input-size out; smaller things are "
                f"seen with --tiles"
            )
        return max(fixed)
    if wanted is None and options.tile_side is not None:
        return max(1, round(options.tile_side / coarse)) * coarse
    if wanted is not None and (wanted < coarse or wanted % coarse):
        raise InputError(f"--input-size {wanted}: must be a multiple of {coarse}")
    return wanted or settings.input_size
