"""The actions of a cleaned round for the review page: who does what when, the most worth a look first.

First come human labels that a student doubts, by the student's confidence; then those whose verdict is expected to
change the most: how near their quality is to the threshold of their class, times how long they last. Held-out clips
come last: they are there to judge by.
"""

import csv
import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.actions.decisions import OVERRULED
from labels.cleaning.rules import rule_of
from labels.cleaning.settings import ActionSettings
from labels.labelling.action_intervals import TEST
from labels.labelling.player_tracks import tracks_of
from labels.pictures.palette import style_names
from labels.pictures.report.rounds import CleanedRound, read_round
from labels.pictures.review.labels import ReviewVideo, nearness
from labels.pictures.review.service import ReviewService
from labels.pictures.settings import REVIEW, ReviewSettings
from labels.records import tables
from labels.records.errors import InputError
from labels.records.run_records import RunRecord
from labels.records.safe_writing import digest_of, file_digest
from labels.records.verdicts import Verdict
from labels.records.work_folder import ACTIONS_CLEANED, WorkFolder
from labels.tracks.players import CropPath

REVIEW_FILE = "review.csv"


@dataclass
class ReviewSegments:
    """`actions`: decided ACTIONS of all videos with `style`, in the order in which they are worth a look."""

    number: int
    digest: str | None  # another one means that they were cleaned anew; None: it has no actions
    actions: pd.DataFrame
    class_names: list[str] = field(default_factory=list)
    doubts: dict[str, dict[str, Any]] = field(default_factory=dict)  # label_uid -> the student's class and score
    unreadable: dict[str, str] = field(default_factory=dict)  # video_id, or file -> why it is not shown

    def __post_init__(self) -> None:
        self.place_of = {uid: place for place, uid in enumerate(self.actions["label_uid"])}


def load_segments(work: WorkFolder, number: int, settings: ReviewSettings = REVIEW) -> ReviewSegments:
    """The actions of a round; none where it has none. What cannot be read is named, not fatal."""
    found = read_round(work, number)
    record = found.records[ACTIONS_CLEANED]
    kinds = tables.ACTIONS | tables.DECIDED
    if record is None:
        return ReviewSegments(number, None, tables.empty_table(kinds))
    parts, unreadable = [], {}
    for video_id in map(str, work.usable_videos()["video_id"]):
        try:
            parts.append(found.actions(video_id)[list(kinds)])
        except InputError as error:
            unreadable[video_id] = str(error)
    actions = tables.concatenate(parts, kinds)
    overruled = actions["reason"].str.startswith(OVERRULED)
    actions = actions[~overruled].reset_index(drop=True)
    try:
        doubts = _doubts(found)
    except InputError as error:
        doubts, unreadable[REVIEW_FILE] = {}, str(error)
    ordered = _most_worth_first(actions, doubts, record, work.usable_videos(), settings)
    names = sorted({*record.facts.get("class_names", ()), *actions["class_name"]} - {""})
    styled = ordered.assign(style=style_names(ordered))
    return ReviewSegments(number, digest_of_segments(work, number), styled, names, doubts, unreadable)


def segment_as_json(
    held: ReviewSegments,
    place: int,
    video: ReviewVideo,
    players: Sequence[CropPath],
    verdict: Verdict | None,
    settings: ReviewSettings,
) -> dict[str, Any]:
    """An action as the page is told it: `frames` are those to show, `boxes` where its player is in each of them.

    Args:
        players: those of its video.
    """
    row = held.actions.iloc[place]
    frames = shown_frames(int(row["start_frame"]), int(row["end_frame"]), video.fps, settings)
    answer: dict[str, Any] = {
        "id": row["label_uid"], "video": video.video_id, "fps": video.fps, "width": video.width,
        "height": video.height, "track": int(row["track_id"]), "class": row["class_name"], "style": row["style"],
        "decision": row["decision"], "reason": row["reason"], "rule": rule_of(row["reason"]), "origin": row["origin"],
        "held_out": video.held_out, "frames": frames, "boxes": _boxes_in(players, int(row["track_id"]), frames),
        "doubt": held.doubts.get(row["label_uid"]), "likely": _likely(row["probabilities"]),
    }  # fmt: skip
    answer |= {name: round(float(row[name]), 3) for name in ("start_s", "end_s", "score", "quality")}
    if verdict is not None:
        answer |= {"verdict": verdict.verdict} | ({"right_class": verdict.class_name} if verdict.class_name else {})
    return answer


