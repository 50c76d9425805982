"""Tasks for the tests of the runner, in a module of their own: worker processes import them."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from conftest import read_code

from labels.engine.runner import Task
from labels.records.detections import Detections
from labels.records.safe_writing import read_object, write_json


class Refused(Exception):
    """What costs one item."""


@dataclass(frozen=True)
class Lengths(Task):
    """Writes how long a name is. Some names are refused, some kill their process, always or once."""

    name, skips, counted = "lengths", (Refused,), ("length",)

    folder: Path
    version: int = 1

    def key(self, item):
        return f"{item}|{self.version}"

    def files(self, item):
        return (self.folder / f"{item}.json",)

    def finished(self, item, key):
        account = read_object(*self.files(item))
        return account if account.get("key") == key else None

    def make(self, item, key, step):
        with open(self.folder / "log.txt", "a") as log:
            log.write(f"{item}\n")
        if item.startswith("refused"):
            raise Refused("its name")
        if item.startswith("wrong"):
            raise ValueError(f"{item} is wrong")
        once = self.folder / f"{item}.met"
        if item.startswith("deadly") or (item.startswith("killed") and not once.exists()):
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        account = {"key": key, "length": len(item), "threads": os.environ.get("OMP_NUM_THREADS")}
        write_json(*self.files(item), account)
        return account

    def kind_of(self, error):
        return "refused"

    def made(self):
        """How often each item was begun."""
        log = self.folder / "log.txt"
        names = log.read_text().split() if log.is_file() else []
        return {name: names.count(name) for name in names}


class Slow(Lengths):
    """Takes longer than anyone waits, and says when it has begun and when it clears up."""

    def make(self, item, key, step):
        (self.folder / f"{item}.begun").touch()
        try:
            time.sleep(60)
        finally:
            (self.folder / f"{item}.cleared").touch()
        raise AssertionError(json.dumps(item))


class Steady(Lengths):
    """Takes a third of a second an item."""

    def make(self, item, key, step):
        time.sleep(0.3)
        return super().make(item, key, step)


@dataclass(frozen=True)
class Nothing(Task):
    """No work at all: what is left is the runner's own."""

    name = "nothing"

    folder: Path

    def key(self, item):
        return item

    def files(self, item):
        return (self.folder / f"{item}.json",)

    def finished(self, item, key):
        return None

    def make(self, item, key, step):
        return {}


class Spelling:
    """Says of each frame the box (n, 10, n + 8, 20), where n is the number the frame spells."""

    name, digest, class_names, describes, every_frame = "spelling", "one", ("sports ball",), False, False
    working_threshold = {"sports ball": 0.5}  # noqa: RUF012
    score_slope = {}  # noqa: RUF012

    def detect(self, frames):
        for frame in frames:
            number = read_code(frame.rgb)
            yield frame, Detections(np.array([[number, 10, number + 8, 20]]), [0.9], ["sports ball"])
