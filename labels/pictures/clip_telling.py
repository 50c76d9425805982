"""What was found in a clip from outside, as the review page is told it: boxes by class, players, actions over time."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labels.labelling.player_tracks import PERSON
from labels.pictures.clip_reading import ClipShape
from labels.records.tables import DECISIONS, NO_TRACK

if TYPE_CHECKING:
    from labels.labelling.action_intervals import FrameProbabilities
    from labels.pictures.clip_actions import ClipActions

MOST_TIMES = 160  # points of a strip of probabilities
MOST_CLASSES = 5  # of a strip: those that are likeliest somewhere
MOST_PLAYERS = 40


def told_boxes(boxes: pd.DataFrame) -> dict[str, dict[str, int]]:
    """By class: how many boxes of each decision, how many kept tracks, in how many frames something is kept."""
    counts: dict[str, dict[str, int]] = {}
    for class_name, rows in boxes.groupby("class_name"):
        kept = rows[rows["decision"] == "keep"]
        decisions = rows["decision"].value_counts()
        counts[str(class_name)] = {
            **{word: int(decisions.get(word, 0)) for word in DECISIONS},
            "tracks": int(kept.loc[kept["track_id"] != NO_TRACK, "track_id"].nunique()),
            "frames": int(kept["frame_index"].nunique()),
        }
    return counts


def told_players(boxes: pd.DataFrame, shape: ClipShape) -> list[dict[str, Any]]:
    """The people on tracks, those seen longest first: when, in how many frames, how sure."""
    people = boxes[(boxes["class_name"] == PERSON) & (boxes["track_id"] != NO_TRACK) & (boxes["decision"] != "drop")]
    players = [
        {
            "track": int(str(track_id)),
            "start_s": round(float(own["frame_index"].min()) / shape.fps, 2),
            "end_s": round(float(own["frame_index"].max() + 1) / shape.fps, 2),
            "frames": int(own["frame_index"].nunique()),
            "score": round(float(own["score"].mean()), 3),
        }
        for track_id, own in people.groupby("track_id")
    ]
    return sorted(players, key=lambda player: (-player["frames"], player["track"]))[:MOST_PLAYERS]


def told_actions(actions: "ClipActions", shape: ClipShape) -> dict[str, Any]:
    """The intervals, and of each player (or the frame) the likeliest classes, with their probabilities."""
    rows = actions.rows.sort_values(["track_id", "start_frame"], kind="stable")
    intervals = [
        {
            "track": int(row.track_id),
            "start_s": round(row.start_s, 2),
            "end_s": round(row.end_s, 2),
            "class": row.class_name,
            "score": round(float(row.score), 3),
            "decision": row.decision,
        }
        for row in rows.itertuples()
    ]
    by_track: dict[int, list[FrameProbabilities]] = {}
    for subject in actions.subjects:
        by_track.setdefault(int(subject.track_id), []).append(subject)
    strips = [_strip(track_id, times, actions.class_names, shape.fps) for track_id, times in by_track.items()]
    return {"intervals": intervals, "strips": strips, "notes": actions.notes}


def _strip(track_id: int, times: list["FrameProbabilities"], names: tuple[str, ...], fps: float) -> dict[str, Any]:
    """`values` are by class, then time: means over stretches of equal length from `start_s` to `end_s`, in which
    a player out of sight does nothing; `means` are over the frames in sight alone.
    """
    frames = np.concatenate([each.frame_index for each in times])
    seen = np.concatenate([each.probabilities for each in times])  # (frames in sight, K)
    first, end = int(frames.min()), int(frames.max()) + 1
    probabilities = np.zeros((end - first, len(names)))
    probabilities[frames - first] = seen
    parts = np.array_split(probabilities, min(MOST_TIMES, len(probabilities)))
    stretches = np.stack([part.mean(axis=0) for part in parts])  # (times, K)
    shown = np.argsort(-stretches.max(axis=0), kind="stable")[:MOST_CLASSES]
    return {
        "track": track_id,
        "start_s": round(first / fps, 3),
        "end_s": round(end / fps, 3),
        "classes": [names[class_id] for class_id in shown],
        "means": [round(float(seen[:, class_id].mean()), 3) for class_id in shown],
        "values": [stretches[:, class_id].round(3).tolist() for class_id in shown],
    }
