"""What training leaves in `trained/` of a round, file by file."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labels.records.safe_writing import write_text


@dataclass(frozen=True)
class TrainingFolder:
    """`trained/` of a round."""

    path: Path

    @property
    def best(self) -> Path:
        return self.path / "detector.pt"

    @property
    def last(self) -> Path:
        return self.path / "last.pt"

    @property
    def epochs(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"


def write_history(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """metrics.csv: a row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())
