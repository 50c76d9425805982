"""COCO to and from people and their tools: COCO's own folders out, anybody's file in. The file itself: coco.py.

Read are the forms that circulate: Rally's own fields, CocoVID's `videos`, Roboflow's root category, ids of any kind,
outlines without boxes.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from labels.exchange.foreign_files import hull, number_of, text_value, whole_number
from labels.exchange.formats.coco import write_coco
from labels.exchange.known_videos import KnownVideos
from labels.exchange.label_set import BoxRows, FoundLabels, LabelSet, OddEntry, file_in, found_labels, link_pictures
from labels.records import tables
from labels.records.errors import InputError
from labels.records.masks import decode_mask, encode_mask, mask_of_runs
from labels.videos.download.list_reading import json_members

INSTANCES = "annotations/instances_default.json"
Item = Mapping[str, Any]


def export_coco(folder: Path, labels: LabelSet) -> list[str]:
    """A round's labels in COCO's own folders, for tools; what stage 4 reads lies in dataset/."""
    inside = labels.in_images(labels.boxes)
    write_coco(folder / INSTANCES, labels.images.drop(columns="picture"), inside, labels.class_names)
    link_pictures(folder / "images", labels.images)
    return labels.left_out_lines("COCO", holds_ignored=True)


def find_coco(path: Path, videos: KnownVideos) -> FoundLabels:
    """What a COCO file, or all of a folder, says of the known videos."""
    reading = _Reading(path, videos)
    others = 0
    for json_path in file_in(path, "*.json"):
        if not reading.file(json_path):  # other JSON lies beside the labels of many data sets
            others += 1
            if path.is_file():
                raise InputError(f"{path}: no COCO file: it lacks a list of images or of annotations")
    if not reading.files:
        raise InputError(f"{path}: no COCO file in it ({others} other JSON files)")
    if others:
        reading.lines.append(f"not used: {others} other JSON files beside the labels")
    return reading.found()


class _Reading:
    """COCO files while they are read: each three times, so that neither its images nor its boxes are held in memory."""

    def __init__(self, path: Path, videos: KnownVideos):
        self.videos, self.rows = videos, BoxRows(path, has_sizes=True)
        self.covered: dict[str, set[int]] = {}
        self.masks: list[str] = []
        self.lines: list[str] = []
        self.files = 0
        self._uids: set[str] = set()

    def file(self, path: Path) -> bool:
        """Take what a JSON file says; False where it is no COCO file."""
        names: dict[Any, str] = {}
        films: dict[Any, str] = {}
        lists = set()
        for member, items in json_members(path):
            if not isinstance(items, Iterator):
                continue
            lists.add(member)
            if member == "categories":
                names |= {_key(item.get("id")): str(item.get("name") or "").strip() for item in _objects(items)}
            elif member == "videos":
                films |= {_key(item.get("id")): text_value(item.get("name")) for item in _objects(items)}
        if not {"images", "annotations"} <= lists:
            return False
        self.files += 1
        places = self._places(path, _items(path, "images"), films)
        for place, item in enumerate(_items(path, "annotations")):
            if not isinstance(item, dict):
                with self.rows.entry(f"{path.name}: annotation {place}"):
                    raise OddEntry("annotations that are no objects")
                continue
            known = places.get(_key(item.get("image_id")))
            where = f"{path.name}: annotation {str(item.get('id', place))[:20]}"
            if known is None:
                with self.rows.entry(where):
                    raise OddEntry("annotations of an image that is not in the file")
            elif known[0] is None:
                self.videos.miss(known[2])
            else:
                with self.rows.entry(where, known[0], known[1]):
                    if known[3]:
                        raise OddEntry(known[3])
                    self._box(item, known[0], known[1], names)
        return True

    def _places(
        self, path: Path, images: Iterable[object], films: dict[Any, str]
    ) -> dict[Any, tuple[dict[str, Any] | None, int, str, str]]:
        """By image id: video (None: not known here), frame, the image's name, and what is wrong with it."""
        found: dict[Any, tuple[dict[str, Any] | None, int, str, str]] = {}
        numbers: dict[str, set[int]] = {}
        for place, item in enumerate(images):
            if not isinstance(item, dict):
                with self.rows.entry(f"{path.name}: image {place}"):
                    raise OddEntry("images that are no objects", is_nothing=True)
                continue
            key = _key(item.get("id"))
            name = text_value(item.get("file_name")) or f"image {place}"
            if key is None or key in found:
                with self.rows.entry(f"{path.name}: {name[:80]}"):
                    raise OddEntry("images without an id of their own", is_nothing=True)
                continue
            at = self._place(item, name, films, path)
            if at is None:
                found[key] = (None, 0, name[:80], "")
                continue
            video, number = at
            size = (whole_number(item.get("width"), 0), whole_number(item.get("height"), 0))
            own = (int(video["width"]), int(video["height"]))
            fault = ""
            if 0 not in size and size != own:
                fault = f"boxes of pictures of {size[0]} x {size[1]}, its video {own[0]} x {own[1]}"
            else:
                numbers.setdefault(str(video["video_id"]), set()).add(number)
            found[key] = (video, number, "", fault)
        first, lines = self.videos.first_frame(numbers, True, str(path))
        self.lines += lines
        for video_id, frames in numbers.items():
            self.covered.setdefault(video_id, set()).update(number - first for number in frames)
        if not first:
            return found
        return {key: (*each[:1], each[1] - first, *each[2:]) for key, each in found.items()}

    def _place(self, item: Item, name: str, films: dict[Any, str], path: Path) -> tuple[dict[str, Any], int] | None:
        """Its video and the frame's number: as it says itself, else as its name does."""
        frame = whole_number(item.get("frame_index", item.get("frame_id")), -1)
        film = films.get(_key(item.get("video_id"))) or text_value(item.get("video_id"))
        if frame >= 0 and film and (video := self.videos.find(film)) is not None:
            return video, frame
        return self.videos.find_frame(name, film, path.stem)

    def _box(self, item: Item, video: dict[str, Any], frame: int, names: dict[Any, str]) -> None:
        key = _key(item.get("category_id"))
        if key not in names:
            raise OddEntry("annotations of a category that is not in the file")
        attributes = item.get("attributes")
        attributes = attributes if isinstance(attributes, dict) else {}
        size = (int(video["height"]), int(video["width"]))
        mask = self._mask(item.get("segmentation"), *size)
        uid = text_value(attributes.get("label_uid"))
        track = attributes.get("track_id", item.get("track_id", item.get("instance_id")))
        is_ignored = whole_number(item.get("iscrowd"), 0) == 1 or attributes.get("decision") == "ignore"
        self.rows.add(
            video,
            frame,
            _corners(item, mask, size),
            names[key],
            "" if uid in self._uids else uid,  # of a copied box the first keeps the name
            whole_number(track, tables.NO_TRACK),
            is_ignored,
        )
        self._uids.add(uid)
        self.masks.append(mask)

    def _mask(self, segmentation: object, height: int, width: int) -> str:
        """The mask of run lengths, compressed or not; outlines are not taken for masks. Raises OddEntry."""
        if not isinstance(segmentation, dict):
            return ""
        counts = segmentation.get("counts")
        try:
            if segmentation.get("size") == [height, width] and isinstance(counts, str):
                return encode_mask(decode_mask(counts, height, width))
            runs = counts if isinstance(counts, list) else [-1]
            if segmentation.get("size") == [height, width] and all(whole_number(run, -1) == run >= 0 for run in runs):
                return encode_mask(mask_of_runs(runs, height, width))
        except (ValueError, OverflowError, UnicodeEncodeError):
            pass
        raise OddEntry("annotations whose mask is not of their picture")

    def found(self) -> FoundLabels:
        labels = found_labels(self.rows, self.videos.rows, self.covered, lines=self.lines)
        labels.boxes["mask_rle"] = self.masks
        return labels


