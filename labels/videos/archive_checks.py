"""How the clips of an archive are looked at: as an earlier run found them, or afresh."""

from hashlib import sha256
from pathlib import Path

from labels.records.work_folder import WorkFolder
from labels.videos.archive_clips import ArchiveClip
from labels.videos.archives import ArchiveSettings
from labels.videos.clip_files import ClipCheck
from labels.videos.decoding import VideoInfo
from labels.videos.frame_folder import BadFrames, EncodeRequest, list_frames
from labels.videos.videos_table import Row

ENCODING = (
    ".encoding."  # with a process id, the folder in `videos/` where a run encodes before it knows the clip's name
)


def path_of(clip: ArchiveClip) -> Path:
    assert clip.path is not None, f"{clip.source} has neither a path nor a refusal"
    return clip.path


def known_check(clip: ArchiveClip, row: Row | None, work: WorkFolder, settings: ArchiveSettings) -> ClipCheck | None:
    """What an earlier run found in a clip whose files are still the same; None when it must be looked at."""
    if row is None or not row["sha256"] or row["frame_count"] < 1:
        return None
    path = path_of(clip)
    try:
        if clip.is_frames:
            frames = list_frames(path, clip.frame_count)
            size, mtime_ns = frames.bytes, frames.mtime_ns
            path = work.videos / row["file"]
            same = row["fps"] == (clip.fps or settings.image_fps) and row["file"] != "" and path.is_file()
        else:
            status = path.stat()
            size, mtime_ns, same = status.st_size, status.st_mtime_ns, True
    except (OSError, BadFrames):
        return None
    if not same or (size, mtime_ns) != (row["source_bytes"], row["source_mtime_ns"]):
        return None
    facts = {name: row[name] for name in ("width", "height", "fps", "frame_count")}
    info = VideoInfo(**facts, duration_s=row["frame_count"] / row["fps"], codec="")
    return ClipCheck(path, size, mtime_ns, row["sha256"], info)


def encode_request(clip: ArchiveClip, folder: Path, settings: ArchiveSettings) -> EncodeRequest:
    """How the images of a clip become a video in `folder`."""
    target = folder / f"{sha256(clip.source.encode()).hexdigest()[:32]}.mp4"
    return EncodeRequest(path_of(clip), target, clip.fps or settings.image_fps, settings.image_crf, clip.frame_count)
