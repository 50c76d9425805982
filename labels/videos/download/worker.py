"""A process that gets one video after another with yt-dlp: fetched aside, cut, checked; the parent puts it in place.

It may hang, crash or be killed at any time without costing more than the video it is at. yt-dlp runs with our own
options: no configuration file, no other program, nothing that the list chose. Only worker processes import this module,
because importing yt-dlp takes a second.
"""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import chdir, suppress
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import yt_dlp
from yt_dlp.networking._urllib import UrllibRH

from labels.videos.download.cutting import Segment
from labels.videos.download.network_guard import NetworkGuard, fault_of_url
from labels.videos.download.outcomes import OK, FetchError, classify, one_line
from labels.videos.settings import DownloadSettings

os.environ["YTDLP_NO_PLUGINS"] = "1"  # before yt-dlp is imported: code that lies around is not ours


YT_DLP_VERSION: str = yt_dlp.version.__version__
FILE_NAME = "source.video"  # ours: a suffix that the remote chose means nothing
SMALL_SIDE = 360  # what is fetched when the clips are cut to this or less


class Fetched(NamedTuple):
    """A file that yt-dlp took for a whole video; nothing of it is believed before it was decoded."""

    path: Path
    format: str
    height: int | None


class _Silent:
    """yt-dlp's messages; errors arrive as exceptions."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


class _Downloader(yt_dlp.YoutubeDL):
    """yt-dlp whose network goes through urllib alone: there every redirect can be heard by the guard."""

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        return super().build_request_director([UrllibRH], preferences)


class _Watch:
    """Ends a download that is no video, too long, too large or too slow."""

    def __init__(self, settings: DownloadSettings, longest_s: float | None):
        self.settings, self.longest_s = settings, longest_s
        self.deadline = time.monotonic() + settings.deadline_s

    def filter(self, info: dict[str, Any], *, incomplete: bool = False) -> None:
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            raise FetchError("no_video", "a live stream")
        duration_s = info.get("duration")
        if self.longest_s is not None and isinstance(duration_s, (int, float)) and duration_s > self.longest_s:
            raise FetchError("too_long", f"{duration_s:g} s, asked for at most {self.longest_s:g} s")

    def progress(self, state: dict[str, Any]) -> None:
        if time.monotonic() > self.deadline:
            raise FetchError("network", f"not fetched within {self.settings.deadline_s:g} s")
        if (state.get("downloaded_bytes") or 0) > self.settings.max_bytes:
            raise FetchError("too_large", f"more than {self.settings.max_bytes} bytes")


def download_options(settings: DownloadSettings, watch: _Watch) -> dict[str, Any]:
    """Everything yt-dlp is told."""
    wanted_px = settings.max_height
    if settings.short_side is not None and settings.short_side <= SMALL_SIDE:
        wanted_px = min(wanted_px, SMALL_SIDE)
    tall = f"[height>=?{settings.min_height}]" if settings.min_height else ""
    options: dict[str, Any] = {
        # Video alone: joining sound and picture would need ffmpeg, and nothing here listens.
        "format": f"bv{tall}/bv*{tall}/b{tall}",
        "format_sort": [f"res:{wanted_px}", "proto", "vcodec:h264", "ext"],
        "outtmpl": {"default": FILE_NAME},
        "cachedir": False,
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": "1",
        "default_search": "error",
        "match_filter": watch.filter,
        "progress_hooks": [watch.progress],
        "logger": _Silent(),
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "color": "never",
        "retries": 0,  # how often is decided by us, by the kind of failure
        "fragment_retries": 3,
        "extractor_retries": 0,
        "file_access_retries": 0,
        "skip_unavailable_fragments": False,  # or a short file would pass for a whole one
        "socket_timeout": settings.socket_timeout_s,
        "max_filesize": settings.max_bytes,
        "continuedl": False,
        "overwrites": True,
        "updatetime": False,
        "fixup": "never",
        "hls_prefer_native": True,
        "external_downloader": {"default": "native"},
        "ffmpeg_location": "no-ffmpeg",
        "enable_file_urls": False,
        "allowed_extractors": ["default"],
        "check_formats": False,
        "geo_bypass": False,
        "js_runtimes": {name: {} for name in settings.js_runtimes},
        "remote_components": set(),  # no code is fetched
        "usenetrc": False,
        "cookiefile": None,
        "writesubtitles": False,
        "writethumbnail": False,
        "writeinfojson": False,
        "postprocessors": [],
    }
    if settings.proxy is not None:
        options["proxy"] = settings.proxy
    if settings.bytes_per_s:
        options["ratelimit"] = max(1, settings.bytes_per_s // settings.workers)
    return options


def fetch_video(
    url: str, folder: Path, settings: DownloadSettings, guard: NetworkGuard, longest_s: float | None = None
) -> Fetched:
    """Fetch the video at `url` into `folder`; `longest_s` is the longest whole video that is wanted.

    Raises FetchError, whatever happened.
    """
    fault = fault_of_url(url, settings.allowed_addresses)
    if fault:  # the list was checked; this holds whoever calls
        raise FetchError("address", fault)
    try:
        # Names are relative: yt-dlp would take a "%" or a "$" in the folder's path for its own.
        options = download_options(settings, _Watch(settings, longest_s))
        with chdir(folder), guard.watching(folder), _Downloader(options) as downloader:
            info = downloader.extract_info(url, download=True)
    except Exception as error:
        if guard.refused:
            raise FetchError("address", one_line(guard.refused)) from None
        raise classify(error) from None
    path = folder / FILE_NAME
    if not isinstance(info, dict) or info.get("_type", "video") != "video":
        raise FetchError("no_video", "a playlist or a page, not one video")
    if not path.is_file():
        left = sorted(each.name for each in folder.iterdir())
        raise FetchError("too_large" if not left else "short", f"nothing whole was fetched ({', '.join(left) or '-'})")
    kind = one_line(" ".join(str(info.get(name) or "?") for name in ("extractor", "format_id", "ext", "vcodec")), 80)
    height = info.get("height")
    return Fetched(path, kind, height if isinstance(height, int) else None)


MAGIC = ((4, b"ftyp", ".mp4"), (0, b"\x1a\x45\xdf\xa3", ".mkv"), (0, b"FLV", ".flv"), (8, b"AVI ", ".avi"))


class DownloadJob(NamedTuple):
    """One video and the clips of it that are wanted."""

    source_key: str
    url: str
    segments: tuple[Segment, ...]
    folder: Path  # for this job alone; emptied first


class ClipResult(NamedTuple):
    """How it ended for one clip; `facts` are for the ledger."""

    video_id: str
    outcome: str
    message: str
    facts: dict[str, Any]
    path: Path | None = None  # where the clip waits to be moved into place
    is_transient: bool = False
    times_s: Sequence[float] | None = None  # of its frames, where they are not even


def serve(pipe: Connection, settings: DownloadSettings) -> None:
    """Take jobs from the pipe and answer each with its list of ClipResult, until the pipe closes."""
    os.setsid()  # a group of its own, to be killed with everything it started; and Ctrl-C is the parent's
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from labels.videos.download.network_guard import NetworkGuard

    guard = NetworkGuard(settings)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job: DownloadJob = pipe.recv()
            pipe.send(work_on(job, settings, guard))


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)


def work_on(job: DownloadJob, settings: DownloadSettings, guard: Any) -> list[ClipResult]:
    """Fetch a job's video and cut its clips; whatever goes wrong ends as an outcome."""
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    tempfile.tempdir = str(job.folder)
    facts: dict[str, Any] = {}
    try:
        return _get(job, settings, guard, facts)
    except FetchError as error:
        return failed(job, error, facts)
    except Exception as error:  # a fault of ours must not stop the run, nor pass unseen
        return failed(job, FetchError("error", one_line(f"{type(error).__name__}: {error}")), facts)


