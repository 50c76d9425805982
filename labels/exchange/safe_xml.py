"""XML that comes from outside: refused when it declares a document type, as only XML does whose entities explode."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from xml.parsers import expat

from labels.records.errors import InputError

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
