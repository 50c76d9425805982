"""Opening foreign label files safely: XML without a document type, .zip archives, CSV without a header.

XML that declares a document type is refused, because entities that expand exponentially need one. Archives of CVAT and
Label Studio are unpacked within limits into a temporary folder.
"""

import csv
import json
import lzma
import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

from labels.exchange.label_set import OddEntry
from labels.records.errors import InputError
from labels.records.safe_writing import scratch_folder
from labels.records.verdicts import delimiter_of
from labels.videos.download.list_reading import open_list

MAX_BYTES = 2 * 2**30
MOST_FRAMES = 10**9
DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+)$", re.ASCII)


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


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """A text file in UTF-8, or what its byte order mark says. InputError when it is none, or is too large."""
    try:
        if path.stat().st_size > most:
            raise InputError(f"{path}: larger than {most >> 20} MiB")
        with open_list(path, errors="strict") as opened:
            return opened.read()
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None


def read_foreign_json(path: Path) -> Any:
    """All that a JSON file holds. InputError when it is none, or is too large."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None


def text_of(element: ElementTree.Element, name: str, default: str = "") -> str:
    """The text of a child, stripped."""
    return (element.findtext(name) or default).strip()


def number_of(value: object, name: str) -> float:
    """A finite number, of text or of JSON. Raises OddEntry."""
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise OddEntry(f"entries whose {name} is no number")
    return number


def frame_number(value: object) -> int:
    """A whole number from 0, of text or of JSON; `12.0` is one. Raises OddEntry."""
    number = number_of(value, "frame")
    if number != int(number) or not 0 <= number < MOST_FRAMES:
        raise OddEntry("entries whose frame is no whole number from 0")
    return int(number)


def whole_number(value: object, default: int, most: int = 2**31) -> int:
    """A whole number of text or of JSON, else the default."""
    if type(value) is int:
        return value if abs(value) < most else default
    try:
        number = number_of(value, "")
    except OddEntry:
        return default
    return int(number) if number == int(number) and abs(number) < most else default


def text_value(value: object) -> str:
    """A text of JSON without what no file can hold; anything else is empty."""
    return value.strip() if isinstance(value, str) and value.isprintable() else ""


def hull(points: Iterable[float]) -> tuple[float, float, float, float]:
    """The upright box around x, y, x, y, … Raises OddEntry for none, or an odd one too many."""
    values = list(points)
    if len(values) < 2 or len(values) % 2:
        raise OddEntry("outlines that are no pairs of x and y")
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def upright(xyxy: Iterable[float], degrees: float) -> tuple[float, float, float, float]:
    """The upright box around a box that is turned about its centre."""
    x1, y1, x2, y2 = xyxy
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half_x, half_y = ((x2 - x1) * cos + (y2 - y1) * sin) / 2, ((x2 - x1) * sin + (y2 - y1) * cos) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half_x, y - half_y, x + half_x, y + half_y


LABEL_SUFFIXES = {".xml", ".json", ".txt", ".csv", ".yaml", ".yml", ".names", ".data", ".ini", ".pbtxt"}
OWN_FOLDERS = {"annotations", "Annotations", "labels", "gt"}  # of the formats themselves: none is on top of all
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
                if not info.is_dir() and _is_label_file(PurePosixPath(info.filename.replace("\\", "/")))
            ]
            if len(members) > MAX_FILES or sum(info.file_size for info in members) > MAX_ZIP_BYTES:
                raise InputError(
                    f"{path}: unpacks to more than {MAX_FILES} files or {MAX_ZIP_BYTES >> 30} GiB of labels"
                )
            if len({info.filename for info in members}) < len(members):
                raise InputError(f"{path}: holds two files of one name")
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
    if len(files) == 1:
        return files[0]
    while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir() and inside[0].name not in OWN_FOLDERS:
        folder = inside[0]  # a folder on top of all, as many archives have
    return folder


def _is_label_file(name: PurePosixPath) -> bool:
    """A Mac packs a second file beside each, whose name begins with a dot."""
    hidden = name.name.startswith(".") or "__MACOSX" in name.parts
    return name.suffix.lower() in LABEL_SUFFIXES and not hidden


def csv_lines(path: Path) -> list[list[str]]:
    """The values of each line that is not empty, stripped. InputError in one line for what is no CSV.

    Commas, semicolons or tabs, whichever the first line has most of. Where it is no comma, 1,5 is one and a half.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 30} GiB")
        with open_list(path, errors="strict") as opened:
            delimiter = delimiter_of(opened.readline())
            opened.seek(0)
            reader = csv.reader(opened, delimiter=delimiter, skipinitialspace=True)
            rows = [row for row in ([value.strip() for value in row] for row in reader) if any(row)]
            return rows if delimiter == "," else [[DECIMAL_COMMA.sub(r"\1.\2", each) for each in row] for row in rows]
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None


def csv_rows(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The lines of a CSV with a header, each with its number; a value that is not there is empty.

    Where columns are `needed`, all names are in small letters.

    InputError when one of the `needed` columns is missing.
    """
    lines = csv_lines(path)
    names = lines[0] if lines else []
    names = [name.casefold() for name in names] if needed else names
    missing = sorted(set(needed) - set(names))
    if missing:
        raise InputError(f"{path}: lacks the columns {', '.join(missing)}")
    empty = dict.fromkeys(names, "")
    return [(number, empty | dict(zip(names, line, strict=False))) for number, line in enumerate(lines[1:], start=2)]
