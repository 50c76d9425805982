"""What a recogniser says of one clip that is in no work folder: of its players, or of the whole frame."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from labels.cleaning.action_decisions import decide_actions
from labels.cleaning.action_settings import ActionSettings
from labels.labelling.action_intervals import FrameProbabilities, IntervalSettings, action_rows
from labels.labelling.action_labelling import recognise_subjects
from labels.labelling.window_store import VideoWindows
from labels.models.recogniser import Recogniser, window_shape
from labels.models.recogniser_settings import JOINTS
from labels.records.errors import InputError
from labels.records.tables import NO_TRACK
from labels.tracks.player_crops import CropPath
from labels.videos.decoding import DecodeError, Frame
from labels.videos.windows import sample_windows


@dataclass(frozen=True)
class ClipActions:
    """`rows` are decided ACTIONS, as stages 2 and 3 would have them; `notes` are sentences for whoever reads them."""

    subjects: list[FrameProbabilities]
    class_names: tuple[str, ...]
    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def recognise_clip(
    frames: Iterable[Frame], frame_count: int, recogniser: Recogniser, tracks: Sequence[CropPath] | None = None
) -> list[FrameProbabilities]:
    """Probabilities by frame of each player in `tracks`, or of the whole frame where that is None.

    Raises InputError where the recogniser looks at what a clip does not bring, and DecodeError as `frames` does.
    """
    if recogniser.preset.reads == JOINTS:
        raise InputError(f"{recogniser.name}: looks at joints, which a clip does not bring; name another recogniser")
    if recogniser.preset.masked:
        raise InputError(f"{recogniser.name}: looks at masks, which a clip does not bring; name another recogniser")
    windows = list(sample_windows(frames, window_shape(recogniser.preset), tracks))
    if not windows:
        raise DecodeError("no frame of it could be decoded")
    track_id = np.array([window.track_id for window in windows])
    ends = {track.track_id: track.end_frame for track in tracks or []} | {NO_TRACK: frame_count}
    held = VideoWindows(
        "clip",
        np.stack([window.frame_index for window in windows]),
        track_id,
        np.array([ends[track] for track in track_id.tolist()]),
        np.stack([window.pixels for window in windows]),
    )
    return recognise_subjects(held, recogniser)


def decided_actions(subjects: Sequence[FrameProbabilities], recogniser: Recogniser, fps: float) -> pd.DataFrame:
    """The intervals of a clip, each kept, ignored or dropped by the rules of stage 3."""
    names = recogniser.class_names
    found = action_rows("clip", 0, names, subjects, fps, IntervalSettings())
    return decide_actions(found, None, names, ActionSettings(), None, recogniser.working_threshold).actions
