"""How a foreign file's names find their video and their frame: one matcher for all formats.

Names come as paths of another machine, with the prefix that an upload was given, or of a picture cut from a video. A
name that two videos have is ambiguous and finds none; `--video` says which one is meant where a file does not.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from labels.records.errors import InputError
from labels.records.frame_times import FrameTimes, read_frame_times

UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # Label Studio's name of an upload
ROBOFLOW = re.compile(r"(.+?)_(?:jpe?g|png|bmp|webp)\.rf\.[0-9A-Za-z_-]+")  # Roboflow's name of a picture
SUFFIX_IN_NAME = re.compile(r"(.+)[_.](mp4|mov|avi|mkv|webm|m4v|mpe?g|wmv|ts|flv|ogv|gif)", re.IGNORECASE)
SUFFIX = re.compile(r"\.(?:jpe?g|png|bmp|webp|tiff?|txt|xml|json|csv)", re.IGNORECASE)  # of a picture or its labels
FRAME_WORD = re.compile(r"(.*?)[_\-. ]*(?:frames?|img|image|pic|f)", re.IGNORECASE)
YOUTUBE = re.compile(r"https?://(?:www\.)?youtube\.com/watch\?v=([A-Za-z0-9_-]{11})")
CUT_NAME = re.compile(r"(.+)_(\d{6})_(\d{6})", re.ASCII)  # a clip of Kinetics: film, start, end in seconds
SEPARATORS = "_-. /#"
MOST_DIGITS = 9
DEEPEST = 4  # folders of a path that are compared


@dataclass(frozen=True)
class ImportHints:
    """What a user says of a label file where the file itself does not."""

    video_id: str = ""  # of which video it is
    fps: float | None = None  # frames a second, by which it counts frames
    first_frame: int | None = None  # the number of the first frame in its names: 0 or 1


class KnownVideos:
    """The usable videos of a work folder, found by whatever a foreign file calls them.

    `times` is the folder with the time stamps of uneven videos. InputError when `hints` name a video that is not here.
    """

    def __init__(self, videos: pd.DataFrame, times: Path | None = None, hints: ImportHints | None = None):
        self.rows = {str(row["video_id"]): row for row in videos.to_dict("records")}
        self.hints = hints or ImportHints()
        self.unknown: dict[str, int] = {}  # names that are no video here -> labels under them
        self.ambiguous: dict[str, list[str]] = {}  # names -> the videos that are called so
        self._times_folder, self._times = times, dict[str, FrameTimes]()
        self._looked_up: dict[tuple[str, bool], str | None] = {}
        self._named_by_option: set[str] = set()  # names that only --video gave a meaning
        if self.hints.video_id and self.hints.video_id not in self.rows:
            found = self._look_up(self.hints.video_id, note=False)
            if found is None:
                raise InputError(f"--video {self.hints.video_id}: no such video here, but {_few(self.rows)}")
            self.hints = ImportHints(found, self.hints.fps, self.hints.first_frame)

    @cached_property
    def _by_name(self) -> dict[str, set[str]]:
        names: dict[str, set[str]] = {}
        for video_id, row in self.rows.items():
            source = _parts(str(row["source"]))
            paths = ["/".join(source[-depth:]) for depth in range(1, min(DEEPEST, len(source)) + 1)]
            own = {video_id, str(row["file"]), str(row["group"]), *paths, *(_without_suffix(path) for path in paths)}
            for name in own - {""}:
                for spelling in {name, name.casefold()}:
                    names.setdefault(spelling, set()).add(video_id)
        return names

    def find(self, *names: str | None) -> dict[str, Any] | None:
        """The row of the video that one of these names means: its id, its file's name, that of its source, or the
        group where the group is this video alone. None when none does, or two do."""
        given = [name for name in names if name]
        for name in given:
            found = self._look_up(name)
            if found is not None:
                return self.rows[found]
        return self._claimed(given[0]) if given else None

    def find_or_only(self, *names: str | None) -> dict[str, Any] | None:
        """The same for a file that may name no video: then the only one here, or the one that --video says."""
        return self.find(*names) if any(names) else self.only()

    def only(self) -> dict[str, Any] | None:
        """The video of what has no name."""
        if self.hints.video_id:
            return self.rows[self.hints.video_id]
        return next(iter(self.rows.values())) if len(self.rows) == 1 else None

    def find_frame(self, picture: str, *beside: str) -> tuple[dict[str, Any], int] | None:
        """The video and the frame number that a picture's name means, such as <video>_<frame>.jpg.

        Where it says a number alone, its folders, then the names `beside` it, then `only` say the video.
        """
        *folders, name = _parts(_without_query(picture)) or [""]
        name = _without_picture_suffix(name)
        if roboflow := ROBOFLOW.fullmatch(name):
            name = roboflow[1]
        digits = re.search(r"\d+$", name, re.ASCII)
        if digits is None or len(digits[0]) > MOST_DIGITS:
            return None
        head = name[: digits.start()]
        bare = head.rstrip(SEPARATORS)
        word = FRAME_WORD.fullmatch(bare)
        heads = [bare] if bare != head or not bare else []
        heads += [word[1].rstrip(SEPARATORS)] if word else []
        upload = UPLOADED.fullmatch(name)
        for each in filter(None, heads):
            if (found := self._look_up("/".join([*folders, each]))) is not None:
                return self.rows[found], int(digits[0])
        if "" in heads or (upload and not UPLOADED.fullmatch(bare)):
            for each in (*reversed(folders), *beside):
                if (found := self._look_up(each, note=False)) is not None:
                    return self.rows[found], int(digits[0])
            row = self.only()
        else:
            row = self._claimed(heads[0]) if heads else None
        return None if row is None else (row, int(digits[0]))

    def _look_up(self, name: str, note: bool = True) -> str | None:
        if (name, note) not in self._looked_up:
            self._looked_up[name, note] = self._find_named(name, note)
        return self._looked_up[name, note]

    def _find_named(self, name: str, note: bool) -> str | None:
        ambiguous: set[str] = set()
        for spelling in _spellings(name):
            if spelling in self.rows:
                return spelling
            found = self._by_name.get(spelling) or self._by_name.get(spelling.casefold(), set())
            if len(found) == 1:
                return next(iter(found))
            ambiguous = ambiguous or found
        if ambiguous and note and not self.hints.video_id:
            self.ambiguous[name] = sorted(ambiguous)
        return None

    def _claimed(self, name: str) -> dict[str, Any] | None:
        """The video of --video, for a name that means none here. InputError when a second name asks for it."""
        if not self.hints.video_id:
            return None
        self._named_by_option.add(name)
        if len(self._named_by_option) > 1:
            names = _few(self._named_by_option)
            raise InputError(f"--video {self.hints.video_id}: the file names several videos: {names}")
        return self.rows[self.hints.video_id]

    def times(self, video: Mapping[str, Any]) -> FrameTimes:
        """When the frames of a video are shown."""
        video_id = str(video["video_id"])
        if video_id not in self._times:
            self._times[video_id] = read_frame_times(self._times_folder, video)
        return self._times[video_id]

    def first_frame(self, numbers: Mapping[str, Iterable[int]], from_zero: bool, where: str) -> tuple[int, list[str]]:
        """The number of the first frame in a file's names, 0 or 1, and lines on it; `numbers` are those of each video.

        Where the numbers themselves do not tell: 0 for names of a kind that counts `from_zero`, else InputError.
        """
        if self.hints.first_frame is not None:
            return self.hints.first_frame, [f"frames: counted from {self.hints.first_frame}, as --set first_frame says"]
        sets = {video_id: set(found) for video_id, found in numbers.items()}
        has_zero = any(0 in found for found in sets.values())
        has_end = any(int(self.rows[video_id]["frame_count"]) in found for video_id, found in sets.items())
        if has_end and not has_zero:
            return 1, ["frames: counted from 1 in the file: the number after the last frame is there, 0 is not"]
        if has_zero or from_zero or not any(sets.values()):
            return 0, []
        raise InputError(
            f"{where}: whether its frames are counted from 0 or from 1 cannot be told; `yolo predict save_txt` counts "
            "from 1: say --set first_frame=1, else --set first_frame=0"
        )

    def miss(self, name: str, count: int = 1) -> None:
        self.unknown[name] = self.unknown.get(name, 0) + count

    def unknown_lines(self) -> list[str]:
        """Lines on the names that no video has, or several."""
        lines = []
        for name, ids in sorted(self.ambiguous.items())[:3]:
            lines.append(f"ambiguous: {name} means {' or '.join(ids[:3])}; say which with --video, or more of its path")
        if self.unknown:
            count = sum(self.unknown.values())
            lines.append(f"not used: {count} labels of {len(self.unknown)} videos not known here: {_few(self.unknown)}")
        return lines


def origin_of(video: Mapping[str, Any]) -> tuple[str, float]:
    """What the film is called outside from which a clip was cut, and the second at which the clip begins in it.

    By its address or by a name such as <id>_000050_000060; else the clip stands for itself.
    """
    if match := YOUTUBE.match(str(video["url"])):
        return match[1], video["start_s"] if math.isfinite(video["start_s"]) else 0.0
    *_, name = _parts(str(video["source"])) or [""]
    cut = CUT_NAME.fullmatch(_without_suffix(name)) or CUT_NAME.fullmatch(str(video["video_id"]))
    if cut and int(cut[3]) > int(cut[2]):
        return cut[1], float(cut[2])
    return str(video["video_id"]), 0.0


def _few(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(name[:80] for name in names[:3]) + (" …" if len(names) > 3 else "")


def _parts(name: str) -> list[str]:
    """The parts of a path of any system, without what leads nowhere."""
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    return [part.strip() for part in path.split("/") if part.strip() not in ("", ".", "..")]


def _without_query(name: str) -> str:
    """An address without what a server was asked beside it."""
    return re.split(r"[?#]", name, maxsplit=1)[0] if re.match(r"[a-z][a-z0-9+.-]{1,9}://", name) else name


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and 0 < len(suffix) <= 5 and "/" not in suffix else name


def _without_picture_suffix(name: str) -> str:
    suffix = SUFFIX.search(name, max(0, len(name) - 5))
    return name[: suffix.start()] if suffix and suffix.end() == len(name) else name


def _spellings(name: str) -> list[str]:
    """What a name may stand for, the surest first: more of its path, then its last part alone, then what others add."""
    found: list[str] = [name]
    for text in dict.fromkeys((name, _without_query(name), unquote(_without_query(name)))):
        parts = _parts(text)
        paths = ["/".join(parts[-depth:]) for depth in range(min(DEEPEST, len(parts)), 0, -1)]
        last = parts[-1] if parts else ""
        if upload := UPLOADED.fullmatch(last):
            paths.append(upload[1])
        for path in list(paths):
            if inside := SUFFIX_IN_NAME.fullmatch(path):
                paths += [f"{inside[1]}.{inside[2]}", inside[1]]
        found += [spelling for path in paths for spelling in (path, _without_suffix(path))]
    return list(dict.fromkeys(filter(None, found)))
