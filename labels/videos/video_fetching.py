"""One video through yt-dlp, under our own options: no configuration file, no other program, nothing the list chose.

Imports yt-dlp, which takes a second: only the worker processes import this module.
"""

import os
import time
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

os.environ["YTDLP_NO_PLUGINS"] = "1"  # before yt-dlp is imported: code that lies around is not ours

import yt_dlp
from yt_dlp.networking._urllib import UrllibRH

from labels.videos.address_checks import fault_of_url
from labels.videos.download_outcomes import FetchError, classify, one_line
from labels.videos.download_settings import DownloadSettings
from labels.videos.network_guard import NetworkGuard

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