def _get(job: DownloadJob, settings: DownloadSettings, guard: Any, facts: dict[str, Any]) -> list[ClipResult]:
    from labels.records.safe_writing import file_digest
    from labels.videos.download.cutting import cut_segments

    facts["yt_dlp"] = YT_DLP_VERSION
    whole = [segment for segment in job.segments if segment.end_s is None]
    fetched = fetch_video(job.url, job.folder, settings, guard, settings.max_clip_s if whole else None)
    facts |= {"format": fetched.format, "source_bytes": fetched.path.stat().st_size}
    if fetched.height is not None and fetched.height < settings.min_height:
        raise FetchError("too_small", f"{fetched.height} pixels high")
    kept = [each for each in job.segments if settings.short_side is None and each.start_s is None and each in whole]
    cut = [each for each in job.segments if each not in kept]
    clips = job.folder / "clips"
    clips.mkdir()
    made = cut_segments(fetched.path, cut, clips, settings.short_side, settings.min_share) if cut else {}
    for segment in kept:
        made[segment.video_id] = _keep(fetched.path, segment.video_id, clips)
    results = []
    for segment in job.segments:
        clip = made[segment.video_id]
        if not isinstance(clip, FetchError) and settings.short_side is None and clip.info.height < settings.min_height:
            clip = FetchError("too_small", f"{clip.info.height} pixels high")
        if isinstance(clip, FetchError):
            results.append(_failure(segment.video_id, clip, facts))
            continue
        about = {
            "got_s": round(clip.duration_s, 6),
            "fps": clip.info.fps,
            "frame_count": clip.info.frame_count,
            "width": clip.info.width,
            "height": clip.info.height,
            "bytes": clip.path.stat().st_size,
            "sha256": file_digest(clip.path),
            "file": clip.path.name,
        }
        results.append(ClipResult(segment.video_id, OK, "", facts | about, clip.path, times_s=clip.info.times_s))
    fetched.path.unlink(missing_ok=True)
    return results


def _keep(source: Path, video_id: str, folder: Path) -> Any:
    """A whole video as it came, decoded to its end first; its suffix is what its first bytes say."""
    from labels.videos.decoding.frames import DecodeError, probe_video
    from labels.videos.download.cutting import CutClip, cut_segments, undecodable

    with open(source, "rb") as opened:
        head = opened.read(64)
    suffix = next((suffix for at, magic, suffix in MAGIC if head[at : at + len(magic)] == magic), None)
    if suffix is None:  # a container that only its name tells: write it as mp4
        return cut_segments(source, [Segment(video_id, None, None)], folder)[video_id]
    try:
        info = probe_video(source, until_damage=False)
    except DecodeError as error:
        return undecodable(error)
    path = folder / f"{video_id}{suffix}"
    os.link(source, path)
    return CutClip(path, info, info.duration_s)


def failed(job: DownloadJob, error: FetchError, facts: dict[str, Any] | None = None) -> list[ClipResult]:
    """The same failure for every clip of a job."""
    return [_failure(each.video_id, error, facts or {}) for each in job.segments]


def _failure(video_id: str, error: FetchError, facts: dict[str, Any]) -> ClipResult:
    return ClipResult(video_id, error.outcome, error.message, dict(facts), is_transient=error.is_transient)
