"""What the current models say of one clip from outside: run as a process of its own, so that it can be ended.

    python -m labels.pictures.review_clip CLIP OUT MODELS SETTINGS

`MODELS` and `SETTINGS` are a `CurrentModels` and a `ReviewSettings` as JSON. Writes OUT/overlay.mp4; prints a line of
JSON for each step, the last one with what was found, or with `error`. The clip itself is decoded in the limited child
process of `decoding.py`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from labels.pictures.clip_reading import ClipShape, first_frames, measured
from labels.pictures.current_models import CurrentModels
from labels.pictures.review_settings import ReviewSettings
from labels.records import tables
from labels.records.errors import InputError
from labels.videos.decoding import DecodeError

if TYPE_CHECKING:
    from labels.pictures.clip_actions import ClipActions


def look_at(clip: Path, out: Path, models: CurrentModels, settings: ReviewSettings) -> Iterator[dict[str, Any]]:
    """Label, clean and draw the clip's first seconds; gives what to tell at each step, the result last.

    Raises DecodeError or InputError in one line when that cannot be done.
    """
    from labels.pictures.clip_telling import told_actions, told_boxes, told_players
    from labels.pictures.overlay import OverlaySubject, draw_overlay
    from labels.pictures.settings import PictureSettings

    yield {"step": "reading the clip"}
    shape = measured(clip, settings)
    boxes, camera = _no_boxes(shape), None
    if models.detector:
        yield {"step": "looking for boxes"}
        boxes, camera = find_boxes(clip, models.detector, shape, settings)
    rows = tables.empty_table(tables.ACTIONS | tables.DECIDED)
    told: dict[str, Any] = {"counts": told_boxes(boxes), "players": told_players(boxes, shape)}
    if models.recogniser:
        yield {"step": "recognising actions"}
        try:
            actions = find_actions(clip, models, boxes, shape, settings)
            rows, told["actions"] = actions.rows, told_actions(actions, shape)
        except InputError as error:  # what the detector found is worth seeing without
            told["actions"] = {"intervals": [], "strips": [], "notes": [str(error)]}
    yield {"step": "drawing"}
    subject = OverlaySubject("", clip, shape.fps, shape.frames, boxes, None, camera, "this clip", rows)
    draw_overlay(subject, out / "overlay.mp4", PictureSettings(seconds=0.0))
    told |= {
        "models": asdict(models), "fps": round(shape.fps, 3), "width": shape.width, "height": shape.height,
        "frames": shape.frames, "seconds": round(shape.seconds, 2), "whole": shape.is_whole,
    }  # fmt: skip
    yield {"step": "done", "result": told}


def find_boxes(
    clip: Path, detector_name: str, shape: ClipShape, settings: ReviewSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The decided boxes of the clip, as stages 2 and 3 would have them, and how its camera moved."""
    from labels.cleaning.scores import scales_from
    from labels.cleaning.settings import CleaningSettings
    from labels.cleaning.video_cleaning import clean_video
    from labels.labelling.box_labelling import label_video
    from labels.labelling.settings import LabellingSettings
    from labels.models.loading import load_detector
    from labels.models.panel import score_scales

    detector = load_detector(detector_name)
    labelled = label_video("clip", first_frames(clip, shape.frames, settings), detector, 0, LabellingSettings())
    labelled.boxes.attrs = _metadata(shape)
    scales = scales_from(score_scales(detector))
    cleaned = clean_video(labelled.boxes, 0, scales, CleaningSettings(), camera=labelled.camera).boxes
    return cleaned, labelled.camera


def find_actions(
    clip: Path, models: CurrentModels, boxes: pd.DataFrame, shape: ClipShape, settings: ReviewSettings
) -> "ClipActions":
    """The decided actions: of players, where the recogniser was taught on players and some are known."""
    from labels.labelling.player_tracks import PLAYER, players_in
    from labels.models.recogniser import load_recogniser
    from labels.pictures.clip_actions import ClipActions, decided_actions, recognise_clip

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


def _metadata(shape: ClipShape) -> dict[str, Any]:
    sizes = {"fps": shape.fps, "width": shape.width, "height": shape.height}
    return {"video_id": "clip", "frame_count": shape.frames, "stride": 1, **sizes}


def _no_boxes(shape: ClipShape) -> pd.DataFrame:
    boxes = tables.empty_table(tables.BOXES | tables.DECIDED)
    boxes.attrs = _metadata(shape)
    return boxes


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
