"""Synthetic sports clips with exact truth: the world of `play` seen by its `camera`, drawn.

What the truth means:

- A ball's box holds all the ball covered while the shutter was open, the visible streak, cut at the frame's edges;
  a player's box holds body and clothes, not the racket.
- `visibility` is the share of the object's pixels that nothing nearer, no overlay and no frame edge hides.
- Whatever is inside the frame has a row, also when it is hidden (visibility 0). Balls that lie still are balls.
- A frame without any ball has one row of class "sports ball" whose box is NaN.
- The joints of a player in sight are those of the skeleton, also where something hides them; none outside the frame.
- `track_id` is the same for one object through the whole clip, across cuts. Actions cover the frames in which their
  player has a box.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from labels.engine.pools import cores
from labels.engine.runner import Account, Step, Task, run
from labels.records import tables
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest, read_parquet_metadata, write_parquet
from labels.records.work_folder import WorkFolder
from labels.videos.archives.rows import POSE
from labels.videos.encoding import VideoWriter
from labels.videos.pose_tables import JOINTS
from labels.videos.synthetic import poses as body
from labels.videos.synthetic.camera import Camera, Shot, plan_shots
from labels.videos.synthetic.figures import BallLook, Light, draw_ball, draw_figure, dress_players, make_light, mixed
from labels.videos.synthetic.layers import Canvas, Lens, Patch, Seen, make_overlay, mean_patch, pan_blur
from labels.videos.synthetic.play import LEAD_S, plan_play
from labels.videos.synthetic.scenery import draw_net, draw_surroundings, flash, make_net, make_surroundings
from labels.videos.synthetic.settings import DIFFICULTIES, SOURCE, SPORTS, SceneSettings, SyntheticSettings

SHIFT = 3  # bits of sub-pixel precision in cv2's drawing
ONE_PX = 2**SHIFT
SHADOW_LIMBS = (
    (body.PELVIS, body.NECK, 0.3), (body.NECK, body.HEAD, 0.2), (body.L_SHOULDER, body.L_ELBOW, 0.1),
    (body.L_ELBOW, body.L_HAND, 0.08), (body.R_SHOULDER, body.R_ELBOW, 0.1), (body.R_ELBOW, body.R_HAND, 0.08),
    (body.L_HIP, body.L_KNEE, 0.16), (body.L_KNEE, body.L_TOE, 0.11), (body.R_HIP, body.R_KNEE, 0.16),
    (body.R_KNEE, body.R_TOE, 0.11),
)  # fmt: skip


SOFT_PX, SUN_SOFT_PX = 1.6, 0.5  # blur of a shadow's edge in a frame 320 wide


def lay_shadows(
    picture: np.ndarray,
    figures: list[np.ndarray],
    balls: list[np.ndarray],
    ball_radius_m: float,
    light: Light,
    camera: Camera,
) -> np.ndarray:
    """The picture (H, W, 3) uint8 with shadows. `figures` are joints (17, 3), `balls` centres (3,), in metres."""
    height, width = picture.shape[:2]
    mask: np.ndarray = np.zeros((height, width), np.uint8)
    for joints in figures:
        flat = joints.copy()
        flat[:, :2] -= joints[:, 2:] * light.fall
        flat[:, 2] = 0
        pixels, depth = camera.project(flat)
        if depth.min() < 1:
            continue
        per_m = camera.focal_px / float(depth.mean())
        spots = np.clip(pixels * ONE_PX, -(2**20), 2**20).astype(int).tolist()
        for first, second, thick_m in SHADOW_LIMBS:
            thick = max(1, round(thick_m * per_m * 0.6))
            cv2.line(mask, spots[first], spots[second], 255, thick, cv2.LINE_AA, SHIFT)
    for centre in balls:
        spot = np.array([*(centre[:2] - centre[2] * light.fall), 0.0])
        pixels, depth = camera.project(spot[None])
        if depth[0] < 1:
            continue
        wide = ONE_PX * camera.focal_px * ball_radius_m / float(depth[0])
        flattened = max(0.15, float(camera.position[2] / np.linalg.norm(camera.position - spot)))
        x, y = np.clip(pixels[0] * ONE_PX, -(2**20), 2**20).astype(int).tolist()
        axes = (max(ONE_PX // 2, int(wide)), max(ONE_PX // 2, int(wide * flattened)))
        cv2.ellipse(mask, (x, y), axes, 0, 0, 360, 255, -1, cv2.LINE_AA, SHIFT)
    soft = (SUN_SOFT_PX if light.is_sun else SOFT_PX) * width / 320
    mask = cv2.GaussianBlur(mask, (0, 0), soft)
    kept = cv2.LUT(mask, (1 - light.shadow * np.arange(256) / 255).astype(np.float32))
    return cv2.multiply(picture, cv2.merge([kept] * 3), dtype=cv2.CV_8U)


BALL, PERSON = "sports ball", "person"
GAITS = ("stand", "run")
ACTION_CLASSES = (*GAITS, "jump", "throw", "kick", "swing")
# Of the 17 joints of a body, those that recognisers of poses see, in the order of JOINTS.
SEEN_JOINTS = [
    body.HEAD, body.L_SHOULDER, body.R_SHOULDER, body.L_ELBOW, body.R_ELBOW, body.L_HAND, body.R_HAND, body.L_HIP,
    body.R_HIP, body.L_KNEE, body.R_KNEE, body.L_ANKLE, body.R_ANKLE,
]  # fmt: skip
SHORTEST_S = 0.3  # of an action: what is over sooner, or so little in sight, no person could name


@dataclass(frozen=True)
class RenderedTruth:
    """What a rendered clip shows: a TRUTH and an ACTIONS table, and where the players' joints are."""

    boxes: pd.DataFrame
    actions: pd.DataFrame
    poses: pd.DataFrame


