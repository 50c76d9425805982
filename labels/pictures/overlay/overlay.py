"""An overlay video: each labelled frame with its boxes, its tracks' tails, a legend and a timeline.

Only frames the labeller looked at are shown, at the clip's own pace, so that no box stands over a frame it was not made
for. Tails are drawn in the pixels of the frame shown: where the camera moved, the tail moves with it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from labels.cleaning.rules import rule_name, rule_of
from labels.pictures.overlay.drawing import (
    draw_mask,
    draw_outline,
    draw_tag,
    draw_tail,
    draw_text,
    draw_text_right,
    draw_truth,
    fit_text,
    outline_of,
    text_width,
)
from labels.pictures.overlay.timeline import ActionDrawing, Timeline, action_rows, timeline_rows
from labels.pictures.palette import MUTED, PANEL, STYLES, TRUTH_COLOUR, style_names
from labels.pictures.settings import PICTURES, PictureSettings
from labels.records.geometry import centre_of
from labels.records.matching import MIN_VISIBILITY
from labels.records.tables import BOX_COLUMNS, NO_TRACK, is_empty_frame
from labels.tracks.camera_motion import apply_transforms, shot_transforms
from labels.videos.decoding.frames import DecodeError, decode_frames
from labels.videos.encoding import GifWriter, VideoWriter

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class TrackTails:
    """Tails of the kept tracks of one video, `length` frames long."""

    def __init__(self, kept: pd.DataFrame, camera: pd.DataFrame | None, length: int) -> None:
        self._length = length
        self._tracks = []
        tracked = kept[kept["track_id"] != NO_TRACK].sort_values("frame_index", kind="stable")
        for _, track in tracked.groupby("track_id"):
            xyxy = track[BOX_COLUMNS].to_numpy(dtype=np.float64)
            self._tracks.append((track["frame_index"].to_numpy(), centre_of(xyxy)))
        self._to_shot: dict[int, np.ndarray] = {}
        self._shot: dict[int, int] = {}
        if camera is not None and len(camera):
            frames = camera["frame_index"].tolist()
            self._to_shot = dict(zip(frames, shot_transforms(camera), strict=True))
            self._shot = dict(zip(frames, camera["shot_index"].tolist(), strict=True))

    def at(self, frame_index: int) -> list[np.ndarray]:
        """For each track that is in this frame its last centres, (N, 2) pixels of this frame, oldest first."""
        tails = []
        for frames, centres in self._tracks:
            end = int(np.searchsorted(frames, frame_index, side="right"))
            if not end or frames[end - 1] != frame_index:
                continue
            start = int(np.searchsorted(frames, frame_index - self._length))
            if end - start > 1:
                tails.append(self._seen_from(frame_index, frames[start:end], centres[start:end]))
        return tails

    def _seen_from(self, frame_index: int, frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
        if frame_index not in self._to_shot:
            return centres
        same_shot = np.array([self._shot.get(int(frame)) == self._shot[frame_index] for frame in frames])
        matrices = np.stack([self._to_shot.get(int(frame), IDENTITY) for frame in frames])
        here = self._to_shot[frame_index]
        in_shot = apply_transforms(matrices, centres)
        seen = (in_shot - here[:, 2]) @ np.linalg.inv(here[:, :2]).T
        seen[~same_shot] = np.nan
        return seen


LINE_PX = 26
MARK_PX = 34  # from the left of a mark to its words
APART_PX = 20
SIZE = 12


def draw_legend(style_names: list[str], with_truth: bool, width: int) -> np.ndarray:
    """A strip (H, width, 3) with a mark and words for each style of `STYLES` named, and for the truth."""
    words = {name: STYLES[name].words for name in style_names}
    if with_truth:
        words["truth"] = "truth (grey: hardly seen)"
    places, left, line = {}, 10, 0
    for name, text in words.items():
        wide = MARK_PX + text_width(text, SIZE)
        if left > 10 and left + wide > width:
            left, line = 10, line + 1
        places[name] = left, line * LINE_PX
        left += wide + APART_PX
    strip = np.full((LINE_PX * (line + 1), width, 3), PANEL, dtype=np.uint8)
    for name, (left, top) in places.items():
        if name == "truth":
            draw_truth(strip, np.array([left + 7, top + 9, left + 19, top + 17]), 1.0, True)
        else:
            draw_outline(strip, (left + 2, top + 7, left + 26, top + 19), STYLES[name])
        colour = TRUTH_COLOUR if name == "truth" else STYLES[name].colour
        draw_text(strip, words[name], left + MARK_PX, top + 5, size=SIZE, colour=colour)
    return strip


HEADER_PX = 30
TAGGED_BOXES = 5  # of each style in a frame, the best scores; more words would cover the picture


@dataclass(frozen=True)
class OverlaySubject:
    """What is drawn of one video: all its decided boxes, its truth and its camera table where there are any."""

    video_id: str
    path: Path
    fps: float
    frame_count: int
    boxes: pd.DataFrame
    truth: pd.DataFrame | None
    camera: pd.DataFrame | None
    title: str  # of the round
    actions: pd.DataFrame  # decided, empty where there are none
    true_actions: pd.DataFrame | None = None
    stride: int = 1  # every how many frames were labelled

    @property
    def labelled_frames(self) -> np.ndarray:
        return np.arange(0, self.frame_count, self.stride)


def draw_overlay(subject: OverlaySubject, path: Path, settings: PictureSettings = PICTURES) -> int:
    """Write the overlay of a subject to `path` (.mp4 or .gif); returns its frames. DecodeError as decode_frames."""
    stride = subject.stride
    shown = shown_frames(subject, settings)
    panel = OverlayPanel(subject, settings)
    first, last = int(shown[0]), int(shown[-1])
    frames = decode_frames(subject.path, stride)
    written = 0
    try:
        with _writer(path, subject.fps / stride, settings) as writer:
            for frame in frames:
                if frame.frame_index > last:
                    break
                if frame.frame_index >= first:
                    writer.write(panel.draw(frame.frame_index, frame.time_s, frame.rgb))
                    written += 1
            if not written:
                raise DecodeError("no frame of it could be decoded")
    finally:
        frames.close()
    return written


def _writer(path: Path, fps: float, settings: PictureSettings) -> VideoWriter | GifWriter:
    return GifWriter(path, fps) if path.suffix == ".gif" else VideoWriter(path, fps, settings.crf)


def shown_frames(subject: OverlaySubject, settings: PictureSettings) -> np.ndarray:
    """The labelled frames of the stretch in which the most is kept or ignored, sorted; never none."""
    frames = subject.labelled_frames
    if not len(frames):
        return np.zeros(1, dtype=int)
    stride = frames[1] - frames[0] if len(frames) > 1 else 1
    length = int(settings.seconds * subject.fps / stride) if settings.seconds else len(frames)
    if len(frames) <= max(length, 1):
        return frames
    plausible = subject.boxes.loc[subject.boxes["decision"] != "drop", "frame_index"].to_numpy()
    present = np.isin(frames, plausible).astype(int)
    acting = subject.actions[subject.actions["decision"] != "drop"]
    for start, end in zip(acting["start_frame"], acting["end_frame"], strict=True):
        present += ((frames >= start) & (frames < end)).astype(int)
    inside = np.convolve(present, np.ones(max(length, 1), dtype=int), mode="valid")
    start = int(np.argmax(inside))
    return frames[start : start + max(length, 1)]


class OverlayPanel:
    """Draws the frames of one subject."""

    def __init__(self, subject: OverlaySubject, settings: PictureSettings) -> None:
        self._subject, self._settings = subject, settings
        self._boxes = subject.boxes.assign(style=style_names(subject.boxes)).sort_values("score", kind="stable")
        self._rows = list(self._boxes.itertuples())
        self._rows_at = self._boxes.groupby("frame_index").indices
        self._truth = subject.truth[~is_empty_frame(subject.truth)] if subject.truth is not None else None
        self._truth_at = self._truth.groupby("frame_index").indices if self._truth is not None else {}
        self._frames = subject.labelled_frames
        kept = self._boxes[self._boxes["decision"] == "keep"]
        self._tails = TrackTails(kept, subject.camera, round(settings.tail_s * subject.fps))
        self._actions = ActionDrawing(subject.actions, subject.boxes)
        self._many_classes = kept["class_name"].nunique() > 1
        self._shows_boxes = bool(len(subject.boxes)) or not len(subject.actions)
        self._timeline: Timeline | None = None
        self._legend: np.ndarray | None = None

    def draw(self, frame_index: int, time_s: float, rgb: np.ndarray) -> np.ndarray:
        """The whole picture (H, W, 3): header, frame with its boxes, legend, timeline. H and W are even."""
        scale = drawn_scale(rgb.shape[1], rgb.shape[0], self._settings)
        size = (round(rgb.shape[1] * scale / 2) * 2, round(rgb.shape[0] * scale / 2) * 2)
        canvas = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
        self._draw_masks(canvas, frame_index, rgb.shape[:2])
        dropped = self._draw_labels(canvas, frame_index, scale)
        strip = self._strip(size[0], frame_index)
        picture = np.vstack(
            [self._header(size[0], frame_index, time_s, dropped), canvas, self._legend_at(size[0]), strip]
        )
        return picture if len(picture) % 2 == 0 else np.vstack([picture, picture[-1:]])

    def _draw_masks(self, canvas: np.ndarray, frame_index: int, size: tuple[int, ...]) -> None:
        """Tint the masks of what was not dropped in place, where a segmenter made some."""
        if "mask_rle" not in self._boxes:
            return
        for row in self._rows_of(frame_index):
            if row.mask_rle and row.decision != "drop":
                draw_mask(canvas, row.mask_rle, (size[0], size[1]), STYLES[row.style].colour)

    def _draw_labels(self, canvas: np.ndarray, frame_index: int, scale: float) -> int:
        """Draw truth, tails and boxes in place; returns how many dropped boxes were left out."""
        for row in self._truth_at.get(frame_index, ()):
            truth = self._truth.iloc[row]  # type: ignore[union-attr]
            draw_truth(
                canvas, truth[BOX_COLUMNS].to_numpy(dtype=np.float32), scale, truth["visibility"] >= MIN_VISIBILITY
            )
        for tail in self._tails.at(frame_index):
            draw_tail(canvas, tail * scale, STYLES["kept"].colour)
        here = self._rows_of(frame_index)
        left_out = 0
        for style_name in ("dropped", "ignored", "interpolated", "kept", "human"):
            of_style = [row for row in here if row.style == style_name]
            if style_name == "dropped":
                too_many = max(0, len(of_style) - self._settings.dropped_drawn)
                left_out, of_style = too_many, of_style[too_many:]
            style = STYLES[style_name]
            untagged = len(of_style) - TAGGED_BOXES
            for position, row in enumerate(of_style):
                outline = outline_of(np.array([row.x1, row.y1, row.x2, row.y2]), scale)
                draw_outline(canvas, outline, style)
                if position >= untagged:
                    draw_tag(canvas, self._words(row, style_name), outline, style.colour, len(canvas))
        self._actions.draw(canvas, frame_index, scale)
        return left_out

    def _rows_of(self, frame_index: int) -> list[Any]:
        """The boxes of a frame, the surest last."""
        return [self._rows[at] for at in self._rows_at.get(frame_index, ())]

    def _words(self, row: Any, style_name: str) -> str:
        if style_name in ("dropped", "ignored"):
            return fit_text(rule_name(rule_of(row.reason)), 220, 12)
        words = [row.class_name] if self._many_classes else []
        if row.track_id != NO_TRACK:
            words.append(f"#{row.track_id}")
        return " ".join([*words, f"{row.score:.2f}"])

    def _header(self, width: int, frame_index: int, time_s: float, left_out: int) -> np.ndarray:
        header = np.full((HEADER_PX, width, 3), PANEL, dtype=np.uint8)
        right = f"frame {frame_index:,} of {self._subject.frame_count:,}   {time_s:.2f} s"
        if left_out:
            right = f"{left_out} more dropped boxes not drawn   {right}"
        left = draw_text_right(header, right, width - 10, 6, size=13, colour=MUTED)
        end = draw_text(header, self._subject.title, 10, 6, size=13, bold=True)
        draw_text(header, fit_text(self._subject.video_id, left - end - 30, 13), end + 12, 6, size=13)
        return header

    def _legend_at(self, width: int) -> np.ndarray:
        if self._legend is None:
            names = [name for name in STYLES if name != "human" or (self._boxes["style"] == "human").any()]
            self._legend = draw_legend(names, self._truth is not None, width)
        return self._legend

    def _strip(self, width: int, frame_index: int) -> np.ndarray:
        if self._timeline is None:
            subject = self._subject
            rows = timeline_rows(self._boxes, subject.truth, self._frames) if self._shows_boxes else []
            if len(subject.actions):
                rows += action_rows(subject.actions, subject.true_actions, self._frames)
            self._timeline = Timeline(rows, width)
        return self._timeline.at(int(np.searchsorted(self._frames, frame_index)))


def drawn_scale(width: int, height: int, settings: PictureSettings) -> float:
    """How much a frame is enlarged, so that its drawings can be read."""
    wanted = min(max(width, settings.min_width), settings.max_width) / width
    return min(wanted, settings.max_height / height)
