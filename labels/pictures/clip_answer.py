"""A clip in, an answer out: what a recogniser says of a video over time, in words, and drawn over it (mp4, gif)."""

import argparse
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from labels.labelling.action_intervals import FrameProbabilities, IntervalSettings, cut_intervals
from labels.models.loading import torch_device
from labels.models.recogniser import load_recogniser
from labels.pictures.clip_actions import recognise_clip
from labels.pictures.gif_writing import GifWriter
from labels.pictures.lettering import draw_text, fit_text
from labels.pictures.palette import MUTED, PANEL, SKY_BLUE, TEXT
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.videos.decoding import DecodeError, VideoInfo, decode_frames, probe_video
from labels.videos.encoding import VideoWriter

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
