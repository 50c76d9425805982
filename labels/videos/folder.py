"""Stage 1 from a folder of clips: every file of the tree ends as a row, sound clips go into the work folder.

What is left out (no video, no truth, a broken link) is listed with its reason. Clips are probed several at once,
and put in place whole or not at all.
"""

import hashlib
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from labels.engine.pools import cores, in_threads
from labels.records.errors import InputError
from labels.records.frame_times import TIMES_FOLDER, keep_frame_times
from labels.records.safe_writing import file_digest, whole_file
from labels.records.work_folder import WorkFolder
from labels.videos.decoding.frames import DecodeError, VideoInfo, probe_video
from labels.videos.settings import VIDEO_SUFFIXES, DecodeLimits
from labels.videos.truth_files import BALL_SUFFIX, TruthError, keep_truth
from labels.videos.videos_table import Row, VideosTable, video_row

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


HIDDEN, LINKED_FOLDER, NO_FILE, NO_VIDEO = "hidden", "a link to a folder", "not a regular file", "not a video"


@dataclass(frozen=True)
class FolderContent:
    """Paths in the order of their names."""

    root: Path
    videos: list[Path] = field(default_factory=list)
    truth: dict[Path, Path] = field(default_factory=dict)  # video -> the CSV of the same stem beside it
    left_out: list[tuple[Path, str]] = field(default_factory=list)  # path, reason


def walk_folder(root: Path, leave_alone: Path) -> FolderContent:
    """Everything under `root` but `leave_alone`, the work folder itself. InputError when there is no video."""
    if not root.exists():
        raise InputError(f"{shown(root)}: no such folder")
    if not root.is_dir():
        raise InputError(f"{shown(root)}: not a folder")
    if root.resolve().is_relative_to(leave_alone.resolve()):
        raise InputError(f"{shown(root)}: lies in the work folder; give the folder that your own clips lie in")
    content = FolderContent(root)
    tables: list[Path] = []
    for path, reason in sorted(_entries(root, leave_alone.resolve())):
        if reason:
            content.left_out.append((path, reason))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            content.videos.append(path)
        else:
            tables.append(path)
    truth_of = {path.with_suffix(""): path for path in tables if path.suffix.lower() == ".csv"}
    for video in content.videos:
        beside = (video.with_suffix(""), video.with_name(video.stem + BALL_SUFFIX))
        if found := next((truth_of[path] for path in beside if path in truth_of), None):
            content.truth[video] = found
    used = set(content.truth.values())
    content.left_out.extend((path, NO_VIDEO) for path in tables if path not in used)
    if not content.videos:
        raise InputError(
            f"{shown(root)}: no video in it ({len(content.left_out)} other files); "
            f"a video is known by its suffix: {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return content


def _entries(folder: Path, leave_alone: Path) -> Iterator[tuple[Path, str]]:
    """Each file under a folder, with the reason why it cannot be a clip, or none."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        yield folder, f"cannot be looked into: {error.strerror}"
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):  # ._ files of macOS among them
            yield path, HIDDEN
        elif entry.is_dir():
            if entry.is_symlink():
                yield path, LINKED_FOLDER
            elif path.resolve() != leave_alone:
                yield from _entries(path, leave_alone)
        else:
            yield path, "" if path.is_file() else NO_FILE


def shown(path: Path) -> str:
    """A path as text that can be printed and stored, also when its name is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


YOUTUBE_SEGMENT = re.compile(r"([A-Za-z0-9_-]{11})_(\d{6})_(\d{6})")  # a clip of Kinetics: id, start, end in s
UCF_CLIP = re.compile(r"(v_[A-Za-z0-9]+_g\d+)_c\d+")  # clips of one UCF101 group are cut from one video
REPEATS_TOLD = 0.02  # the share of frames from which their number is worth a line
SAME_CONTENT, FAILED = "same content as another clip", "failed"


@dataclass
class SourceReport:
    """What one run of a source found. `skipped` counts by reason; `lines` name what a user should know of."""

    found: int
    used: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)


def add_folder_clips(
    work: WorkFolder, folder: Path, table: VideosTable, copy: bool = False, until_damage: bool = True
) -> SourceReport:
    """Take the clips of a folder tree into the work folder; those that are there and unchanged are left alone.

    A damaged clip is taken until its damage; with `until_damage=False` it is a row that failed.

    Rows go into `table` as they are finished. Raises InputError when there is no such folder or no video in it.
    """
    content = walk_folder(Path(os.path.abspath(folder)), leave_alone=work.root)
    return _FolderRun(work, content, table, copy, until_damage).run()


