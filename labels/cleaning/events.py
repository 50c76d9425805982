"""Events: the frames at which a ball is hit or bounces, and at which a short action happens.

The centres of the kept boxes of a ball's track are fitted by the cheapest chain of parabolas, each from one turn to the
next, where a turn costs PENALTY (optimal partitioning, Jackson et al., 2005). A parabola's acceleration is about what
gravity makes it, so neither gravity nor a steady camera is a turn. A turn is a `hit` near the body of a
player, else a `bounce` where the ball came down and goes up; without players' boxes the way it turns decides alone.
A kept action with the name of an event (HITS) takes the turn within it as its moment, else its middle.

SoccerNet's action spotting: `Labels-v2.json`, `annotations` with `gameTime`, `label`, `position` in milliseconds and
`team`; in results `confidence`. Judged by its average precision at a tolerance (Giancola et al., 2018), here in seconds
to either side.
"""

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.records import run_records, tables
from labels.records.class_lists import family_of
from labels.records.errors import InputError
from labels.records.safe_writing import read_json, read_parquet, whole_folder, write_text
from labels.records.work_folder import ACTIONS_CLEANED, WorkFolder

EVENTS = {
    "video_id": "str",
    "frame_index": "int64",
    "time_s": "float64",
    "class_name": "str",
    "score": "float64",  # 0-1, by how far the turn stands out of the noise; of an action its own
    "track_id": "int64",  # of the ball, NO_TRACK for an action without a turn
    "player_track_id": "int64",  # NO_TRACK: none near
}
HIT, BOUNCE, TURN = "hit", "bounce", "turn"
HITS = ("hit", "kick", "shoot", "shot", "pass", "throw", "serve", "swing", "smash", "strike", "spike", "header", "push")
BALL, PERSON = "sports ball", "person"
MOST_GAP = 2  # frames that may be missing on the way
LEAST_STEPS, LONGEST = 2, 40  # boxes from turn to turn
USUAL_ACCELERATION = 0.1  # of the ball's side, a frame², at 25 frames a second: gravity is 0.07 for a ball of 22 cm
NOISE_SHARE, NOISE_PX = 0.08, 0.3  # a centre's standard deviation: of the box's side, and at least
PENALTY = 30.0  # squared standard deviations that a turn must explain
LEAST_CHANGE = 0.15  # of the ball's side, a frame
REACH = 0.35  # of a player's height: how far beside the box a ball is still at the body
WAIST = 0.5  # of a player's height from above: below it the ground is as near as a hand
SIDEWAYS, MOST_SPEED_KEPT = 1.5, 1.5  # of a bounce: how far the change is upwards, and the speed after to that before
TOLERANCES_S = (0.04, 0.12, 0.2, 1.0)


def turns_of(frames: np.ndarray, xyxy: np.ndarray, fps: float) -> pd.DataFrame:
    """The turns of one track: frame_index, x, y, score, and the speeds before and after in pixels a frame.

    Args:
        frames: (N,) ascending frame indices. xyxy: (N, 4) pixels.
    """
    breaks = np.flatnonzero(np.diff(frames) > MOST_GAP + 1) + 1
    rows: list[tuple[float, ...]] = []
    for own in np.split(np.arange(len(frames)), breaks):
        if len(own) > 2 * LEAST_STEPS:
            rows += _turns(frames[own].astype(float), xyxy[own], fps)
    names = ["frame_index", "x", "y", "score", "vx", "vy", "vx_after", "vy_after"]
    return pd.DataFrame(rows, columns=names).astype({"frame_index": "int64"})


