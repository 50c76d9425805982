"""Masks for the labels that stand after cleaning: one shard a video in `rounds/NN/masks/`, finished ones left alone.

The masks of a round as windows have them: of the player that is followed, or of all that is labelled.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from labels.models.segmenters import Prompt, Segmenter, fits
from labels.models.settings import SegmenterSettings
from labels.records import next_command, tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.masks import MASKS, decode_mask, encode_mask, with_masks
from labels.records.run_records import UNFINISHED, digest_of_files, digest_of_masks, require_run_record
from labels.records.safe_writing import digest_of, read_parquet, read_parquet_metadata, write_parquet
from labels.records.tables import BOX_COLUMNS
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.tracks.players import CropPath
from labels.videos.decoding.frames import DecodeError, decode_frames
from labels.videos.windows import Window, cut_square, shrink

FORMAT = 1  # of the shards


@dataclass
class MaskCounts:
    """`boxes` = `masks` + `unfit`; videos that were done before are counted too."""

    videos: int = 0
    untouched: int = 0
    boxes: int = 0
    masks: int = 0
    skipped: dict[str, str] = field(default_factory=dict)  # video_id -> reason


def mask_round(
    work: WorkFolder, number: int, segmenter: Segmenter, settings: SegmenterSettings | None = None
) -> Summary:
    """Segment every label of a cleaned round that was not dropped. InputError when the round is not cleaned."""
    folder, videos = work.round(number), work.usable_videos()
    require_run_record(folder, "cleaned", next_command.clean(work, number))
    counts, settings = MaskCounts(), settings or SegmenterSettings()
    for video in tqdm(videos.to_dict("records"), desc="masks", unit="video", file=sys.stderr):
        path = folder.boxes("cleaned", video["video_id"])
        if not path.is_file():
            counts.skipped[video["video_id"]] = "has no cleaned labels"
            continue
        boxes = read_parquet(path)
        boxes = boxes[boxes["decision"] != "drop"].sort_values(["frame_index", "label_uid"], ignore_index=True)
        try:
            metadata = _mask_video(work, folder, video, boxes, segmenter, settings, counts)
        except DecodeError as error:
            folder.masks(video["video_id"]).unlink(missing_ok=True)
            counts.skipped[video["video_id"]] = str(error)
            continue
        counts.videos += 1
        counts.boxes += metadata["boxes"]
        counts.masks += metadata["masks"]
    known = set(videos["video_id"])
    for stale in folder.masks("x").parent.glob("[!.]*.parquet"):
        if stale.stem not in known:
            stale.unlink()
    return _summary(work, number, len(videos), counts)


def _mask_video(
    work: WorkFolder,
    folder: RoundFolder,
    video: dict,
    boxes: pd.DataFrame,
    segmenter: Segmenter,
    settings: SegmenterSettings,
    counts: MaskCounts,
) -> dict:
    """The metadata of the video's shard, which is written unless it is there already."""
    columns = ["label_uid", "frame_index", "track_id", *tables.BOX_COLUMNS]
    said = [boxes[name].tolist() for name in columns]
    key = digest_of([FORMAT, segmenter.digest, video["sha256"], said])
    path = folder.masks(video["video_id"])
    metadata = read_parquet_metadata(path)
    if metadata is not None and metadata.get("key") == key:
        counts.untouched += 1
        return metadata
    rle, score = [""] * len(boxes), np.zeros(len(boxes), dtype=np.float32)
    rows_at = boxes.groupby("frame_index").indices
    frames = sorted(rows_at)
    prompts = _prompts(work, video, boxes, rows_at, frames)
    for frame, (masks, scores) in zip(frames, segmenter.masks(prompts), strict=True):
        for row, mask, sure in zip(rows_at[frame], masks, scores, strict=True):
            xyxy = boxes.loc[row, tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
            if fits(mask, xyxy, settings):
                rle[row], score[row] = encode_mask(mask), sure
    values = {"label_uid": boxes["label_uid"].tolist(), "mask_rle": rle, "mask_score": score}
    values |= {name: boxes[name].to_numpy() for name in tables.BOX_COLUMNS}
    made = sum(map(bool, rle))
    metadata = {"key": key, "boxes": len(boxes), "masks": made, "segmenter": segmenter.name}
    write_parquet(path, tables.make_table(MASKS, values), metadata)
    return metadata


def _prompts(
    work: WorkFolder, video: dict, boxes: pd.DataFrame, rows_at: dict[int, np.ndarray], wanted: list[int]
) -> Iterator[Prompt]:
    """The frames that hold boxes, in order. DecodeError when one of them cannot be had."""
    if not wanted:
        return
    left = list(wanted)
    frames = decode_frames(work.videos / str(video["file"]), stride=math.gcd(*wanted) or 1)
    try:
        for frame in frames:
            if frame.frame_index != left[0]:
                continue
            rows = rows_at[left.pop(0)]
            xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float32)[rows]
            yield Prompt(frame.rgb, xyxy, boxes["track_id"].to_numpy()[rows])
            if not left:
                return
    finally:
        frames.close()
    raise DecodeError(f"it has no frame {left[0]}")


