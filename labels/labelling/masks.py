"""Masks of cleaned labels: one shard a video in `rounds/NN/masks/`, and the mask channel cut from them for windows.

The channel of a window shows the player that the window follows, or everything that is labelled.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.engine.placement import Placement, placement_of
from labels.engine.runner import Account, Loaded, Step, Task, run
from labels.models.segmenters import Prompt, Segmenter, fits, load_segmenter
from labels.models.settings import SegmenterSettings
from labels.records import next_command, tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.masks import MASKS, decode_mask, encode_mask, with_masks
from labels.records.run_records import UNFINISHED, digest_of_files, digest_of_masks, require_run_record
from labels.records.safe_writing import digest_of, read_parquet, write_parquet
from labels.records.tables import BOX_COLUMNS
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.tracks.players import CropPath
from labels.videos.decoding.frames import DecodeError, decode_frames
from labels.videos.windows import Window, cut_square, shrink

FORMAT = 1  # of the shards


@dataclass(frozen=True)
class MaskTask(Task):
    """Every label of a cleaned round that was not dropped, segmented. `boxes` = `masks` + those that did not fit."""

    name, skips, counted = "masks", (DecodeError,), ("boxes", "masks")

    work: WorkFolder
    folder: RoundFolder
    segmenter: Loaded[Segmenter]
    settings: SegmenterSettings

    @cached_property
    def videos(self) -> dict[str, Any]:
        return self.work.usable_rows()

    def files(self, item: str) -> tuple[Path, ...]:
        return (self.folder.masks(item),)

    def boxes(self, item: str) -> pd.DataFrame | None:
        """The labels to segment; None where the video has no cleaned ones."""
        path = self.folder.boxes("cleaned", item)
        if not path.is_file():
            return None
        boxes = read_parquet(path)
        return boxes[boxes["decision"] != "drop"].sort_values(["frame_index", "label_uid"], ignore_index=True)

    def key(self, item: str) -> str:
        boxes = self.boxes(item)
        columns = ["label_uid", "frame_index", "track_id", *tables.BOX_COLUMNS]
        columns_of_boxes = [boxes[name].tolist() for name in columns] if boxes is not None else None
        return digest_of([FORMAT, self.segmenter.value.digest, self.videos[item].sha256, columns_of_boxes])

    def make(self, item: str, key: str, step: Step) -> Account:
        boxes, segmenter = self.boxes(item), self.segmenter.value
        if boxes is None:
            raise DecodeError("has no cleaned labels")
        rle, score = [""] * len(boxes), np.zeros(len(boxes), dtype=np.float32)
        rows_at = boxes.groupby("frame_index").indices
        frames = sorted(rows_at)
        prompts = _prompts(self.work.videos / str(self.videos[item].file), boxes, rows_at, frames)
        for frame, (masks, scores) in zip(frames, segmenter.masks(prompts), strict=True):
            for row, mask, sure in zip(rows_at[frame], masks, scores, strict=True):
                xyxy = boxes.loc[row, tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
                if fits(mask, xyxy, self.settings):
                    rle[row], score[row] = encode_mask(mask), sure
        values = {"label_uid": boxes["label_uid"].tolist(), "mask_rle": rle, "mask_score": score}
        values |= {name: boxes[name].to_numpy() for name in tables.BOX_COLUMNS}
        metadata = {"key": key, "boxes": len(boxes), "masks": sum(map(bool, rle)), "segmenter": segmenter.name}
        write_parquet(self.folder.masks(item), tables.make_table(MASKS, values), metadata)
        return metadata


def mask_round(
    work: WorkFolder,
    number: int,
    segmenter: Loaded[Segmenter],
    settings: SegmenterSettings | None = None,
    where: Placement | None = None,
) -> Summary:
    """Segment every label of a cleaned round that was not dropped. InputError when the round is not cleaned."""
    folder = work.round(number)
    work.usable_videos()
    require_run_record(folder, "cleaned", next_command.clean(work, number))
    task = MaskTask(work, folder, segmenter, settings or SegmenterSettings())
    outcome = run(task, list(task.videos), where)
    if outcome.skipped and not outcome.used:
        name, reason = min(outcome.skipped.items())
        raise InputError(f"{work.root}: no video could be segmented; {name}: {reason}")
    boxes, masks = outcome.totals["boxes"], outcome.totals["masks"]
    lines = [
        *outcome.lines("segmented"),
        f"{boxes} labels = {masks} masks + {boxes - masks} whose mask did not fit the box",
    ]
    summary = outcome.summary(f"masks of round {number}", lines, where)
    is_share = where is not None and where.is_share
    return summary if is_share else replace(summary, next_command=next_command.look(work, number))


def label_masks_of(args: argparse.Namespace) -> Summary:
    """Make the masks of one round, as the script's arguments say."""
    if args.masks is None:
        raise InputError("--set track_masks: is of --masks; name a SAM 2 with --masks, or leave it out")
    if args.recogniser is not None or args.detector is not None:
        raise InputError("--masks: its prompts are the cleaned labels; leave --recogniser and --detector out")
    work, where = WorkFolder(args.work), placement_of(args)
    with work.writing(where.name):
        load = partial(load_segmenter, args.masks, args.track_masks, args.device)
        segmenter: Loaded[Segmenter] = Loaded(load=load, device=args.device)
        return mask_round(work, args.round, segmenter, where=where)


def _prompts(path: Path, boxes: pd.DataFrame, rows_at: dict[int, np.ndarray], wanted: list[int]) -> Iterator[Prompt]:
    """The frames that hold boxes, in order. DecodeError when one of them cannot be had."""
    if not wanted:
        return
    left = list(wanted)
    frames = decode_frames(path, stride=math.gcd(*wanted) or 1)
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
