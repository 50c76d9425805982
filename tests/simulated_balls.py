"""Scenes without pixels for the tests of tracks and cleaning: what a labeller would say, and what was there.

Balls fly, bounce and are hit, seen through a camera that pans and shakes; beside them heads that drift, a lamp that
stands in the scene and stray finds. The labeller misses frames and gives scores that overlap between right and wrong.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.cleaning.features.appearance import UsualTracks
from labels.cleaning.features.scores import Scales, probability
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.video import CleanedVideo, clean_video
from labels.records import tables
from labels.records.verdicts import Verdict
from labels.records.video_labels import VideoFacts, VideoLabels
from labels.tracks.camera_motion import CameraStep, camera_table


@dataclass
class Scene:
    """`labelled` has the facts of its video in its attrs, for tests alone: see `labels_of`."""

    labelled: pd.DataFrame
    truth: pd.DataFrame
    camera: pd.DataFrame


def make_scene(
    seed: int,
    frame_count: int = 150,
    stride: int = 1,
    balls: int = 1,
    stray: float = 8.0,
    heads: int = 3,
    lamps: int = 1,
    miss: float = 0.3,
    pan: float = 4.0,
    fps: float = 30.0,
    video_id: str = "scene",
    width: int = 1280,
    height: int = 720,
) -> Scene:
    rng = np.random.default_rng(seed)
    swing = np.column_stack([pan * 40 * np.sin(np.arange(frame_count) / 30), np.zeros(frame_count)])
    offset = np.cumsum(rng.normal(0, 0.3, (frame_count, 2)), axis=0) + swing
    found: list[tuple[float, ...]] = []
    truth: list[tuple[float, ...]] = []

    def see(frame: int, centre: np.ndarray, size: float, mean_log_odds: float, spread: float) -> None:
        centre = centre + rng.normal(0, 0.08 * size, 2)
        sides = size * np.exp(rng.normal(0, 0.1, 2))
        score = float(probability(rng.normal(mean_log_odds, spread)))
        found.append((frame, *(centre - sides / 2), *(centre + sides / 2), score))

    for number in range(balls):
        for frame, centre, size in _flight(rng, frame_count, offset, width, height):
            truth.append((frame, *(centre - size / 2), *(centre + size / 2), number))
            if rng.random() > miss:
                see(frame, centre, size, 0.7, 1.2)
    for _ in range(heads):
        size, place, speed = rng.uniform(8, 24), rng.uniform([100, 200], [1100, 500]), rng.normal(0, 2)
        for frame in range(frame_count):
            speed = rng.normal(0, 2) if rng.random() < 0.05 else speed
            place = place + np.array([speed, rng.normal(0, 0.5)])
            if rng.random() < 0.4:
                see(frame, place + offset[frame], size, -1.3, 0.8)
    for _ in range(lamps):
        place = rng.uniform([100, 200], [1100, 500])
        for frame in range(frame_count):
            if rng.random() < 0.7:
                see(frame, place + offset[frame], 14.0, 0.0, 0.8)
    for frame in range(frame_count):
        for _ in range(rng.poisson(stray)):
            see(
                frame,
                rng.uniform([0, 0], [width, height]),
                float(np.exp(rng.uniform(np.log(6), np.log(30)))),
                -1.5,
                1.0,
            )
    steps = np.diff(offset, axis=0, prepend=offset[:1])
    matrices = [np.column_stack([np.eye(2), -step]) for step in steps]
    return Scene(
        _labelled(video_id, np.array(found), frame_count, stride, fps, width, height),
        _truth(np.array(truth).reshape(-1, 6), stride),
        camera_table(range(frame_count), [CameraStep(matrix, False) for matrix in matrices]),
    )


def _flight(
    rng: np.random.Generator, frame_count: int, offset: np.ndarray, width: int, height: int
) -> list[tuple[int, np.ndarray, float]]:
    """Where one ball is in each frame in which it is in the picture: (frame, centre, size)."""
    size, floor = rng.uniform(8, 24), rng.uniform(450, 700)
    gravity = 0.08 * size
    place, speed = rng.uniform([200, 100], [1000, 400]), rng.uniform([-0.8, -0.8], [0.8, 0.4]) * size
    seen = []
    for frame in range(frame_count):
        place, speed = place + speed, speed + np.array([0, gravity])
        if place[1] > floor:
            place[1], speed[1] = floor, -0.8 * abs(speed[1])
        if rng.random() < 0.02:
            speed = rng.uniform([-1, -1.5], [1, 0.2]) * size
        centre = place + offset[frame]
        if 0 < centre[0] < width and 0 < centre[1] < height:
            seen.append((frame, centre, size))
        elif not 0 < centre[0] < width:
            speed[0] = -speed[0]
    return seen


def _labelled(
    video_id: str, found: np.ndarray, frame_count: int, stride: int, fps: float, width: int, height: int
) -> pd.DataFrame:
    found = found[found[:, 0] % stride == 0]
    boxes = tables.make_boxes(
        video_id,
        0,
        found[:, 0].astype(int),
        found[:, 0] / fps,
        found[:, 1:5],
        np.array(["sports ball"] * len(found), dtype=object),
        np.clip(found[:, 5], 0.02, 0.99),
    )
    boxes = tables.sort_boxes(boxes)
    boxes.attrs = metadata(video_id, frame_count, stride, fps, width, height)
    return boxes


def metadata(
    video_id: str, frame_count: int, stride: int = 1, fps: float = 30.0, width: int = 1280, height: int = 720
) -> dict[str, object]:
    return {
        "video_id": video_id,
        "key": "test",
        "stride": stride,
        "frame_count": frame_count,
        "width": width,
        "height": height,
        "fps": fps,
    }


def _truth(truth: np.ndarray, stride: int) -> pd.DataFrame:
    truth = truth[truth[:, 0] % stride == 0]
    values: dict[str, object] = {name: truth[:, 1 + column] for column, name in enumerate(tables.BOX_COLUMNS)}
    names = {"class_name": "sports ball", "visibility": 1.0}
    return tables.make_table(tables.TRUTH, values | names | {"frame_index": truth[:, 0], "track_id": truth[:, 5]})


def boxes_from(
    rows: list[tuple], frame_count: int, stride: int = 1, fps: float = 30.0, round_born: int = 0, **meta: int
):
    """A labelled table from rows (frame_index, centre x, centre y, size, score[, class_name])."""
    table = np.array([row[:5] for row in rows], dtype=np.float64).reshape(-1, 5)
    half = table[:, 3:4] / 2
    names = np.array([row[5] if len(row) > 5 else "sports ball" for row in rows], dtype=object)
    boxes = tables.make_boxes(
        "scene",
        round_born,
        table[:, 0].astype(int),
        table[:, 0] / fps,
        np.concatenate([table[:, 1:3] - half, table[:, 1:3] + half], axis=1),
        names,
        table[:, 4],
    )
    boxes.attrs = metadata("scene", frame_count, stride, fps, **meta)
    return boxes


def labels_of(boxes: pd.DataFrame) -> VideoLabels:
    """The table of a scene, or what `clean_table` made of it, with the facts it was made with."""
    return VideoLabels(boxes, VideoFacts.from_metadata(boxes.attrs, "scene"))


def clean_table(
    labelled: pd.DataFrame,
    number: int,
    scales: Scales,
    settings: CleaningSettings,
    old: pd.DataFrame | None = None,
    camera: pd.DataFrame | None = None,
    verdicts: dict[str, Verdict] | None = None,
    usual: UsualTracks | None = None,
) -> CleanedVideo:
    """`clean_video` of a scene's table."""
    before = None if old is None else labels_of(old)
    cleaned = clean_video(labels_of(labelled), number, scales, settings, before, camera, verdicts, usual=usual)
    cleaned.boxes.attrs = labelled.attrs
    return cleaned


def as_verdicts(words: dict[str, str] | None) -> dict[str, Verdict]:
    """Verdicts as a human writes them by hand: a name and y or n, without a place."""
    return {uid: Verdict(uid, word) for uid, word in (words or {}).items()}
