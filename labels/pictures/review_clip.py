"""What the current models say of one clip from outside: run as a process of its own, so that it can be ended.

    python -m labels.pictures.review_clip CLIP OUT MODEL SETTINGS

`MODEL` is `motion` or a file that train.py made. Writes OUT/overlay.mp4; prints a line of JSON for each step, the last
one with what was found, or with `error`. The clip itself is decoded in the limited child process of `decoding.py`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labels.pictures.review_settings import REVIEW, ReviewSettings
from labels.records.errors import InputError
from labels.records.work_folder import WorkFolder
from labels.videos.decoding import DecodeError, Frame, decode_frames
from labels.videos.settings import DecodeLimits


@dataclass(frozen=True)
class CurrentModels:
    """Who labels a clip. A model of actions, where there is one, belongs here, and its answer into `look_at`."""

    detector: str
    round_number: int | None = None  # None: no student yet


def current_models(work: WorkFolder) -> CurrentModels:
    """The newest finished student, or motion where there is none."""
    from labels.records.run_records import read_run_record

    for number in reversed(work.round_numbers()):
        folder = work.round(number)
        if folder.detector.is_file() and read_run_record(folder, "trained") is not None:
            return CurrentModels(str(folder.detector), number)
    return CurrentModels("motion")


def limits_of(settings: ReviewSettings) -> DecodeLimits:
    return DecodeLimits(
        max_pixels=settings.clip_pixels,
        memory_bytes=settings.clip_memory_bytes,
        cpu_s=settings.clip_decode_s,
        stall_s=30.0,
    )


def look_at(clip: Path, out: Path, model: str, settings: ReviewSettings) -> Iterator[dict[str, Any]]:
    """Label, clean and draw the clip's first seconds; gives what to tell at each step, the result last.

    Raises DecodeError or InputError in one line when that cannot be done.
    """
    from labels.cleaning.scores import scales_from
    from labels.cleaning.settings import CleaningSettings
    from labels.cleaning.video_cleaning import clean_video
    from labels.labelling.box_labelling import label_video
    from labels.labelling.settings import LabellingSettings
    from labels.models.loading import load_detector
    from labels.models.panel import score_scales
    from labels.pictures.overlay import OverlaySubject, draw_overlay
    from labels.pictures.settings import PictureSettings
    from labels.records import tables

    yield {"step": "reading the clip"}
    fps, width, height, count, length_s = measured(clip, settings)
    yield {"step": "loading the model"}
    detector = load_detector(model)
    seen: list[int] = []

    def frames() -> Iterator[Frame]:
        for frame in _first(clip, count, settings):
            seen.append(frame.frame_index)
            yield frame

    yield {"step": "labelling", "frames": count}
    labelled = label_video("clip", frames(), detector, 0, LabellingSettings())
    boxes = labelled.boxes
    boxes.attrs = {
        "video_id": "clip", "frame_count": len(seen), "stride": 1, "fps": fps, "width": width, "height": height,
    }  # fmt: skip
    yield {"step": "cleaning", "boxes": len(boxes)}
    scales = scales_from(score_scales(detector))
    cleaned = clean_video(boxes, 0, scales, CleaningSettings(), camera=labelled.camera).boxes
    yield {"step": "drawing", "frames": len(seen)}
    actions = tables.empty_table(tables.ACTIONS | tables.DECIDED)
    subject = OverlaySubject("", clip, fps, len(seen), cleaned, None, labelled.camera, "this clip", actions)
    draw_overlay(subject, out / "overlay.mp4", PictureSettings(seconds=0.0))
    yield {"step": "done", "result": told(cleaned, detector.name, fps, width, height, len(seen), length_s, settings)}


def told(
    cleaned: Any, name: str, fps: float, width: int, height: int, frames: int, length_s: float, settings: ReviewSettings
) -> dict[str, Any]:
    """The counts of a labelled clip: by class and decision, and how many tracks of each class are kept."""
    counts: dict[str, dict[str, int]] = {}
    for class_name, rows in cleaned.groupby("class_name"):
        kept = rows[rows["decision"] == "keep"]
        decisions = rows["decision"].value_counts()
        counts[str(class_name)] = {
            **{word: int(decisions.get(word, 0)) for word in ("keep", "ignore", "drop")},
            "tracks": int(kept.loc[kept["track_id"] >= 0, "track_id"].nunique()),
            "frames": int(kept["frame_index"].nunique()),
        }
    return {
        "labeller": name, "fps": round(fps, 3), "width": width, "height": height, "frames": frames,
        "seconds": round(frames / fps, 2), "whole": frames / fps >= length_s - 0.5 / fps, "counts": counts,
        "most_seconds": settings.clip_seconds,
    }  # fmt: skip


def measured(clip: Path, settings: ReviewSettings) -> tuple[float, int, int, int, float]:
    """fps, width and height of a clip, how many of its frames are looked at, and a length of which it is at least."""
    times: list[float] = []
    shape = (0, 0)
    for frame in _first(clip, settings.clip_frames + 1, settings):
        if frame.time_s > settings.clip_seconds:
            times.append(frame.time_s)
            break
        times.append(frame.time_s)
        shape = frame.rgb.shape[:2]
    if not times:
        raise DecodeError("no frame of it can be decoded")
    within = [time for time in times[: settings.clip_frames] if time <= settings.clip_seconds]
    fps = (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] > 0 else 25.0
    fps = min(max(fps, 0.1), 1000.0)
    return fps, shape[1], shape[0], len(within), max(times[-1] + 1 / fps, len(times) / fps)


def _first(clip: Path, count: int, settings: ReviewSettings) -> Iterator[Frame]:
    frames = decode_frames(clip, 1, limits_of(settings))
    try:
        for frame in frames:
            if frame.frame_index >= count:
                break
            yield frame
    finally:
        frames.close()


def main(arguments: list[str]) -> int:
    clip, out, model, said = arguments
    settings = ReviewSettings(**json.loads(said)) if said else REVIEW
    try:
        for step in look_at(Path(clip), Path(out), model, settings):
            print(json.dumps(step), flush=True)
    except DecodeError as error:
        return _failed(f"cannot be read as a video: {error}")
    except (InputError, OSError, ValueError) as error:
        return _failed(str(error))
    return 0


def _failed(reason: str) -> int:
    print(json.dumps({"error": " ".join(reason.split())}), flush=True)
    return 1


def settings_text(settings: ReviewSettings) -> str:
    return json.dumps(asdict(settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
