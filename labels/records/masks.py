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


LENGTH_BITS = (3, 4, 8, 16)
VALUE_BITS = 8


def encode_brush(mask: np.ndarray) -> list[int]:
    """A mask, (H, W) bool, as the bytes that Label Studio takes for `rle`."""
    flat = np.asarray(mask, dtype=bool).ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [len(flat)]])
    bits = [f"{4 * len(flat):032b}", f"{VALUE_BITS - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        value = f"{255 if flat[start] else 0:08b}"
        left = 4 * (end - start)
        while left:
            length = min(left, 1 << LENGTH_BITS[-1])
            place = next(place for place, size in enumerate(LENGTH_BITS) if length <= 1 << size)
            bits.append(f"1{place:02b}{length - 1:0{LENGTH_BITS[place]}b}{value}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(rle: list[int], height: int, width: int) -> np.ndarray:
    """The mask, (H, W) bool: where alpha is not 0. ValueError when the bytes are none of a picture of this size."""
    try:
        stream = _Bits(bytes(rle))
    except (TypeError, ValueError):
        raise ValueError("a brush's rle is no list of bytes") from None
    count = stream.read(32)
    if not 0 < height * width <= MAX_PIXELS or count != 4 * height * width:
        raise ValueError(f"a brush's rle holds {count} values, not 4 for each of {width} x {height} pixels")
    value_bits = stream.read(5) + 1
    sizes = [stream.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, dtype=bool)
    place = 0
    while place < count:
        repeated = stream.read(1)
        end = place + stream.read(sizes[stream.read(2)]) + 1
        if end > count:
            raise ValueError("a brush's rle holds more values than it says")
        if repeated:
            values[place:end] = stream.read(value_bits) != 0
        else:
            values[place:end] = [stream.read(value_bits) != 0 for _ in range(end - place)]
        place = end
    return values.reshape(height, width, 4)[:, :, 3]


class _Bits:
    def __init__(self, data: bytes):
        self.data, self.place = data, 0

    def read(self, count: int) -> int:
        first, self.place = self.place, self.place + count
        if self.place > 8 * len(self.data):
            raise ValueError("a brush's rle breaks off")
        last_byte = (self.place + 7) // 8
        chunk = int.from_bytes(self.data[first // 8 : last_byte], "big")
        return (chunk >> (8 * last_byte - self.place)) & ((1 << count) - 1)
