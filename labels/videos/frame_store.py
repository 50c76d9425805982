"""JPEGs of single frames, written once and shared by all rounds: `frames/<video_id>/<frame_index>.jpg`."""

import math
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from labels.records.errors import InputError
from labels.records.safe_writing import write_text
from labels.videos.decoding.frames import DecodeError, decode_frames
from labels.videos.settings import JPEG_QUALITY

MARK = "video.sha256"  # beside the pictures: which video they are of
END_OF_JPEG = b"\xff\xd9"


class FrameStore:
    """The frames under one folder (`WorkFolder.frames`). May be used from many threads and processes at once."""

    def __init__(self, root: Path):
        self.root = Path(root)

    def path(self, video_id: str, frame_index: int) -> Path:
        return self.root / video_id / f"{frame_index:06d}.jpg"

    def has(self, video_id: str, frame_index: int) -> bool:
        """Whether the frame is there and whole."""
        try:
            with open(self.path(video_id, frame_index), "rb", buffering=0) as opened:
                opened.seek(-len(END_OF_JPEG), os.SEEK_END)
                return opened.read() == END_OF_JPEG
        except OSError:
            return False

    def write(self, video_id: str, frame_index: int, rgb: np.ndarray) -> None:
        """Write one frame, (H, W, 3) uint8 RGB; the file is whole or absent.

        It is not flushed to disk: that would cost half as much again as all else. What a power cut leaves of it
        has no end-of-picture mark, so `has` does not count it, and the frame is written again.
        """
        done, jpeg = cv2.imencode(
            ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        )
        if not done:
            raise ValueError(f"{video_id}: frame {frame_index} of shape {rgb.shape} cannot be made a JPEG")
        path = self.path(video_id, frame_index)
        aside = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}.aside")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(jpeg.data)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)

    def read(self, video_id: str, frame_index: int) -> np.ndarray:
        """One frame as (H, W, 3) uint8 RGB."""
        path = self.path(video_id, frame_index)
        try:
            # Through NumPy, because cv2.imread takes no file name that is not UTF-8.
            bgr = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
        except (OSError, cv2.error):
            bgr = None
        if bgr is None:
            raise InputError(f"{path}: no readable picture; delete it and run dataset_processor.py again")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def is_complete(self, video_id: str, frame_indices: Iterable[int], sha256: str) -> bool:
        """Whether these frames are there, and known to be of the video with these bytes."""
        return self._is_of(video_id, sha256) and all(self.has(video_id, int(index)) for index in frame_indices)

    def _is_of(self, video_id: str, sha256: str) -> bool:
        try:
            return (self.root / video_id / MARK).read_text().strip() == sha256
        except (OSError, UnicodeDecodeError):
            return False

    def renew(self, video_id: str, sha256: str) -> None:
        """Throw the pictures away unless they are known to be of the video with these bytes; mark what comes as its."""
        if not self._is_of(video_id, sha256):
            shutil.rmtree(self.root / video_id, ignore_errors=True)
            write_text(self.root / video_id / MARK, sha256 + "\n")

    def ensure(self, video_id: str, video_path: Path, frame_indices: Iterable[int], sha256: str | None = None) -> None:
        """Decode the video once, up to the last frame that is missing, and write those that are.

        Args:
            sha256: of the video; pictures that are not known to be of these bytes are made anew. None: trust them.

        Raises:
            DecodeError: the video cannot be decoded that far, or has no such frame.
        """
        if sha256 is not None:
            self.renew(video_id, sha256)
        missing = {int(index) for index in frame_indices if not self.has(video_id, int(index))}
        if not missing:
            return
        last = max(missing)
        frames = decode_frames(video_path, stride=math.gcd(*missing) or 1)
        try:
            for frame in frames:
                if frame.frame_index in missing:
                    self.write(video_id, frame.frame_index, frame.rgb)
                    missing.discard(frame.frame_index)
                if frame.frame_index >= last:
                    break
        finally:
            frames.close()
        if missing:
            raise DecodeError(f"it has no frame {min(missing)}")
