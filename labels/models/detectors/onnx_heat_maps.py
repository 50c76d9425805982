"""Ball networks in a .onnx file: three frames go in, heat maps come out (the TrackNet and WASB family).

The input is (B, 9, h, w), three frames of three colours, brought to that size. What comes out tells whose it is:

| outputs | told by | network | frames | colours | the maps are of |
|---|---|---|---|---|---|
| (3, h, w) within 0-1 | a trial | TrackNetV2 (Sun et al. 2020) | oldest first | RGB 0-1 | all three frames |
| (3, h, w) beyond 0-1 | a trial | WASB (arXiv 2311.05237): logits | oldest first | ImageNet | all three frames |
| (1, h, w) | shape | either with one map | oldest first | as above | the last frame |
| (256, h * w) | shape | TrackNet (arXiv 1907.03698): grey levels | newest first | BGR 0-1 | the last frame |

A network that was trained otherwise says so in the file's metadata (`onnx.helper.set_model_props(model, {…})`):
`frames` (oldest first, newest first), `colours` (RGB 0-1, BGR 0-1, BGR 0-255, ImageNet), `map_of` (last, middle),
`box_size`, the side of a ball's box in pixels of the input, and `names`, its one class. A box is a square around the
centroid of a warm spot, whose highest heat is the score.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from labels.models.detectors.detector import chosen_classes
from labels.models.detectors.onnx_files import OnnxHeader, names_from_metadata, open_session
from labels.models.detectors.onnx_layouts import IMAGENET_MEAN, IMAGENET_STD, ImageInput
from labels.models.settings import AS_IT_COMES, BALL, DetectorOptions, HeatMapSettings
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest

if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame

FRAMES = 3  # that go in together
GREY_LEVELS = 256
COLOURS = ("RGB 0-1", "BGR 0-1", "BGR 0-255", "ImageNet")
ORDERS = ("oldest first", "newest first")
MAPS_OF = ("last", "middle")
Window = tuple[list["Frame"], list[tuple["Frame", int]]]  # the three, and whom they answer for: a frame and its map


class HeatMapDetector:
    """See `models/detector.py` for what its attributes mean. InputError, one line, for a file of another kind."""

    every_frame = True  # the frames before a labelled one are needed too
    describes = False

    def __init__(
        self,
        path: Path,
        header: OnnxHeader,
        image: ImageInput,
        class_names: tuple[str, ...] | None = None,
        device: str = "cpu",
        options: DetectorOptions = AS_IT_COMES,
        settings: HeatMapSettings | None = None,
    ) -> None:
        settings = settings or HeatMapSettings()
        self.name, self._path, self._image, self._settings = str(path), path, image, settings
        if options.input_size is not None:
            raise InputError(f"--input-size: {path} looks at frames at the size it was trained with; leave it out")
        if image.size is None:
            raise InputError(f"{path}: takes three frames of any size; export it with the size it was trained with")
        self._size = image.size
        self._session = open_session(path, header, device)
        grey = np.full((image.size[1], image.size[0], 3 * FRAMES), 0.5, dtype=np.float32)
        trial = self._run([grey])[0]
        if trial.shape[0] not in (1, FRAMES, GREY_LEVELS):
            raise InputError(
                f"{path}: takes three frames and gives {trial.shape}, where heat maps are (1 or 3, height, width)"
            )
        self._is_grey, self._maps = trial.shape[0] == GREY_LEVELS, 1 if trial.shape[0] == GREY_LEVELS else len(trial)
        self._is_logit = not self._is_grey and not (trial.min() >= -0.001 and trial.max() <= 1.001)
        usual = "BGR 0-1" if self._is_grey else "ImageNet" if self._is_logit else "RGB 0-1"
        self._colours = _one_of(path, header, "colours", COLOURS, usual)
        self._newest_first = _one_of(path, header, "frames", ORDERS, ORDERS[self._is_grey]) == ORDERS[1]
        self._is_middle = _one_of(path, header, "map_of", MAPS_OF, MAPS_OF[0]) == MAPS_OF[1]
        self._box_size = _box_size(path, header, settings)
        known = _names(path, header)
        self.class_names = chosen_classes(class_names, known, str(path))
        self.working_threshold = dict.fromkeys(self.class_names, settings.working_threshold)
        self.score_slope: dict[str, float] = {}
        self._batch_size = image.batch or options.batch_size or (settings.batch_size_cuda if device == "cuda" else 1)
        read_as = [self._colours, self._newest_first, self._is_middle, self._is_logit, self._is_grey]
        self.digest = digest_of([file_digest(path), self.class_names, self._session.name, read_as, settings])

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        windows = self._windows(frames)
        while batch := list(islice(windows, self._batch_size)):
            answers = self._run([self._prepare(three) for three, _ in batch])
            for (_, wanted), answer in zip(batch, answers, strict=True):
                heat = self._as_heat(answer)
                for frame, at in wanted:
                    yield frame, self._boxes(heat[at], frame.rgb.shape[1], frame.rgb.shape[0])

    def _windows(self, frames: "Iterable[Frame]") -> Iterator[Window]:
        """Three frames at a time; a video's ends, and a change of its size, repeat the frame there is."""
        run: list[Frame] = []  # frames of one size, from the last two that were answered on
        done = 0  # of them answered
        for frame in frames:
            if run and frame.rgb.shape != run[-1].rgb.shape:
                yield from self._rest(run, done)
                run, done = [], 0
            run.append(frame)
            if self._maps == FRAMES:
                if len(run) - done == FRAMES:
                    three = run[done:]
                    yield three, [(one, at) for at, one in enumerate(three)]
                    run, done = list(three), FRAMES
            else:
                at = len(run) - 1 - self._is_middle
                if at >= done:
                    yield self._around(run, at), [(run[at], 0)]
                    run = run[max(0, at - 1) :]
                    done = len(run) - self._is_middle
        yield from self._rest(run, done)

    def _rest(self, run: "list[Frame]", done: int) -> Iterator[Window]:
        """What is not answered at an end."""
        if len(run) <= done:
            return
        if self._maps == FRAMES:
            first = max(0, len(run) - FRAMES)
            three = run[first:]
            wanted = [(one, at) for at, one in enumerate(three) if first + at >= done]
            yield three + three[-1:] * (FRAMES - len(three)), wanted
        else:
            for at in range(done, len(run)):
                yield self._around(run, at), [(run[at], 0)]

    def _around(self, run: "list[Frame]", at: int) -> "list[Frame]":
        places = (at - 1, at, at + 1) if self._is_middle else (at - 2, at - 1, at)
        return [run[min(max(place, 0), len(run) - 1)] for place in places]

    def _prepare(self, three: "list[Frame]") -> np.ndarray:
        """(h, w, 9) of what the input takes."""
        ordered = three[::-1] if self._newest_first else three
        seen = [cv2.resize(frame.rgb, self._size, interpolation=cv2.INTER_LINEAR) for frame in ordered]
        if self._colours.startswith("BGR"):
            seen = [one[..., ::-1] for one in seen]
        if self._image.takes_bytes:
            return np.concatenate(seen, axis=2)
        values = [one.astype(np.float32) / (1 if self._colours.endswith("255") else 255) for one in seen]
        if self._colours == "ImageNet":
            values = [(one - IMAGENET_MEAN) / IMAGENET_STD for one in values]
        return np.concatenate(values, axis=2)

    def _run(self, prepared: list[np.ndarray]) -> np.ndarray:
        count = self._image.batch or len(prepared)
        answers = self._session.run({self._image.name: self._image.feed(prepared, count)})
        if len(answers) != 1 or answers[0].ndim not in (3, 4) or len(answers[0]) != count:
            shapes = " and ".join(str(answer.shape) for answer in answers)
            raise InputError(f"{self._path}: takes three frames and gives {shapes}; export it with its heat maps alone")
        return answers[0][: len(prepared)]

    def _as_heat(self, answer: np.ndarray) -> np.ndarray:
        """(maps, h, w) of 0-1."""
        if self._is_grey:
            width, height = self._size
            levels = answer.reshape(GREY_LEVELS, -1).argmax(axis=0)
            if levels.size != width * height:
                raise InputError(f"{self._path}: its {levels.size} places are not the {width}x{height} of its input")
            return (levels / (GREY_LEVELS - 1)).astype(np.float32).reshape(1, height, width)
        return 1 / (1 + np.exp(-np.clip(answer, -60, 60))) if self._is_logit else answer

    def _boxes(self, heat: np.ndarray, width: int, height: int) -> Detections:
        """Warm spots of a map (h, w) as boxes in a frame of width x height."""
        warm = (heat >= self._settings.least_heat).astype(np.uint8)
        count, spots = cv2.connectedComponents(warm, connectivity=8)
        if count < 2:
            return Detections.none()
        own, weight = spots.ravel(), heat.ravel().astype(np.float64)
        y, x = np.divmod(np.arange(own.size), heat.shape[1])
        total = np.bincount(own, weight, count)[1:]
        middle = np.stack([np.bincount(own, weight * place, count)[1:] / total + 0.5 for place in (x, y)], axis=1)
        score = np.zeros(count)
        np.maximum.at(score, own.astype(np.intp), weight)
        pixel = np.array([width / heat.shape[1], height / heat.shape[0]])
        half = self._box_size / 2 * np.array([width / self._size[0], height / self._size[1]])
        xyxy = np.concatenate([middle * pixel - half, middle * pixel + half], axis=1)
        order = np.argsort(-score[1:], kind="stable")[: self._settings.most_boxes]
        names = np.full(len(order), self.class_names[0], dtype=object)
        return Detections(xyxy[order], score[1:][order].clip(0, 1), names)


def _one_of(path: Path, header: OnnxHeader, key: str, choices: tuple[str, ...], usual: str) -> str:
    found = header.metadata.get(key, usual)
    if found not in choices:
        raise InputError(f"{path}: its metadata say «{key}: {found}», which is none of {', '.join(choices)}")
    return found


def _box_size(path: Path, header: OnnxHeader, settings: HeatMapSettings) -> float:
    text = header.metadata.get("box_size")
    if text is None:
        return settings.box_size
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < 10_000:
        raise InputError(f"{path}: its metadata say «box_size: {text}», which is no number of pixels")
    return size


def _names(path: Path, header: OnnxHeader) -> tuple[str, ...]:
    names = names_from_metadata(header.metadata["names"], path) if "names" in header.metadata else (BALL,)
    if len(names) > 1:
        raise InputError(f"{path}: its metadata name {len(names)} classes, and heat maps are of one")
    return names
