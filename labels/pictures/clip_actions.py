"""What a recogniser says of one clip that is in no work folder: of its players, or of the whole frame."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from labels.cleaning.action_decisions import decide_actions
from labels.cleaning.action_settings import ActionSettings
from labels.labelling.action_intervals import FrameProbabilities, IntervalSettings, action_rows
from labels.labelling.pose_finding import find_joints
from labels.labelling.window_cutting import cut_windows, sight_of
from labels.labelling.window_store import VideoWindows
from labels.labelling.window_views import RECOGNISED_TOGETHER, subjects_of
from labels.models.pose_estimators import PoseEstimator, load_pose_estimator
from labels.models.recogniser import Recogniser
from labels.models.recogniser_settings import BROUGHT, KEYPOINTRCNN, PIXELS, PRESETS
from labels.records.errors import InputError
from labels.tracks.player_crops import CropPath
from labels.videos.decoding import DecodeError, Frame


@dataclass(frozen=True)
class ClipActions:
    """`rows` are decided ACTIONS, as stages 2 and 3 would have them; `notes` are sentences for whoever reads them."""

    subjects: list[FrameProbabilities]
    class_names: tuple[str, ...]
    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def recognise_clip(
    decode: Callable[[], Iterable[Frame]],
    frame_count: int,
    fps: float,
    recogniser: Recogniser,
    tracks: Sequence[CropPath] | None = None,
    estimator: PoseEstimator | None = None,
) -> list[FrameProbabilities]:
    """Probabilities by frame of each player in `tracks`, each time in sight, or of the whole frame where that is None.

    No more than a few windows are in memory.

    Args:
        decode: opens the clip, each time from its first frame.
        estimator: finds joints, where they are looked at; None: the one of the recogniser, loaded by its name.

    Raises InputError where the recogniser looks at what a clip does not bring, and DecodeError as the frames do.
    """
    preset, joints = recogniser.preset, None
    if preset.masked:
        raise InputError(f"{recogniser.name}: looks at masks, which a clip does not bring; name another recogniser")
    pose = (preset.beside or preset).pose
    if pose:
        estimator = estimator or _estimator_for(recogniser, KEYPOINTRCNN if pose == BROUGHT else pose)
        joints = find_joints(decode(), estimator, tracks)
    windows = cut_windows(preset, frame_count, fps, tracks, decode, joints)
    frames, track_id, ends = [], [], []
    said = []
    while together := list(islice(windows, RECOGNISED_TOGETHER)):
        frames += [window.frame_index for window in together]
        track_id += [window.track_id for window in together]
        ends += [sight_of(window, tracks, frame_count)[1] for window in together]
        said.append(recogniser.recognise(np.stack([window.values for window in together])))
    if not said:
        raise DecodeError("no frame of it could be decoded")
    seen = VideoWindows("clip", np.stack(frames), np.array(track_id), np.array(ends), np.zeros((len(frames), 0)))
    return subjects_of(seen, np.concatenate(said), recogniser.class_names)


def _estimator_for(recogniser: Recogniser, pose: str) -> PoseEstimator:
    """Who finds the joints; an InputError where nobody can also names what lies beside a fusion and needs none."""
    try:
        return load_pose_estimator(pose, recogniser.device)
    except InputError as error:
        beside = Path(recogniser.name).parent / "actions"  # where training leaves the parts of a fusion
        parts = [beside / name / "recogniser.pt" for name, preset in PRESETS.items() if preset.reads == PIXELS]
        there = [path for path in parts if path.is_file() and recogniser.preset.beside is not None]
        if not there:
            raise
        raise InputError(f"{error}; or --recogniser {there[0]}, which looks at pixels alone") from None


def decided_actions(subjects: Sequence[FrameProbabilities], recogniser: Recogniser, fps: float) -> pd.DataFrame:
    """The intervals of a clip, each kept, ignored or dropped by the rules of stage 3."""
    names = recogniser.class_names
    found = action_rows("clip", 0, names, subjects, fps, IntervalSettings())
    return decide_actions(found, None, names, ActionSettings(), None, recogniser.working_threshold).actions
