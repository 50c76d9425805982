"""A clip from outside: how much of it is looked at, and its frames, decoded within limits."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labels.pictures.review_settings import ReviewSettings
from labels.videos.decoding import DecodeError, Frame, decode_frames
from labels.videos.settings import DecodeLimits


@dataclass(frozen=True)
class ClipShape:
    """`frames` are looked at, from the first; the clip is at least `length_s` long."""

    fps: float
    width: int
    height: int
    frames: int
    length_s: float

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    @property
    def is_whole(self) -> bool:
        return self.seconds >= self.length_s - 0.5 / self.fps


def limits_of(settings: ReviewSettings) -> DecodeLimits:
    return DecodeLimits(
        max_pixels=settings.clip_pixels,
        memory_bytes=settings.clip_memory_bytes,
        cpu_s=settings.clip_decode_s,
        stall_s=30.0,
    )


def measured(clip: Path, settings: ReviewSettings) -> ClipShape:
    """The shape of a clip, from its frames, not from what its header says. DecodeError when it has none."""
    times: list[float] = []
    height = width = 0
    for frame in first_frames(clip, settings.clip_frames + 1, settings):
        if frame.time_s > settings.clip_seconds:
            times.append(frame.time_s)
            break
        times.append(frame.time_s)
        height, width = frame.rgb.shape[:2]
    if not times:
        raise DecodeError("no frame of it can be decoded")
    within = [time for time in times[: settings.clip_frames] if time <= settings.clip_seconds]
    fps = (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] > 0 else 25.0
    fps = min(max(fps, 0.1), 1000.0)
    return ClipShape(fps, width, height, len(within), max(times[-1] + 1 / fps, len(times) / fps))


def first_frames(clip: Path, count: int, settings: ReviewSettings) -> Iterator[Frame]:
    """The first `count` frames of a clip. DecodeError as `decode_frames`."""
    frames = decode_frames(clip, 1, limits_of(settings))
    try:
        for frame in frames:
            if frame.frame_index >= count:
                break
            yield frame
    finally:
        frames.close()
