"""The actions of a cleaned round as the review page holds them: who does what when, the most worth a look first.

First come the labels of people that a student doubts, the surest student first; then those whose verdicts are expected
to change the most: by how near their quality is to what their class is kept or ignored from, times how long they last.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.action_settings import ActionSettings
from labels.cleaning.human_verdicts import Verdict
from labels.labelling.player_tracks import boxes_of_players
from labels.pictures.palette import style_names
from labels.pictures.review_choice import nearness
from labels.pictures.review_labels import ReviewVideo
from labels.pictures.review_settings import REVIEW, ReviewSettings
from labels.pictures.round_reading import CleanedRound, read_round
from labels.pictures.rule_words import rule_of
from labels.records import tables
from labels.records.errors import InputError
from labels.records.work_folder import ACTIONS_CLEANED, WorkFolder

OVERRULED = "human"  # the rule by which a label goes where a person said what happens


@dataclass
class ReviewStretches:
    """`actions`: decided ACTIONS of all videos with `style`, in the order in which they are worth a look."""

    number: int
    output: str | None  # of its run record: another one means that they were cleaned anew; None: it has no actions
    actions: pd.DataFrame
    class_names: list[str] = field(default_factory=list)
    doubts: dict[str, dict[str, Any]] = field(default_factory=dict)  # label_uid -> the student's class and score

    def __post_init__(self) -> None:
        self.place_of = {uid: place for place, uid in enumerate(self.actions["label_uid"])}


def load_stretches(work: WorkFolder, number: int, settings: ReviewSettings = REVIEW) -> ReviewStretches:
    """The actions of a round; none where it has none. Shards that cannot be read are named when their boxes are."""
    found = read_round(work, number)
    record = found.records[ACTIONS_CLEANED]
    kinds = tables.ACTIONS | tables.DECIDED
    if record is None:
        return ReviewStretches(number, None, tables.empty_table(kinds))
    parts = [_readable(found, str(video_id))[list(kinds)] for video_id in work.usable_videos()["video_id"]]
    actions = tables.concatenate(parts, kinds)
    actions = actions[actions["reason"].map(rule_of) != OVERRULED].reset_index(drop=True)
    doubts = _doubts(found)
    keep = float(record.arguments.get("keep_quality", ActionSettings.keep_quality))
    bars = actions["class_name"].map(record.counts.get("bars", {})).fillna(keep).to_numpy(np.float64)
    ignore = float(record.arguments.get("ignore_quality", ActionSettings.ignore_quality))
    change = _change(actions, bars, ignore, settings)
    doubted = actions["label_uid"].map({uid: said["score"] for uid, said in doubts.items()}).fillna(0).to_numpy()
    order = np.lexsort([actions["label_uid"].to_numpy(dtype=object).astype(str), -change, -doubted])
    ordered = actions.iloc[order].reset_index(drop=True)
    names = sorted({*record.facts.get("class_names", ()), *actions["class_name"]} - {""})
    return ReviewStretches(number, record.output, ordered.assign(style=style_names(ordered)), names, doubts)


def told_stretch(
    held: ReviewStretches,
    place: int,
    video: ReviewVideo,
    players: pd.DataFrame,
    verdict: Verdict | None,
    settings: ReviewSettings,
) -> dict[str, Any]:
    """An action as the page is told it: `frames` are those to show, `boxes` where its player is in each of them.

    Args:
        players: boxes of the players of its video, by tracks (see boxes_of_players).
    """
    row = held.actions.iloc[place]
    frames = shown_frames(int(row["start_frame"]), int(row["end_frame"]), video.fps, settings)
    told: dict[str, Any] = {
        "id": row["label_uid"], "video": video.video_id, "fps": video.fps, "width": video.width,
        "height": video.height, "track": int(row["track_id"]), "class": row["class_name"], "style": row["style"],
        "decision": row["decision"], "reason": row["reason"], "rule": rule_of(row["reason"]), "origin": row["origin"],
        "frames": frames, "boxes": _boxes_in(players, int(row["track_id"]), frames),
        "doubt": held.doubts.get(row["label_uid"]), "likely": _likely(row["probabilities"]),
    }  # fmt: skip
    told |= {name: round(float(row[name]), 3) for name in ("start_s", "end_s", "score", "quality")}
    if verdict is not None:
        told |= {"verdict": verdict.verdict} | ({"right_class": verdict.class_name} if verdict.class_name else {})
    return told


def shown_frames(start: int, end: int, fps: float, settings: ReviewSettings = REVIEW) -> list[int]:
    """Frames from `start` to before `end`, evenly: all of them where they are few, else some each second."""
    wanted = round((end - start) / max(fps, 1e-6) * settings.stretch_fps)
    count = int(np.clip(wanted, settings.stretch_least_frames, settings.stretch_most_frames))
    if end - start <= count:
        return list(range(start, end))
    return np.linspace(start, end - 1, count).round().astype(int).tolist()


def players_of(work: WorkFolder, number: int, video_id: str) -> pd.DataFrame:
    """The boxes by which a round's players were followed; none where they cannot be read."""
    try:
        return boxes_of_players(work, number, video_id)
    except (InputError, OSError, ValueError):
        return tables.empty_table(tables.BOXES | tables.DECIDED)


