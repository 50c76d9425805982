"""The formats by name. Imports nothing heavy: scripts take their choices from here.

A writer is called with (folder, LabelSet) and gives lines on what the format could not hold; a reader with (path,
KnownVideos) and gives FoundLabels.
"""

import argparse
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labels.records.command_line import StageParser
from labels.records.errors import InputError

if TYPE_CHECKING:
    from labels.exchange.known_videos import ImportHints


@dataclass(frozen=True)
class Format:
    """Where a format's code is, and what it holds. Without a writer it is read only."""

    module: str
    writer: str
    reader: str
    needs_actions: bool = False
    holds_actions: bool = False
    holds_uids: bool = True
    file: str = ""  # what a reader is to read of what the writer wrote; empty: the folder
    reading: str = ""  # the module of the reader, where it is another

    def write(self, *args: Any) -> list[str]:
        return getattr(import_module(f"labels.exchange.formats.{self.module}"), self.writer)(*args)

    def read(self, *args: Any, **named: Any) -> Any:
        module = import_module(f"labels.exchange.formats.{self.reading or self.module}")
        return getattr(module, self.reader)(*args, **named)


FORMATS: dict[str, Format] = {
    "coco": Format("coco_folder", "export_coco", "find_coco"),
    "yolo": Format("yolo", "write_yolo", "read_yolo", holds_uids=False),
    "voc": Format("voc", "write_voc", "read_voc"),
    "mot": Format("mot", "write_mot", "read_mot", holds_uids=False),
    "cvat": Format("cvat", "write_cvat", "read_cvat"),
    "labelstudio": Format(
        "label_studio",
        "write_label_studio",
        "read_label_studio",
        holds_actions=True,
        file="tasks_video.json",
        reading="label_studio_annotations",
    ),
    "kinetics": Format(
        "kinetics_csv",
        "write_kinetics",
        "read_kinetics",
        needs_actions=True,
        holds_actions=True,
        holds_uids=False,
        file="kinetics.csv",
    ),
    "ava": Format(
        "ava",
        "write_ava",
        "read_ava",
        needs_actions=True,
        holds_actions=True,
        holds_uids=False,
        file="annotations/ava_train_v2.2.csv",
    ),
    "tracknet": Format("tracknet", "write_tracknet", "read_tracknet", holds_uids=False),
    "hf": Format("hugging_face", "write_hugging_face", "read_hugging_face", holds_actions=True),
    "webdataset": Format("webdataset", "write_webdataset", "read_webdataset", holds_actions=True),
    "csv": Format("box_csv", "", "read_box_csv", holds_uids=False),
}
WITH_CARD = ("hf", "webdataset")  # whose folder says what is in it, so that it can be given away
EXPORTS = tuple(name for name, format in FORMATS.items() if format.writer)
LABELLED = (
    "cvat",
    "labelstudio",
    "mot",
    "coco",
    "voc",
    "yolo",
    "ava",
    "tracknet",
)  # of clips: `dataset_downloader.py --from`
OF_LABELS = {"fps": ("synthetic", *LABELLED), "video": LABELLED, "first_frame": LABELLED}  # arguments by source
HEAD_LETTERS = 4096


def add_export_argument(parser: argparse.ArgumentParser) -> None:
    help_text = "write the cleaned round in a foreign format, to rounds/NN/export/, and do no more"
    parser.add_argument("--export", choices=EXPORTS, help=help_text)
    parser.add_argument(
        "--push",
        metavar="NAME",
        help=f"put the export ({' or '.join(WITH_CARD)}) on Hugging Face as USER/NAME, private",
    )


def add_import_arguments(parser: StageParser) -> None:
    """What says which labels of a person are brought in."""
    labels = parser.add_argument_group("labels that a person made elsewhere, for clips that are here")
    labels.add_argument(
        "--import-labels", type=Path, metavar="FILE", help="a file, folder or .zip; also an edited export"
    )
    labels.add_argument("--format", choices=FORMATS, help="its format (default: by what is in it)")
    labels.add_argument(
        "--video", default="", metavar="ID", help="of which clip it is, where it does not say so itself"
    )
    labels.add_argument("--confirm", action="store_true", help="its maker looked at all: what is unchanged is right")
    parser.add_setting(
        "first_frame", int, None, "what they call the first frame, where that cannot be told", (0, 1), "imported labels"
    )


def import_hints(args: argparse.Namespace) -> "ImportHints":
    """What the arguments say of labels that were made elsewhere."""
    from labels.exchange.known_videos import ImportHints

    return ImportHints(args.video, args.fps, args.first_frame)


def recognise(path: Path) -> str:
    """The name of the format that a file or folder is in. InputError when it is none of them, or absent."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        signs = {"yolo": ("data.yaml", "classes.txt", "obj.names"), "voc": ("Annotations",)}
        for name, files in signs.items():
            if any((path / file).exists() for file in files):
                return name
        if any((path / file).exists() for file in ("annotations.json", "annotations")):
            return "coco"
        if any(path.glob("*.yaml")) or any(path.glob("*.yml")):
            return "yolo"
        if any(path.glob("frames/*.parquet")) or any(path.glob("clips/*.parquet")):
            return "hf"
        if any(path.glob("frames-*.tar")) or any(path.glob("clips-*.tar")):
            return "webdataset"
        if next(path.rglob("gt.txt"), None) is not None:
            return "mot"
        if any(path.glob("config_*.xml")):
            raise InputError(f"{path}: Label Studio's settings; name the JSON file that it exported")
        for inside in (inside for suffix in ("xml", "json", "csv") for inside in sorted(path.rglob(f"*.{suffix}"))):
            if (kind := recognise_or_none(inside)) is not None and kind not in ("kinetics", "csv"):
                return kind
        raise InputError(f"{path}: in no format known by its files; say which one it is: {', '.join(FORMATS)}")
    if not path.is_file():
        raise InputError(f"{path}: not a regular file")
    head = _head(path)
    found = _by_head(path, head)
    if found is None:
        raise InputError(f"{path}: in no format known by its beginning; say which one it is: {', '.join(FORMATS)}")
    return found


def _head(path: Path) -> str:
    with open(path, "rb") as opened:
        head = opened.read(HEAD_LETTERS)
    return head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors="replace")


def recognise_or_none(path: Path) -> str | None:
    try:
        return recognise(path)
    except InputError:
        return None


def _by_head(path: Path, head: str) -> str | None:
    first, suffix = head.lstrip().partition("\n")[0], path.suffix.lower()
    if suffix == ".json":
        if head.lstrip().startswith("["):
            return "labelstudio"
        return "coco" if _mentions(path, '"annotations"') and _mentions(path, '"images"') else None
    if suffix == ".xml":
        return "cvat" if "<annotations" in head else "voc" if "<annotation" in head else None
    if suffix == ".txt":
        return "mot"
    if suffix == ".csv":
        first = first.lower()
        if "youtube_id" in first:
            return "kinetics"
        if "frame_index" in first:
            return "csv"
        if "visibility" in first:
            return "tracknet"
        return "ava" if max(first.count(mark) for mark in ",;\t") in (6, 7) else None
    return None


def _mentions(path: Path, word: str) -> bool:
    """Whether a word is in a file of any encoding, which may be long, and ends with what else it holds."""
    spellings = [word.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")]
    tail = b""
    with open(path, "rb") as opened:
        while chunk := opened.read(2**22):
            if any(spelling in tail + chunk for spelling in spellings):
                return True
            tail = chunk[-2 * len(word) :]
    return False
