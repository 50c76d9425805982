"""Masks for the labels that stand after cleaning: one shard a video in `rounds/NN/masks/`, finished ones left alone."""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from tqdm import tqdm

from labels.models.segmenters import Prompt, Segmenter, fits
from labels.models.settings import SegmenterSettings
from labels.records import tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.mask_rle import encode_mask
from labels.records.mask_shards import MASKS
from labels.records.run_records import require_run_record
from labels.records.safe_writing import digest_of, read_parquet, read_parquet_metadata, write_parquet
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.videos.decoding import DecodeError, decode_frames

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
    require_run_record(folder, "cleaned", f"python dataset_cleaner.py {work.root} --round {number}")
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
    command = f"python visualise.py {work.root} --round {number}"
    return Summary(f"masks of round {number}", "videos", found, counts.videos, reasons, lines, command)