def digest_of_stretches(work: WorkFolder, number: int) -> str | None:
    """What the run record of a round's cleaned actions says of them; None where there are none."""
    record = read_round(work, number).records[ACTIONS_CLEANED]
    return None if record is None else record.output


def _readable(found: CleanedRound, video_id: str) -> pd.DataFrame:
    try:
        return found.actions(video_id)
    except InputError:
        return tables.empty_table(tables.ACTIONS | tables.DECIDED)


def _change(actions: pd.DataFrame, bars: np.ndarray, ignore: float, settings: ReviewSettings) -> np.ndarray:
    """How much a verdict is expected to change, seconds, (N,); nothing of what a person said."""
    quality = actions["quality"].to_numpy(np.float64)
    near = np.ones(len(actions))
    for bar in np.unique(bars):
        own = bars == bar
        near[own] = nearness(quality[own], (ignore, float(bar)), settings)
    lasts = (actions["end_s"] - actions["start_s"]).to_numpy(np.float64)
    return np.where(actions["origin"] == "human", 0.0, near * lasts)


def _doubts(found: CleanedRound) -> dict[str, dict[str, Any]]:
    path = found.folder.stage(ACTIONS_CLEANED) / "review.csv"
    if not path.is_file():
        return {}
    listed = pd.read_csv(path, dtype={"label_uid": str, "student_class": str})
    return {
        str(row.label_uid): {"class": str(row.student_class), "score": round(float(row.student_score), 3)}
        for row in listed.itertuples()
    }


def _boxes_in(players: pd.DataFrame, track_id: int, frames: list[int]) -> list[list[float] | None]:
    """Where a player is in each frame, between the boxes around it; None where nobody saw them, or it is nobody's."""
    own = (
        players[players["track_id"] == track_id].sort_values("frame_index") if track_id != tables.NO_TRACK else players
    )
    if track_id == tables.NO_TRACK or not len(own):
        return [None] * len(frames)
    seen = own["frame_index"].to_numpy()
    sides = [np.interp(frames, seen, own[name].to_numpy(np.float64)) for name in tables.BOX_COLUMNS]
    inside = (np.array(frames) >= seen[0]) & (np.array(frames) <= seen[-1])
    boxes = np.stack(sides, axis=1).round(1).tolist()
    return [box if there else None for box, there in zip(boxes, inside, strict=True)]


def _likely(probabilities: str, most: int = 3) -> list[tuple[str, float]]:
    """The likeliest classes, the likeliest first."""
    try:
        said = json.loads(probabilities)
    except ValueError:
        return []
    best = sorted(((float(share), str(name)) for name, share in said.items()), reverse=True)
    return [(name, round(share, 3)) for share, name in best[:most]]
