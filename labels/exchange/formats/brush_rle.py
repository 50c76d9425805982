"""Label Studio's own run lengths of brush masks: a stream of bits, not COCO's.

32 bits: how many values; 5 bits: bits of a value, less 1; four times 4 bits: the sizes that a length may have, less 1.
Then, until all values are there: 1 bit (1: one value repeated, 0: each value written out), 2 bits (which size), that
many bits (how many values, less 1), and the value or values. The values are the picture's RGBA, row by row.
"""

import numpy as np

from labels.records.masks import MAX_PIXELS

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
