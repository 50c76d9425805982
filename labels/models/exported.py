"""Students as ONNX files: what `train.py --export onnx` writes, and `--detector` and `--recogniser` read back.

Whatever its architecture, a detector's file has one form, so that a dozen lines run any of them (docs/library.md):

    frames   (B, C, h, w) uint8 RGB; C = 5: and grey, of the frame before and of the one after, laid over this one
    boxes    (B, N, 4) corners in pixels of `frames`
    scores   (B, N)
    labels   (B, N) int64, places in `names`

A recogniser's takes `clips` (B, 3, T, h, w) float 0-255, or `joints` (B, T, J, 3), and gives `logits` (B, K).
The metadata say the rest: `format`, `architecture`, `names`, `working_threshold`, `settings` (JSON), `preprocessing`
(a sentence), and `made_from`, the digest of the checkpoint.

The file is made by tracing: `torch.export` follows neither torchvision's detectors nor those of `transformers`, whose
shapes depend on the data (torch 2.14, torchvision 0.29). Tracing needs the package onnx.
"""

import io
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from labels.models.checkpoints import BALLNET, DETECTOR, RECOGNISER, load_checkpoint, network_from_checkpoint
from labels.models.detectors.ballnet import (
    BallNet,
    aligned_stream,
    best_of_each,
    peaks_of,
    to_frame_pixels,
    to_working,
)
from labels.models.detectors.detector import chosen_classes, in_batches
from labels.models.detectors.onnx_files import (
    STUDENT_FORMAT,
    OnnxHeader,
    Session,
    names_from_metadata,
    open_session,
    read_header,
)
from labels.models.hub import HF
from labels.models.recognisers.clip_networks import ClipNetwork
from labels.models.recognisers.recogniser import NetworkRecogniser, is_fusion, network_from_file, preset_from_file
from labels.models.recognisers.settings import FEATURES, JOINTS, PIXELS
from labels.models.settings import AS_IT_COMES, DetectorOptions
from labels.records import next_command
from labels.records.command_line import Summary
from labels.records.detections import Detections
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest, write_bytes
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.videos.decoding.frames import Frame

FORMATS = {DETECTOR: STUDENT_FORMAT, RECOGNISER: "rally-recogniser-onnx-1"}
OPSET = 17
TRACED_SIDES = 192, 320  # height and width of the frame that is traced; both stay open
DETECTOR_OUTPUTS = ("boxes", "scores", "labels")


class BallNetBoxes(nn.Module):
    """A BallNet whose answers are boxes: all peaks, also several on one thing (see `best_of_each`)."""

    def __init__(self, network: BallNet) -> None:
        super().__init__()
        self.network = network.folded()

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return peaks_of(self.network(frames), self.network.settings.most_boxes)


