"""The lines of a foreign CSV without a header."""

import csv
from pathlib import Path

from labels.records.errors import InputError


def csv_lines(path: Path) -> list[list[str]]:
    """The values of each line that is not empty. InputError in one line for what is no CSV."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            return [row for row in csv.reader(opened) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
