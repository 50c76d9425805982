"""Frames for the review page: those of the work folder, and others decoded once into a temporary folder."""

import math
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from labels.pictures.overlay.drawing import draw_outline, outline_of
from labels.pictures.palette import PANEL, LineStyle
from labels.pictures.review.labels import ReviewVideo
from labels.pictures.settings import REVIEW, ReviewSettings
from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import DecodeError, decode_frames
from labels.videos.frame_store import MARK, FrameStore

CROP_SIZES = 3.5  # sides of the box's longer side
CROP_LEAST_PX = 48


class ReviewFrames:
    """JPEGs of single frames, at most `frame_px` wide. May be used from many threads.

    A video cannot be entered in the middle, so one thread decodes, a video at a time, all that is wanted of it: first
    what somebody waits for, then what was asked for last. What nobody waits for stops for what somebody does.
    """

    def __init__(self, work: WorkFolder, folder: Path, settings: ReviewSettings = REVIEW) -> None:
        self._videos, self._settings = work.videos, settings
        self._store, self._folder = FrameStore(work.frames), folder
        self._changed = threading.Condition()
        self._wanted: dict[str, tuple[ReviewVideo, dict[int, None]]] = {}  # by video, the most urgent last
        self._urgent: dict[str, int] = {}  # video_id -> how many wait for a frame of it
        self._refused: dict[str, str] = {}  # video_id -> why it cannot be decoded
        self._closed = False
        self._thread = threading.Thread(target=self._work_off, name="frames", daemon=True)
        self._thread.start()

    def expect(self, video: ReviewVideo, frame_indices: Iterable[int], soon: bool = False) -> None:
        """These frames of a video are likely to be asked for, the first soonest; `soon`: before all others."""
        with self._changed:
            wanted = self._wanted.pop(video.video_id, (video, {}))[1] if soon else None
            if wanted is None and video.video_id in self._wanted:
                wanted = self._wanted[video.video_id][1]
            frames = {int(frame): None for frame in frame_indices if 0 <= frame < video.frame_count}
            wanted = frames | (wanted or {}) if soon else (wanted or {}) | frames
            if soon or video.video_id in self._wanted:
                self._wanted[video.video_id] = (video, wanted)
            else:
                self._wanted = {video.video_id: (video, wanted)} | self._wanted
            self._changed.notify_all()

    def has(self, video: ReviewVideo, frame_index: int) -> bool:
        return self._path(video, frame_index) is not None

    def get(self, video: ReviewVideo, frame_index: int, width: int = 0) -> bytes:
        """A frame as a JPEG, reduced to `width` pixels where that is given. InputError when it cannot be had."""
        path = self._ready(video, frame_index)
        if not width and max(video.width, video.height) <= self._settings.frame_px:
            return path.read_bytes()
        return self._encoded(_pixels(path), width or self._settings.frame_px)

    def strip(self, video: ReviewVideo, frame_indices: list[int], width: int) -> bytes | None:
        """Frames side by side in one JPEG, each `width` pixels; None while they are being decoded.

        Frames outside the video, and those that cannot be decoded, are left dark.
        """
        inside = [frame for frame in frame_indices if 0 <= frame < video.frame_count]
        paths = {frame: self._path(video, frame) for frame in inside}
        missing = [frame for frame, path in paths.items() if path is None]
        if missing and video.video_id not in self._refused:
            self.expect(video, missing, soon=True)
            return None
        height = max(1, round(width * video.height / video.width))
        canvas = np.full((height, width * len(frame_indices), 3), PANEL[::-1], dtype=np.uint8)
        for place, frame in enumerate(frame_indices):
            path = paths.get(frame)
            if path is not None:
                tile = cv2.resize(_pixels(path, width), (width, height), interpolation=cv2.INTER_AREA)
                canvas[:, place * width : (place + 1) * width] = tile
        return self._encoded(canvas, canvas.shape[1])

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=5)

    def crop(self, video: ReviewVideo, frame_index: int, xyxy: np.ndarray, style: LineStyle, side: int) -> bytes:
        """A square JPEG of `side` pixels around a box, with the box drawn in."""
        bgr = _pixels(self._ready(video, frame_index))
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

    def _ready(self, video: ReviewVideo, frame_index: int) -> Path:
        """Where the frame lies, as soon as it does."""
        if not 0 <= frame_index < video.frame_count:
            raise InputError(f"{video.video_id}: it has no frame {frame_index}")
        path = self._path(video, frame_index)
        if path is not None:
            return path
        name = video.video_id
        with self._changed:
            self._urgent[name] = self._urgent.get(name, 0) + 1
        try:
            while (path := self._path(video, frame_index)) is None:
                self.expect(video, [frame_index], soon=True)
                with self._changed:
                    if name in self._refused or self._closed:
                        raise InputError(f"{name}: {self._refused.get(name, 'the page has ended')}")
                    self._changed.wait(timeout=1.0)
        finally:
            with self._changed:
                self._urgent[name] -= 1
                if not self._urgent[name]:
                    del self._urgent[name]
        return path

    def _work_off(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
                waited_for = [name for name in self._wanted if name in self._urgent]
                video, wanted = self._wanted.pop(waited_for[-1] if waited_for else next(reversed(self._wanted)))
            missing = [frame for frame in wanted if self._path(video, frame) is None]
            if missing and video.video_id not in self._refused:
                ahead = self._settings.frames_ahead
                if len(missing) > ahead:
                    self.expect(video, missing[ahead:])
                self._decode(video, set(missing[:ahead]))
            with self._changed:
                self._changed.notify_all()

    def _decode(self, video: ReviewVideo, wanted: set[int]) -> None:
        folder = self._folder / video.video_id
        folder.mkdir(parents=True, exist_ok=True)
        last = max(wanted)
        frames = decode_frames(self._videos / video.file, stride=math.gcd(*wanted) or 1)
        try:
            for frame in frames:
                if frame.frame_index in wanted:
                    aside = folder / f".{frame.frame_index}.{os.getpid()}"
                    aside.write_bytes(
                        self._encoded(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), self._settings.frame_px)
                    )
                    os.replace(aside, folder / f"{frame.frame_index}.jpg")
                    wanted.discard(frame.frame_index)
                    with self._changed:
                        self._changed.notify_all()
                if frame.frame_index >= last or self._closed:
                    break
                if self._urgent and video.video_id not in self._urgent:
                    self.expect(video, wanted)
                    return
            if wanted and not self._closed:
                self._refused[video.video_id] = f"it has no frame {min(wanted)}"
        except (DecodeError, InputError, OSError, cv2.error) as error:
            self._refused[video.video_id] = str(error)
        finally:
            frames.close()
        self._make_room()

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


def _pixels(path: Path, least_width: int = 0) -> np.ndarray:
    """A stored frame as (H, W, 3) uint8 BGR; with `least_width` a smaller one that is decoded faster, if it may be."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
        bgr = None
        if least_width:
            bgr = cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_4)
        if bgr is None or bgr.shape[1] < least_width or not least_width:
            bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        bgr = None
    if bgr is None:
        raise InputError(f"{path}: no readable picture")
    return bgr
