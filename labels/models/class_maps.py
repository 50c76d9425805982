"""Another data set's classes as ours: a CSV `kinetics_class,class_name`, many to one; an empty name is none of ours."""

import csv
from pathlib import Path

import numpy as np

from labels.models.recogniser import Recogniser
from labels.records.class_lists import CLASSES_FOLDER
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of


def read_class_map(name_or_file: str) -> dict[str, str]:
    """Their name -> ours, of `labels/classes/<name>.csv` or of a CSV file."""
    given = Path(name_or_file)
    path = given if given.suffix == ".csv" else CLASSES_FOLDER / f"{name_or_file}.csv"
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
    except OSError as error:
        known = ", ".join(sorted(listed.stem for listed in CLASSES_FOLDER.glob("*_to_*.csv")))
        raise InputError(f"{path}: {error.strerror}; the maps that come with Rally: {known}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV in UTF-8: {error}") from None
    if not rows or not {"kinetics_class", "class_name"} <= set(rows[0]):
        raise InputError(f"{path}: needs the columns kinetics_class and class_name")
    found = {(row["kinetics_class"] or "").strip(): (row["class_name"] or "").strip() for row in rows}
    if "" in found or not any(found.values()):
        raise InputError(f"{path}: a row without kinetics_class, or no class_name at all")
    return found


class MappedRecogniser:
    """A recogniser whose classes are added up to ours. What is left over is none of them, and is not said."""

    def __init__(self, recogniser: Recogniser, class_map: dict[str, str], where: str) -> None:
        unknown = sorted(set(class_map) - set(recogniser.class_names))
        if unknown:
            raise InputError(f"{where}: {recogniser.name} knows no class '{unknown[0]}' ({len(unknown)} unknown)")
        self._recogniser = recogniser
        self.class_map = class_map
        self.class_names = tuple(sorted(set(class_map.values()) - {""}))
        self.working_threshold: dict[str, float] = {}  # theirs say nothing of ours
        self.name, self.preset, self.device = recogniser.name, recogniser.preset, recogniser.device
        # What looks at pixels is theirs: `window_features` takes what it sees.
        self.network, self.batch_size = getattr(recogniser, "network", None), getattr(recogniser, "batch_size", 1)
        self.digest = digest_of([recogniser.digest, class_map])
        self._sums = np.zeros((len(recogniser.class_names), len(self.class_names)))
        for theirs, ours in class_map.items():
            if ours:
                self._sums[recogniser.class_names.index(theirs), self.class_names.index(ours)] = 1

    def recognise(self, windows: np.ndarray) -> np.ndarray:
        """(N, K), rows that add up to at most 1: the rest is none of the classes."""
        return self._recogniser.recognise(windows) @ self._sums
