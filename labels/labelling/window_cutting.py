"""Windows as a recogniser wants them, one after another: of pixels, of joints, or of both."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from labels.labelling.pose_finding import Joints
from labels.labelling.round_mask_channel import VideoMasks
from labels.models.mask_channel import with_mask_channel
from labels.models.recogniser_settings import JOINTS, PIXELS, Preset
from labels.records.tables import NO_TRACK
from labels.tracks.player_crops import CropPath
from labels.videos.decoding import Frame
from labels.videos.windows import Window, even_places, sample_windows

BLANK = np.zeros((1, 1, 3), dtype=np.uint8)


def cut_windows(
    preset: Preset,
    frame_count: int,
    fps: float,
    tracks: Sequence[CropPath] | None,
    pixels: Callable[[], Iterable[Frame]],
    joints: Joints | None = None,
    masks: VideoMasks | None = None,
) -> Iterator[Window]:
    """The windows of a video; no more than a window of each player is in memory.

    Args:
        tracks: the players; None: the whole frame.
        pixels: opens the video; not called where only joints are looked at.
        joints: needed by presets that look at joints. A track without joints of its own has the clip's.
        masks: needed by masked presets, as the fourth channel of pixels.

    Values of windows of both are records of `pixels` (T, h, w, 3 or 4) and `joints` (S, 13, 2) of the same moment.
    """
    if preset.reads == JOINTS:
        assert joints is not None
        frames = (Frame(at, at / fps, BLANK) for at in range(frame_count))
        for window in sample_windows(frames, replace(preset, side=1), tracks):
            yield replace(window, values=_joints_of(window, joints)[window.frame_index])
    elif preset.beside is None:
        yield from _of_pixels(preset, tracks, pixels, masks)
    else:
        assert joints is not None
        for window in _of_pixels(preset, tracks, pixels, masks):
            first, end = sight_of(window, tracks, frame_count)
            places = places_around(int(window.frame_index[preset.frames // 2]), first, end, fps, preset.beside)
            own = _joints_of(window, joints)[places]
            kinds = [(PIXELS, np.uint8, window.values.shape), (JOINTS, np.float32, own.shape)]
            yield replace(window, values=np.array((window.values, own), dtype=kinds))


def _of_pixels(
    preset: Preset,
    tracks: Sequence[CropPath] | None,
    pixels: Callable[[], Iterable[Frame]],
    masks: VideoMasks | None,
) -> Iterator[Window]:
    for window in sample_windows(pixels(), preset, tracks):
        if preset.masked:
            assert masks is not None
            window = replace(window, values=with_mask_channel(window.values, masks.channel(window, preset.side)))
        yield window


def _joints_of(window: Window, joints: Joints) -> np.ndarray:
    return joints[window.track_id if window.track_id in joints else NO_TRACK]


def sight_of(window: Window, tracks: Sequence[CropPath] | None, frame_count: int) -> tuple[int, int]:
    """First frame, and the one after the last, of what a window is cut from: its player in sight, or the video."""
    for track in tracks or []:
        if track.track_id == window.track_id and (here := track.sight_at(int(window.frame_index[0]))) is not None:
            return here
    return 0, frame_count


def places_around(middle: int, first: int, end: int, fps: float, preset: Preset) -> np.ndarray:
    """The frames (T,) of a preset's window about a frame, inside [first, end); all of them where these are too few."""
    length = preset.frames / preset.rate * fps
    if end - first <= length:
        return first + even_places(end - first, preset.frames)
    start = min(max(middle - length / 2, first), end - length)
    return np.floor(start + np.arange(preset.frames) * fps / preset.rate + 1e-6).astype(np.int64)


def write_values(path: Path, windows: Iterable[Window]) -> list[Window]:
    """Write the values of windows as one .npy, (N, ...), a window at a time. Returns the windows without values."""
    seen: list[Window] = []
    with open(path, "wb") as file:
        shape: tuple[int, ...] = ()
        kind = np.dtype(np.uint8)
        for window in windows:
            if not seen:
                shape, kind = window.values.shape, window.values.dtype
                _write_header(file, kind, (0, *shape))  # numpy leaves room in it for a longer first axis
            file.write(np.ascontiguousarray(window.values).tobytes())
            seen.append(replace(window, values=BLANK))
        file.seek(0)
        _write_header(file, kind, (len(seen), *shape))
    return seen


def _write_header(file: object, kind: np.dtype, shape: tuple[int, ...]) -> None:
    said = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, said)  # type: ignore[arg-type]
