"""Replaced clips: every stage checks that each video is still the file that was labelled.

Size and modification time are compared first; the digest is computed only where they differ or are unknown, and cached
in `videos/.clips.json`.
"""

from contextlib import suppress
from typing import Any

from labels.records.errors import InputError
from labels.records.safe_writing import file_digest, read_object, read_parquet_metadata, write_json
from labels.records.work_folder import WorkFolder

KNOWN_CLIPS = ".clips.json"  # in videos/: video_id -> size, time and digest of its file
MOST_NAMED = 3


def refuse_replaced_clips(
    work: WorkFolder, force: bool, number: int | None = None, stage: str = "", command: str = ""
) -> list[str]:
    """InputError where clips were replaced since stage 1 took them, or since a stage of a round labelled them.

    Args:
        force: no error but the lines to tell.
        number, stage: the round and the stage of it whose shards are to be used; none: no shard is.
        command: what makes that stage anew.
    """
    rows = work.usable_videos().to_dict("records")
    replaced = _replaced_files(work, rows)
    faults = []
    if replaced:
        table = f"{work.videos_table}: not the clips that it speaks of: {_named(replaced)}"
        faults.append(f"{table}; bring them in again with dataset_downloader.py")
    if number is not None:
        outdated = []
        for row in rows:
            metadata = read_parquet_metadata(work.round(number).boxes(stage, row["video_id"])) or {}
            if metadata.get("sha256", row["sha256"]) != row["sha256"]:
                outdated.append(row["video_id"])
        if outdated:
            shards = f"{work.round(number).stage(stage)}: made from other clips than are here now: {_named(outdated)}"
            faults.append(f"{shards}; run first: {command}")
    if faults and not force:
        raise InputError(f"{faults[0]}, or go on with --force")
    return [f"--force: {fault}" for fault in faults]


def _replaced_files(work: WorkFolder, rows: list[dict[str, Any]]) -> list[str]:
    kept = read_object(work.videos / KNOWN_CLIPS)
    known, replaced = {}, []
    for row in rows:
        path, video_id = work.videos / row["file"], row["video_id"]
        try:
            status = path.stat()
            stamp = [status.st_size, status.st_mtime_ns]
            if not row["sha256"] or stamp == [row.get("source_bytes"), row.get("source_mtime_ns")]:
                continue  # a link to a file that stage 1 looked at
            entry = kept.get(video_id)
            digest = _digest_in(entry, stamp) or file_digest(path)
        except OSError:
            continue  # it is gone, or cannot be read: whoever decodes it says so
        known[video_id] = [*stamp, digest]
        if digest != row["sha256"]:
            replaced.append(video_id)
    if known != kept and (known or kept):
        with suppress(OSError):  # a folder that is read alone
            write_json(work.videos / KNOWN_CLIPS, known)
    return replaced


def _digest_in(entry: object, stamp: list[int]) -> str:
    """The digest in an entry of KNOWN_CLIPS of a file with this size and time; empty where it is of another."""
    is_same = isinstance(entry, list) and len(entry) == 3 and entry[:2] == stamp and isinstance(entry[2], str)
    return entry[2] if is_same else ""  # type: ignore[index]


def _named(video_ids: list[str]) -> str:
    more = f" and {len(video_ids) - MOST_NAMED} more" if len(video_ids) > MOST_NAMED else ""
    return f"{len(video_ids)} ({', '.join(video_ids[:MOST_NAMED])}{more})"