class TorchvisionBoxes(nn.Module):
    """A torchvision detector of one frame as bytes; its background, label 0, is not among the names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.network([frames[0].float() / 255])[0]
        return found["boxes"][None], found["scores"][None], found["labels"][None] - 1


def export_students(work: WorkFolder, number: int, task: str | None, form: str = "onnx") -> Summary:
    """Write what a round trained, or of both what `task` says (boxes, actions), beside the checkpoints.

    Args:
        form: onnx; or safetensors, a folder that `transformers` loads, of a detector of the hub.
    """
    folder = work.round(number)
    if form == "safetensors":
        return _as_hub_folder(work, folder)
    students = [
        (path, export)
        for path, export, own in (
            (folder.detector, export_detector, "boxes"),
            (folder.recogniser, export_recogniser, "actions"),
        )
        if path.is_file() and task in (None, own)
    ]
    if not students:
        raise InputError(f"{folder.path}: no student was trained here: {next_command.train(work, number)}")
    lines = []
    with work.writing():
        for path, export in students:
            target = path.with_suffix(".onnx")
            export(path, target)
            lines.append(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return Summary(f"export of round {number}", "students", len(students), len(students), lines=lines)


def _as_hub_folder(work: WorkFolder, folder: RoundFolder) -> Summary:
    checkpoint = load_checkpoint(folder.detector)
    if not checkpoint["architecture"].startswith(HF):
        raise InputError(f"{folder.detector}: is a {checkpoint['architecture']}; as safetensors go students of {HF}…")
    from labels.models.detectors.hub_detectors import HubStudent, save_hub_student

    network = network_from_checkpoint(checkpoint, str(folder.detector))
    assert isinstance(network, HubStudent)
    target = folder.detector.with_suffix("")
    with work.writing():
        save_hub_student(network, checkpoint["settings"], target)
    return Summary(f"export of round {folder.number}", "students", 1, 1, lines=[f"{target}: --detector {HF}{target}"])


def export_detector(source: Path, target: Path) -> None:
    """Write the detector of a checkpoint as ONNX. InputError where the package onnx is missing."""
    checkpoint = load_checkpoint(source)
    network, settings = network_from_checkpoint(checkpoint, str(source)), checkpoint["settings"]
    height, width = TRACED_SIDES
    if checkpoint["architecture"] == BALLNET:
        assert isinstance(network, BallNet)
        traced: nn.Module = BallNetBoxes(network)
        batch, channels = "batch", 5
        preprocessing = (
            f"reduce frames, never enlarge them, to a longer side of {settings['long_side']} pixels; red, green and "
            "blue, then the grey frame before and the grey frame after, moved as the camera moved in between"
        )
    else:
        from labels.models.detectors.torchvision_detectors import keep_every_score

        keep_every_score(network, DetectorOptions.score_floor)
        traced, channels, batch = TorchvisionBoxes(network), 3, None
        preprocessing = f"reduce frames, never enlarge them, to a longer side of {settings['long_side']} pixels; RGB"
    axes = {"frames": {2: "height", 3: "width"}, **{name: {1: "found"} for name in DETECTOR_OUTPUTS}}
    if batch is not None:
        axes = {name: {0: batch} | own for name, own in axes.items()}
    frames = torch.randint(0, 255, (1, channels, height, width), dtype=torch.uint8)
    facts = {"score_slope": checkpoint.get("score_slope", {}), "settings": settings, "preprocessing": preprocessing}
    model = trace(traced.eval(), frames, ("frames", *DETECTOR_OUTPUTS), axes)
    _write(target, model, DETECTOR, source, checkpoint, facts)


def export_recogniser(source: Path, target: Path) -> None:
    """The same of a recogniser. InputError for a fusion, which is two."""
    checkpoint = load_checkpoint(source, RECOGNISER)
    if is_fusion(checkpoint["architecture"]):
        raise InputError(f"{source}: is {checkpoint['architecture']}, two networks; train and export one of them")
    preset = preset_from_file(checkpoint, str(source))
    network = network_from_file(checkpoint, str(source))
    if preset.reads == FEATURES:
        values, given = torch.rand(2, 2, *preset.features), "features"
        preprocessing = f"features of {preset.backbone} of {preset.frames} frames, as they are and mirrored"
    elif preset.reads == JOINTS:
        values, given = torch.rand(2, preset.frames, 13, 3), "joints"
        preprocessing = "13 joints relative to the hips in torso lengths, and whether they were seen"
    else:
        values, given = torch.rand(2, 4 if preset.masked else 3, preset.frames, preset.crop, preset.crop) * 255, "clips"
        preprocessing = (
            f"{preset.frames} frames at {preset.rate:g} a second, the shorter side {preset.side} pixels, the middle "
            f"{preset.crop}x{preset.crop}; RGB 0-255"
        )
    facts = {
        "temperature": float(checkpoint.get("temperature", 1.0)),
        "settings": asdict(preset),
        "preprocessing": preprocessing,
    }
    model = trace(network, values, (given, "logits"), {given: {0: "batch"}, "logits": {0: "batch"}})
    _write(target, model, RECOGNISER, source, checkpoint, facts)


def trace(network: nn.Module, example: Tensor, names: Sequence[str], axes: dict[str, dict[int, str]]) -> bytes:
    """A network of one input as an ONNX file; `names` of the input, then of the outputs."""
    try:
        import onnx  # noqa: F401 - the exporter wants it, and says so less clearly
    except ImportError:
        raise InputError('--export onnx: needs the package onnx; pip install -e ".[onnx]"') from None
    network = network.eval()
    with torch.inference_mode():
        _keep_positions(network)
        network(example)
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of what tracing fixes, which tests compare, and that it is the old way
            torch.onnx.export(
                network,
                (example,),
                file,  # type: ignore[arg-type]
                input_names=list(names[:1]),
                output_names=list(names[1:]),
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"--export onnx: this network cannot be written as ONNX ({reason})") from None
    return file.getvalue()


def _keep_positions(network: nn.Module) -> None:
    """Let vision transformers resize their position encodings once: ONNX cannot say how, and the size is fixed."""
    for part in network.modules():
        resize = getattr(part, "interpolate_pos_encoding", None)
        if callable(resize):
            part.interpolate_pos_encoding = _once(resize)  # type: ignore[assignment]


def _once(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The answer to the first call, always."""
    answers: list[Tensor] = []

    def answer(*args: Any, **more: Any) -> Tensor:
        if not answers:
            answers.append(function(*args, **more))
        return answers[0]

    return answer


def _write(
    target: Path, model: bytes, kind: str, source: Path, checkpoint: dict[str, Any], facts: dict[str, Any]
) -> None:
    import onnx

    loaded = onnx.load_model_from_string(model)
    metadata = {
        "format": FORMATS[kind],
        "architecture": checkpoint["architecture"],
        "names": str(dict(enumerate(checkpoint["class_names"]))),  # as other exports write them
        "working_threshold": checkpoint["working_threshold"],
        "made_from": file_digest(source),
        **facts,
    }
    text = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    onnx.helper.set_model_props(loaded, text)
    write_bytes(target, loaded.SerializeToString())


