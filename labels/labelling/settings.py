"""What stage 2 goes by. Imports nothing heavy, so that the script can take its defaults from here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LabellingSettings:
    stride: int = 1  # every how many frames are labelled
    image_share: float = 0.8  # a frame becomes a JPEG from this share of a class's working threshold
    streams: int = 2  # videos that are decoded at once, the one being labelled among them
    pending: int = 8  # frames that may wait for the thread that writes JPEGs, and for the camera's
