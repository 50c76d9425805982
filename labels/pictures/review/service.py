"""The review service: what the page asks for, without HTTP (items, labels around a frame, verdicts), as JSON."""

import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from labels.cleaning.rules import REASON_HELP
from labels.pictures.palette import STYLES
from labels.pictures.report.rounds import read_round
from labels.pictures.review.frames import ReviewFrames
from labels.pictures.review.labels import ReviewItem, ReviewRound, browse, load_round, outputs_of
from labels.pictures.review.saving import VerdictService
from labels.pictures.settings import REVIEW, ReviewSettings
from labels.records.errors import InputError
from labels.records.tables import BOX_COLUMNS, NO_TRACK
from labels.records.verdicts import Box, Verdict
from labels.records.work_folder import WorkFolder

STRIP_EACH_SIDE = 4  # frames of the strip before and after the label's own
AROUND_S = 1.0
WORDS = {"uid": "label_uid", "video": "video_id", "class": "class_name"}
WORDS |= {name: name for name in ("decision", "reason", "rule", "style", "origin")}
NUMBERS = {"frame": "frame_index", "track": "track_id", "born": "round_born"}
SHARES = {"time": "time_s", "score": "score", "quality": "quality"}


def item_as_json(
    held: ReviewRound, item: ReviewItem, verdicts: Mapping[str, Verdict], most: int, shown: int | None = None
) -> dict[str, Any]:
    """An item with at most `most` of its labels, evenly, and the label in row `shown` among them."""
    shown = item.shown if shown is None else shown
    rows = item.rows if shown in item.rows else np.append(item.rows, shown)
    if len(rows) > most:
        rows = np.unique(np.append(rows[np.linspace(0, len(rows) - 1, most - 1).astype(int)], shown))
    video = held.videos[held.columns["video_id"][shown]]
    return {
        "id": held.columns["label_uid"][item.shown], "video": video.video_id, "fps": video.fps,
        "stride": video.stride, "frame_count": video.frame_count, "width": video.width, "height": video.height,
        "step": strip_step(video.fps, video.stride), "held_out": video.held_out,
        "count": len(item.rows), "duplicates": len(item.duplicates),
        "change": round(item.change, 3), "track": int(held.columns["track_id"][shown]) != NO_TRACK,
        "shown": held.columns["label_uid"][shown], "rows": rows_as_json(held, rows, verdicts),
    }  # fmt: skip


def rows_as_json(held: ReviewRound, rows: np.ndarray, verdicts: Mapping[str, Verdict]) -> list[dict[str, Any]]:
    """The labels in some rows, with what was said of them."""
    uid = held.columns["label_uid"]
    return [_row_as_json(held.columns, int(row), verdicts.get(uid[row])) for row in rows]


def strip_step(fps: float, stride: int) -> int:
    """Frames between two pictures of the strip: whole strides, so that the strip spans about a second each side."""
    return max(1, round(AROUND_S * fps / STRIP_EACH_SIDE / stride)) * stride


def _row_as_json(columns: Mapping[str, np.ndarray], row: int, verdict: Verdict | None) -> dict[str, Any]:
    answer: dict[str, Any] = {key: columns[name][row] for key, name in WORDS.items()}
    answer |= {key: int(columns[name][row]) for key, name in NUMBERS.items()}
    answer |= {key: round(float(columns[name][row]), 3) for key, name in SHARES.items()}
    answer["box"] = [round(float(columns[name][row]), 2) for name in BOX_COLUMNS]
    if verdict is not None:
        answer["verdict"] = verdict.verdict
        if verdict.xyxy is not None:
            answer["right_box"] = [round(value, 2) for value in verdict.xyxy]
        if verdict.class_name:
            answer["right_class"] = verdict.class_name
    return answer


CROP_PX = 112
STRIP_PX = 240


