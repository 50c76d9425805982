"""Clips out of a video, exact to the frame: the frames with start_s <= time < end_s, times kept, checked afterwards.

The video is decoded once, from its first frame, for all its clips; seeking would land on other frames than asked.
"""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from labels.records.safe_writing import whole_file
from labels.videos.decoding.child import missing_bytes
from labels.videos.decoding.frames import DecodeError, VideoInfo, decode_frames, probe_video
from labels.videos.download.outcomes import FetchError, one_line
from labels.videos.settings import EncodeSettings

CLOCK = 120_000  # ticks a second: a frame of 23.976, 24, 25, 29.97, 30, 50, 59.94 or 60 is a whole number of them
SLACK_S = 1e-6  # a frame at 2 s whose time was rounded to 1.9999999 belongs to what starts at 2 s
BT709 = 1  # as in encoding


class Segment(NamedTuple):
    """A clip asked for; None: from the beginning, to the end."""

    video_id: str
    start_s: float | None
    end_s: float | None


class CutClip(NamedTuple):
    """A clip that was written and checked."""

    path: Path
    info: VideoInfo  # by decoding what was written
    duration_s: float  # from the first frame's start to the last one's end


def cut_segments(
    source: Path,
    segments: Sequence[Segment],
    folder: Path,
    short_side: int | None = None,
    min_share: float = 0.9,
    settings: EncodeSettings | None = None,
) -> dict[str, CutClip | FetchError]:
    """Write each segment of `source` to `folder/<video_id>.mp4`; a segment that cannot be had is a FetchError.

    `min_share` is how much of the asked duration must be there. Decoding stops after the last segment's end.
    """
    settings = settings or EncodeSettings()
    ends = [segment.end_s for segment in segments]
    last_s = None if None in ends else max(end for end in ends if end is not None)
    with open(source, "rb") as opened:
        lost = missing_bytes(opened.fileno())
    if lost:  # a download that broke off is worth another try, whatever of it decodes
        short = FetchError("short", f"the file breaks off: its last {lost} bytes are missing")
        return {each.video_id: short for each in segments}
    failure: FetchError | None = None
    frame_s = 0.0  # how long the last frame lasted
    time_s, seen = 0.0, 0
    with ExitStack() as stack:
        writers = {each.video_id: _ClipWriter(each, folder, short_side, settings) for each in segments}
        for writer in writers.values():
            stack.callback(writer.give_up)
        try:
            with closing(decode_frames(source, until_damage=False)) as frames:
                for frame in frames:
                    if seen:
                        frame_s = frame.time_s - time_s
                    time_s, seen = frame.time_s, seen + 1
                    if last_s is not None and time_s >= last_s - SLACK_S:
                        break
                    for writer in writers.values():
                        writer.take(frame.rgb, time_s)
                else:
                    time_s += frame_s  # where the last frame ends
        except DecodeError as error:
            failure = undecodable(error)
        return {each.video_id: _finish(writers[each.video_id], each, time_s, failure, min_share) for each in segments}


def undecodable(error: DecodeError) -> FetchError:
    """A file that ends before its own index says came short over the wire; of others more tries make no more."""
    message = one_line(str(error))
    return FetchError("short" if "breaks off" in message else "decode_error", message)


