"""XML that comes from outside: refused when it declares a document type, as only XML does whose entities explode.

Label files out of a .zip, as CVAT and Label Studio give them: unpacked to a folder that is gone afterwards.

The lines of a foreign CSV without a header.
"""

import csv
import lzma
import shutil
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from labels.records.errors import InputError
from labels.records.safe_writing import scratch_folder

MAX_BYTES = 2 * 2**30


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file. InputError when it is none, is too large, or has a DOCTYPE."""

    def refuse(name: str, *_: object) -> None:
        raise InputError(f"{path}: has a DOCTYPE ('{name[:40]}'), which no label file needs; it is not read")

    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: builder.start(name, attributes)
    parser.EndElementHandler = lambda name: builder.end(name)
    parser.CharacterDataHandler = builder.data
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 30} GiB")
        with open(path, "rb") as opened:
            parser.ParseFile(opened)
        return builder.close()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (expat.ExpatError, ValueError, AssertionError) as error:
        raise InputError(f"{path}: not XML: {error}") from None


def text_of(element: ElementTree.Element, name: str, default: str = "") -> str:
    """The text of a child, stripped."""
    return (element.findtext(name) or default).strip()


def number_of(where: str, text: str | None, name: str) -> float:
    """InputError unless the text is a number; whether it is finite is asked of the whole box."""
    try:
        return float(text or "")
    except ValueError:
        raise InputError(f"{where}: {name} is {(text or '')[:30]!r}, not a number") from None


def frame_number(where: str, text: str | None) -> int:
    """InputError unless the text is a whole number from 0."""
    if text is None or not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise InputError(f"{where}: frame {(text or '')[:30]!r} is not a whole number from 0")
    return int(text)


LABEL_SUFFIXES = {".xml", ".json", ".txt", ".csv", ".yaml", ".names", ".ini", ".pbtxt"}
MAX_FILES, MAX_ZIP_BYTES = 500_000, 2 * 2**30


@contextmanager
def unzipped(path: Path) -> Iterator[Path]:
    """The path itself, or for a .zip what is in it: a single label file, else a folder. Pictures stay packed.

    Raises InputError for a broken archive, one whose names lead out of it, or one that unpacks to too much.
    """
    if path.suffix.lower() != ".zip" or not path.is_file():
        yield path
        return
    with scratch_folder("unpacked") as folder:
        yield _unpacked(path, folder)


def _unpacked(path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                info
                for info in archive.infolist()
                if not info.is_dir() and PurePosixPath(info.filename).suffix.lower() in LABEL_SUFFIXES
            ]
            if len(members) > MAX_FILES or sum(info.file_size for info in members) > MAX_ZIP_BYTES:
                raise InputError(
                    f"{path}: unpacks to more than {MAX_FILES} files or {MAX_ZIP_BYTES >> 30} GiB of labels"
                )
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


def csv_lines(path: Path) -> list[list[str]]:
    """The values of each line that is not empty. InputError in one line for what is no CSV."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            return [row for row in csv.reader(opened) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
