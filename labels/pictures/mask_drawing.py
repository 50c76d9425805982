"""Masks on pixels: a tint over what is inside, and a thin line around it."""

import cv2
import numpy as np

from labels.pictures.palette import Colour
from labels.records.mask_rle import decode_mask

TINT = 0.4  # of the colour; the rest is the picture


def draw_mask(canvas: np.ndarray, mask_rle: str, size: tuple[int, int], colour: Colour) -> None:
    """Tint a mask in place on the enlarged canvas, (H, W, 3) RGB. `size` is the frame's height and width."""
    mask = decode_mask(mask_rle, *size).astype(np.uint8)
    height, width = canvas.shape[:2]
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    inside = large.astype(bool)
    canvas[inside] = (canvas[inside] * (1 - TINT) + np.array(colour) * TINT).astype(np.uint8)
    outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, colour, 1)