def shown_frames(start: int, end: int, fps: float, settings: ReviewSettings = REVIEW) -> list[int]:
    """Frames from `start` to before `end`, evenly: all of them where they are few, else some each second."""
    wanted = round((end - start) / max(fps, 1e-6) * settings.segment_fps)
    count = int(np.clip(wanted, settings.segment_least_frames, settings.segment_most_frames))
    if end - start <= count:
        return list(range(start, end))
    return np.linspace(start, end - 1, count).round().astype(int).tolist()


def players_of(work: WorkFolder, number: int, video: ReviewVideo) -> list[CropPath]:
    """Where the players of a video are; none where that cannot be read: their actions can be judged all the same."""
    try:
        return tracks_of(work, number, video.video_id, video.fps)
    except (InputError, OSError, ValueError, KeyError):
        return []


def digest_of_segments(work: WorkFolder, number: int) -> str | None:
    """Changes when a round's actions are cleaned anew, or are doubted otherwise; None where there are none."""
    found = read_round(work, number)
    record, doubts = found.records[ACTIONS_CLEANED], _doubts_file(found)
    if record is None:
        return None
    return digest_of([record.output, file_digest(doubts) if doubts.is_file() else ""])


def _most_worth_first(
    actions: pd.DataFrame,
    doubts: dict[str, dict[str, Any]],
    record: RunRecord,
    videos: pd.DataFrame,
    settings: ReviewSettings,
) -> pd.DataFrame:
    """The actions of a cleaned round, whose record that is, in the order of the module's first lines."""
    keep = float(record.arguments.get("keep_quality", ActionSettings.keep_quality))
    ignore = float(record.arguments.get("ignore_quality", ActionSettings.ignore_quality))
    bars = actions["class_name"].map(record.counts.get("bars", {})).fillna(keep).to_numpy(np.float64)
    change = _change(actions, bars, ignore, settings)
    doubted = actions["label_uid"].map({uid: doubt["score"] for uid, doubt in doubts.items()}).fillna(0).to_numpy()
    held_out = actions["video_id"].isin(videos["video_id"][videos["split"] == TEST]).to_numpy()
    uid = actions["label_uid"].to_numpy(dtype=object).astype(str)  # of equals always the same one first
    return actions.iloc[np.lexsort([uid, -change, -doubted, held_out])].reset_index(drop=True)


def _change(actions: pd.DataFrame, bars: np.ndarray, ignore: float, settings: ReviewSettings) -> np.ndarray:
    """How much a verdict is expected to change, seconds, (N,); nothing of what a person said."""
    quality = actions["quality"].to_numpy(np.float64)
    near = np.ones(len(actions))
    for bar in np.unique(bars):
        own = bars == bar
        near[own] = nearness(quality[own], (ignore, float(bar)), settings)
    lasts = (actions["end_s"] - actions["start_s"]).to_numpy(np.float64)
    return np.where(actions["origin"] == "human", 0.0, near * lasts)


def _doubts_file(found: CleanedRound) -> Path:
    return found.folder.stage(ACTIONS_CLEANED) / REVIEW_FILE


