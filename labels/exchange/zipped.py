"""Label files out of a .zip, as CVAT and Label Studio give them: unpacked to a folder that is gone afterwards."""

import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from labels.records.errors import InputError

LABEL_SUFFIXES = {".xml", ".json", ".txt", ".csv", ".yaml", ".names", ".ini", ".pbtxt"}
MAX_FILES, MAX_BYTES = 500_000, 2 * 2**30


@contextmanager
def unzipped(path: Path) -> Iterator[Path]:
    """The path itself, or for a .zip what is in it: a single label file, else a folder. Pictures stay packed.

    Raises InputError for a broken archive, one whose names lead out of it, or one that unpacks to too much.
    """
    if path.suffix.lower() != ".zip" or not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="rally-") as folder:
        yield _unpacked(path, Path(folder))


def _unpacked(path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                info
                for info in archive.infolist()
                if not info.is_dir() and PurePosixPath(info.filename).suffix.lower() in LABEL_SUFFIXES
            ]
            if len(members) > MAX_FILES or sum(info.file_size for info in members) > MAX_BYTES:
                raise InputError(f"{path}: unpacks to more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB of labels")
            for info in members:
                parts = PurePosixPath(info.filename.replace("\\", "/"))
                if parts.is_absolute() or ".." in parts.parts or ":" in info.filename:
                    raise InputError(f"{path}: {info.filename[:80]!a} leads out of the archive")
                target = folder / parts
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as packed, open(target, "wb") as opened:
                    shutil.copyfileobj(packed, opened)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError) as error:
        raise InputError(f"{path}: cannot be unpacked: {' '.join(str(error).split())[:120]}") from None
    if not members:
        raise InputError(f"{path}: holds no label file")
    files = [found for found in folder.rglob("*") if found.is_file()]
    return files[0] if len(files) == 1 else folder
