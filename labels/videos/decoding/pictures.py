"""What is done to each decoded picture: turned upright, freed of interlacing, compared with the one before."""

import struct
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labels.videos.decoding.pipe import Picture

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream


class Turn:
    """How a stored picture is turned and mirrored to stand upright: the display matrix, to the nearest quarter.

    With x' = a x + c y and y' = b x + d y, a and d are 0 for a quarter turn; a negative sign mirrors that axis.
    """

    def __init__(self, transposed: bool = False, x_step: int = 1, y_step: int = 1):
        self.transposed, self.x_step, self.y_step = transposed, x_step, y_step

    @classmethod
    def of(cls, frame: "VideoFrame") -> "Turn":
        entries: Any = frame.side_data  # typed as a mapping of names, in fact a sequence
        for entry in entries:
            if entry.type.name == "DISPLAYMATRIX":
                a, b, _, c, d, *_ = struct.unpack("9i", bytes(entry)[:36])
                if abs(a) < abs(b):
                    return cls(True, 1 if c >= 0 else -1, 1 if b >= 0 else -1)
                return cls(False, 1 if a >= 0 else -1, 1 if d >= 0 else -1)
        return cls()

    def size(self, width: int, height: int) -> tuple[int, int]:
        return (height, width) if self.transposed else (width, height)

    def apply(self, frame: "VideoFrame") -> Picture:
        """Width, height and the RGB rows of the upright picture, and the bytes from one row to the next."""
        plane = frame.planes[0]
        if (self.transposed, self.x_step, self.y_step) == (False, 1, 1):
            return frame.width, frame.height, memoryview(plane), plane.line_size
        import numpy as np

        padded = np.frombuffer(memoryview(plane), np.uint8)[: frame.height * plane.line_size]
        rgb = padded.reshape(frame.height, plane.line_size)[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
        if self.transposed:
            rgb = rgb.transpose(1, 0, 2)
        upright = np.ascontiguousarray(rgb[:: self.y_step, :: self.x_step])
        return upright.shape[1], upright.shape[0], upright.reshape(-1).data, upright.shape[1] * 3


class Deinterlacer:
    """Frames whose lines are of two moments are made whole by FFmpeg's bwdif, one for one; others are left alone.

    What comes before the first interlaced frame passes untouched; from there on each frame waits for the next.
    """

    def __init__(self) -> None:
        self._graph: Any = None

    @property
    def is_used(self) -> bool:
        return self._graph is not None

    def frames(self, frames: "Iterator[VideoFrame]", stream: "VideoStream") -> "Iterator[VideoFrame]":
        for frame in frames:
            if self._graph is None and not frame.interlaced_frame:
                yield frame
                continue
            if self._graph is None:
                self._graph = _bwdif(frame, stream)
            self._graph.push(frame)
            yield from self._ready()
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()

    def _ready(self) -> "Iterator[VideoFrame]":
        import av

        while True:
            try:
                yield self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return


def _bwdif(frame: "VideoFrame", stream: "VideoStream") -> Any:
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or stream.time_base
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


BLOCK, MOST_BLOCKS = 4, 480  # pixels of a block's side; blocks along the longer side of a large frame
MOST_CHANGE = 20.0  # of 256 levels; repeated frames of filmed clips change a block by up to 21, others by 27 and more
SHARE_OF_USUAL = 1 / 8
STEPS, FEWEST_STEPS = 30, 2  # that were no repeats: the usual change is their median


class Repeats:
    """Finds frames that show just what the frame before shows, as pull-down and constant-rate phone video have them.

    By the block of the picture whose mean brightness changes most: a ball of a few pixels changes its block by tens of
    levels and the mean of a frame by hundredths of one. A repeat changes no block by more than compression does, and
    much less than the frames before it changed theirs: where hardly anything moves, nothing is taken for a repeat.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._converter = VideoReformatter()
        self._before: Any = None
        self._steps: deque[float] = deque(maxlen=STEPS)

    def is_repeat(self, frame: "VideoFrame") -> bool:
        """Whether this frame, the next of a video, repeats the one before."""
        import numpy as np

        side = max(BLOCK, -(-max(frame.width, frame.height) // MOST_BLOCKS))
        size = {"width": max(1, frame.width // side), "height": max(1, frame.height // side)}
        small = self._converter.reformat(frame, **size, format="gray", interpolation="AREA")
        plane = small.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        blocks = rows[: small.height, : small.width].astype(np.int16)
        before, self._before = self._before, blocks
        if before is None:
            return False
        change = float(np.abs(blocks - before).max())
        usual = float(np.median(self._steps)) if len(self._steps) >= FEWEST_STEPS else 0.0
        if change <= max(1.0, min(MOST_CHANGE, SHARE_OF_USUAL * usual)):
            return True
        self._steps.append(change)
        return False
