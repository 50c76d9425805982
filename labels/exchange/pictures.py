"""The pictures of a dataset on their way out, linked where the disk can, and the small files beside them."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

DEFAULT_SPLIT = "train"


def split_of(image: Mapping[str, Any]) -> str:
    """train, val or test; what has no split is trained on."""
    return str(image["split"]) or DEFAULT_SPLIT


def small_file(path: Path, text: str) -> None:
    """One of thousands of files in a folder that is put in place as a whole: not flushed to disk one by one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def link_pictures(folder: Path, images: pd.DataFrame, by_set: bool = False) -> None:
    """Each image's JPEG under its own name; with `by_set` below a folder for each split."""
    for row in images.to_dict("records"):
        target = (folder / split_of(row) if by_set else folder) / Path(row["file_name"]).name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(row["picture"], target)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(row["picture"], target)
