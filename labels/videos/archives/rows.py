"""From the clips an archive names to rows of videos.parquet, clips in `videos/`, and human labels beside them.

A clip that an earlier run found sound is not opened again. The archive's class of a clip becomes a human label of the
whole clip.
"""

import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from labels.records import tables
from labels.records.safe_writing import digest_of, read_parquet_metadata, write_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.archives.clips import (
    FAILED,
    SKIPPED,
    ArchiveClip,
    ArchiveFolder,
    Refusal,
    choose_clips,
    groups_in_two_splits,
    with_own_sources,
)
from labels.videos.archives.frame_folder import BadFrames, EncodeRequest, encode_folders, list_frames
from labels.videos.archives.known import ArchiveSettings
from labels.videos.decoding.frames import VideoInfo
from labels.videos.folder import ClipChanged, ClipCheck, check_clips, facts_of, lines_of, place_clip, shown
from labels.videos.videos_table import KINDS, Row, VideosTable, video_row

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
    if row["damage"] and not settings.until_damage:
        return None
    if not same or (size, mtime_ns) != (row["source_bytes"], row["source_mtime_ns"]):
        return None
    facts = {name: row[name] for name in ("width", "height", "fps", "frame_count")}
    notes = tuple(filter(None, row["notes"].split("; ")))
    repeated = range(max(0, row["repeated_frames"]))  # only how many is known here
    known = {"damage": row["damage"], "repeated_frames": repeated, "notes": notes}
    info = VideoInfo(**facts, **known, duration_s=row["frame_count"] / row["fps"], codec="")
    return ClipCheck(path, size, mtime_ns, row["sha256"], info)


def encode_request(clip: ArchiveClip, folder: Path, settings: ArchiveSettings) -> EncodeRequest:
    """How the images of a clip become a video in `folder`."""
    target = folder / f"{sha256(clip.source.encode()).hexdigest()[:32]}.mp4"
    return EncodeRequest(path_of(clip), target, clip.fps or settings.image_fps, settings.image_crf, clip.frame_count)


TWO_LABELS = "same content under two labels"
EXAMPLES = 3  # of each kind of failure that the closing lines name


@dataclass
class ArchiveResult:
    """What became of an archive's clips: found = used + refused."""

    videos: pd.DataFrame  # of the table videos, for the clips of this run
    actions: pd.DataFrame  # their human labels
    refused: Counter[str] = field(default_factory=Counter)  # reason -> clips
    lines: list[str] = field(default_factory=list)

    @property
    def found(self) -> int:
        return len(self.videos)

    @property
    def used(self) -> int:
        return self.found - sum(self.refused.values())


def refusal_lines(rows: list[Row], kinds: dict[str, str]) -> Iterator[str]:
    """The first few of each kind of failure; `kinds` names the kind by video_id."""
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        kind = kinds.get(row["video_id"], "")
        if row["status"] == FAILED or kind == TWO_LABELS:
            examples[kind].append(f"{row['source']}: {row['reason']}")
    for kind, named in sorted(examples.items()):
        yield from named[:EXAMPLES]
        if len(named) > EXAMPLES:
            yield f"… and {len(named) - EXAMPLES} more: {kind}"


def split_lines(rows: list[Row]) -> Iterator[str]:
    """How many clips of each split are used, and groups that an official split tears apart."""
    used = [row for row in rows if row["status"] == "ok"]
    if mixed := groups_in_two_splits(used):
        count = sum(row["group"] in mixed for row in used)
        yield (
            f"{len(mixed)} groups ({count} clips) have clips in two official splits, such as {min(mixed)}; the splits "
            "are kept as published, so results on them are too good by what these clips share"
        )
    by_split = Counter(row["split"] or "no split" for row in used)
    text = ", ".join(f"{count} {split}" for split, count in sorted(by_split.items()))
    groups, classes = ({row[name] for row in used} for name in ("group", "class_name"))
    if used:
        yield f"{len(used)} labelled clips of {len(classes)} classes in {len(groups)} groups ({text})"


WRITERS = 8

POSE = {"frame_index": "int64", "joint": "str", "x": "float32", "y": "float32"}  # pixels of the clip's frames


def whole_clip_actions(rows: list[Row]) -> pd.DataFrame:
    """An actions table with one human label for each row of videos.parquet that is ok."""
    used = [row for row in rows if row["status"] == "ok"]
    if not used:
        return tables.empty_table(tables.ACTIONS)
    class_name = [row["class_name"] for row in used]
    frame_count = np.array([row["frame_count"] for row in used], dtype=np.int64)
    fps = np.array([row["fps"] for row in used])
    return tables.make_table(
        tables.ACTIONS,
        {
            "label_uid": [_uid(row) for row in used],
            "video_id": [row["video_id"] for row in used],
            "track_id": tables.NO_TRACK,
            "start_frame": 0,
            "end_frame": frame_count,
            "start_s": 0.0,
            "end_s": frame_count / fps,
            "class_name": class_name,
            "score": 1.0,
            "probabilities": [json.dumps({name: 1.0}, ensure_ascii=False) for name in class_name],
            "origin": "human",
            "round_born": 0,
        },
    )