class ReviewService:
    """The rounds of a work folder, looked at and judged. May be used from many threads."""

    def __init__(self, work: WorkFolder, frames: ReviewFrames, settings: ReviewSettings = REVIEW) -> None:
        self.work, self.frames, self.settings = work, frames, settings
        self.verdicts = VerdictService(work)
        self._rounds: dict[int, ReviewRound] = {}
        self._loading = threading.Lock()

    def round(self, number: int, fresh: bool = False) -> ReviewRound:
        """A round's labels; `fresh` looks whether it was cleaned anew meanwhile."""
        with self._loading:
            held = self._rounds.get(number)
            if held is not None and fresh:
                held = held if outputs_of(read_round(self.work, number)) == held.outputs else None
            if held is None:
                held = self._rounds[number] = load_round(self.work, number)
            return held

    def about(self, number: int) -> dict[str, Any]:
        """What the page is told first."""
        cleaned = [each for each in self.work.round_numbers() if read_round(self.work, each).is_cleaned]
        held = self.round(number, fresh=True)
        return {
            "work": str(self.work.root), "rounds": cleaned, "round": number, "classes": held.class_names,
            "thresholds": held.thresholds, "labels": len(held.labels), "items": len(held.items),
            "unreadable": held.unreadable, "saved": self.verdicts.saved, "rules": REASON_HELP,
            "clip_mb": self.settings.clip_bytes // 2**20, "clip_s": self.settings.clip_seconds,
        }  # fmt: skip

    def items(self, number: int, offset: int, count: int, wanted: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Items of a round that are not judged yet, from place `offset` on; `next` is where to go on, or None."""
        held, verdicts = self.round(number), self.verdicts.latest()
        found: list[dict[str, Any]] = []
        place = offset
        uid = held.columns["label_uid"]
        count = max(1, min(count, self.settings.items_at_once))
        while place < len(held.items) and len(found) < count:
            item = held.items[place]
            place += 1
            if any(uid[row] not in verdicts for row in item.rows) and self._fits(held, item, wanted or {}):
                found.append(item_as_json(held, item, verdicts, self.settings.rows_shown))
        for item in held.items[offset:place]:
            self._expect(held, item.shown)
        return {"items": found, "next": place if place < len(held.items) else None}

    def item_of(self, number: int, label_uid: str) -> dict[str, Any]:
        """The item a label is in, with that label shown first."""
        held = self.round(number)
        row = self._row(held, label_uid)
        item = held.items[held.item_of_row[row]]
        self._expect(held, row)
        return item_as_json(held, item, self.verdicts.latest(), self.settings.rows_shown, row)

    def around(self, number: int, video_id: str, first: int, last: int) -> dict[str, Any]:
        """All labels of a video in some frames, and the boxes a person drew there."""
        held = self.round(number)
        rows = held.in_frames(video_id, first, last)[:4000]
        verdicts = self.verdicts.latest()
        drawn = [
            {"uid": uid, "frame": verdict.frame_index, "box": verdict.xyxy, "class": verdict.class_name}
            for uid, verdict in verdicts.items()
            if verdict.video_id == video_id and verdict.frame_index is not None and verdict.judged_xyxy is None
            and verdict.verdict == "y" and first <= verdict.frame_index <= last and uid not in held.place_of
        ]  # fmt: skip
        return {"labels": rows_as_json(held, rows, verdicts), "drawn": drawn}

    def judge(self, number: int, asked: Mapping[str, Any], client: str = "") -> dict[str, Any]:
        """Save a verdict on an item, or on one label of it (`only`), with a right class or box where one is given."""
        held = self.round(number)
        name, only, word = str(asked.get("item", "")), asked.get("only"), str(asked.get("verdict", ""))
        item = held.item_named.get(name)
        if item is None:
            raise InputError("this round was cleaned anew; load the page again")
        rows = item.rows if only is None else np.array([self._row(held, str(only))])
        if word == "n" and only is None:
            rows = np.concatenate([rows, item.duplicates])
        if only is None:
            alone = self.verdicts.judged_alone
            others = [row for row in rows if held.columns["label_uid"][row] not in alone]
            rows = np.array(others or rows, dtype=np.int64)
        class_name = str(asked.get("class_name") or "")
        boxes = {}
        if asked.get("box") is not None:
            boxes = {
                str(asked.get("box_of") or only): self._box(held, rows, str(asked.get("box_of") or only), asked["box"])
            }
        is_alone = only is not None and not boxes
        saved = self.verdicts.judge(name, self._labels(held, rows), word, class_name, boxes, is_alone, client)
        verdicts = self.verdicts.latest()
        return {"saved": saved, "total": self.verdicts.saved, "rows": rows_as_json(held, rows[:1000], verdicts)}

    def draw(self, number: int, asked: Mapping[str, Any], client: str = "") -> dict[str, Any]:
        """Save a box that no machine drew."""
        video = self.round(number).videos.get(str(asked.get("video")))
        frame = asked.get("frame")
        if video is None or not isinstance(frame, int) or not 0 <= frame < video.frame_count:
            raise InputError("no such frame")
        box = _as_box(asked.get("box"), video.width, video.height)
        uid = self.verdicts.draw(video.video_id, frame, str(asked.get("class_name") or ""), box, client)
        return {"uid": uid, "total": self.verdicts.saved}

    def take_back(self, client: str = "") -> dict[str, Any]:
        back = self.verdicts.take_back(client)
        answer = {"item": back.name, "labels": len(back.label_uids), "of_actions": back.of_actions}
        return answer | {"total": self.verdicts.saved}

    def browse(self, number: int, wanted: Mapping[str, str]) -> dict[str, Any]:
        """A page of a round's labels that fit a filter; see `labels.browse`."""
        held = self.round(number, fresh=True)
        filters: dict[str, Any] = dict(wanted)
        try:
            offset = int(wanted.get("offset", 0))
            filters |= {name: float(wanted[name]) for name in ("low", "high") if wanted.get(name)}
        except ValueError:
            raise InputError("a score is a number from 0 to 1") from None
        rows, counts = browse(held.labels, filters)
        here = rows[max(0, offset) : max(0, offset) + self.settings.browse_rows]
        for row in here:
            self._expect(held, int(row), strip=False)
        return {"total": len(rows), "labels": rows_as_json(held, here, self.verdicts.latest()), "counts": counts}

    def frame(self, number: int, video_id: str, frame_index: int, width: int) -> bytes:
        video = self.round(number).videos.get(video_id)
        if video is None:
            raise InputError(f"{video_id[:80]}: no such video in this round")
        return self.frames.get(video, frame_index, min(max(width, 0), self.settings.frame_px))

    def strip(self, number: int, video_id: str, frame_index: int) -> bytes | None:
        """The frames of about a second each side of a label, in one picture; None while they are being decoded."""
        video = self.round(number).videos.get(video_id)
        if video is None:
            raise InputError(f"{video_id[:80]}: no such video in this round")
        step = strip_step(video.fps, video.stride)
        frames = [frame_index + step * place for place in range(-STRIP_EACH_SIDE, STRIP_EACH_SIDE + 1)]
        return self.frames.strip(video, frames, STRIP_PX)

    def crop(self, number: int, label_uid: str) -> bytes:
        """A small picture of a label."""
        held = self.round(number)
        label = held.labels.iloc[self._row(held, label_uid)]
        xyxy = label[BOX_COLUMNS].to_numpy(dtype=np.float32)
        video = held.videos[label["video_id"]]
        return self.frames.crop(video, int(label["frame_index"]), xyxy, STYLES[label["style"]], CROP_PX)

    def _fits(self, held: ReviewRound, item: ReviewItem, wanted: Mapping[str, str]) -> bool:
        row = item.shown
        names = ("class_name", "decision", "rule", "origin", "video_id")
        return all(held.columns[name][row] == wanted[name] for name in names if wanted.get(name))

    def _row(self, held: ReviewRound, label_uid: str) -> int:
        row = held.place_of.get(label_uid)
        if row is None:
            raise InputError("this label is not in the round any more; load the page again")
        return row

    def _box(self, held: ReviewRound, rows: np.ndarray, label_uid: str, box: Any) -> Box:
        row = self._row(held, label_uid)
        if row not in rows:
            raise InputError("a box of another item")
        video = held.videos[held.columns["video_id"][row]]
        return _as_box(box, video.width, video.height)

    def _labels(self, held: ReviewRound, rows: np.ndarray) -> list[dict[str, Any]]:
        names = ("label_uid", "video_id", "frame_index", "class_name", *BOX_COLUMNS)
        return [{name: held.columns[name][row] for name in names} for row in rows]

    def _expect(self, held: ReviewRound, row: int, strip: bool = True) -> None:
        video = held.videos[held.columns["video_id"][row]]
        frame = int(held.columns["frame_index"][row])
        step = strip_step(video.fps, video.stride)
        reach = range(-STRIP_EACH_SIDE, STRIP_EACH_SIDE + 1) if strip else range(1)
        self.frames.expect(video, [frame + step * place for place in reach])


def _as_box(given: Any, width: int, height: int) -> Box:
    """Four numbers clipped to the frame. InputError when nothing is left of the box."""
    try:
        x1, y1, x2, y2 = (float(value) for value in given)
    except (TypeError, ValueError):
        raise InputError("a box is four numbers") from None
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise InputError("a box is four numbers")
    x1, x2 = max(0.0, x1), min(float(width), x2)
    y1, y2 = max(0.0, y1), min(float(height), y2)
    if not (x2 - x1 >= 1 and y2 - y1 >= 1):
        raise InputError("the box is empty, or outside the frame")
    return x1, y1, x2, y2