class _ClipWriter:
    """Takes the frames of one segment and writes them with their own times, from 0."""

    def __init__(self, segment: Segment, folder: Path, short_side: int | None, settings: EncodeSettings):
        self.path = folder / f"{segment.video_id}.mp4"
        self.start_s = segment.start_s or 0.0
        self.end_s = float("inf") if segment.end_s is None else segment.end_s
        self.short_side, self.settings = short_side, settings
        self.taken = 0  # frames
        self.first_s = 0.0
        self.ended_s: float | None = None  # the time of the first frame after the segment
        self._durations: dict[int, int] = {}  # of frames in the encoder, by their time; in ticks
        self._resources: ExitStack | None = None
        self._waiting: tuple[np.ndarray, float] | None = None  # written when it is known how long it lasts

    def take(self, rgb: np.ndarray, time_s: float) -> None:
        if time_s < self.start_s - SLACK_S or self.ended_s is not None:
            return
        if time_s >= self.end_s - SLACK_S:
            self.ended_s = time_s
            self._write_waiting(time_s)
            return
        if self._resources is None:
            self._open(rgb, time_s)
        self.taken += 1
        self._write_waiting(time_s)
        self._waiting = (self._sized(rgb), time_s)

    def finish(self, end_s: float) -> None:
        """Write what waits, and the file is in place."""
        assert self._resources is not None
        self._write_waiting(end_s)
        self._mux(self._stream.encode(None))
        self._container.close()
        self._resources.close()
        self._resources = None

    def give_up(self) -> None:
        """Leave no file, unless it is finished."""
        if self._resources is not None:
            error = FetchError("cut_mismatch", "given up")
            self._resources.__exit__(type(error), error, None)
            self._resources = None

    def _open(self, rgb: np.ndarray, time_s: float) -> None:
        self.first_s = time_s
        height, width = rgb.shape[:2]
        scale = min(1.0, self.short_side / min(height, width)) if self.short_side else 1.0
        self._width, self._height = (2 * max(1, round(side * scale / 2)) for side in (width, height))
        with ExitStack() as stack:
            aside = stack.enter_context(whole_file(self.path))
            self._container = stack.enter_context(
                av.open(str(aside), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._stream = self._container.add_stream("libx264", rate=30)
            self._stream.width, self._stream.height, self._stream.pix_fmt = self._width, self._height, "yuv420p"
            self._stream.options = {"crf": str(self.settings.crf), "preset": self.settings.preset}
            context = self._stream.codec_context
            context.thread_count = self.settings.threads
            context.time_base = Fraction(1, CLOCK)
            context.colorspace = context.color_primaries = context.color_trc = BT709
            self._reformatter = VideoReformatter()
            self._resources = stack.pop_all()

    def _sized(self, rgb: np.ndarray) -> np.ndarray:
        if rgb.shape[:2] == (self._height, self._width):
            return rgb
        smaller = rgb.shape[0] > self._height + 1
        return cv2.resize(
            rgb, (self._width, self._height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        )

    def _write_waiting(self, until_s: float) -> None:
        if self._waiting is None:
            return
        (rgb, time_s), self._waiting = self._waiting, None
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(rgb, format="rgb24"), format="yuv420p", dst_colorspace=Colorspace.ITU709
        )
        pts = round((time_s - self.first_s) * CLOCK)
        frame.pts, frame.time_base = pts, Fraction(1, CLOCK)
        self._durations[pts] = max(1, round((until_s - time_s) * CLOCK))
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:  # the encoder knows times alone; the last frame would get a guessed duration
            packet.duration = self._durations.pop(packet.pts or 0)
            self._container.mux(packet)


def _finish(
    writer: _ClipWriter, segment: Segment, end_s: float, failure: FetchError | None, min_share: float
) -> CutClip | FetchError:
    """Close a clip's file and check it; `end_s` is how far the video was decoded."""
    ended_s = writer.ended_s if writer.ended_s is not None else end_s
    if failure is not None and writer.ended_s is None:
        return failure  # the damage lies before this segment's end
    if not writer.taken:
        return FetchError("short", f"no frame begins in it; the video was read up to {end_s:.2f} s", False)
    asked_s = segment.end_s - writer.start_s if segment.end_s is not None else 0.0
    there_s = ended_s - writer.start_s
    if there_s < min_share * asked_s:
        message = f"the video ends at {end_s:.2f} s: the clip has {there_s:.2f} s of {asked_s:g} s"
        return FetchError("short", message, False)
    writer.finish(ended_s)
    try:
        info = probe_video(writer.path, until_damage=False)
    except DecodeError as error:
        return FetchError("cut_mismatch", f"the clip does not decode: {one_line(str(error))}")
    if info.frame_count != writer.taken:
        return FetchError("cut_mismatch", f"{info.frame_count} frames decode of {writer.taken} written")
    return CutClip(writer.path, info, ended_s - writer.first_s)