def _turns(frames: np.ndarray, xyxy: np.ndarray, fps: float) -> list[tuple[float, ...]]:
    """Of frames without a long gap, by dynamic programming over the last turn before each frame."""
    centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    ball = float(np.median(np.sqrt(np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1))))
    noise = max(NOISE_PX, NOISE_SHARE * ball)
    usual = USUAL_ACCELERATION * ball * (25 / fps) ** 2
    fits = [_parabolas(frames[at : at + LONGEST], centre[at : at + LONGEST], noise, usual) for at in range(len(frames))]
    cost, came_from = np.full(len(frames), np.inf), np.zeros(len(frames), dtype=int)
    cost[0] = -PENALTY
    for at in range(len(frames)):
        costs = fits[at][0]
        ends = np.arange(at, at + len(costs))
        is_short = (ends - at < LEAST_STEPS) & (ends < len(frames) - 1)
        total = np.where(is_short | (ends == at), np.inf, cost[at] + costs + PENALTY)
        better = total < cost[ends]
        cost[ends[better]], came_from[ends[better]] = total[better], at
    places = [len(frames) - 1]
    while places[-1]:
        places.append(int(came_from[places[-1]]))
    places.reverse()
    rows = []
    for start, at, end in zip(places, places[1:], places[2:], strict=False):
        _, (_, v, a) = fits[start][0], fits[start][1][at - start]
        before, after = v + a * (frames[at] - frames[start]), fits[at][1][end - at][1]
        joined = fits[start][0][end - start] if end - start < len(fits[start][0]) else np.inf
        gain = joined - fits[start][0][at - start] - fits[at][0][end - at]
        if np.hypot(*(after - before)) > LEAST_CHANGE * ball:
            score = 1.0 if np.isinf(gain) else gain / (gain + PENALTY)
            rows.append((frames[at], *centre[at], max(float(score), 0.0), *before, *after))
    return rows


def _parabolas(frames: np.ndarray, centre: np.ndarray, noise: float, usual: float) -> tuple[np.ndarray, np.ndarray]:
    """The fits to the first 1, 2, … K of K positions: their costs (K,), and position, speed, acceleration (K, 3, 2).

    A cost is the sum of squared residuals, and of the acceleration by what is usual, in standard deviations.
    """
    since = frames - frames[0]
    design = np.stack([np.ones_like(since), since, since**2 / 2], axis=1)  # (K, 3)
    squares = np.cumsum(design[:, :, None] * design[:, None, :], axis=0)  # (K, 3, 3)
    offset = centre - centre[0]
    moments = np.cumsum(design[:, :, None] * offset[:, None, :], axis=0)  # (K, 3, 2)
    prior = np.diag([1e-9, 1e-6, (noise / usual) ** 2])
    fitted = np.linalg.solve(squares + prior, moments)
    cost = (np.cumsum(offset**2, axis=0) - (fitted * moments).sum(axis=1)).sum(axis=1) / noise**2
    return np.maximum(cost, 0), fitted


def events_in(boxes: pd.DataFrame, actions: pd.DataFrame, video_id: str, fps: float) -> pd.DataFrame:
    """The events of one video, by frame: kept BOXES with tracks, and kept ACTIONS (both may be empty)."""
    boxes = boxes[boxes["track_id"] != tables.NO_TRACK]
    family = {name: family_of(name) for name in boxes["class_name"].unique()}
    kind = boxes["class_name"].map(family)
    people = boxes[kind == PERSON]
    rows: list[tuple[int, str, float, int, int]] = []
    for track_id, track in boxes[kind == BALL].groupby("track_id"):
        track = track.sort_values("frame_index").drop_duplicates("frame_index")
        turns = turns_of(track["frame_index"].to_numpy(), track[tables.BOX_COLUMNS].to_numpy(np.float64), fps)
        for turn in turns.itertuples(index=False):
            class_name, player = _what(turn, people)
            rows.append((turn.frame_index, class_name, turn.score, int(str(track_id)), player))
    taken: set[int] = set()
    for act in actions.itertuples(index=False):
        if not set(HITS) & set(str(act.class_name).lower().replace("_", " ").split()):
            continue
        inside = [
            place
            for place, (frame, name, _, _, player) in enumerate(rows)
            if act.start_frame <= frame < act.end_frame
            and name == HIT
            and place not in taken
            and (player == act.track_id or tables.NO_TRACK in (player, act.track_id))
        ]
        if inside:
            place = max(inside, key=lambda each: rows[each][2])
            frame, _, score, ball, player = rows[place]
            rows[place] = (frame, str(act.class_name), max(score, act.score), ball, max(player, act.track_id))
            taken.add(place)
        else:
            middle = (act.start_frame + act.end_frame - 1) // 2
            rows.append((middle, str(act.class_name), act.score, tables.NO_TRACK, act.track_id))
            taken.add(len(rows) - 1)
    rows.sort()
    names = ("frame_index", "class_name", "score")
    columns: dict[str, object] = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    return tables.make_table(
        EVENTS,
        columns
        | {
            "video_id": [video_id] * len(rows),
            "time_s": [row[0] / fps for row in rows],
            "track_id": [row[3] for row in rows],
            "player_track_id": [row[4] for row in rows],
        },
    )


