"""Who and what moves in a synthetic clip: players with their paths and moves, balls with theirs."""

from dataclasses import dataclass, field

import numpy as np

from labels.videos.scene_camera import STEP_S, smooth
from labels.videos.scene_poses import MOVES, READY, RUN_STRIDE_M, gait_pose, move_pose, place, skeleton

LEAD_S = 2.0  # every path starts before the first frame
RUNNING_MS = 0.9  # who is slower stands
SWING_MS = 9.0  # a hand or foot in the middle of a move


@dataclass
class Doing:
    """One move of one player in time."""

    move: str
    start_s: float
    heading: float

    @property
    def end_s(self) -> float:
        return self.start_s + MOVES[self.move].duration_s


@dataclass
class Player:
    """One player: where they go, what they do, and once settled the path, every STEP_S."""

    team: int
    size: float
    left_handed: bool
    ready: bool  # stands crouching
    waypoints: list[tuple[float, float, float]] = field(default_factory=list)  # time_s, x, y
    doings: list[Doing] = field(default_factory=list)
    path: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    heading: np.ndarray = field(default_factory=lambda: np.zeros(0))
    speed: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def last(self) -> np.ndarray:
        return np.array(self.waypoints[-1][1:])

    def walk_to(self, start_s: float, end_s: float, spot: np.ndarray) -> None:
        x, y = self.last()
        begin = max(start_s, self.waypoints[-1][0] + 0.01)
        if end_s > begin + 0.05:
            self.waypoints += [(begin, x, y), (end_s, float(spot[0]), float(spot[1]))]

    def is_busy(self, start_s: float, end_s: float) -> bool:
        return any(doing.start_s < end_s and start_s < doing.end_s for doing in self.doings)

    def settle(self, step_count: int, ball_xy: np.ndarray) -> None:
        """Make the path from the waypoints; who stands looks at the ball (N, 2)."""
        time_s = STEP_S * np.arange(step_count) - LEAD_S
        when, x, y = np.array(self.waypoints).T
        raw = np.stack([np.interp(time_s, when, x), np.interp(time_s, when, y)], axis=1)
        self.path = smooth(raw, 0.12 / STEP_S)
        velocity = smooth(np.gradient(self.path, STEP_S, axis=0), 0.04 / STEP_S)
        self.speed = np.linalg.norm(velocity, axis=1)
        self.steps = np.cumsum(self.speed) * STEP_S / (RUN_STRIDE_M * self.size)
        to_ball = ball_xy - self.path
        to_ball = to_ball / np.maximum(np.linalg.norm(to_ball, axis=1, keepdims=True), 0.1)
        facing = velocity * np.clip(self.speed - 0.5, 0, 3)[:, None] + 0.6 * to_ball
        for doing in self.doings:
            during = (time_s >= doing.start_s) & (time_s <= doing.end_s)
            facing[during] = 8 * np.array([np.cos(doing.heading), np.sin(doing.heading)])
        facing = smooth(facing, 0.08 / STEP_S)
        self.heading = np.arctan2(facing[:, 1], facing[:, 0])

    def joint_speed(self, time_s: float) -> float:
        """About how fast the fastest hand or foot is, m/s."""
        step = int(np.clip(round((time_s + LEAD_S) / STEP_S), 0, len(self.path) - 1))
        swinging = any(doing.start_s <= time_s <= doing.end_s for doing in self.doings)
        return SWING_MS if swinging else 2.2 * float(self.speed[step])

    def at(self, time_s: float) -> tuple[np.ndarray, str]:
        """Joints in the world (17, 3) and the name of what the player does."""
        step = int(np.clip(round((time_s + LEAD_S) / STEP_S), 0, len(self.path) - 1))
        speed = float(self.speed[step])
        angles = gait_pose(float(self.steps[step]), speed)
        sway = 4 * np.sin(1.7 * time_s + 5 * self.size * self.team + self.waypoints[0][1])
        still = max(0.0, 1 - speed / 0.8)
        if self.ready:
            angles = angles * (1 - still) + np.array(READY) * still
        angles[[2, 5, 7]] += still * sway
        lift_m, class_name = 0.0, "run" if speed > RUNNING_MS else "stand"
        for doing in self.doings:
            phase = (time_s - doing.start_s) / MOVES[doing.move].duration_s
            if 0 <= phase <= 1:
                moved, lift_m = move_pose(MOVES[doing.move], phase)
                legs = min(speed / 4, 0.6) if doing.move in ("throw", "push") else 0.0
                share = min(1.0, phase / 0.12, (1 - phase) / 0.12)
                moved[8:] = moved[8:] * (1 - legs) + angles[8:] * legs
                angles, lift_m = angles * (1 - share) + moved * share, lift_m * share
                class_name = MOVES[doing.move].class_name
        x, y = self.path[step]
        joints = skeleton(angles, lift_m, self.left_handed)
        return place(joints, x, y, float(self.heading[step]), self.size), class_name


@dataclass(frozen=True)
class Ball:
    """One ball: its path (N, 3) metres every STEP_S from -LEAD_S, and its turn (N,) radians about `axis`."""

    path: np.ndarray
    turn: np.ndarray
    axis: np.ndarray

    def at(self, time_s: float) -> np.ndarray:
        spot = min(max((time_s + LEAD_S) / STEP_S, 0.0), len(self.path) - 1.001)
        before = int(spot)
        share = spot - before
        return self.path[before] * (1 - share) + self.path[before + 1] * share

    def turn_at(self, time_s: float) -> float:
        return float(self.turn[int(np.clip((time_s + LEAD_S) / STEP_S, 0, len(self.turn) - 1))])