class _FolderRun:
    """One run over one folder."""

    def __init__(self, work: WorkFolder, content: FolderContent, table: VideosTable, copy: bool, until_damage: bool):
        self.work, self.content, self.table, self.copy = work, content, table, copy
        self.until_damage = until_damage
        self.report = SourceReport(found=len(content.videos) + len(content.left_out))
        self.truth_count = 0

    def run(self) -> SourceReport:
        for csv_path in self.content.truth.values():
            self._forget(csv_path)  # in an earlier run it lay beside no clip
        for path, reason in self.content.left_out:
            self.table.put(self._new_row(path, path, status="skipped", reason=reason))
            self.report.skipped[reason] += 1
        finished = {path: row for path in self.content.videos if (row := self._finished_row(path)) is not None}
        fresh = (path for path in self.content.videos if path not in finished)
        checks = check_clips(fresh, until_damage=self.until_damage)
        try:
            for path in tqdm(self.content.videos, desc="clips", unit="clip"):
                row = finished.get(path)
                if row is None:
                    row = self._take(next(checks))
                elif row["status"] == "skipped" and self.table.usable_with(row["sha256"]) is None:
                    row = self._take(check_clip(path, None, None, self.until_damage))  # the clip it repeats is gone
                self._count(path, row)
        finally:
            checks.close()
        if self.content.truth:
            self.report.lines.append(f"truth: {self.truth_count} of {len(self.content.truth)} CSV files used")
        return self.report

    def _finished_row(self, path: Path) -> Row | None:
        """What an earlier run made of a clip whose file is still the same; None when it must be looked at (again)."""
        row = self.table.row_from(shown(path))
        if row is None or row["status"] == "failed" or not row["sha256"]:
            return None
        if row["damage"] and not self.until_damage:
            return None
        try:
            status = path.stat()
            same = (status.st_size, status.st_mtime_ns) == (row["source_bytes"], row["source_mtime_ns"])
            there = row["status"] == "skipped" or (self.work.videos / row["file"]).stat().st_size == status.st_size
        except OSError:
            return None
        return row if same and there else None

    def _take(self, check: ClipCheck) -> Row:
        """The row of a clip just looked at; a sound one is put in place first."""
        row = self._new_row(check.path, check.path.with_suffix(""), sha256=check.sha256)
        row |= {"source_bytes": check.bytes, "source_mtime_ns": check.mtime_ns}
        owner = self.table.usable_with(check.sha256)
        if check.info is None:
            row |= {"status": "failed", "reason": check.reason}
        elif owner is not None and owner["source"] != row["source"]:
            row |= {"status": "skipped", "reason": f"same content as {owner['video_id']}"}
        else:
            row |= {"file": row["video_id"] + check.path.suffix.lower(), "group": row["video_id"]} | _facts(check)
        self._clear_outdated(row)
        if row["status"] == "ok":
            try:
                place_clip(check, self.work.videos / row["file"], self.copy)
            except ClipChanged as error:
                row |= {"status": "failed", "reason": str(error), "file": ""}
        self.table.put(row)
        return row

    def _clear_outdated(self, row: Row) -> None:
        """Take away what was made from other content of the same clip, before the new content takes its place."""
        earlier = self.table.row_from(row["source"])
        if earlier is None or (row["status"] == "ok" and earlier["sha256"] == row["sha256"]):
            return
        shutil.rmtree(self.work.frames / row["video_id"], ignore_errors=True)
        self.work.truth_boxes(row["video_id"]).unlink(missing_ok=True)
        if earlier["file"]:
            (self.work.videos / earlier["file"]).unlink(missing_ok=True)

    def _count(self, path: Path, row: Row) -> None:
        csv_path = self.content.truth.get(path)
        if row["status"] == "ok":
            self.report.used += 1
            self.report.lines.extend(lines_of(row))
            self._take_truth(csv_path, row)
            return
        if row["status"] == "failed":
            self.report.skipped[FAILED] += 1
            self.report.lines.append(f"failed: {row['source']}: {row['reason']}")
        else:
            self.report.skipped[SAME_CONTENT] += 1
        if csv_path is not None:
            self.report.lines.append(f"truth not used: {shown(csv_path)}: its clip is not used ({row['reason']})")

    def _take_truth(self, csv_path: Path | None, row: Row) -> None:
        """Write the truth of a clip; a CSV that is not sound leaves the clip without truth, and says so."""
        target = self.work.truth_boxes(row["video_id"])
        reason = ""
        try:
            if csv_path is None:
                target.unlink(missing_ok=True)
            else:
                keep_truth(csv_path, target, row["frame_count"], row["width"], row["height"], bool(row["damage"]))
                self.truth_count += 1
        except TruthError as error:
            target.unlink(missing_ok=True)
            reason = f"truth refused: {error}"
            self.report.lines.append(f"truth refused: {shown(csv_path or target)}: {error}")
        if row["reason"] != reason:
            self.table.put(row | {"reason": reason})

    def _new_row(self, path: Path, named: Path, **known: object) -> Row:
        """A row for a path, called by its place below the folder."""
        source = shown(path)
        name = shown(named.relative_to(self.content.root)) if named != self.content.root else "folder"
        return video_row(video_id=self.table.free_id(name, source), source=source, **known)

    def _forget(self, path: Path) -> None:
        row = self.table.row_from(shown(path))
        if row is not None:
            self.table.remove(row["video_id"])


def lines_of(row: Row) -> list[str]:
    """What a user should know of how a clip is used."""
    damaged = f"used until its damage, {row['frame_count']} frames: {row['damage']}" if row["damage"] else ""
    repeats = f"{row['repeated_frames']} of {row['frame_count']} frames repeat the one before"
    repeated = repeats if row["repeated_frames"] > REPEATS_TOLD * row["frame_count"] else ""
    return [f"{row['video_id']}: {note}" for note in (damaged, row["notes"], repeated) if note]


def _facts(check: ClipCheck) -> Row:
    """What a sound clip's row says of its content; also the group, where the file's name tells it."""
    assert check.info is not None
    stem = check.path.stem
    facts: Row = facts_of(check.info) | {"status": "ok", "start_s": 0.0, "end_s": check.info.duration_s}
    if segment := YOUTUBE_SEGMENT.fullmatch(stem):
        facts |= {"group": segment[1], "start_s": float(segment[2]), "end_s": float(segment[3])}
    elif clip := UCF_CLIP.fullmatch(stem):
        facts |= {"group": clip[1]}
    return facts