def _what(turn: Any, people: pd.DataFrame) -> tuple[str, int]:
    """hit, bounce or turn, and the player's track."""
    here = people[people["frame_index"] == turn.frame_index]
    xyxy = here[tables.BOX_COLUMNS].to_numpy(np.float64)
    # Flown away from the camera it rises all along; the ground gives it no speed and changes none along itself.
    faster = np.hypot(turn.vx_after, turn.vy_after) > MOST_SPEED_KEPT * np.hypot(turn.vx, turn.vy)
    upwards = SIDEWAYS * abs(turn.vx_after - turn.vx) < turn.vy - turn.vy_after
    comes_down = upwards and not faster
    if len(xyxy):
        high = xyxy[:, 3] - xyxy[:, 1]
        beside = np.maximum(np.maximum(xyxy[:, 0] - turn.x, turn.x - xyxy[:, 2]), 0)
        above = np.maximum(xyxy[:, 1] - turn.y, 0)
        far = np.hypot(beside, above) / high
        low = (turn.y - xyxy[:, 1]) / high > WAIST
        near = (far < REACH) & ~(low & comes_down)
        if near.any():
            return HIT, int(here["track_id"].to_numpy()[np.flatnonzero(near)[far[near].argmin()]])
        return BOUNCE if comes_down else TURN, tables.NO_TRACK
    return BOUNCE if comes_down else HIT, tables.NO_TRACK


def write_events(work: WorkFolder, number: int) -> list[str]:
    """`cleaned/events/` of a round: events.csv and SoccerNet's JSON of each video. Lines that count them.

    Where a person's SoccerNet JSON lies at `videos/truth/events/<video_id>.json`, they are judged by it.
    """
    folder, found, judged = work.round(number), [], []
    of_boxes, of_actions = (
        run_records.read_run_record(folder, stage) is not None for stage in ("cleaned", ACTIONS_CLEANED)
    )
    for video_id, video in work.usable_rows().items():
        kinds = ((of_boxes, folder.boxes, tables.BOXES), (of_actions, folder.actions, tables.ACTIONS))
        shards = [
            read_parquet(path("cleaned", video_id))
            if is_there and path("cleaned", video_id).is_file()
            else tables.empty_table(columns | tables.DECIDED)
            for is_there, path, columns in kinds
        ]
        boxes, actions = (shard[shard["decision"] == "keep"] for shard in shards)
        events = events_in(boxes, actions, video_id, float(video.fps))
        found.append(events)
        truth = work.videos / "truth" / "events" / f"{video_id}.json"
        if truth.is_file():
            judged.append((events, read_soccernet(truth, video_id, float(video.fps))))
    table = tables.concatenate(found, EVENTS)
    with whole_folder(folder.stage("cleaned") / "events") as aside:
        text = io.StringIO()
        table.to_csv(text, index=False, lineterminator="\n", float_format="%.4f")
        write_text(aside / "events.csv", text.getvalue())
        for events in found:
            if len(events):
                write_soccernet(aside / f"{events['video_id'].iloc[0]}.json", events)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(table["class_name"].value_counts().items()))
    lines = [f"events: {counts}"] if counts else []
    if judged:
        ours, theirs = (pd.concat([pair[side] for pair in judged]) for side in (0, 1))
        scores = (f"{mean_average_precision(ours, theirs, within):.3f} within {within:g} s" for within in TOLERANCES_S)
        lines.append(f"events against truth, mAP: {', '.join(scores)}")
    return lines


