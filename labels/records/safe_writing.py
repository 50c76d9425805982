"""Files that are whole or absent: written aside, flushed to disk, renamed into place. And their digests."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from labels.records.errors import InputError

LEFTOVER = re.compile(r"^\..+\.(\d{1,9})\.aside(\.[^.]+)?$")  # as `whole_file` names it, with the writer's process id
SCRATCH = re.compile(r"rally-[a-z]+-(\d{1,9})-.+")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is synced and renamed to `path`, on failure removed.

    The temporary name keeps the suffix, for writers that choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.aside{path.suffix}")
    try:
        yield aside
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    with whole_file(path) as aside:
        aside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a stable layout: the same value gives the same bytes. NaN is refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is none, or nothing that can be read."""
    try:
        found = read_json(path)
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def write_parquet(path: Path, table: pd.DataFrame, metadata: dict[str, Any] | None = None) -> None:
    """Write a table without its index. `metadata` (JSON-able) travels in the file."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({"rally": json.dumps(metadata or {}, sort_keys=True)})
    with whole_file(path) as aside:
        pq.write_table(arrow, aside, compression="zstd")


def read_parquet(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table that `write_parquet` wrote. Raises InputError if it is no such file. With `columns` only those."""
    return read_parquet_and_metadata(path, columns)[0]


def read_parquet_and_metadata(path: Path, columns: list[str] | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The same with the metadata that was written beside the table; empty where there is none."""
    try:
        arrow = pq.read_table(path, columns=columns)
        metadata = json.loads((arrow.schema.metadata or {}).get(b"rally", b"{}"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    return arrow.replace_schema_metadata(None).to_pandas(), metadata


def read_parquet_metadata(path: Path) -> dict[str, Any] | None:
    """The metadata alone, or None when the file is absent or not whole."""
    try:
        schema = pq.read_schema(path)
        return json.loads((schema.metadata or {}).get(b"rally", b"{}"))
    except (OSError, ValueError):
        return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """A short stable digest (32 hex digits) of anything JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def sweep_leftovers(folder: Path) -> None:
    """Take away what writers that were killed left half done in a folder and below it, `frames/` excepted.

    For who alone writes there. What a process that runs still is at is left alone.
    """
    for inside, names, files in os.walk(folder):
        names[:] = [name for name in names if not (name == "frames" and Path(inside) == folder)]
        for name in files:
            written_by = LEFTOVER.search(name)
            if written_by is not None and not _is_running(int(written_by[1])):
                (Path(inside) / name).unlink(missing_ok=True)


@contextmanager
def scratch_folder(use: str) -> Iterator[Path]:
    """A folder of this process alone for what is needed for a while. What killed processes left of such goes first."""
    root = Path(tempfile.gettempdir())
    for left in root.glob("rally-*"):
        owner = SCRATCH.fullmatch(left.name)
        with suppress(OSError):
            if owner is not None and left.lstat().st_uid == os.getuid() and not _is_running(int(owner[1])):
                shutil.rmtree(left, ignore_errors=True)  # of a symbolic link it takes nothing
    with tempfile.TemporaryDirectory(prefix=f"rally-{use}-{os.getpid()}-") as folder:
        yield Path(folder)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no process id at all
        return True
    return True


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` to fill; on success it takes its place, on failure it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.aside")  # one name, so that what a killed run left is found
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        yield aside
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