@dataclass(frozen=True)
class FrameTruth:
    """What one frame shows."""

    seen: list[Seen]
    doing: dict[int, str]  # track_id of a player in sight -> what they do
    joints: dict[int, np.ndarray] = field(default_factory=dict)  # track_id of a player in sight -> (17, 2) pixels


def truth_table(frames: list[FrameTruth]) -> pd.DataFrame:
    """The TRUTH rows of all frames."""
    rows: list[tuple] = []
    for frame_index, frame in enumerate(frames):
        rows += [
            (frame_index, *seen.xyxy, seen.class_name, seen.track_id, seen.visibility())
            for seen in sorted(frame.seen, key=lambda seen: seen.track_id)
        ]
        if not any(seen.class_name == BALL for seen in frame.seen):
            rows.append((frame_index, *[np.nan] * 4, BALL, tables.NO_TRACK, 0.0))
    columns = list(zip(*rows, strict=True))
    return tables.make_table(tables.TRUTH, dict(zip(tables.TRUTH, map(list, columns), strict=True)))


def actions_table(frames: list[FrameTruth], video_id: str, fps: float) -> pd.DataFrame:
    """The ACTIONS rows: what each player does, from when to when, while in sight.

    What is too short to be marked has no class: nobody could name it.
    """
    rows = []
    for track_id in sorted({track for frame in frames for track in frame.doing}):
        names = [frame.doing.get(track_id) for frame in frames]
        rows += [(track_id, *segment) for segment in _segments(names, math.ceil(SHORTEST_S * fps))]
    return tables.make_table(
        tables.ACTIONS,
        {
            "label_uid": [hashlib.blake2b(f"{video_id}|{row}".encode(), digest_size=8).hexdigest() for row in rows],
            "video_id": [video_id] * len(rows),
            "track_id": [row[0] for row in rows],
            "start_frame": [row[1] for row in rows],
            "end_frame": [row[2] for row in rows],
            "start_s": [row[1] / fps for row in rows],
            "end_s": [row[2] / fps for row in rows],
            "class_name": [row[3] for row in rows],
            "score": 1.0,
            "probabilities": [json.dumps({row[3]: 1.0} if row[3] else {}) for row in rows],
            "origin": "human",
            "round_born": 0,
        },
    )


