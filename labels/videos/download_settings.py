"""What can be set about downloading. Imports nothing heavy, so that scripts take their defaults from here."""

from dataclasses import dataclass


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
