"""What stages 2 and 3 do to one video, as functions: no work folder, nothing written.

    import labels

    labelled = labels.label_video("clip.mp4", labels.load_detector("motion"))
    cleaned = labels.clean_video(labelled)
    cleaned.boxes[cleaned.boxes["decision"] == "keep"]

The tables are those that the scripts write for the same clip.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from labels.cleaning import merging, video
from labels.cleaning.features.scores import calibrated, scales_from
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.video import CleanedVideo
from labels.labelling import box_labelling
from labels.labelling.box_round import described_by
from labels.labelling.settings import LabellingSettings
from labels.models.detectors import loading
from labels.models.detectors.detector import Detector
from labels.models.detectors.ensemble import Ensemble, score_scales
from labels.records import tables
from labels.records.errors import InputError
from labels.records.verdicts import Verdict
from labels.records.video_labels import VideoFacts, VideoLabels
from labels.videos.decoding.frames import DecodeError, Frame, decode_frames, probe_video
from labels.videos.videos_table import safe_name


def read_frames(path: str | os.PathLike[str], stride: int = 1) -> Iterator[Frame]:
    """Every `stride`th frame of a video file from frame 0, decoded in a process of its own.

    Yields:
        `frame_index` (counts decoded frames from 0), `time_s` (by the frame's own time stamp) and `rgb`, an
        (H, W, 3) uint8 array of the upright frame.

    Raises:
        InputError: the file is no video, or is damaged; the frames before the damage have been given by then.
    """
    try:
        yield from decode_frames(_there(path), stride)
    except DecodeError as error:
        raise InputError(f"{path}: cannot be read as a video: {error}") from None


def load_detector(name: str, class_names: tuple[str, ...] | None = None, device: str = "auto") -> Detector:
    """A detector by its name or file: what `--detector` takes.

    Args:
        name: `motion`, the name of a torchvision detector, a .onnx file, or a detector.pt that stage 4 made.
        class_names: the classes that are wanted. None: balls, or all where it knows no balls.
        device: auto, cpu or cuda.

    Raises:
        InputError: there is no such detector, or it does not know such a class.
    """
    return loading.load_detector(str(name), class_names, device)


def label_video(
    clip: str | os.PathLike[str] | Iterable[np.ndarray],
    detector: Detector | Ensemble,
    stride: int = 1,
    *,
    fps: float | None = None,
    video_id: str | None = None,
    round_number: int = 0,
) -> VideoLabels:
    """Every box that a detector sees in one video, with its score; stage 2.

    Args:
        clip: a video file, or its frames in order: (H, W, 3) uint8 RGB arrays of one size.
        stride: label every `stride`th frame, from frame 0.
        fps: frames a second of `clip`, needed where it is frames; a file says it itself.
        video_id: what the video is called in the tables. Default: as the file, or «clip».
        round_number: labels are named by it; the same number gives the same names.

    Returns:
        Boxes in float32 pixels of the upright frame, (x1, y1, x2, y2) half-open, and what cleaning goes by: how
        the camera moved, and how this detector's scores are read.

    Raises:
        InputError: the file cannot be decoded to its end, or frames are not what they should be.
    """
    if stride < 1:
        raise InputError(f"stride: 1 or more, not {stride}")
    step = box_labelling.decode_stride(detector, stride)
    frames: Iterable[Frame]
    if isinstance(clip, str | os.PathLike):
        try:
            info = probe_video(_there(clip))
        except DecodeError as error:
            raise InputError(f"{clip}: cannot be read as a video: {error}") from None
        video_id = video_id or safe_name(Path(clip).stem)
        facts = VideoFacts(video_id, info.frame_count, stride, info.fps, info.width, info.height)
        frames = read_frames(clip, step)
    else:
        if fps is None or not 0 < fps < 1000:
            raise InputError("fps: frames need to know how many of them a second has")
        held = _Counted(clip, fps, step)
        facts, frames = VideoFacts(video_id or "clip", 0, stride, float(fps), 1, 1), held
    settings = LabellingSettings(stride=stride)
    found = box_labelling.label_video(facts.video_id, frames, detector, round_number, settings)
    if isinstance(frames, _Counted):
        height, width = frames.shape[:2]
        facts = replace(facts, frame_count=frames.count, height=height, width=width)
    facts = replace(facts, described_by=described_by(detector, None), repeated_frames=found.repeated_frames)
    return VideoLabels(found.boxes, facts, found.camera, score_scales(detector), round_number)


def clean_video(
    labelled: VideoLabels,
    settings: CleaningSettings | None = None,
    before: VideoLabels | CleanedVideo | None = None,
    verdicts: Mapping[str, Verdict] | None = None,
) -> CleanedVideo:
    """Decide which boxes of one video are labels, which are doubtful and which are wrong; stage 3.

    Args:
        labelled: what `label_video` gave.
        settings: every threshold; None: the usual ones.
        before: what cleaning made of the same video in the round before, which is merged in.
        verdicts: what people said, by label_uid.

    Returns:
        `boxes`: each labelled, merged and interpolated row with `quality` (0-1), `decision` (keep, ignore or drop) and
        `reason`; `decisions`: how many of each. How a track looks beside those of other videos is known to whoever
        cleans a whole round: here nothing is an outlier.
    """
    before = before.labels if isinstance(before, CleanedVideo) else before
    return video.clean_video(
        labelled,
        labelled.round_number,
        scales_from(labelled.score_scales),
        settings or CleaningSettings(),
        before,
        labelled.camera,
        verdicts,
    )


def merge_rounds(
    labelled: VideoLabels, before: VideoLabels | CleanedVideo, settings: CleaningSettings | None = None
) -> VideoLabels:
    """The boxes of one video with those that the round before decided on: one row where both mean the same object.

    What `clean_video` does first when it is given `before`. Columns `log_odds`, `rounds_seen` and `rounds_lost` hold
    what all rounds together say of a box.
    """
    old = before.boxes.assign(**{name: before.boxes.get(name, "") for name in tables.SEEN})
    new = merging.with_lineage(labelled.boxes, calibrated(labelled.boxes, scales_from(labelled.score_scales)))
    merged, _, _ = merging.merge_rounds(new, old, settings or CleaningSettings())
    return labelled.with_boxes(merged)


class _Counted:
    """Arrays as frames, every `stride`th of them; how many there were, and of what shape."""

    def __init__(self, arrays: Iterable[np.ndarray], fps: float, stride: int) -> None:
        self._arrays, self._fps, self._stride = arrays, fps, stride
        self.count, self.shape = 0, (1, 1, 3)

    def __iter__(self) -> Iterator[Frame]:
        for index, array in enumerate(self._arrays):
            rgb = np.asarray(array)
            if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
                raise InputError(f"frame {index}: (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
            if index and rgb.shape != self.shape:
                raise InputError(f"frame {index}: its size is {rgb.shape[:2]}, the first one's {self.shape[:2]}")
            self.count, self.shape = index + 1, rgb.shape
            if index % self._stride == 0:
                yield Frame(index, index / self._fps, rgb)


def _there(path: str | os.PathLike[str]) -> Path:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    return Path(path)
