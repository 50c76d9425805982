"""One clip through a recogniser: its actions over time as text, and drawn over the video (mp4, gif).

The clip is in no work folder. It is decoded within limits; actions are of its players or of the whole frame.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from labels.cleaning.actions.decisions import decide_actions
from labels.cleaning.settings import ActionSettings
from labels.labelling.action_intervals import FrameProbabilities, IntervalSettings, action_rows, cut_intervals
from labels.labelling.action_windows import RECOGNISED_TOGETHER, VideoWindows, cut_windows, sight_of, subjects_of
from labels.labelling.poses import find_joints
from labels.models.detectors.loading import torch_device
from labels.models.pose_estimators import PoseEstimator, load_pose_estimator
from labels.models.recognisers.recogniser import Recogniser, load_recogniser
from labels.models.recognisers.settings import BROUGHT, KEYPOINTRCNN, PIXELS, PRESETS
from labels.pictures.overlay.drawing import draw_text, fit_text
from labels.pictures.palette import MUTED, PANEL, SKY_BLUE, TEXT
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.tracks.players import CropPath
from labels.videos.decoding.frames import DecodeError, Frame, VideoInfo, decode_frames, probe_video
from labels.videos.encoding import GifWriter, VideoWriter


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
    predictions = []
    while together := list(islice(windows, RECOGNISED_TOGETHER)):
        frames += [window.frame_index for window in together]
        track_id += [window.track_id for window in together]
        ends += [sight_of(window, tracks, frame_count)[1] for window in together]
        predictions.append(recogniser.recognise(np.stack([window.values for window in together])))
    if not predictions:
        raise DecodeError("no frame of it could be decoded")
    seen = VideoWindows("clip", np.stack(frames), np.array(track_id), np.array(ends), np.zeros((len(frames), 0)))
    return subjects_of(seen, np.concatenate(predictions), recogniser.class_names)


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


SHOWN_CLASSES = 3
LINE_PX, BAR_PX, MARGIN_PX, LETTER_PX = 20, 110, 8, 12
PLAIN_SIDE = 360  # pixels of the shorter side at which letters are that large
GIF_SIDE, GIF_SECONDS = 320, 12.0


def answer_clip(args: argparse.Namespace) -> Summary:
    """Print the classes with their probabilities over time, and write `<clip>_actions.mp4` and `.gif`."""
    if not args.clip.is_file():
        raise InputError(f"--clip {args.clip}: no such file")
    recogniser = load_recogniser(args.recogniser, torch_device(args.device), pose=args.pose)
    try:
        info = probe_video(args.clip)
        frames = recognise_clip(partial(decode_frames, args.clip), info.frame_count, info.fps, recogniser)[0]
    except DecodeError as error:
        raise InputError(f"{args.clip}: cannot be decoded: {error}") from None
    names = recogniser.class_names
    target = (args.out or Path()) / f"{args.clip.stem}_actions.mp4"
    draw_answer(args.clip, info, frames, names, target)
    written = [f"overlay: {target}", f"overlay: {target.with_suffix('.gif')}"]
    return Summary("clip", "clips", 1, 1, {}, [*answer_lines(frames, names, info.fps), *written])


def answer_lines(frames: FrameProbabilities, names: tuple[str, ...], fps: float) -> list[str]:
    """Every half second the likeliest classes, then the intervals, then the clip as a whole."""
    lines = ["time      classes"]
    for place in range(0, len(frames.frame_index), max(1, round(fps / 2))):
        lines.append(f"{frames.frame_index[place] / fps:6.2f} s  {_likeliest(frames.probabilities[place], names)}")
    for class_id, start, end in cut_intervals(frames, fps, IntervalSettings()):
        sure = frames.probabilities[start:end, class_id].mean()
        lines.append(f"{start / fps:6.2f} s to {end / fps:.2f} s: {names[class_id]} {sure:.2f}")
    return [*lines, f"whole clip: {_likeliest(frames.probabilities.mean(axis=0), names)}"]


def draw_answer(clip: Path, info: VideoInfo, frames: FrameProbabilities, names: tuple[str, ...], target: Path) -> None:
    """The clip with its likeliest classes and their probabilities in each frame, as `target` and as a GIF beside it."""
    with VideoWriter(target, info.fps) as writer, GifWriter(target.with_suffix(".gif"), info.fps) as gif:
        for frame in decode_frames(clip):
            place = min(frame.frame_index, len(frames.probabilities) - 1)
            likely = frames.probabilities[place]
            writer.write(draw_classes(frame.rgb, likely, names))
            if frame.time_s < GIF_SECONDS:  # reduced first, so that the words stay as large as they are
                gif.write(draw_classes(_reduced(frame.rgb), likely, names))


def _reduced(rgb: np.ndarray) -> np.ndarray:
    scale = min(1.0, GIF_SIDE / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def draw_classes(rgb: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """A frame with a panel below it: the likeliest classes, a bar and a number each."""
    shown = np.argsort(-probabilities, kind="stable")[:SHOWN_CLASSES]
    unit = max(1.0, min(rgb.shape[:2]) / PLAIN_SIDE)  # letters grow with the frame
    line, margin, letters = round(LINE_PX * unit), round(MARGIN_PX * unit), round(LETTER_PX * unit)
    bar = min(round(BAR_PX * unit), rgb.shape[1] // 3)
    panel = np.full((line * len(shown) + margin, rgb.shape[1], 3), PANEL, dtype=np.uint8)
    for row, class_id in enumerate(shown):
        top = margin // 2 + row * line
        value = float(probabilities[class_id])
        cv2.rectangle(panel, (margin, top + line // 4), (margin + bar, top + 3 * line // 4), MUTED, 1)
        cv2.rectangle(
            panel, (margin, top + line // 4), (margin + round(bar * value), top + 3 * line // 4), SKY_BLUE, -1
        )
        left = 2 * margin + bar
        words = fit_text(f"{value:.2f} {names[class_id]}", max(1, rgb.shape[1] - left), letters)
        draw_text(panel, words, left, top + line // 10, letters, TEXT)
    return np.concatenate([rgb, panel])


def _likeliest(probabilities: np.ndarray, names: tuple[str, ...]) -> str:
    order = np.argsort(-probabilities, kind="stable")[:SHOWN_CLASSES]
    return ", ".join(f"{names[class_id]} {probabilities[class_id]:.2f}" for class_id in order)