class ExportedDetector:
    """See `models/detectors/detector.py` for what its attributes mean. InputError for metadata that are not sound."""

    describes = False

    def __init__(
        self,
        path: Path,
        header: OnnxHeader,
        class_names: tuple[str, ...] | None = None,
        device: str = "cpu",
        options: DetectorOptions = AS_IT_COMES,
    ) -> None:
        if options.input_size is not None:
            raise InputError(f"--input-size: {path} looks at frames at the size it was trained with; leave it out")
        if options.class_list is not None:
            raise InputError(f"--class-list: {path} knows its own classes; leave it out")
        self.name, self._session = str(path), open_session(path, header, device)
        names, threshold, self._settings = _facts(path, header)
        slope = _json(path, header, "score_slope")
        self.class_names = names if class_names is None else chosen_classes(class_names, names, str(path))
        self._names = np.array(names, dtype=object)
        self.working_threshold = {name: float(threshold[name]) for name in self.class_names}
        self.score_slope = {name: float(value) for name, value in slope.items() if name in self.class_names}
        self.every_frame = header.inputs[0].shape[1] == 5
        self._score_floor = float(self._settings.get("min_score", options.score_floor))
        self.digest = digest_of([file_digest(path), self.class_names, self._session.name, self._score_floor])

    def detect(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Detections]]:
        if not self.every_frame:
            yield from in_batches(frames, 1, lambda rgbs: [self._of_frame(rgbs[0])])
            return
        side = int(self._settings["long_side"])
        for frame, triple in aligned_stream((frame, to_working(frame.rgb, side)) for frame in frames):
            xyxy, score, label = self._run(triple.numpy())
            left = best_of_each(xyxy, score, label)
            pixels = to_frame_pixels(xyxy[left], triple, frame.rgb.shape[1], frame.rgb.shape[0])
            found = Detections(pixels, score[left], self._names[label[left]])
            yield frame, self._wanted(found.where(np.all(pixels[:, 2:] > pixels[:, :2], axis=1)))

    def _of_frame(self, rgb: np.ndarray) -> Detections:
        size = self._settings.get("size")  # width and height, of those that look at one shape alone
        if size is not None:
            seen = cv2.resize(rgb, tuple(size), interpolation=cv2.INTER_LINEAR)
        else:
            seen = to_working(rgb, int(self._settings["long_side"]))
        xyxy, score, label = self._run(seen.transpose(2, 0, 1))
        scale = np.array([rgb.shape[1] / seen.shape[1], rgb.shape[0] / seen.shape[0]] * 2, dtype=np.float32)
        return self._wanted(Detections(xyxy * scale, score, self._names[label]))

    def _run(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of (C, h, w) uint8 the boxes (N, 4), scores (N,) and labels (N,), above the floor."""
        boxes, scores, labels = (
            answer[0] for answer in self._session.run({"frames": np.ascontiguousarray(frame[None])})
        )
        sure = scores >= self._score_floor
        return boxes[sure], scores[sure].clip(0, 1), labels[sure].astype(np.int64)

    def _wanted(self, found: Detections) -> Detections:
        return found.where(np.isin(found.class_name.astype(str), self.class_names))


class _SessionNetwork(nn.Module):
    """A recogniser's file where a network is expected: what it takes in, logits out."""

    def __init__(self, session: Session, given: str) -> None:
        super().__init__()
        self._session, self._given = session, given

    def forward(self, values: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run({self._given: values.float().numpy()})[0])


def exported_recogniser(path: Path, batch_size: int | None = None) -> NetworkRecogniser:
    """A recogniser that was written here, on the CPU. InputError for another file."""
    header = read_header(path)
    if header.metadata.get("format") != FORMATS[RECOGNISER]:
        raise InputError(f"--recogniser {path}: not a recogniser that train.py --export onnx wrote")
    names, threshold, settings = _facts(path, header)
    try:
        preset = preset_from_file({"architecture": header.metadata["architecture"], "settings": settings}, str(path))
        temperature = float(header.metadata["temperature"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: its metadata are not those of a recogniser; export it again") from None
    network: nn.Module = _SessionNetwork(open_session(path, header, "cpu"), header.inputs[0].name)
    if preset.reads == PIXELS:  # the middle is cut out here; the colours are normalised in the file
        network = ClipNetwork(network, preset, [0.0] * 3, [1.0] * 3)
        network.mean, network.std = torch.zeros(()), torch.ones(())
    return NetworkRecogniser(
        network, names, preset, str(path), file_digest(path), "cpu", temperature, batch_size, threshold
    )


def _facts(path: Path, header: OnnxHeader) -> tuple[tuple[str, ...], dict[str, float], dict[str, Any]]:
    """Class names, working thresholds and settings. InputError where they are not sound."""
    names = names_from_metadata(header.metadata.get("names", ""), path)
    threshold, settings = _json(path, header, "working_threshold"), _json(path, header, "settings")
    if set(threshold) != set(names) or not all(isinstance(value, (int, float)) for value in threshold.values()):
        raise InputError(
            f"{path}: its metadata need a working_threshold for each of {', '.join(names)}; export it again"
        )
    return names, threshold, settings


def _json(path: Path, header: OnnxHeader, key: str) -> dict[str, Any]:
    try:
        found = json.loads(header.metadata.get(key, ""))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}: its metadata hold no sound {key}; export it again")
    return found
