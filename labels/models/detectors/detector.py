"""The interface of every detector: a stream of frames goes in, the same frames come out, each with its boxes.

`--detector human` finds nothing: the round's labels are those that a human drew or imported, and no others.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np

from labels.models.settings import BALL, HUMAN
from labels.records.detections import Detections
from labels.records.errors import InputError

if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame

NO_CLASS = ("__background__", "N/A", "no person")  # what torchvision's label lists hold beside classes


class Detector(Protocol):
    """Torchvision models, ONNX files, `motion` and the students of earlier rounds all look like this."""

    name: str  # what the user asked for
    digest: str  # changes when its answers may change
    class_names: tuple[str, ...]  # the classes it gives
    working_threshold: dict[str, float]  # by class: from this score a box is more likely right than wrong
    score_slope: dict[str, float]  # by class, 1 where it is missing: how much surer it is than its scores say
    every_frame: bool  # it needs every frame of a video, whatever stride is labelled
    describes: bool  # its detections carry an `appearance`

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        """Each frame of one video with its boxes, in the order they came. A new call is a new video.

        Batches and looking ahead are the detector's own business: it may take frames before it gives the first.
        """
        ...


def chosen_classes(wanted: tuple[str, ...] | None, known: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The classes a detector shall give. When none is said: balls if it knows them, otherwise all it knows."""
    classes = tuple(name for name in known if name not in NO_CLASS)
    if wanted is None:
        return (BALL,) if BALL in classes else classes
    for name in wanted:
        if name not in classes:
            near = get_close_matches(name, classes, n=3, cutoff=0.4) or list(classes[:5])
            raise InputError(f"{where}: knows no class '{name}' (--classes); it knows {', '.join(near)}, …")
    return tuple(dict.fromkeys(wanted))


if TYPE_CHECKING:
    from labels.videos.decoding.frames import Frame


class NoDetector:
    """A detector (see `models.detector`) that finds nothing."""

    name, digest, every_frame, describes = HUMAN, HUMAN, False, False

    def __init__(self, class_names: tuple[str, ...] | None = None) -> None:
        self.class_names = class_names or (BALL,)
        self.working_threshold = dict.fromkeys(self.class_names, 0.5)
        self.score_slope: dict[str, float] = {}

    def detect(self, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        for frame in frames:
            yield frame, Detections.none()


@dataclass
class Clock:
    """How many frames a detector was given, and how long it worked on them; waiting for frames is not its work."""

    frames: int = 0
    seconds: float = 0.0

    def watch(self, detector: Detector, frames: "Iterable[Frame]") -> "Iterator[tuple[Frame, Detections]]":
        """`detector.detect(frames)`."""
        waited = 0.0

        def given() -> "Iterator[Frame]":
            nonlocal waited
            stream = iter(frames)
            while True:
                started = time.perf_counter()
                frame = next(stream, None)
                waited += time.perf_counter() - started
                if frame is None:
                    return
                self.frames += 1
                yield frame

        answers = detector.detect(given())
        while True:
            started, waited = time.perf_counter(), 0.0
            answer = next(answers, None)
            self.seconds += time.perf_counter() - started - waited
            if answer is None:
                return
            yield answer

    def __add__(self, other: "Clock") -> "Clock":
        return Clock(self.frames + other.frames, self.seconds + other.seconds)


def in_batches(
    frames: "Iterable[Frame]", size: int, detect: Callable[[list[np.ndarray]], list[Detections]]
) -> "Iterator[tuple[Frame, Detections]]":
    """The frames with what `detect` finds in lists of at most `size` of them; the pictures of a list have one shape."""
    stream = iter(frames)
    while batch := list(islice(stream, size)):
        if len({frame.rgb.shape for frame in batch}) == 1:
            yield from zip(batch, detect([frame.rgb for frame in batch]), strict=True)
        else:  # the video changes its size
            for frame in batch:
                yield frame, detect([frame.rgb])[0]
