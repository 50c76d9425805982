"""Class lists: the names that count, one a line, as CSV files in `labels/classes/`. A sport is data, not code.

`classes/aliases.csv` maps names that mean the same: a model's "ball" is the truth's "sports ball".
"""

import csv
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from labels.records.errors import InputError

CLASSES_FOLDER = Path(__file__).resolve().parent.parent / "classes"


def read_class_list(name_or_file: str) -> tuple[str, ...]:
    """The class names of `labels/classes/<name>.csv` or of a CSV file; the column is `class_name`."""
    given = Path(name_or_file)
    path = given if given.suffix == ".csv" else CLASSES_FOLDER / f"{name_or_file}.csv"
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except OSError as error:
        known = ", ".join(sorted(listed.stem for listed in CLASSES_FOLDER.glob("*.csv")))
        raise InputError(f"{path}: {error.strerror}; the lists that come with Rally: {known}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8: {error}") from None
    names = tuple((row.get("class_name") or "").strip() for row in rows)
    if not names or not all(names):
        raise InputError(f"{path}: needs a column class_name with a name in each row")
    if len(set(names)) < len(names):
        raise InputError(f"{path}: a class name stands twice")
    return names


def list_columns(name_or_file: str) -> list[str]:
    """The columns of a class list; none where it cannot be read, which whoever needs it says."""
    path = Path(name_or_file) if name_or_file.endswith(".csv") else CLASSES_FOLDER / f"{name_or_file}.csv"
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            return [name.strip() for name in next(csv.reader(opened), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def class_names_from(text: str) -> tuple[str, ...]:
    """What the user wrote after `--classes`: names with commas between, or a class list (a file or its name)."""
    if text.endswith(".csv") or (CLASSES_FOLDER / f"{text}.csv").is_file():
        return read_class_list(text)
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise InputError(f"--classes '{text}': no class name in it")
    return names


@cache
def _aliases() -> dict[str, str]:
    """Each name that stands for another, in one word -> the name of its family."""
    with open(CLASSES_FOLDER / "aliases.csv", newline="", encoding="utf-8") as opened:
        return {_plain(row["alias"]).replace(" ", ""): row["class_name"] for row in csv.DictReader(opened)}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def family_of(class_name: str) -> str:
    """The name that all names of a thing share: «sports ball» of «ball», «Tennis_Ball», «volley ball» and itself."""
    plain = _plain(class_name)
    return _aliases().get(plain.replace(" ", ""), plain)


def same_names(theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Of `theirs`, the names for which `ours` has another one of the same thing -> that one.

    A name that both have stands for itself, on either side: where both tell footballs from tennis balls, they do.
    """
    theirs, ours = set(theirs) - {""}, set(ours) - {""}
    found = {}
    for name in theirs - ours:
        family = {other for other in ours - theirs if family_of(other) == family_of(name)}
        if family:
            found[name] = family_of(name) if family_of(name) in family else min(family)
    return found
