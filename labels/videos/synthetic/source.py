"""Stage 1's own clips: rendered in several processes, with their truth, and not again when they are there already."""

import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import pandas as pd
from tqdm import tqdm

from labels.records import tables
from labels.records.command_line import leave_to_parent
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest, read_parquet_metadata, write_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.synthetic.rendering import RENDERER_VERSION, render_clip
from labels.videos.synthetic.settings import SOURCE, SceneSettings, SyntheticSettings

LOOK_UP_S = 0.2  # how often a wait looks whether Ctrl-C was pressed

_stop: Event | None = None  # in a rendering process: set when the others give up


class RenderingStopped(Exception):
    """The rendering process was asked to end."""


def add_synthetic_clips(work: WorkFolder, settings: SyntheticSettings) -> pd.DataFrame:
    """Render the clips that are not there yet, and their truth, into a work folder.

    Returns the VIDEOS rows of all clips that `settings` asks for. Raises InputError where nothing can be written.
    """
    scenes = settings.scenes()
    missing = {video_id: scene for video_id, scene in scenes.items() if not is_rendered(work, video_id, scene)}
    if missing:
        _render_all(work, missing, len(scenes))
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
    truth = render_clip(scene, video, _raise_if_stopped)
    made_from = {"scene": asdict(scene), "scene_digest": scene_digest(scene), "sha256": file_digest(video)}
    write_parquet(work.truth_actions(video_id), truth.actions, made_from)
    write_parquet(work.truth_joints(video_id), truth.poses, made_from)
    write_parquet(work.truth_boxes(video_id), truth.boxes, made_from)


def _video_path(work: WorkFolder, video_id: str) -> Path:
    return work.videos / _file_name(video_id)


def _file_name(video_id: str) -> str:
    return f"{video_id}.mp4"


def _render_all(work: WorkFolder, scenes: dict[str, SceneSettings], total: int) -> None:
    # Not forked: a fork copies locks that threads of numpy, OpenCV or the encoder may hold.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    workers = max(1, min(os.cpu_count() or 1, len(scenes)))
    with (
        ProcessPoolExecutor(workers, context, _start_worker, (stop,)) as pool,
        tqdm(total=total, initial=total - len(scenes), desc="rendering", unit="clip") as bar,
    ):
        try:
            waiting = {pool.submit(render_into, work, video_id, scene) for video_id, scene in scenes.items()}
            while waiting:
                done, waiting = wait(waiting, LOOK_UP_S, FIRST_COMPLETED)
                for future in done:
                    future.result()
                    bar.update()
        except OSError as error:
            raise InputError(f"{work.videos}: a clip cannot be written: {error.strerror or error}") from None
        except BrokenProcessPool:
            raise InputError(f"{work.videos}: a rendering process died; is there enough memory?") from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    leave_to_parent()
    cv2.setNumThreads(1)


def _raise_if_stopped() -> None:
    if _stop is not None and _stop.is_set():
        raise RenderingStopped


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
