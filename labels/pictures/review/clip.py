"""A clip from outside through the current models, in a process of its own, so that it can be stopped.

    python -m labels.pictures.review.clip CLIP OUT MODELS SETTINGS

`MODELS` and `SETTINGS` are a `CurrentModels` and a `ReviewSettings` as JSON. Writes OUT/overlay.mp4 and prints a line
of JSON for each step: the last has what was found (boxes by class, players, actions over time), or `error`. The clip is
decoded in the limited child process of `labels.videos.decoding`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labels.labelling.player_tracks import PERSON
from labels.pictures.review.uploads import CurrentModels
from labels.pictures.settings import ReviewSettings
from labels.records import tables
from labels.records.errors import InputError
from labels.records.tables import DECISIONS, NO_TRACK
from labels.records.video_labels import VideoFacts, VideoLabels
from labels.videos.decoding.frames import DecodeError, Frame, decode_frames
from labels.videos.settings import DecodeLimits

if TYPE_CHECKING:
    from labels.labelling.action_intervals import FrameProbabilities
    from labels.pictures.overlay.clip import ClipActions

MOST_TIMES = 160  # points of a strip of probabilities
MOST_CLASSES = 5  # of a strip: those that are likeliest somewhere
MOST_PLAYERS = 40


@dataclass(frozen=True)
class ClipShape:
    """`frames` are looked at, from the first; the clip is at least `length_s` long."""

    fps: float
    width: int
    height: int
    frames: int
    length_s: float

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    @property
    def is_whole(self) -> bool:
        return self.seconds >= self.length_s - 0.5 / self.fps


def limits_of(settings: ReviewSettings) -> DecodeLimits:
    return DecodeLimits(
        max_pixels=settings.clip_pixels,
        memory_bytes=settings.clip_memory_bytes,
        cpu_s=settings.clip_decode_s,
        stall_s=30.0,
    )


def measured(clip: Path, settings: ReviewSettings) -> ClipShape:
    """The shape of a clip, from its frames, not from what its header says. DecodeError when it has none."""
    times: list[float] = []
    height = width = 0
    for frame in first_frames(clip, settings.clip_frames + 1, settings):
        if frame.time_s > settings.clip_seconds:
            times.append(frame.time_s)
            break
        times.append(frame.time_s)
        height, width = frame.rgb.shape[:2]
    if not times:
        raise DecodeError("no frame of it can be decoded")
    within = [time for time in times[: settings.clip_frames] if time <= settings.clip_seconds]
    fps = (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] > 0 else 25.0
    fps = min(max(fps, 0.1), 1000.0)
    return ClipShape(fps, width, height, len(within), max(times[-1] + 1 / fps, len(times) / fps))


def first_frames(clip: Path, count: int, settings: ReviewSettings) -> Iterator[Frame]:
    """The first `count` frames of a clip. DecodeError as `decode_frames`."""
    frames = decode_frames(clip, 1, limits_of(settings))
    try:
        for frame in frames:
            if frame.frame_index >= count:
                break
            yield frame
    finally:
        frames.close()


def boxes_as_json(boxes: pd.DataFrame) -> dict[str, dict[str, int]]:
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


def players_as_json(boxes: pd.DataFrame, shape: ClipShape) -> list[dict[str, Any]]:
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


def actions_as_json(actions: "ClipActions", shape: ClipShape) -> dict[str, Any]:
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
    """`values` are by class, then time: means over segments of equal length from `start_s` to `end_s`, in which
    a player out of sight does nothing; `means` are over the frames in sight alone.
    """
    frames = np.concatenate([each.frame_index for each in times])
    seen = np.concatenate([each.probabilities for each in times])  # (frames in sight, K)
    first, end = int(frames.min()), int(frames.max()) + 1
    probabilities = np.zeros((end - first, len(names)))
    probabilities[frames - first] = seen
    parts = np.array_split(probabilities, min(MOST_TIMES, len(probabilities)))
    segments = np.stack([part.mean(axis=0) for part in parts])  # (times, K)
    shown = np.argsort(-segments.max(axis=0), kind="stable")[:MOST_CLASSES]
    return {
        "track": track_id,
        "start_s": round(first / fps, 3),
        "end_s": round(end / fps, 3),
        "classes": [names[class_id] for class_id in shown],
        "means": [round(float(seen[:, class_id].mean()), 3) for class_id in shown],
        "values": [segments[:, class_id].round(3).tolist() for class_id in shown],
    }


if TYPE_CHECKING:
    from labels.pictures.overlay.clip import ClipActions


def look_at(clip: Path, out: Path, models: CurrentModels, settings: ReviewSettings) -> Iterator[dict[str, Any]]:
    """Label, clean and draw the clip's first seconds; gives what to tell at each step, the result last.

    Raises DecodeError or InputError in one line when that cannot be done.
    """
    from labels.pictures.overlay.overlay import OverlaySubject, draw_overlay
    from labels.pictures.settings import PictureSettings

    yield {"step": "reading the clip"}
    shape = measured(clip, settings)
    boxes, camera = tables.empty_table(tables.BOXES | tables.DECIDED), None
    if models.detector:
        yield {"step": "looking for boxes"}
        boxes, camera = find_boxes(clip, models.detector, shape, settings)
    rows = tables.empty_table(tables.ACTIONS | tables.DECIDED)
    answer: dict[str, Any] = {"counts": boxes_as_json(boxes), "players": players_as_json(boxes, shape)}
    if models.recogniser:
        yield {"step": "recognising actions"}
        try:
            actions = find_actions(clip, models, boxes, shape, settings)
            rows, answer["actions"] = actions.rows, actions_as_json(actions, shape)
        except InputError as error:  # what the detector found is worth seeing without
            answer["actions"] = {"intervals": [], "strips": [], "notes": [str(error)]}
    yield {"step": "drawing"}
    subject = OverlaySubject("", clip, shape.fps, shape.frames, boxes, None, camera, "this clip", rows)
    draw_overlay(subject, out / "overlay.mp4", PictureSettings(seconds=0.0))
    answer |= {
        "models": asdict(models), "fps": round(shape.fps, 3), "width": shape.width, "height": shape.height,
        "frames": shape.frames, "seconds": round(shape.seconds, 2), "whole": shape.is_whole,
    }  # fmt: skip
    yield {"step": "done", "result": answer}


def find_boxes(
    clip: Path, detector_name: str, shape: ClipShape, settings: ReviewSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The decided boxes of the clip, as stages 2 and 3 would have them, and how its camera moved."""
    from labels.cleaning.features.scores import scales_from
    from labels.cleaning.settings import CleaningSettings
    from labels.cleaning.video import clean_video
    from labels.labelling.box_labelling import label_video
    from labels.labelling.settings import LabellingSettings
    from labels.models.detectors.ensemble import score_scales
    from labels.models.detectors.loading import load_detector

    detector = load_detector(detector_name)
    labelled = label_video("clip", first_frames(clip, shape.frames, settings), detector, 0, LabellingSettings())
    video = VideoFacts("clip", shape.frames, 1, shape.fps, shape.width, shape.height)
    scales = scales_from(score_scales(detector))
    cleaned = clean_video(
        VideoLabels(labelled.boxes, video), 0, scales, CleaningSettings(), camera=labelled.camera
    ).boxes
    return cleaned, labelled.camera