def write_soccernet(path: Path, events: pd.DataFrame) -> None:
    """The events of one video as SoccerNet has its results, all in the first half."""
    items = [
        {
            "gameTime": f"1 - {int(row.time_s) // 60:02d}:{int(row.time_s) % 60:02d}",
            "label": row.class_name,
            "position": str(round(1000 * row.time_s)),
            "half": "1",
            "confidence": f"{row.score:.4f}",
            "player_track_id": int(row.player_track_id),
        }
        for row in events.itertuples(index=False)
    ]
    name = str(events["video_id"].iloc[0])
    write_text(path, json.dumps({"UrlLocal": name, "predictions": items}, indent=1, ensure_ascii=False) + "\n")


def read_soccernet(path: Path, video_id: str, fps: float) -> pd.DataFrame:
    """`annotations` or `predictions` of SoccerNet's JSON as EVENTS; `position` counts from the start of the video.

    InputError when it is no such file, or an entry has no label or no position.
    """
    content = read_json(path)
    content = content if isinstance(content, dict) else {}
    items = content.get("annotations", content.get("predictions"))
    if not isinstance(items, list):
        raise InputError(f"{path}: not SoccerNet's: it has no list «annotations» or «predictions»")
    rows = []
    for place, item in enumerate(items):
        try:
            time_s, name = int(item["position"]) / 1000, str(item["label"]).strip()
            score, player = float(item.get("confidence", 1)), int(item.get("player_track_id", tables.NO_TRACK))
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
            raise InputError(f"{path}: entry {place}: needs a label and a position in milliseconds") from None
        if not name or not 0 <= time_s < 1e6 or not 0 <= score <= 1:
            raise InputError(f"{path}: entry {place}: no label, or a position or confidence that cannot be")
        rows.append((round(time_s * fps), time_s, name, score, player))
    names = ("frame_index", "time_s", "class_name")
    named: dict[str, object] = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    named |= {"score": [row[3] for row in rows], "player_track_id": [row[4] for row in rows]}
    return tables.make_table(
        EVENTS, named | {"video_id": [video_id] * len(rows), "track_id": [tables.NO_TRACK] * len(rows)}
    )


def mean_average_precision(found: pd.DataFrame, truth: pd.DataFrame, within_s: float) -> float:
    """The mean over the classes of the truth; NaN where it has none."""
    names = sorted(truth["class_name"].unique())
    return (
        float(np.mean([average_precision(found, truth, name, within_s) for name in names])) if names else float("nan")
    )


def average_precision(found: pd.DataFrame, truth: pd.DataFrame, class_name: str, within_s: float) -> float:
    """The area below precision over recall, of which the best at any higher recall counts.

    Found events, the surest first, take the nearest true one of their video and class that is free and no further away
    than `within_s`.
    """
    true = truth[truth["class_name"] == class_name].sort_values("time_s")
    ours = found[found["class_name"] == class_name].sort_values(["score", "time_s"], ascending=[False, True])
    free: dict[str, list[float]] = {name: times.tolist() for name, times in true.groupby("video_id")["time_s"]}
    right = [
        _take(free.get(str(video_id), []), time_s, within_s)
        for video_id, time_s in zip(ours["video_id"], ours["time_s"], strict=True)
    ]
    return _area(right, len(true))


def _take(free: list[float], time_s: float, within_s: float) -> bool:
    nearest = min(free, key=lambda other: abs(other - time_s), default=None)
    if nearest is None or abs(nearest - time_s) > within_s + 1e-9:
        return False
    free.remove(nearest)
    return True


def _area(right: Sequence[bool], count: int) -> float:
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    best: Iterable[float] = np.maximum.accumulate(precision[::-1])[::-1]
    return float(sum(value for value, is_right in zip(best, right, strict=True) if is_right) / max(count, 1))