def _uid(row: Row) -> str:
    text = f"{row['video_id']}|0|{tables.NO_TRACK}|0|{row['frame_count']}|{row['class_name']}|human"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def keep_actions(rows: list[Row], path_of: Callable[[str], Path]) -> None:
    """Write the human label of each clip, unless it is there already; `path_of` gives the file of a video_id."""
    made_from = {row["video_id"]: _made_from(row) for row in rows}
    wanted = [row for row in rows if read_parquet_metadata(path_of(row["video_id"])) != made_from[row["video_id"]]]
    actions = whole_clip_actions(wanted)

    def write(index: int) -> None:
        video_id = wanted[index]["video_id"]
        write_parquet(path_of(video_id), actions.iloc[[index]].reset_index(drop=True), made_from[video_id])

    with ThreadPoolExecutor(WRITERS) as pool:  # each waits for the disk most of the time
        for _ in pool.map(write, range(len(wanted))):
            pass


def _made_from(row: Row) -> Row:
    return {"video_id": row["video_id"], "digest": digest_of([row["class_name"], row["frame_count"], row["fps"]])}


SAME_CONTENT = "same content as another clip"
BAD_VIDEO, BAD_FRAMES = "cannot be decoded", "frames are not whole"
LABELS_AT_ONCE = 200
MOST_SAID = 20  # lines on how single clips are used; videos.parquet says all
Beside = Callable[[ArchiveClip, Row], None]  # writes what else the archive knows of a clip that is used


def take_clips(
    work: WorkFolder,
    settings: ArchiveSettings,
    folder: ArchiveFolder,
    clips: list[ArchiveClip],
    lines: list[str],
    table: VideosTable | None = None,
    beside: Beside | None = None,
) -> ArchiveResult:
    """Bring the clips asked for into the work folder; what is there and unchanged is not looked at again.

    Without `table` the work folder's own is opened and saved. `beside` writes further truth of each used clip.
    Raises InputError when the archive holds no clip, or none of the classes asked for.
    """
    chosen, more_lines = choose_clips(with_own_sources(clips), settings, shown(folder.root))
    if table is not None:
        return _ArchiveRun(work, settings, chosen, table, beside).run([*lines, *more_lines])
    with VideosTable(work) as own_table:
        return _ArchiveRun(work, settings, chosen, own_table, beside).run([*lines, *more_lines])


