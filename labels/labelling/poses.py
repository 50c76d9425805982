"""Poses of a clip's players, estimated from its pixels and cached: `poses/<estimator>/<video_id>.parquet`.

Where players are tracked, the joints of each; otherwise those of the clip's main person: people are detected, tracked
in camera-steady coordinates, and the one that fills most of the picture over the clip counts, in every frame it is in.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from labels.labelling.player_tracks import PERSON, digest_of_tracks
from labels.models.hub import HF
from labels.models.pose_estimators import People, PoseEstimator, load_pose_estimator
from labels.models.recognisers.settings import BROUGHT, KEYPOINTRCNN, POSES
from labels.records.safe_writing import digest_of, file_digest, read_parquet_metadata, write_parquet
from labels.records.tables import NO_TRACK, make_boxes
from labels.records.work_folder import WorkFolder
from labels.tracks.camera_motion import CameraMotion, camera_table
from labels.tracks.candidates import make_candidates, make_timeline
from labels.tracks.players import CropPath, player_paths
from labels.tracks.settings import PlayerSettings
from labels.videos.decoding.frames import DecodeError, Frame, decode_frames
from labels.videos.pose_tables import JOINTS, pose_table, read_joints

FORMAT = 1  # raise it when the same video and tracks give other joints

Joints = dict[int, np.ndarray]  # track_id -> (frames of the video, 13, 2) pixels, NaN for the unseen


class NoJoints(DecodeError):
    """A clip is looked at for its joints, and none came with it."""


class PoseStore:
    """The joints of a work folder's videos. `name`: `brought` are those that came with clips, else who finds them."""

    def __init__(self, work: WorkFolder, name: str, device: str) -> None:
        self.work, self.name, self.device = work, name, device
        self._estimator: PoseEstimator | None = None

    def key(self, video_id: str) -> str:
        """Changes when the joints of a video may change."""
        if self.name != BROUGHT:
            return digest_of([FORMAT, self.estimator.digest])
        path = self.work.truth_joints(video_id)
        return file_digest(path) if path.is_file() else ""

    @property
    def estimator(self) -> PoseEstimator:
        if self._estimator is None:
            self._estimator = load_pose_estimator(self.name, self.device)
        return self._estimator

    @property
    def _folder(self) -> str:
        """Of the joints that a file or a network of the hub found: its last name, and what tells it from others."""
        if self.name in POSES:
            return self.name
        return f"{Path(self.name.removeprefix(HF)).stem}_{self.estimator.digest[:8]}"

    def joints(self, video: Any, tracks: Sequence[CropPath] | None) -> Joints:
        """The joints of a video (a row of the videos table), found if that was not done. NoJoints without any."""
        video_id, count = str(video.video_id), int(video.frame_count)
        if self.name == BROUGHT:
            brought = read_joints(self.work.truth_joints(video_id), count)
            if brought is None:
                raise NoJoints(f"no joints came with it (videos/truth/poses/); --pose {KEYPOINTRCNN} finds some")
            return brought
        path = self.work.root / "poses" / self._folder / f"{video_id}.parquet"
        tracked = digest_of_tracks(None if tracks is None else list(tracks))
        key = digest_of([self.key(video_id), str(video.sha256), count, tracked])
        if (read_parquet_metadata(path) or {}).get("key") != key:
            frames = decode_frames(self.work.videos / str(video.file))
            write_parquet(path, pose_table(find_joints(frames, self.estimator, tracks)), {"key": key})
        found = read_joints(path, count)
        assert found is not None
        return found


def find_joints(frames: Iterable[Frame], estimator: PoseEstimator, tracks: Sequence[CropPath] | None) -> Joints:
    """The joints of players, or with None of the clip's main person, whose track is NO_TRACK.

    Args:
        frames: all of a video, in order.
    """
    return _of_main_person(frames, estimator) if tracks is None else _of_players(frames, estimator, tracks)


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    stream = iter(frames)
    while batch := list(islice(stream, size)):
        yield batch


def _of_players(frames: Iterable[Frame], estimator: PoseEstimator, tracks: Sequence[CropPath]) -> Joints:
    ends = {track.track_id: track.end_frame for track in tracks}
    found = {track_id: np.full((end, len(JOINTS), 2), np.nan, np.float32) for track_id, end in ends.items()}

    def there(frame: Frame) -> list[CropPath]:
        return [track for track in tracks if track.sight_at(frame.frame_index) is not None]

    for batch in _batches((frame for frame in frames if there(frame)), estimator.batch_size):
        boxes = [np.stack([_box(track, frame.frame_index) for track in there(frame)]) for frame in batch]
        for frame, people in zip(batch, estimator.look([frame.rgb for frame in batch], boxes), strict=True):
            for track, joints in zip(there(frame), people.joints, strict=True):
                found[track.track_id][frame.frame_index] = joints
    return found


def _box(track: CropPath, frame_index: int) -> np.ndarray:
    at = frame_index - track.first_frame
    if track.boxes is not None:
        return track.boxes[at]
    x, y, side = track.squares[at]
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])


def _of_main_person(frames: Iterable[Frame], estimator: PoseEstimator) -> Joints:
    camera, steps = CameraMotion(), []
    index, time_s, people = [], [], []
    height = width = 1
    for batch in _batches(frames, estimator.batch_size):
        for frame in batch:
            steps.append(camera.update(frame.rgb))
            index.append(frame.frame_index)
            time_s.append(frame.time_s)
            height, width = frame.rgb.shape[:2]
        people += estimator.look([frame.rgb for frame in batch])
    found = np.full((index[-1] + 1 if index else 0, len(JOINTS), 2), np.nan, np.float32)
    joints = np.concatenate([np.zeros((0, len(JOINTS), 2), np.float32), *(one.joints for one in people)])
    rows = _linked(people, np.array(index), np.array(time_s), camera_table(index, steps), width, height)
    for frame_index, own in rows:  # whoever fills most of the picture comes last
        found[frame_index] = joints[own]
    return {NO_TRACK: found}


def _linked(
    people: list[People], index: np.ndarray, time_s: np.ndarray, camera: Any, width: int, height: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tracks as (frame numbers, rows among all people), from the least to the most of the picture over the clip."""
    counts = [len(one.score) for one in people]
    if not sum(counts):
        return []
    xyxy, score = np.concatenate([one.xyxy for one in people]), np.concatenate([one.score for one in people])
    frame_index = np.repeat(index, counts)
    boxes = make_boxes("", 0, frame_index, np.repeat(time_s, counts), xyxy, np.full(len(xyxy), PERSON), score)
    usual = 1 / max(float(np.median(np.diff(time_s))), 1e-3) if len(time_s) > 1 else 25.0
    timeline = make_timeline(index, usual, width, height, boxes, camera)
    sure = np.clip(score, 1e-3, 1 - 1e-3)
    candidates = make_candidates(boxes, np.log(sure / (1 - sure)), np.arange(len(boxes)), timeline)
    tracks = [candidates.row[path.nodes] for path in player_paths(candidates, PlayerSettings())]
    area = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    return [(frame_index[rows], rows) for rows in sorted(tracks, key=lambda rows: float(area[rows].sum()))]
