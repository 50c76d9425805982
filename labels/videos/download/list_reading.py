"""Reading lists of any length in little memory: CSV rows, lines, and the entries of one huge JSON array or object.

A list may hold anything. What can be told entry by entry costs that entry; what cannot (another encoding, broken
JSON) is an InputError.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from labels.records.errors import InputError
from labels.records.verdicts import delimiter_of

MAX_LINE = 1 << 20
CHUNK = 1 << 20
MAX_ENTRY = 1 << 22  # characters of one JSON entry
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WHITESPACE = re.compile(r"[ \t\r\n]*")
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|["\[\]{}]', re.DOTALL)
DECODER = json.JSONDecoder()


class BadEntry(NamedTuple):
    """An entry that could not be read."""

    reason: str


def open_list(path: Path, errors: str = "replace") -> IO[str]:
    """Open a list as text: UTF-8, or what its byte order mark says. Bytes that are not UTF-8 become U+FFFD."""
    try:
        with open(path, "rb") as opened:
            head = opened.read(4096)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in head:
        raise InputError(f"{path}: is no text in UTF-8 (it holds NUL bytes); save it as UTF-8")
    return open(path, encoding=encoding, errors=errors, newline="")


def bounded_lines(opened: IO[str]) -> Iterator[str]:
    """The lines of a file; of one that is too long only the beginning (longer than `csv` takes in a field)."""
    while line := opened.readline(MAX_LINE):
        yield line
        while len(line) == MAX_LINE and not line.endswith("\n"):
            line = opened.readline(MAX_LINE)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) of the lines that are not empty."""
    with open_list(path) as opened:
        for number, line in enumerate(bounded_lines(opened), 1):
            if line.strip():
                yield number, line.strip()


def csv_rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str] | BadEntry]]:
    """(line number, row by column name) of a CSV whose header has the columns `needed`; names are in lower case.

    Commas, semicolons or tabs, whichever the header has most of.
    """
    with open_list(path) as opened:
        delimiter = delimiter_of(opened.readline(MAX_LINE))
        opened.seek(0)
        reader = csv.reader(bounded_lines(opened), delimiter=delimiter)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
        except csv.Error as error:
            raise InputError(f"{path}: no CSV: {error}") from None
        missing = [name for name in needed if name not in header]
        if missing:
            raise InputError(
                f"{path}: its first line names no column {' and '.join(missing)}; it has {', '.join(header)[:200]}"
            )
        while True:
            number = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield number, BadEntry(f"no CSV: {error}")
                continue
            if row is None:
                return
            if len(row) == len(header):
                yield number, dict(zip(header, row, strict=True))
            elif row:
                yield number, BadEntry(f"{len(row)} columns, the first line has {len(header)}")


def json_entries(path: Path) -> Iterator[tuple[str, Any]]:
    """(key or "", value) of each entry of the array or object that a JSON file holds, one in memory at a time."""
    with open_list(path) as opened:
        stream = _JsonStream(opened, path)
        opening = stream.next_character()
        if opening not in ("[", "{"):
            raise InputError(f"{path}: holds neither a JSON array nor a JSON object")
        for _ in stream.inside(opening, "]" if opening == "[" else "}"):
            key = ""
            if opening == "{":
                key = stream.value()
                if not isinstance(key, str):
                    raise InputError(f"{path}: entry {stream.count + 1}: a key that is no text")
                stream.expect(":")
            yield key, stream.value()


def json_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Name and value of each member of the object in a JSON file, nothing of a JSON array.

    A list is an iterator over its items, one in memory at a time, to be used before the next member is asked for. What
    cannot be read in itself is a BadEntry. Raises InputError for what is no JSON, or is no text.
    """
    with open_list(path, errors="strict") as opened:
        stream = _JsonStream(opened, path)
        try:
            if stream.next_character() != "{":
                return
            for _ in stream.inside("{", "}"):
                name = stream.value()
                if not isinstance(name, str):
                    raise stream.broken("a key that is no text")
                stream.expect(":")
                if stream.next_character() != "[":
                    yield name, stream.value()
                    continue
                items = (stream.value() for _ in stream.inside("[", "]"))
                yield name, items
                for _ in items:  # what was not used
                    pass
            if stream.next_character():
                raise stream.broken("something after its end")
        except UnicodeError as error:
            raise InputError(f"{path}: is no text in UTF-8: {error}") from None


class _JsonStream:
    """The text of a JSON file, in pieces."""

    def __init__(self, opened: IO[str], path: Path):
        self.opened, self.path = opened, path
        self.text, self.at, self.count = "", 0, 0

    def _read_on(self) -> bool:
        piece = self.opened.read(CHUNK)
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def next_character(self) -> str:
        """The next character that is not white; empty at the end of the file."""
        if self.at < len(self.text) and self.text[self.at] > " ":  # nearly always; what is white is no greater
            return self.text[self.at]
        while True:
            self.at = WHITESPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._read_on():
                return ""

    def inside(self, opening: str, closing: str) -> Iterator[None]:
        """Once for each entry between two brackets, at its beginning."""
        self.expect(opening)
        is_first = True
        while self.next_character() != closing:
            if not is_first:
                self.expect(",")
            is_first = False
            yield
            self.count += 1
        self.at += 1

    def expect(self, character: str) -> None:
        found = self.next_character()
        if found != character:
            raise self.broken(f"{character!r} expected, not {found!r}" if found else "the file ends")
        self.at += 1

    def value(self) -> Any:
        """The next value, or a BadEntry that is stepped over."""
        self.next_character()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > MAX_ENTRY or not self._read_on():
                    raise self.broken(error.msg) from None
                continue
            except RecursionError:
                return self._step_over("it nests too deeply")
            except ValueError as error:  # a number of more digits than Python takes
                return self._step_over(str(error).partition(":")[0])
            if end == len(self.text) and self._read_on():
                continue  # a number may go on in the next piece
            self.at = end
            return value

    def _step_over(self, reason: str) -> BadEntry:
        depth = 0
        if self.next_character() not in ("[", "{"):
            self.at = re.compile(r"[^,\]}]*").match(self.text, self.at).end()  # type: ignore[union-attr]
            return BadEntry(reason)
        while True:
            token = BRACKETS.search(self.text, self.at)
            if token is None:
                self.at = len(self.text)
            elif token[0] == '"':  # a string that goes on in the next piece
                self.at = token.start()
            else:
                self.at = token.end()
                depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
                if depth == 0:
                    return BadEntry(reason)
                continue
            if len(self.text) - self.at > MAX_ENTRY or not self._read_on():
                raise self.broken(f"{reason}, and does not end")

    def broken(self, why: str) -> InputError:
        return InputError(f"{self.path}: no JSON at entry {self.count + 1}: {why}")
