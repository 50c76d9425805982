"""Synthetic sports clips with exact truth: the world of `scene_play` seen by the camera of `scene_camera`, drawn.

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

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labels.videos.encoding import VideoWriter
from labels.videos.scene_actors import LEAD_S
from labels.videos.scene_ball import BallLook, draw_ball
from labels.videos.scene_camera import Camera, Shot, plan_shots
from labels.videos.scene_effects import Lens, make_overlay, pan_blur
from labels.videos.scene_figures import draw_figure
from labels.videos.scene_layers import Canvas, Patch, Seen, mean_patch
from labels.videos.scene_looks import dress_players, make_light, mixed
from labels.videos.scene_net import draw_net, make_net
from labels.videos.scene_play import plan_play
from labels.videos.scene_shadows import lay_shadows
from labels.videos.scene_sports import DIFFICULTIES, SPORTS
from labels.videos.scene_surroundings import draw_surroundings, flash, make_surroundings
from labels.videos.scene_truth import PERSON, FrameTruth, RenderedTruth, actions_table, poses_table, truth_table
from labels.videos.synthetic_settings import SceneSettings

RENDERER_VERSION = 6  # goes up when the same settings give other bytes, or another truth
FIGURE_BLUR_PX = 2.5  # a player that moves further than this while the shutter is open is drawn smeared
FIRST_BALL_TRACK = 100  # players count from 0, balls from here

Thing = tuple[Patch, Seen | None, float]  # what is drawn, what of it is truth, its depth in metres


@dataclass(frozen=True)
class RenderedFrame:
    rgb: np.ndarray  # (H, W, 3) uint8
    truth: FrameTruth


def render_clip(settings: SceneSettings, path: Path, before_frame: Callable[[], None] = lambda: None) -> RenderedTruth:
    """Render one clip to an H.264 file and return its truth. `before_frame` may raise to give up; no file is left."""
    low, high = DIFFICULTIES[settings.difficulty].crf
    crf = int(_stream(settings, "encoder").integers(low, high + 1))
    truth = []
    with VideoWriter(path, settings.fps, crf) as writer:
        for frame in Scene(settings).frames():
            before_frame()
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
