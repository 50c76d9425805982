"""Frames for the review page: those of the work folder, and others decoded once into a temporary folder."""

import math
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from labels.pictures.box_drawing import draw_outline, outline_of
from labels.pictures.palette import PANEL, LineStyle
from labels.pictures.review_labels import ReviewVideo
from labels.pictures.review_settings import REVIEW, ReviewSettings
from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.videos.decoding import DecodeError, decode_frames
from labels.videos.frame_store import MARK, FrameStore

CROP_SIZES = 3.5  # sides of the box's longer side
CROP_LEAST_PX = 48


class ReviewFrames:
    """JPEGs of single frames, at most `frame_px` wide. May be used from many threads; videos are decoded one at a time.

    A video cannot be entered in the middle, so what is decoded is what is asked for and, in the same go, what
    `expect` was told of the same video.
    """

    def __init__(self, work: WorkFolder, folder: Path, settings: ReviewSettings = REVIEW) -> None:
        self._videos, self._settings = work.videos, settings
        self._store, self._folder = FrameStore(work.frames), folder
        self._decoding, self._changing = threading.Lock(), threading.Lock()
        self._expected: dict[str, dict[int, None]] = {}  # in the order of expectation
        self._refused: dict[str, str] = {}  # video_id -> why it cannot be decoded

    def expect(self, video: ReviewVideo, frame_indices: Iterable[int]) -> None:
        """These frames of a video are likely to be asked for."""
        with self._changing:
            self._expected.setdefault(video.video_id, {}).update(
                {int(frame): None for frame in frame_indices if 0 <= frame < video.frame_count}
            )

    def get(self, video: ReviewVideo, frame_index: int, width: int = 0) -> bytes:
        """A frame as a JPEG, reduced to `width` pixels where that is given. InputError when it cannot be had."""
        return self._encoded(self._read(video, frame_index), width or self._settings.frame_px)

    def crop(self, video: ReviewVideo, frame_index: int, xyxy: np.ndarray, style: LineStyle, side: int) -> bytes:
        """A square JPEG of `side` pixels around a box, with the box drawn in."""
        bgr = self._read(video, frame_index)
        scale = bgr.shape[1] / video.width  # frames decoded for the page may be reduced
        centre, longest = (xyxy[:2] + xyxy[2:]) / 2 * scale, float((xyxy[2:] - xyxy[:2]).max()) * scale
        half = max(longest * CROP_SIZES, CROP_LEAST_PX) / 2
        low = np.floor(centre - half).astype(int)
        high = np.maximum(np.ceil(centre + half).astype(int), low + 1)
        inside_low = np.clip(low, 0, [bgr.shape[1] - 1, bgr.shape[0] - 1])
        inside_high = np.clip(high, inside_low + 1, [bgr.shape[1], bgr.shape[0]])
        canvas = np.full((high[1] - low[1], high[0] - low[0], 3), PANEL[::-1], dtype=np.uint8)
        at, to = inside_low - low, inside_high - low
        canvas[at[1] : to[1], at[0] : to[0]] = bgr[inside_low[1] : inside_high[1], inside_low[0] : inside_high[0]]
        enlarged = side / len(canvas)
        canvas = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_CUBIC if enlarged > 1 else cv2.INTER_AREA)
        rgb = np.ascontiguousarray(canvas[..., ::-1])
        shifted = (xyxy * scale - np.tile(low, 2)).astype(np.float32)
        draw_outline(rgb, outline_of(shifted, enlarged), style)
        return self._encoded(np.ascontiguousarray(rgb[..., ::-1]), side)

    def _read(self, video: ReviewVideo, frame_index: int) -> np.ndarray:
        """A frame as (H, W, 3) uint8 BGR."""
        if not 0 <= frame_index < video.frame_count:
            raise InputError(f"{video.video_id}: it has no frame {frame_index}")
        path = self._path(video, frame_index)
        if path is None:
            with self._decoding:
                path = self._path(video, frame_index) or self._decode(video, frame_index)
        try:
            bgr = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
        except (OSError, cv2.error):
            bgr = None
        if bgr is None:
            raise InputError(f"{path}: no readable picture")
        return bgr

    def _path(self, video: ReviewVideo, frame_index: int) -> Path | None:
        """Where the frame lies, if it does. Pictures of an earlier file of that name are not of this video."""
        mark = self._store.root / video.video_id / MARK
        try:
            is_its_own = mark.read_text().strip() == video.sha256
        except (OSError, UnicodeDecodeError):
            is_its_own = False
        if is_its_own and self._store.has(video.video_id, frame_index):
            return self._store.path(video.video_id, frame_index)
        path = self._folder / video.video_id / f"{frame_index}.jpg"
        return path if path.is_file() else None

    def _decode(self, video: ReviewVideo, frame_index: int) -> Path:
        if video.video_id in self._refused:
            raise InputError(f"{video.video_id}: {self._refused[video.video_id]}")
        with self._changing:
            expected = list(self._expected.pop(video.video_id, {}))
        wanted = {frame for frame in expected if self._path(video, frame) is None}
        wanted = set(sorted(wanted, key=lambda frame: abs(frame - frame_index))[: self._settings.frames_ahead])
        wanted |= {frame_index}
        folder = self._folder / video.video_id
        folder.mkdir(parents=True, exist_ok=True)
        last = max(wanted)
        frames = decode_frames(self._videos / video.file, stride=math.gcd(*wanted) or 1)
        try:
            for frame in frames:
                if frame.frame_index in wanted:
                    bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
                    aside = folder / f".{frame.frame_index}.{os.getpid()}"
                    aside.write_bytes(self._encoded(bgr, self._settings.frame_px))
                    os.replace(aside, folder / f"{frame.frame_index}.jpg")
                if frame.frame_index >= last:
                    break
        except DecodeError as error:
            if not (folder / f"{frame_index}.jpg").is_file():
                self._refused[video.video_id] = str(error)
                raise InputError(f"{video.video_id}: {error}") from None
        finally:
            frames.close()
        self._make_room()
        path = folder / f"{frame_index}.jpg"
        if not path.is_file():
            raise InputError(f"{video.video_id}: it has no frame {frame_index}")
        return path

    def _make_room(self) -> None:
        held = sorted(self._folder.glob("*/*.jpg"), key=lambda path: path.stat().st_mtime_ns)
        for path in held[: max(0, len(held) - self._settings.frames_kept)]:
            path.unlink(missing_ok=True)

    def _encoded(self, bgr: np.ndarray, long_side: int) -> bytes:
        """A JPEG; `long_side` is what the width is reduced to, and the height of an upright frame."""
        scale = long_side / max(bgr.shape[:2])
        if scale < 1:
            size = (max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale)))
            bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality])
        if not done:
            raise InputError(f"a picture of shape {bgr.shape} cannot be made a JPEG")
        return jpeg.tobytes()