def poses_table(frames: list[FrameTruth], width: int, height: int) -> pd.DataFrame:
    """The joints of all players in sight that lie in the frame, hidden or not: as a motion capture gives them."""
    rows = [
        (frame_index, JOINTS[place], x, y, track_id)
        for frame_index, frame in enumerate(frames)
        for track_id, joints in sorted(frame.joints.items())
        for place, (x, y) in enumerate(joints[SEEN_JOINTS].tolist())
        if 0 <= x < width and 0 <= y < height
    ]
    kinds = POSE | {"track_id": "int64"}
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)


def _segments(names: list[str | None], shortest: int) -> list[tuple[int, int, str]]:
    """(start, end, name) of what is done while in sight; name is empty where it is for fewer frames than `shortest`.

    Fewer of the other gait between do not end a gait.
    """
    found: list[tuple[int, int, str | None]] = []
    start = 0
    for name, same in groupby(names):
        end = start + len(list(same))
        found.append((start, end, name))
        start = end
    joined: list[tuple[int, int, str | None]] = []
    for start, end, name in found:
        if len(joined) > 1:
            (first, _, before), (*_, between) = joined[-2:]
            if before == name and name in GAITS and between in GAITS and start - joined[-1][0] < shortest:
                joined[-2:] = [(first, end, name)]
                continue
        joined.append((start, end, name))
    return [(start, end, name if end - start >= shortest else "") for start, end, name in joined if name]


RENDERER_VERSION = 7  # goes up when the same settings give other bytes, or another truth
FIGURE_BLUR_PX = 2.5  # a player that moves further than this while the shutter is open is drawn smeared
FIRST_BALL_TRACK = 100  # players count from 0, balls from here

Thing = tuple[Patch, Seen | None, float]  # what is drawn, what of it is truth, its depth in metres


@dataclass(frozen=True)
class RenderedFrame:
    rgb: np.ndarray  # (H, W, 3) uint8
    truth: FrameTruth


def render_clip(settings: SceneSettings, path: Path) -> RenderedTruth:
    """Render one clip to an H.264 file and return its truth."""
    low, high = DIFFICULTIES[settings.difficulty].crf
    crf = int(_stream(settings, "encoder").integers(low, high + 1))
    truth = []
    with VideoWriter(path, settings.fps, crf) as writer:
        for frame in Scene(settings).frames():
            writer.write(frame.rgb)
            truth.append(frame.truth)
    poses = poses_table(truth, settings.width, settings.height)
    return RenderedTruth(truth_table(truth), actions_table(truth, path.stem, settings.fps), poses)


def _stream(settings: SceneSettings, purpose: str) -> np.random.Generator:
    """Random numbers of their own for each purpose, so that a change to one leaves the others as they were."""
    return np.random.default_rng([settings.seed, *purpose.encode()])


