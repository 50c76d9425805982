"""Clips on their way into `videos/`: probed, several at once, and put in place whole or not at all."""

import hashlib
import os
import shutil
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labels.engine.pools import cores, in_threads
from labels.records.frame_times import TIMES_FOLDER, keep_frame_times
from labels.records.safe_writing import file_digest, whole_file
from labels.videos.decoding.frames import DecodeError, VideoInfo, probe_video
from labels.videos.settings import DecodeLimits

CHUNK_BYTES = 2**22


class ClipChanged(Exception):
    """A source is not what it was when it was looked at."""


@dataclass(frozen=True)
class ClipCheck:
    """What a file is found to be: `info` when it is a sound video, otherwise `reason`."""

    path: Path
    bytes: int = -1
    mtime_ns: int = -1
    sha256: str = ""
    info: VideoInfo | None = None
    reason: str = ""


def check_clip(
    path: Path,
    limits: DecodeLimits | None = None,
    stop: threading.Event | None = None,
    until_damage: bool = True,
) -> ClipCheck:
    """Hash a file and decode all of it. Never raises for what is wrong with the file.

    A damaged clip counts until its damage, which its `info` names; not so where `until_damage` is False.
    """
    try:
        before = path.stat()
        sha256 = _digest(path, stop)
        info = probe_video(path, limits, stop, until_damage)
        after = path.stat()
    except OSError as error:
        return ClipCheck(path, reason=f"cannot be read: {error.strerror}")
    except DecodeError as error:
        return ClipCheck(path, before.st_size, before.st_mtime_ns, sha256, reason=str(error))
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return ClipCheck(path, reason="it changed while it was read")
    return ClipCheck(path, after.st_size, after.st_mtime_ns, sha256, info)


def facts_of(info: VideoInfo) -> dict[str, Any]:
    """What a row of the videos table says of the content of a clip."""
    facts: dict[str, Any] = {name: getattr(info, name) for name in ("fps", "frame_count", "width", "height")}
    facts["repeated_frames"] = len(info.repeated_frames)
    return facts | {"damage": info.damage, "notes": "; ".join(info.notes)}


def check_clips(paths: Iterable[Path], at_once: int = 0, until_damage: bool = True) -> Generator[ClipCheck, None, None]:
    """`check_clip` of each path, in order, several at once. Closing the generator ends what is running."""
    stop = threading.Event()
    limits = DecodeLimits(threads=2)  # many clips side by side use the cores better than many threads on one
    checks = in_threads(lambda path: check_clip(path, limits, stop, until_damage), paths, at_once or max(cores(), 2))
    try:
        yield from checks
    finally:
        stop.set()
        checks.close()


def _digest(path: Path, stop: threading.Event | None) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
            if stop is not None and stop.is_set():
                break
    return digest.hexdigest()


def place_clip(check: ClipCheck, target: Path, copy: bool = False) -> None:
    """Put a checked clip at `target`: a hard link where the file system can, otherwise a copy.

    A link costs no space and no time; `copy` is for sources that will be edited in place or taken away.

    Raises:
        ClipChanged: the source is not what was checked any more.
        OSError: the target cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if check.info is not None:
        keep_frame_times(target.parent / TIMES_FOLDER / f"{target.stem}.parquet", check.info.times_s)
    if not copy:
        aside = target.with_name(f".{target.stem}.{os.getpid()}.aside{target.suffix}")
        try:
            # The file that a symbolic link points to, not the link.
            os.link(check.path.resolve(), aside)
            os.replace(aside, target)
            return
        except OSError:
            pass  # another file system, or one without hard links, or a file of someone else: copy
        finally:
            aside.unlink(missing_ok=True)  # os.replace leaves it when both are already the same file
    with whole_file(target) as aside:
        shutil.copyfile(check.path, aside)
        if file_digest(aside) != check.sha256:
            raise ClipChanged("it changed while it was copied")
