"""When a frame is shown, and how many there are a second, by the frames' own timestamps."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import VideoFrame

FALLBACK_RATE = 25.0


class Clock:
    """Times of frames by their timestamps, 0 at the first frame, never running backwards."""

    def __init__(self) -> None:
        self.declared_rate = FALLBACK_RATE
        self.first_s: float | None = None
        self.last_s = 0.0
        self.count = 0

    def start(self, declared_rate: float) -> None:
        if 0 < declared_rate <= 1000:
            self.declared_rate = declared_rate

    def time_of(self, frame: "VideoFrame") -> float:
        stamp = frame.time  # seconds, or None for a frame without a timestamp
        self.count += 1
        if self.first_s is None:
            self.first_s = stamp if stamp is not None else 0.0
            return 0.0
        time_s = stamp - self.first_s if stamp is not None else -1.0
        if time_s <= self.last_s:
            time_s = self.last_s + 1 / self.declared_rate
        self.last_s = time_s
        return time_s

    def rate(self) -> float:
        """Frames a second: what the header says where the timestamps agree with it, otherwise their mean."""
        if self.count < 2:
            return self.declared_rate
        measured = (self.count - 1) / self.last_s
        return self.declared_rate if abs(measured / self.declared_rate - 1) < 0.01 else measured
