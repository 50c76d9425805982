"""Masks: COCO's compressed run-length encoding (RLE) of the upright frame, and the shards that store a round's masks.

Runs go column by column and begin with background. In `counts`, as in pycocotools, each run length (from the third on
the difference to the one two before it) is written in groups of five bits, lowest first, a sixth bit marking that more
follow, plus 48 to make it a letter. A shard lies beside each video's boxes, with a row for every segmented label.
"""

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import RoundFolder

MAX_PIXELS = 40_000_000  # of one frame, as for decoding


def encode_mask(mask: np.ndarray) -> str:
    """The counts of a mask, (H, W) bool."""
    if mask.ndim != 2:
        raise ValueError(f"a mask is (H, W), not {mask.shape}")
    flat = np.asarray(mask, dtype=bool).T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], changes, [len(flat)]])).tolist()
    if len(flat) and flat[0]:
        runs.insert(0, 0)
    letters = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            letters.append(chr(group + (32 if more else 0) + 48))
    return "".join(letters)


def decode_mask(counts: str, height: int, width: int) -> np.ndarray:
    """The mask, (H, W) bool. ValueError when the counts are none of a frame of this size."""
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"a mask of {width} x {height} pixels")
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 35:
            raise ValueError(f"a mask's counts hold {letter!r}, which no run length has")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return mask_of_runs(runs, height, width)


def mask_of_runs(runs: list[int], height: int, width: int) -> np.ndarray:
    """A mask from run lengths, column by column, the first of background. ValueError unless they fill it."""
    if not 0 < height * width <= MAX_PIXELS or any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"a mask's run lengths do not fill a frame of {width} x {height} pixels")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


MASKS = {
    "label_uid": "str",
    **dict.fromkeys(tables.BOX_COLUMNS, "float32"),  # the box that was the prompt
    "mask_rle": "str",  # COCO's compressed run lengths of the upright frame; empty: no mask that fits the box
    "mask_score": "float32",
}


def with_masks(boxes: pd.DataFrame, folder: RoundFolder, video_id: str) -> pd.DataFrame:
    """The boxes of one video with a column `mask_rle`, empty where there is no mask; as they are where there is none.

    A mask is that of a box: a label that was moved since has none until it is segmented again.
    """
    path = folder.masks(video_id)
    if not path.is_file():
        return boxes
    masks = read_parquet(path)
    try:
        tables.check_columns(masks, MASKS, str(path))
    except ValueError as error:
        raise InputError(str(error)) from None
    masks = masks.drop_duplicates("label_uid").set_index("label_uid").reindex(boxes["label_uid"])
    prompt, now = (table[tables.BOX_COLUMNS].to_numpy(dtype=np.float32) for table in (masks, boxes))
    same = (prompt == now).all(axis=1)
    rle = np.where(same, masks["mask_rle"].to_numpy(dtype=object), "")
    return boxes.assign(mask_rle=pd.Series(rle, index=boxes.index, dtype="str"))
