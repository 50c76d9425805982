"""From the clips an archive names to rows of videos.parquet, clips in `videos/`, and human labels beside them."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from labels.records import tables
from labels.records.work_folder import WorkFolder
from labels.videos.archive_checks import ENCODING, encode_request, known_check, path_of
from labels.videos.archive_choice import choose_clips, with_own_sources
from labels.videos.archive_clips import SKIPPED, ArchiveClip, ArchiveFolder, Refusal
from labels.videos.archive_labels import keep_actions, whole_clip_actions
from labels.videos.archive_result import TWO_LABELS, ArchiveResult, refusal_lines, split_lines
from labels.videos.archives import ArchiveSettings
from labels.videos.clip_files import ClipChanged, ClipCheck, check_clips, place_clip
from labels.videos.folder_walk import shown
from labels.videos.frame_folder import encode_folders
from labels.videos.videos_table import KINDS, Row, VideosTable, video_row

SAME_CONTENT = "same content as another clip"
BAD_VIDEO, BAD_FRAMES = "cannot be decoded", "frames are not whole"
LABELS_AT_ONCE = 200
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
        files = check_clips((path_of(clip) for clip in fresh if not clip.is_frames), self.settings.at_once)
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
        row |= {name: getattr(check.info, name) for name in ("fps", "frame_count", "width", "height")}
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
        told = [*lines, *refusal_lines(rows, self.kinds), *split_lines(rows)]
        return ArchiveResult(videos, whole_clip_actions(rows), refused, told)


def _two_labels(other: Row) -> Refusal:
    return Refusal(TWO_LABELS, f"{other['video_id']} is labelled {other['class_name']}", SKIPPED)