def _doubts(found: CleanedRound) -> dict[str, dict[str, Any]]:
    """label_uid -> what a student says instead. InputError names a file that cannot be read."""
    path = _doubts_file(found)
    if not path.is_file():
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as opened:
            listed = [
                (row["label_uid"], row["student_class"], float(row["student_score"])) for row in csv.DictReader(opened)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not all(math.isfinite(score) for _, _, score in listed):
        raise InputError(f"{path}: a score is not a number")
    return {uid: {"class": name, "score": round(score, 3)} for uid, name, score in listed}


def _boxes_in(players: Sequence[CropPath], track_id: int, frames: list[int]) -> list[list[float] | None]:
    """Where a player is in each frame; None while nobody sees them, and where the action is nobody's."""
    path = next((path for path in players if path.track_id == track_id), None)
    if path is None or path.boxes is None:
        return [None] * len(frames)
    boxes = path.boxes.round(1)
    return [boxes[frame - path.first_frame].tolist() if path.sight_at(frame) else None for frame in frames]


def _likely(probabilities: str, most: int = 3) -> list[tuple[str, float]]:
    """The likeliest classes, the likeliest first; none where that cannot be read."""
    try:
        best = sorted(((float(share), str(name)) for name, share in json.loads(probabilities).items()), reverse=True)
    except (ValueError, AttributeError, TypeError):
        return []
    return [(name, round(share, 3)) for share, name in best[:most] if math.isfinite(share)]


class SegmentService:
    """The actions of the rounds that `service` shows, judged into the same verdicts. May be used from many threads."""

    def __init__(self, service: ReviewService) -> None:
        self._service = service
        self._rounds: dict[int, ReviewSegments] = {}
        self._loading = threading.Lock()

    def round(self, number: int, fresh: bool = False) -> ReviewSegments:
        """A round's actions, empty where it has none; `fresh` looks whether they were cleaned anew meanwhile."""
        work = self._service.work
        with self._loading:
            held = self._rounds.get(number)
            if held is None or (fresh and digest_of_segments(work, number) != held.digest):
                held = self._rounds[number] = load_segments(work, number, self._service.settings)
            return held

    def about(self, number: int) -> dict[str, Any]:
        """What the page is told first."""
        held = self.round(number, fresh=True)
        return {"segments": len(held.actions), "actions": held.class_names, "unreadable_actions": held.unreadable}

    def items(self, number: int, offset: int, count: int) -> dict[str, Any]:
        """Actions from place `offset` on: those that are not judged yet, then the others.

        Places count twice through the round, once for what is open and once for what is judged. `next` is where to go
        on, None at the end; `more`: there is something open.
        """
        held, verdicts = self.round(number), self._service.verdicts.latest()
        judged = held.actions["label_uid"].isin(list(verdicts)).to_numpy()
        places = np.flatnonzero(np.concatenate([~judged, judged]))
        left = places[places >= offset]
        count = max(1, min(count, self._service.settings.items_at_once))
        found = self._as_json(held, (left[:count] % max(len(judged), 1)).tolist())
        later = int(left[count]) if len(left) > count else None
        return {"items": found, "next": later, "more": later is not None and later < len(judged)}

    def item(self, number: int, label_uid: str) -> dict[str, Any]:
        """A single action, judged or not."""
        held = self.round(number)
        found = self._as_json(held, [_place_of(held, label_uid)])
        if not found:
            raise InputError("the labels of its video cannot be read")
        return found[0]

    def judge(self, number: int, asked: Mapping[str, Any], client: str = "") -> dict[str, Any]:
        """Save a verdict on an action, with its right class where one is given."""
        held = self.round(number)
        label = held.actions.iloc[_place_of(held, str(asked.get("item", "")))]
        word, class_name = str(asked.get("verdict", "")), str(asked.get("class_name") or "")
        verdicts = self._service.verdicts
        verdict = verdicts.judge_action(label["label_uid"], label["class_name"], word, class_name, client)
        return {"total": verdicts.saved, "verdict": verdict.verdict, "right_class": verdict.class_name}

    def _as_json(self, held: ReviewSegments, places: list[int]) -> list[dict[str, Any]]:
        """Those of videos that can be shown. Their frames are decoded meanwhile, the first one's first."""
        service, verdicts = self._service, self._service.verdicts.latest()
        videos = service.round(held.number).videos
        players: dict[str, list[CropPath]] = {}
        answers = []
        for place in places:
            video_id, uid = held.actions["video_id"].iloc[place], held.actions["label_uid"].iloc[place]
            if video_id not in videos:
                continue
            if video_id not in players:
                players[video_id] = players_of(service.work, held.number, videos[video_id])
            item = segment_as_json(
                held, place, videos[video_id], players[video_id], verdicts.get(uid), service.settings
            )
            answers.append(item)
            service.frames.expect(videos[video_id], item["frames"])
        return answers


def _place_of(held: ReviewSegments, label_uid: str) -> int:
    place = held.place_of.get(label_uid)
    if place is None:
        raise InputError("this action is not in the round any more; load the page again")
    return place
