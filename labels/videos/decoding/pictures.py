"""What is done to each decoded picture: turned upright, freed of interlacing, compared with the one before."""

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av import VideoFrame


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

    def apply(self, frame: "VideoFrame") -> tuple[int, int, memoryview, int]:
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
