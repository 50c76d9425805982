"""Synthetic players that try a move without the ball more often than in stage 1's clips.

There a jump is one label in 170 and some tenths of the clips have none; here it is one in 45, and a tenth of 200 clips
shows all six classes.

Either without pixels, for recognisers of joints alone: the players, their moves and the camera are the renderer's
(`labels/videos/scene_*`), joints outside the frame are unseen, a player's box is that of the joints, and there are no
video files. Or rendered.
"""

import shutil
from dataclasses import replace
from multiprocessing import Pool, get_context
from pathlib import Path

import cv2
import numpy as np

from labels.records.safe_writing import read_parquet_metadata, write_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.synthetic.camera import plan_shots
from labels.videos.synthetic.layers import Seen
from labels.videos.synthetic.play import LEAD_S, plan_play
from labels.videos.synthetic.rendering import (
    PERSON,
    FrameTruth,
    actions_table,
    is_rendered,
    poses_table,
    render_into,
    scene_digest,
    scenes_table,
    truth_table,
)
from labels.videos.synthetic.settings import DIFFICULTIES, SPORTS, SceneSettings, SyntheticSettings

IDLE = {"idle_every_s": 0.8, "idle_share": 0.6}
BODY_PX = 3.0  # what clothes and limbs add around the joints


def add_players(work: WorkFolder, settings: SyntheticSettings, processes: int = 2) -> None:
    """Write the truth of all clips, and the videos table that names them."""
    scenes = settings.scenes()
    with Pool(processes) as pool:
        pool.starmap(_write_clip, [(work, video_id, scene) for video_id, scene in scenes.items()], chunksize=8)
    work.write_videos(scenes_table(scenes, {video_id: video_id for video_id in scenes}))


def render_players(work: WorkFolder, settings: SyntheticSettings, processes: int = 2) -> None:
    """Render the clips that are not there yet, with their truth, and write the videos table that names them."""
    marker = work.videos / "idle.txt"  # a clip's own truth does not say how often players move
    if not marker.is_file() or marker.read_text() != str(IDLE):
        shutil.rmtree(work.videos)
        work.videos.mkdir()
        marker.write_text(str(IDLE))
    scenes = settings.scenes()
    missing = [(work, video_id, scene) for video_id, scene in scenes.items() if not is_rendered(work, video_id, scene)]
    with get_context("spawn").Pool(processes, _move_more) as pool:
        pool.starmap(render_into, missing, chunksize=1)
    made_from = {video_id: read_parquet_metadata(work.truth_boxes(video_id)) or {} for video_id in scenes}
    work.write_videos(scenes_table(scenes, {video_id: made_from[video_id]["sha256"] for video_id in scenes}))


def _move_more() -> None:
    """From now on the players of this (rendering) process move as `IDLE` has it."""
    cv2.setNumThreads(1)
    for name, difficulty in DIFFICULTIES.items():
        DIFFICULTIES[name] = replace(difficulty, **IDLE)


def _write_clip(work: WorkFolder, video_id: str, scene: SceneSettings) -> None:
    made_from = {"scene_digest": scene_digest(scene), "idle": str(IDLE)}
    if read_parquet_metadata(work.truth_boxes(video_id)) == made_from:
        return
    frames = play_frames(scene)
    write_parquet(work.truth_actions(video_id), actions_table(frames, video_id, scene.fps), made_from)
    write_parquet(work.truth_joints(video_id), poses_table(frames, scene.width, scene.height), made_from)
    write_parquet(work.truth_boxes(video_id), truth_table(frames), made_from)


def play_frames(scene: SceneSettings) -> list[FrameTruth]:
    """Who does what where in each frame, drawn from the streams of random numbers that the renderer draws from."""
    size = np.array([scene.width, scene.height], dtype=float)
    sport, difficulty = SPORTS[scene.sport], replace(DIFFICULTIES[scene.difficulty], **IDLE)
    play, camera = (np.random.default_rng([scene.seed, *purpose.encode()]) for purpose in ("play", "camera"))
    plan = plan_play(play, sport, difficulty, scene.frame_count / scene.fps)
    ball = plan.balls[0].path
    shots = plan_shots(
        camera, sport, difficulty, ball, -LEAD_S, scene.frame_count, scene.fps, (scene.width, scene.height)
    )
    frames = []
    for shot in shots:
        for frame_index in range(shot.start_frame, shot.end_frame):
            time_s = frame_index / scene.fps
            seen, doing, joints = [], {}, {}
            for track_id, player in enumerate(plan.players):
                body, what = player.at(time_s)
                pixels, depth = shot.at(time_s).project(body)
                low = np.clip(pixels.min(axis=0) - BODY_PX, 0, size)
                high = np.clip(pixels.max(axis=0) + BODY_PX, 0, size)
                if depth.min() >= 1 and (high - low).min() >= 2:
                    seen.append(Seen(PERSON, track_id, np.concatenate([low, high]), 1.0))
                    doing[track_id], joints[track_id] = what, pixels
            frames.append(FrameTruth(seen, doing, joints))
    return frames


def make_players(root: Path, rendered: bool, **given: object) -> None:
    """A work folder of synthetic players; `given` is of SyntheticSettings."""
    work = WorkFolder(root)
    work.videos.mkdir(parents=True, exist_ok=True)
    (render_players if rendered else add_players)(work, SyntheticSettings(**given))  # type: ignore[arg-type]