class _ArchiveRun:
    """One run over the clips of one archive."""

    def __init__(
        self,
        work: WorkFolder,
        settings: ArchiveSettings,
        clips: list[ArchiveClip],
        table: VideosTable,
        beside: Beside | None,
    ):
        self.work, self.settings, self.clips, self.table, self.beside = work, settings, clips, table, beside
        self.rows: dict[str, Row] = {}
        self.kinds: dict[str, str] = {}  # video_id -> the kind of its refusal
        self.rivals: dict[str, Row] = {}  # video_id -> the clip of the same content and another label
        self.without_labels: list[Row] = []  # used clips whose human labels are still to be written
        self.writer = ThreadPoolExecutor(1)
        self.writing: Future[None] | None = None
        self.encoding = work.videos / f"{ENCODING}{os.getpid()}"

    def run(self, lines: list[str]) -> ArchiveResult:
        for leftover in self.work.videos.glob(f"{ENCODING}*"):  # of a run that was killed; this one holds the lock
            shutil.rmtree(leftover, ignore_errors=True)
        earlier = ((clip, self.table.row_from(clip.source)) for clip in self.clips if clip.refusal is None)
        checks = ((clip, known_check(clip, row, self.work, self.settings)) for clip, row in earlier)
        known = {clip.source: check for clip, check in checks if check is not None}
        fresh = [clip for clip in self.clips if clip.refusal is None and clip.source not in known]
        files = check_clips(
            (path_of(clip) for clip in fresh if not clip.is_frames), self.settings.at_once, self.settings.until_damage
        )
        folders = encode_folders(
            (encode_request(clip, self.encoding, self.settings) for clip in fresh if clip.is_frames),
            self.settings.at_once,
        )
        try:
            for clip in tqdm(self.clips, desc="clips", unit="clip"):
                if clip.refusal is not None:
                    self._put(clip, self._new_row(clip), clip.refusal)
                else:
                    check = known.get(clip.source) or next(folders if clip.is_frames else files)
                    self._take(clip, check)
        finally:
            files.close()
            folders.close()
            shutil.rmtree(self.encoding, ignore_errors=True)
            self._write_labels()
            self.writer.shutdown()
        self._wait_for_labels()
        self._settle_rivals()
        return self._result(lines)

    def _new_row(self, clip: ArchiveClip) -> Row:
        return video_row(
            video_id=self.table.free_id(clip.name, clip.source),
            source=clip.source,
            url=clip.url,
            group=clip.group,
            class_name=clip.class_name,
            split=clip.split,
            start_s=0.0 if clip.start_s is None else clip.start_s,
        )

    def _take(self, clip: ArchiveClip, check: ClipCheck) -> None:
        row = self._new_row(clip)
        row |= {"sha256": check.sha256, "source_bytes": check.bytes, "source_mtime_ns": check.mtime_ns}
        if check.info is None:
            self._put(clip, row, Refusal(BAD_FRAMES if clip.is_frames else BAD_VIDEO, check.reason))
            return
        row |= facts_of(check.info)
        row["end_s"] = row["frame_count"] / row["fps"] if clip.end_s is None else clip.end_s
        refusal = None
        if clip.frame_count not in (None, row["frame_count"]):
            refusal = Refusal("wrong number of frames", f"{row['frame_count']} instead of {clip.frame_count}")
        owner = self.table.usable_with(check.sha256)
        if refusal is None and owner is not None and owner["video_id"] != row["video_id"]:
            refusal = self._same_content(row, owner)
        self._put(clip, row, refusal, check)

    def _same_content(self, row: Row, owner: Row) -> Refusal:
        """Two clips of the same bytes: the second is left out; under two labels, nobody knows which one is right."""
        if row["class_name"] and owner["class_name"] and row["class_name"] != owner["class_name"]:
            self.rivals.setdefault(owner["video_id"], row)
            return _two_labels(owner)
        elsewhere = f", which is in {owner['split']}" if owner["split"] != row["split"] and owner["split"] else ""
        return Refusal(SAME_CONTENT, f"{owner['video_id']}{elsewhere}", SKIPPED)

    def _put(self, clip: ArchiveClip, row: Row, refusal: Refusal | None, check: ClipCheck | None = None) -> None:
        """Enter a row; a clip that is used is put in place first, with its labels."""
        if refusal is None and check is not None:
            suffix = ".mp4" if clip.is_frames else path_of(clip).suffix.lower()
            row |= {"status": "ok", "file": row["video_id"] + suffix}
        self._clear_outdated(row)
        if refusal is None and check is not None:
            target = self.work.videos / row["file"]
            try:
                self._place(clip, check, target)
            except ClipChanged as error:
                refusal = Refusal(BAD_VIDEO, str(error))
        if refusal is not None:
            row |= {"status": refusal.status, "reason": str(refusal), "file": ""}
            self.kinds[row["video_id"]] = refusal.kind
        else:
            if row["class_name"]:
                self.without_labels.append(row)
            if len(self.without_labels) >= LABELS_AT_ONCE:
                self._write_labels()
            if self.beside is not None:
                self.beside(clip, row)
        self.table.put(row)
        self.rows[row["video_id"]] = row

    def _write_labels(self) -> None:
        """Beside what is going on, as it waits for the disk most of the time."""
        self._wait_for_labels()
        self.writing = self.writer.submit(keep_actions, self.without_labels, self.work.truth_actions)
        self.without_labels = []

    def _wait_for_labels(self) -> None:
        if self.writing is not None:
            self.writing.result()

    def _place(self, clip: ArchiveClip, check: ClipCheck, target: Path) -> None:
        earlier = self.table.row_from(clip.source)
        if earlier is not None and earlier["sha256"] == check.sha256 and target.is_file():
            return
        if clip.is_frames:
            os.replace(check.path, target)
        else:
            place_clip(check, target, self.settings.copy)

    def _clear_outdated(self, row: Row) -> None:
        """Take away what was made from other content of the same clip, or of a clip that is not used any more."""
        earlier = self.table.row_from(row["source"])
        if earlier is None or (row["status"] == "ok" and earlier["sha256"] == row["sha256"]):
            return
        self._remove_files(earlier)

    def _remove_files(self, row: Row) -> None:
        video_id = row["video_id"]
        shutil.rmtree(self.work.frames / video_id, ignore_errors=True)
        truth = (self.work.truth_boxes(video_id), self.work.truth_actions(video_id))
        for path in (*truth, self.work.truth_joints(video_id)):
            path.unlink(missing_ok=True)
        if row["file"]:
            (self.work.videos / row["file"]).unlink(missing_ok=True)

    def _settle_rivals(self) -> None:
        """The first of two clips of one content and two labels is left out too, where it is of this archive."""
        for video_id, rival in self.rivals.items():
            row = self.rows.get(video_id)
            if row is not None and row["status"] == "ok":
                self._remove_files(row)
                refusal = _two_labels(rival)
                row |= {"status": refusal.status, "reason": str(refusal), "file": ""}
                self.kinds[video_id] = refusal.kind
                self.table.put(row)

    def _result(self, lines: list[str]) -> ArchiveResult:
        rows = sorted(self.rows.values(), key=lambda row: row["video_id"])
        videos = tables.make_table(KINDS, {name: [row[name] for row in rows] for name in KINDS})
        refused = Counter(self.kinds[row["video_id"]] for row in rows if row["status"] != "ok")
        used = [line for row in rows if row["status"] == "ok" for line in lines_of(row)]
        all_lines = [*lines, *used[:MOST_SAID], *refusal_lines(rows, self.kinds), *split_lines(rows)]
        return ArchiveResult(videos, whole_clip_actions(rows), refused, all_lines)


def _two_labels(other: Row) -> Refusal:
    return Refusal(TWO_LABELS, f"{other['video_id']} is labelled {other['class_name']}", SKIPPED)
