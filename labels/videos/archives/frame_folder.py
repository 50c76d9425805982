"""Clips that come as a folder of images, `img_00001.jpg` and so on: checked, and encoded into one video.

Images come from outside as videos do, so they are read in processes of their own under limits: an image that crashes
its decoder, or unpacks to more than the machine holds, costs one clip.
"""

import os
import re
import stat
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import numpy as np

from labels.engine.pools import Died, cores, in_processes
from labels.videos.encoding import VideoWriter
from labels.videos.folder import ClipCheck, check_clip
from labels.videos.settings import DecodeLimits

IMAGE_NAME = re.compile(r"(?P<prefix>.*?)(?P<number>\d{1,9})\.(?P<suffix>jpe?g|png)", re.IGNORECASE)
MAX_IMAGE_BYTES = 64 * 2**20
END_OF_IMAGE = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}  # by the first two bytes: JPEG, PNG
TAIL_BYTES = 1024  # in which the end mark must stand; some cameras write a little after it
READ_LIMITS = DecodeLimits(memory_bytes=4 * 2**30)


class BadFrames(Exception):
    """Why a folder of images is no clip, in one line."""


@dataclass(frozen=True)
class FrameFolder:
    """The images of a folder in the order of their numbers, and what tells that none has changed."""

    path: Path
    images: tuple[Path, ...]
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class EncodeRequest:
    """Which folder is to become which video; `frame_count` is what a list says it holds."""

    folder: Path
    target: Path
    fps: float
    crf: int
    frame_count: int | None = None


def list_frames(folder: Path, frame_count: int | None = None) -> FrameFolder:
    """The images of a folder. Raises BadFrames when one of their numbers is missing, or twice there, or too many."""
    numbered: dict[int, Path] = {}
    prefixes, size, newest_ns = set(), 0, 0
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise BadFrames(f"cannot be looked into: {error.strerror}") from None
    for entry in entries:
        match = IMAGE_NAME.fullmatch(entry.name)
        if match is None:
            continue
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise BadFrames(f"{entry.name} is not a regular file")
        number = int(match["number"])
        if number in numbered:
            raise BadFrames(f"{entry.name} and {numbered[number].name} have one number")
        numbered[number] = Path(entry.path)
        prefixes.add(match["prefix"])
        size, newest_ns = size + status.st_size, max(newest_ns, status.st_mtime_ns)
    if not numbered:
        raise BadFrames("no image in it")
    if len(prefixes) > 1:
        raise BadFrames(f"its images have different names: {', '.join(sorted(prefixes)[:3])}")
    first, last = min(numbered), max(numbered)
    missing = sorted(set(range(min(first, 1), last + 1)) - set(numbered))
    if missing:
        raise BadFrames(
            f"image {missing[0]} of {last} is missing" + (f", and {len(missing) - 1} more" if missing[1:] else "")
        )
    if frame_count is not None and frame_count != len(numbered):
        raise BadFrames(f"it holds {len(numbered)} images, the list says {frame_count}")
    return FrameFolder(folder, tuple(numbered[number] for number in sorted(numbered)), size, newest_ns)


def read_image(path: Path) -> np.ndarray:
    """An image file as RGB, (H, W, 3) uint8. Raises BadFrames when it is not whole; nothing is made up for it."""
    import cv2

    if path.stat().st_size > MAX_IMAGE_BYTES:
        raise BadFrames(f"{path.name} is larger than {MAX_IMAGE_BYTES >> 20} MiB")
    data = path.read_bytes()
    end = END_OF_IMAGE.get(data[:2])
    if end is None:
        raise BadFrames(f"{path.name} is {'neither JPEG nor PNG' if data else 'an empty file'}")
    if end not in data[-TAIL_BYTES:]:  # OpenCV fills what is missing with grey and says nothing
        raise BadFrames(f"{path.name} breaks off")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than the limit
        bgr = None
    if bgr is None:
        raise BadFrames(f"{path.name} cannot be decoded")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def encode_folder(request: EncodeRequest) -> ClipCheck:
    """Write the video of one folder and look at it. Never raises for what is wrong with the images.

    The check is the video's, with the size and time of the images, by which a change of them is known.
    """
    try:
        frames = list_frames(request.folder, request.frame_count)
        shape = None
        with VideoWriter(request.target, request.fps, request.crf) as writer:
            for path in frames.images:
                rgb = read_image(path)
                if shape is not None and rgb.shape != shape:
                    found, first = (f"{size[1]} x {size[0]}" for size in (rgb.shape, shape))
                    raise BadFrames(f"{path.name} is {found}, the images before it are {first}")
                shape = rgb.shape
                writer.write(rgb)
    except BadFrames as error:
        return ClipCheck(request.folder, reason=str(error))
    except OSError as error:
        return ClipCheck(request.folder, reason=f"cannot be read or written: {error.strerror}")
    except MemoryError:
        return ClipCheck(request.folder, reason="reading it needs too much memory")
    check = check_clip(request.target, DecodeLimits(threads=1), until_damage=False)
    reason = check.reason
    if check.info is not None and check.info.frame_count != len(frames.images):
        reason = f"{len(frames.images)} images gave a video of {check.info.frame_count} frames"
    info = None if reason else check.info
    return ClipCheck(request.target, frames.bytes, frames.mtime_ns, check.sha256, info, reason)


def encode_folders(requests: Iterable[EncodeRequest], at_once: int = 0) -> Generator[ClipCheck, None, None]:
    """`encode_folder` of each request, in order, in several processes. One that crashes costs its own clip."""
    requests, kept = tee(requests)
    with closing(in_processes(encode_folder, requests, at_once or cores(), _limit_process)) as checks:
        for request, check in zip(kept, checks, strict=True):
            crashed = ClipCheck(request.folder, reason="the image decoder crashed, or ran out of memory")
            yield crashed if isinstance(check, Died) else check


def _limit_process() -> None:
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(READ_LIMITS.max_pixels)  # read when cv2 is imported
    if os.name == "nt":
        return  # Windows has no such limits
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or hard > READ_LIMITS.memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (READ_LIMITS.memory_bytes, hard))
    except (ValueError, OSError):
        pass  # macOS knows no limit of the address space
