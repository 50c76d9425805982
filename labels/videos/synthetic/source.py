"""Stage 1's own clips: rendered in several processes, with their truth, and not again when they are there already."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from labels.engine.pools import cores
from labels.engine.runner import Account, Step, Task, run
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest, read_parquet_metadata, write_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.synthetic.rendering import RENDERER_VERSION, render_clip
from labels.videos.synthetic.settings import SOURCE, SceneSettings, SyntheticSettings


@dataclass(frozen=True)
class Rendering(Task):
    """Scenes by video_id, each rendered to a clip and its truth."""

    name, unit, owns_folders = "rendering", "clip", False  # other sources' clips lie beside them

    work: WorkFolder
    scenes: dict[str, SceneSettings]

    def key(self, item: str) -> str:
        return scene_digest(self.scenes[item])

    def files(self, item: str) -> tuple[Path, ...]:
        truth = (self.work.truth_actions(item), self.work.truth_joints(item), self.work.truth_boxes(item))
        return _video_path(self.work, item), *truth

    def finished(self, item: str, key: str) -> Account | None:
        return {} if is_rendered(self.work, item, self.scenes[item]) else None

    def make(self, item: str, key: str, step: Step) -> Account:
        render_into(self.work, item, self.scenes[item])
        return {}

    def worth(self, items: list[str]) -> int:
        return cores()


def add_synthetic_clips(work: WorkFolder, settings: SyntheticSettings) -> pd.DataFrame:
    """Render the clips that are not there yet, and their truth, into a work folder.

    Returns the VIDEOS rows of all clips that `settings` asks for. Raises InputError where nothing can be written.
    """
    scenes = settings.scenes()
    try:
        outcome = run(Rendering(work, scenes), list(scenes))
    except OSError as error:
        raise InputError(f"{work.videos}: a clip cannot be written: {error.strerror or error}") from None
    for video_id, reason in outcome.skipped.items():
        raise InputError(f"{work.videos}: {video_id}: {reason}")
    made_from = {video_id: read_parquet_metadata(work.truth_boxes(video_id)) or {} for video_id in scenes}
    return scenes_table(scenes, {video_id: made_from[video_id]["sha256"] for video_id in scenes})


def scene_digest(scene: SceneSettings) -> str:
    """Changes when the clip would look otherwise."""
    return digest_of([RENDERER_VERSION, asdict(scene)])


def is_rendered(work: WorkFolder, video_id: str, scene: SceneSettings) -> bool:
    """Whether the clip of exactly these settings lies there, whole, with its truth."""
    made_from = read_parquet_metadata(work.truth_boxes(video_id)) or {}
    video = _video_path(work, video_id)
    return (
        made_from.get("scene_digest") == scene_digest(scene)
        and read_parquet_metadata(work.truth_actions(video_id)) == made_from
        and read_parquet_metadata(work.truth_joints(video_id)) == made_from
        and video.is_file()
        and file_digest(video) == made_from.get("sha256")
    )


def render_into(work: WorkFolder, video_id: str, scene: SceneSettings) -> None:
    """Render one clip. Its boxes are written last: they are the mark that the clip is whole."""
    video = _video_path(work, video_id)
    work.truth_boxes(video_id).unlink(missing_ok=True)
    truth = render_clip(scene, video)
    made_from = {"scene": asdict(scene), "scene_digest": scene_digest(scene), "sha256": file_digest(video)}
    write_parquet(work.truth_actions(video_id), truth.actions, made_from)
    write_parquet(work.truth_joints(video_id), truth.poses, made_from)
    write_parquet(work.truth_boxes(video_id), truth.boxes, made_from)


def _video_path(work: WorkFolder, video_id: str) -> Path:
    return work.videos / _file_name(video_id)


def _file_name(video_id: str) -> str:
    return f"{video_id}.mp4"


def scenes_table(scenes: dict[str, SceneSettings], sha256: dict[str, str]) -> pd.DataFrame:
    """The VIDEOS rows of scenes whose clips have these digests, both by video_id."""
    return tables.make_table(
        tables.VIDEOS,
        {
            "video_id": list(scenes),
            "status": "ok",
            "reason": "",
            "file": [_file_name(video_id) for video_id in scenes],
            "source": SOURCE,
            "url": "",
            "group": list(scenes),
            "class_name": [scene.sport for scene in scenes.values()],
            "split": ["test" if scene.seed % 2 else "" for scene in scenes.values()],
            "start_s": 0.0,
            "end_s": [scene.frame_count / scene.fps for scene in scenes.values()],
            "fps": [scene.fps for scene in scenes.values()],
            "frame_count": [scene.frame_count for scene in scenes.values()],
            "width": [scene.width for scene in scenes.values()],
            "height": [scene.height for scene in scenes.values()],
            "sha256": [sha256[video_id] for video_id in scenes],
        },
    )
