"""Settings of videos and of downloading. Imports nothing heavy: the scripts take their defaults from here."""

from dataclasses import dataclass, field

# The suffixes by which stage 1 knows a video in a folder, and which a clip keeps inside `videos/`.
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".divx", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"}
    | {".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding one video may cost before it is given up.

    The defaults let a whole day of sport and 8K video through, and stop a file made to eat the machine.
    """

    max_pixels: int = 40_000_000  # of one frame; 8K is 33 million
    max_frames: int = 3_000_000  # 27 hours at 30 frames a second
    memory_bytes: int = 8 * 2**30  # address space of the decoding process; threads reserve much they never use
    cpu_s: int = 24 * 3600
    stall_s: float = 60.0  # without a sign of life
    threads: int = 0  # 0: one for each core, at most 8


@dataclass(frozen=True)
class AheadSettings:
    """How far decoding runs ahead of what is done with the frames."""

    streams: int = 2  # videos being decoded at once, the one in use among them
    bytes_ahead: int = 96 * 2**20  # of frames that wait, for each video; one frame may always wait


@dataclass(frozen=True)
class WindowShape:
    """The short runs of frames that a recogniser looks at; how they are cut: see `windows`."""

    frames: int = 16
    rate: float = 15.0  # samples a second
    side: int = 128  # pixels of the shorter side that is kept
    stride: int = field(default=0, kw_only=True)  # samples from window to window; 0: half a window

    @property
    def step(self) -> int:
        return self.stride or max(1, self.frames // 2)


@dataclass(frozen=True)
class EncodeSettings:
    """How videos are written. The number of threads is fixed because x264's output depends on it."""

    crf: int = 23
    preset: str = "veryfast"
    threads: int = 2


JPEG_QUALITY = 95


@dataclass(frozen=True)
class DownloadSettings:
    """How clips are fetched. A list chooses ids and addresses; how they are asked for is chosen here, by us alone."""

    youtube_url: str = "https://www.youtube.com/watch?v={id}"  # a full address: ids may begin with "-"
    allowed_addresses: tuple[str, ...] = ()  # "host:port" that may be reached though it is private; tests name theirs
    proxy: str | None = None  # None: what the environment says; "": none

    max_height: int = 720
    min_height: int = 0
    short_side: int | None = None  # of the clips in pixels; None keeps the size
    max_bytes: int = 2 * 2**30  # of one fetched video
    max_clip_s: float = 4 * 3600.0  # the longest segment, or whole video, that is asked for
    min_share: float = 0.9  # of the asked duration a clip must have; published times often end past the video
    free_bytes: int = 2 * 2**30  # left on the disk; below it downloading stops

    workers: int = 2
    bytes_per_s: int = 0  # of all workers together; 0: no limit
    per_hour: int = 0  # videos an hour; 0: no limit. Guests of YouTube get about 300
    socket_timeout_s: float = 20.0
    deadline_s: float = 1800.0  # for fetching one video; a slow endless answer ends here
    job_deadline_s: float = 4 * 3600.0  # for fetching, cutting and checking; a hung worker is killed then
    retries: int = 2  # of a transient failure
    retry_wait_s: float = 5.0  # before the first retry, three times as long before each further one
    pause_s: float = 3600.0  # all workers wait this long when the site blocks us
    max_pauses: int = 3  # in a row without a video between them; then the run ends

    js_runtimes: tuple[str, ...] = ("deno", "node")  # the only programs yt-dlp may start; YouTube needs one of them