class Scene:
    """Everything about a clip that is drawn from its seed; `frames` renders it."""

    def __init__(self, settings: SceneSettings) -> None:
        self.settings = settings
        self.size = (settings.width, settings.height)
        self.sport, self.difficulty = SPORTS[settings.sport], DIFFICULTIES[settings.difficulty]
        duration_s = settings.frame_count / settings.fps
        self.play = plan_play(_stream(settings, "play"), self.sport, self.difficulty, duration_s)
        self.shots = plan_shots(
            _stream(settings, "camera"), self.sport, self.difficulty, self.play.balls[0].path, -LEAD_S,
            settings.frame_count, settings.fps, self.size,
        )  # fmt: skip
        rng = _stream(settings, "looks")
        ball = self.sport.ball_colours[int(rng.integers(len(self.sport.ball_colours)))]
        cameras = [shot.at(shot.start_frame / settings.fps) for shot in self.shots]
        self.surroundings = make_surroundings(rng, self.sport, self.difficulty, cameras, ball[0])
        fade, ground = rng.uniform(*self.difficulty.ball_fade), self.surroundings.ground_colour
        self.ball_colours = (mixed(ball[0], ground, fade), mixed(ball[1], ground, fade), mixed(ball[2], ground, fade))
        self.light = make_light(rng, self.surroundings.is_outdoors)
        self.figure_looks = dress_players(rng, self.play.players)
        self.exposure_s = rng.uniform(*self.difficulty.exposure) / settings.fps
        self.overlay = make_overlay(rng, self.difficulty, self.size, ball[0])
        self.net = make_net(rng, self.sport)

    def frames(self) -> Iterator[RenderedFrame]:
        rng = _stream(self.settings, "sensor")
        lens = Lens(rng, self.difficulty, self.size)
        for shot in self.shots:
            for frame_index in range(shot.start_frame, shot.end_frame):
                yield self._frame(shot, frame_index / self.settings.fps, lens, rng)

    def _frame(self, shot: Shot, time_s: float, lens: Lens, rng: np.random.Generator) -> RenderedFrame:
        camera = shot.at(time_s)
        poses, doing = zip(*(player.at(time_s) for player in self.play.players), strict=True)
        picture = draw_surroundings(self.surroundings, camera, self.size)
        if rng.random() < self.difficulty.flashes:
            flash(rng, self.surroundings, camera, picture)
        picture = pan_blur(picture, self._camera_way(shot, time_s))
        centres = [ball.at(time_s) for ball in self.play.balls]
        picture = lay_shadows(picture, list(poses), centres, self.sport.ball_radius_m, self.light, camera)
        things = self._figures(shot, time_s, camera, poses) + self._balls(shot, time_s, camera)
        if self.net is not None:
            net, depth_m = draw_net(self.net, camera)
            things.append((net, None, depth_m))
        canvas = Canvas(picture)
        for patch, seen, _ in sorted(things, key=lambda thing: -thing[2]):
            canvas.put(patch, seen)
        for patch in self.overlay.patches(time_s) if self.overlay else []:
            canvas.put(patch)
        tracks = [seen.track_id for seen in canvas.seen if seen.class_name == PERSON]
        joints = {track_id: camera.project(poses[track_id])[0] for track_id in tracks}
        truth = FrameTruth(canvas.seen, {track_id: doing[track_id] for track_id in tracks}, joints)
        return RenderedFrame(lens.expose(rng, canvas.picture), truth)

    def _balls(self, shot: Shot, time_s: float, camera: Camera) -> list[Thing]:
        look = BallLook(self.sport.ball_pattern, self.ball_colours, camera.rotation @ self.light.towards)
        things: list[Thing] = []
        for track_id, ball in enumerate(self.play.balls, FIRST_BALL_TRACK):
            drawn = draw_ball(ball, track_id, look, self.sport, shot, time_s, self.exposure_s)
            if drawn:
                things.append(drawn)
        return things

    def _figures(self, shot: Shot, time_s: float, camera: Camera, poses: tuple[np.ndarray, ...]) -> list[Thing]:
        things: list[Thing] = []
        camera_px = float(np.abs(self._camera_way(shot, time_s)).max())
        light_px = (camera.rotation @ self.light.towards)[:2]
        edges = [(moment, shot.at(moment)) for moment in (time_s + half * self.exposure_s for half in (-0.5, 0.5))]
        for index, (player, joints) in enumerate(zip(self.play.players, poses, strict=True)):
            style = (self.figure_looks[index], light_px, self.sport.racket, player.left_handed)
            drawn = draw_figure(joints, index, camera, *style)
            if drawn is None:
                continue
            patch, seen, depth_m = drawn
            way_px = player.joint_speed(time_s) * self.exposure_s * camera.focal_px / depth_m
            if way_px + camera_px > FIGURE_BLUR_PX:
                others = [draw_figure(player.at(moment)[0], index, seen_by, *style) for moment, seen_by in edges]
                patch = mean_patch([patch, *(other[0] for other in others if other)])
            things.append((patch, seen, depth_m))
        return things

    def _camera_way(self, shot: Shot, time_s: float) -> np.ndarray:
        """How far the picture moves while the shutter is open, (2,) pixels."""
        middle = np.array([[0.0, 2.0, 1.0]])
        before, after = (shot.at(time_s + half * self.exposure_s).project(middle)[0][0] for half in (-0.5, 0.5))
        return after - before


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
