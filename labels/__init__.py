"""Rally: labels for sports video that get better every round.

As a library, three lines do to a clip what stages 2 and 3 do, without a work folder:

    labelled = labels.label_video("clip.mp4", labels.load_detector("motion"))
    cleaned = labels.clean_video(labelled)
    kept = cleaned.boxes[cleaned.boxes["decision"] == "keep"]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labels.cleaning.settings import CleaningSettings
    from labels.cleaning.video import CleanedVideo
    from labels.library import clean_video, label_video, load_detector, merge_rounds, read_frames
    from labels.records.errors import InputError
    from labels.records.video_labels import VideoFacts, VideoLabels, read_video_labels
    from labels.records.work_folder import WorkFolder

__all__ = [
    "CleanedVideo",
    "CleaningSettings",
    "InputError",
    "VideoFacts",
    "VideoLabels",
    "WorkFolder",
    "clean_video",
    "label_video",
    "load_detector",
    "merge_rounds",
    "read_frames",
    "read_video_labels",
]

# Imported when they are asked for: the stage scripts import rooms of this package, and `--help` must answer at once.
_MODULES = {
    "CleanedVideo": "labels.cleaning.video",
    "CleaningSettings": "labels.cleaning.settings",
    "InputError": "labels.records.errors",
    "VideoFacts": "labels.records.video_labels",
    "VideoLabels": "labels.records.video_labels",
    "WorkFolder": "labels.records.work_folder",
    "read_video_labels": "labels.records.video_labels",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'labels' has no attribute '{name}'")
    return getattr(import_module(_MODULES.get(name, "labels.library")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
