"""A process that gets one video after another: fetched aside, cut, checked. What is in place is the parent's business.

It may hang, crash or be killed at any time without costing more than the video it is at.
"""

import os
import shutil
import signal
import tempfile
import threading
from contextlib import suppress
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from labels.videos.download_outcomes import OK, FetchError, one_line
from labels.videos.download_settings import DownloadSettings
from labels.videos.segment_cutting import Segment

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


def serve(pipe: Connection, settings: DownloadSettings) -> None:
    """Take jobs from the pipe and answer each with its list of ClipResult, until the pipe closes."""
    os.setsid()  # a group of its own, to be killed with everything it started; and Ctrl-C is the parent's
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from labels.videos.network_guard import NetworkGuard

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
    from labels.videos.segment_cutting import cut_segments
    from labels.videos.video_fetching import YT_DLP_VERSION, fetch_video

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
        results.append(ClipResult(segment.video_id, OK, "", facts | about, clip.path))
    fetched.path.unlink(missing_ok=True)
    return results


def _keep(source: Path, video_id: str, folder: Path) -> Any:
    """A whole video as it came, decoded to its end first; its suffix is what its first bytes say."""
    from labels.videos.decoding import DecodeError, probe_video
    from labels.videos.segment_cutting import CutClip, cut_segments, undecodable

    with open(source, "rb") as opened:
        head = opened.read(64)
    suffix = next((suffix for at, magic, suffix in MAGIC if head[at : at + len(magic)] == magic), None)
    if suffix is None:  # a container that only its name tells: write it as mp4
        return cut_segments(source, [Segment(video_id, None, None)], folder)[video_id]
    try:
        info = probe_video(source)
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