def find_actions(
    clip: Path, models: CurrentModels, boxes: pd.DataFrame, shape: ClipShape, settings: ReviewSettings
) -> "ClipActions":
    """The decided actions: of players, where the recogniser was taught on players and some are known."""
    from labels.labelling.player_tracks import PLAYER, players_in
    from labels.models.recognisers.recogniser import load_recogniser
    from labels.pictures.overlay.clip import ClipActions, decided_actions, recognise_clip

    recogniser = load_recogniser(models.recogniser)
    players = players_in(boxes[boxes["decision"] != "drop"], shape.fps) if models.per == PLAYER else []
    watched = sorted(players, key=lambda player: -player.frames_in_sight)[: settings.clip_players]
    decode = partial(first_frames, clip, shape.frames, settings)
    subjects = recognise_clip(decode, shape.frames, shape.fps, recogniser, watched or None)
    notes = []
    if models.per == PLAYER and not players:
        notes.append("It was taught on single players; none is known here, so it looked at the whole frame.")
    if len(players) > len(watched):
        notes.append(f"Of {len(players)} players it looked at the {len(watched)} that are seen longest.")
    rows = decided_actions(subjects, recogniser, shape.fps)
    return ClipActions(subjects, recogniser.class_names, rows, notes)


def main(arguments: list[str]) -> int:
    clip, out, models, settings = arguments
    try:
        for step in look_at(
            Path(clip), Path(out), CurrentModels(**json.loads(models)), ReviewSettings(**json.loads(settings))
        ):
            print(json.dumps(step), flush=True)
    except DecodeError as error:
        return _failed(f"cannot be read as a video: {error}")
    except (InputError, OSError, ValueError) as error:
        return _failed(str(error))
    return 0


def _failed(reason: str) -> int:
    print(json.dumps({"error": " ".join(reason.split())}), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