def _corners(item: Item, mask: str, size: tuple[int, int]) -> tuple[float, ...]:
    """x1, y1, x2, y2 of its bbox; where it has none, of its outline or mask. Raises OddEntry."""
    xywh, outlines = item.get("bbox"), item.get("segmentation")
    if isinstance(xywh, list) and xywh:
        if len(xywh) != 4:
            raise OddEntry("annotations whose bbox is not four numbers")
        x, y, width, height = (number_of(side, "bbox") for side in xywh)
        return x, y, x + width, y + height
    if mask:
        ys, xs = decode_mask(mask, *size).nonzero()
        if len(xs):
            return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
    if isinstance(outlines, list):
        parts = [part if isinstance(part, list) else [part] for part in outlines]
        return hull(number_of(value, "outline") for part in parts for value in part)
    raise OddEntry("annotations without a bbox")


def _objects(items: Iterable[object]) -> Iterator[Item]:
    return (item for item in items if isinstance(item, dict))


def _items(path: Path, name: str) -> Iterator[object]:
    """The entries of one list of the file."""
    for member, items in json_members(path):
        if member == name and isinstance(items, Iterator):
            yield from items


def _key(value: object) -> int | str | None:
    """An id that can be looked up: 1, 1.0 and "1" are the same one; None for what is none."""
    if type(value) is int and 0 <= value < 2**63:  # nearly always
        return value
    number = whole_number(value, -1, most=2**63)
    if number >= 0:
        return number
    return value[:200] if isinstance(value, str) and value else None