def _summary(work: WorkFolder, number: int, found: int, counts: MaskCounts) -> Summary:
    if counts.skipped and not counts.videos:
        name, reason = min(counts.skipped.items())
        raise InputError(f"{work.root}: no video could be segmented; {name}: {reason}")
    lines = [f"{video_id}: skipped: {reason}" for video_id, reason in sorted(counts.skipped.items())]
    if counts.untouched:
        lines.append(f"{counts.untouched} videos were segmented already and not touched")
    unfit = counts.boxes - counts.masks
    lines.append(f"{counts.boxes} labels = {counts.masks} masks + {unfit} whose mask did not fit the box")
    reasons: dict[str, int] = {}
    for reason in counts.skipped.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    command = next_command.look(work, number)
    return Summary(f"masks of round {number}", "videos", found, counts.videos, reasons, lines, command)


FRAMES_HELD = 64


def inputs_of_masks(work: WorkFolder, number: int) -> dict[str, str]:
    """What the masks of a round are made from: those of the round, or of the last one before it that has some.

    InputError, with the command that makes them, when there are none.
    """
    inputs = {}
    for each in range(number, -1, -1):
        inputs[f"round {each} masks"] = digest = digest_of_masks(work, each)
        if digest != UNFINISHED:
            return inputs
    raise InputError(
        f"{work.round(number).path}: this recogniser looks at masks, and there are none; make them first: "
        f"{next_command.command('dataset_processor.py', work.root, number)} --masks facebook/sam2.1-hiera-tiny"
    )


class NoMasks(DecodeError):
    """A clip is looked at for its masks, and it has none."""


class RoundMasks:
    """The masks that windows of a round get: see `inputs_of_masks`, which it raises as."""

    def __init__(self, work: WorkFolder, number: int) -> None:
        self._folder = work.round(int(list(inputs_of_masks(work, number))[-1].split()[1]))

    def key(self, video_id: str) -> str:
        """Changes when the masks of a video do. NoMasks where it has none."""
        paths = [self._folder.masks(video_id), self._folder.boxes("cleaned", video_id)]
        if not all(path.is_file() for path in paths):
            raise NoMasks(f"it has no masks in round {self._folder.number}")
        return digest_of_files(paths)

    def of(self, video: Any, tracks: Sequence[CropPath] | None) -> "VideoMasks":
        """The masks of one video (a row of the videos table), for windows of these players or of the whole frame."""
        path = self._folder.boxes("cleaned", str(video.video_id))
        boxes = with_masks(read_parquet(path), self._folder, str(video.video_id))
        known = boxes[(boxes["mask_rle"] != "") & (boxes["decision"] != "drop")].reset_index(drop=True)
        by_track = {track.track_id: track for track in tracks or []}
        return VideoMasks(_FrameMasks(known, int(video.height), int(video.width)), by_track)


@dataclass(frozen=True)
class VideoMasks:
    frames: "_FrameMasks"
    tracks: dict[int, CropPath]

    def channel(self, window: Window, side: int) -> np.ndarray:
        """The mask channel of a window, (T, h, w) uint8 from 0 to 255, cut as its pixels were to `side`.

        Of a player's window it is the mask whose box lies nearest to the middle of the crop, and in it; of the whole
        frame it is all masks together. Without a mask it is 0.
        """
        track = self.tracks.get(window.track_id)
        if track is None:
            return np.stack([shrink(self.frames.of_all(int(at)), side) for at in window.frame_index])
        squares = track.squares[window.frame_index - track.first_frame]
        cut = [
            cut_square(self.frames.nearest(int(at), square), square, side, padding=(0,))
            for at, square in zip(window.frame_index, squares, strict=True)
        ]
        return np.stack(cut)


class _FrameMasks:
    """The masks of one video by frame, (H, W) uint8, 0 or 255. `boxes` are those that have one, with `mask_rle`."""

    def __init__(self, boxes: pd.DataFrame, height: int, width: int) -> None:
        self._rows_at = boxes.groupby("frame_index").indices
        xyxy = boxes[BOX_COLUMNS].to_numpy(dtype=np.float64)
        self._centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        counts = boxes["mask_rle"].tolist()
        self._empty = np.zeros((height, width), dtype=np.uint8)

        @lru_cache(FRAMES_HELD)
        def decoded(row: int) -> np.ndarray:
            return decode_mask(counts[row], height, width).astype(np.uint8) * 255

        self._decoded = decoded

    def of_all(self, frame_index: int) -> np.ndarray:
        rows = self._rows_at.get(frame_index, ())
        return np.max([self._decoded(int(row)) for row in rows], axis=0) if len(rows) else self._empty

    def nearest(self, frame_index: int, square: np.ndarray) -> np.ndarray:
        rows = np.asarray(self._rows_at.get(frame_index, ()), dtype=np.int64)
        away = np.abs(self._centre[rows] - square[:2]).max(axis=1)
        if not len(rows) or away.min() > square[2] / 2:
            return self._empty
        return self._decoded(int(rows[away.argmin()]))
