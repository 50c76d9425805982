"""The body of a synthetic player: a skeleton of 17 joints and the moves it makes, as key poses.

A pose is 14 angles in degrees (see ANGLES). Local coordinates are metres: x ahead, y to the left, z up; the feet are
on z = 0.
Throwing and smashing, pushing and catching look much alike on purpose: so they do in real video.
"""

from bisect import bisect
from dataclasses import dataclass
from functools import cached_property
from math import cos, radians, sin

import numpy as np

PELVIS, NECK, HEAD = 0, 1, 2
L_SHOULDER, L_ELBOW, L_HAND, R_SHOULDER, R_ELBOW, R_HAND = 3, 4, 5, 6, 7, 8
L_HIP, L_KNEE, L_ANKLE, L_TOE, R_HIP, R_KNEE, R_ANKLE, R_TOE = 9, 10, 11, 12, 13, 14, 15, 16
JOINTS = 17
BODY_HEIGHT_M = 1.8  # of the lengths below
ANGLES = (
    "lean", "twist",  # upper body: forward, to the left
    "l_arm", "l_arm_out", "l_elbow", "r_arm", "r_arm_out", "r_elbow",  # 0 hangs down, 90 points ahead, 180 up
    "l_leg", "l_leg_out", "l_knee", "r_leg", "r_leg_out", "r_knee",
)  # fmt: skip
STAND = (4, 0, 6, 12, 22, 6, 12, 22, 2, 7, 6, 2, 7, 6)
READY = (28, 0, 30, 18, 55, 30, 18, 55, 38, 16, 60, 38, 16, 60)
RUN_STRIDE_M = 2.3  # two steps


@dataclass(frozen=True)
class Move:
    """A thing a player does once: key poses at phases from 0 to 1."""

    class_name: str  # of the action
    duration_s: float
    contact: float  # phase at which the ball is hit or let go
    phases: tuple[float, ...]
    poses: tuple[tuple[float, ...], ...]
    hit_joint: int = R_HAND
    lift_m: float = 0.0  # how high the feet leave the ground

    @cached_property
    def angles(self) -> np.ndarray:
        """The key poses, (K, 14) degrees."""
        return np.array(self.poses, dtype=float)


MOVES: dict[str, Move] = {
    "jump": Move(
        "jump", 0.9, 0.55, (0, 0.28, 0.45, 0.62, 0.8, 1),
        (STAND,
         (38, 0, -40, 15, 20, -40, 15, 20, 70, 8, 105, 70, 8, 105),
         (2, 0, 165, 12, 10, 165, 12, 10, -4, 5, 4, -4, 5, 4),
         (4, 0, 172, 14, 8, 172, 14, 8, 5, 7, 20, 5, 7, 20),
         (25, 0, 60, 30, 30, 60, 30, 30, 50, 9, 75, 50, 9, 75),
         STAND), lift_m=0.5,
    ),
    "throw": Move(
        "throw", 0.85, 0.52, (0, 0.34, 0.52, 0.7, 1),
        (STAND,
         (-12, -48, 80, 10, 25, 40, 85, 115, 30, 8, 35, -14, 10, 18),
         (14, 22, 30, 25, 50, 150, 22, 12, 28, 8, 22, -25, 10, 22),
         (38, 45, -15, 20, 40, 55, -12, 15, 30, 8, 25, -22, 10, 40),
         STAND),
    ),
    "push": Move(
        "throw", 0.75, 0.5, (0, 0.3, 0.5, 0.68, 1),
        (STAND,
         (10, 0, 62, -6, 112, 62, -6, 112, 35, 9, 60, 35, 9, 60),
         (2, 0, 135, -2, 14, 135, -2, 14, 2, 7, 6, 2, 7, 6),
         (4, 0, 122, 4, 8, 122, 4, 8, 0, 7, 4, 0, 7, 4),
         STAND), lift_m=0.12,
    ),
    "kick": Move(
        "kick", 0.75, 0.5, (0, 0.32, 0.5, 0.66, 1),
        (STAND,
         (6, -18, 35, 70, 25, -25, 40, 30, 8, 6, 14, -42, 12, 88),
         (-4, 12, -5, 60, 25, 25, 45, 25, 2, 6, 16, 26, 8, 14),
         (-14, 26, -25, 50, 30, 45, 40, 25, -4, 6, 10, 78, 4, 12),
         STAND), hit_joint=R_TOE,
    ),
    "swing": Move(
        "swing", 0.85, 0.5, (0, 0.32, 0.5, 0.68, 1),
        (READY,
         (12, -75, 65, 25, 30, 15, 72, 20, 32, 14, 45, 8, 20, 40),
         (14, 5, 25, 45, 60, 68, 38, 12, 28, 12, 34, 0, 16, 30),
         (6, 68, -5, 40, 70, 125, -35, 75, 20, 12, 25, -16, 14, 34),
         READY),
    ),
    "smash": Move(
        "swing", 0.85, 0.52, (0, 0.34, 0.52, 0.7, 1),
        (STAND,
         (-14, -42, 150, 12, 12, 75, 75, 125, 12, 8, 28, -8, 10, 30),
         (4, 16, 60, 25, 60, 172, 6, 6, 10, 8, 10, -14, 10, 12),
         (36, 42, -10, 20, 50, 48, -14, 18, 24, 8, 24, -24, 10, 34),
         STAND), lift_m=0.3,
    ),
}  # fmt: skip


def move_pose(move: Move, phase: float) -> tuple[np.ndarray, float]:
    """The angles (14,) of a move at a phase in 0-1, and how far the feet are off the ground, metres."""
    poses = move.angles
    after = min(max(bisect(move.phases, phase), 1), len(poses) - 1)
    low, high = move.phases[after - 1], move.phases[after]
    share = min(max((phase - low) / (high - low), 0.0), 1.0)
    share = share * share * (3 - 2 * share)
    rise = (phase - (move.contact - 0.17)) / 0.4  # airborne around the contact
    return poses[after - 1] * (1 - share) + poses[after] * share, max(0.0, 4 * move.lift_m * rise * (1 - rise))


def gait_pose(phase: float, speed_ms: float) -> np.ndarray:
    """The angles (14,) of standing, walking and running; `phase` counts double steps."""
    effort = min(speed_ms / 5.0, 1.0)
    run = np.array(STAND, dtype=float)
    wave, other = np.sin(2 * np.pi * phase), np.sin(2 * np.pi * phase + np.pi)
    fold, other_fold = np.cos(2 * np.pi * phase), -np.cos(2 * np.pi * phase)
    stride = 46 * min(effort * 1.3, 1.0)
    run[0] = 5 + 12 * effort
    run[1] = -12 * effort * wave
    run[2], run[5] = 5 + stride * 0.95 * other, 5 + stride * 0.95 * wave
    run[4], run[7] = 22 + 62 * effort, 22 + 62 * effort
    run[8], run[11] = 10 * effort + stride * wave, 10 * effort + stride * other
    run[10] = 8 + 85 * effort * max(fold, 0.0) + 8 * effort
    run[13] = 8 + 85 * effort * max(other_fold, 0.0) + 8 * effort
    share = min(speed_ms / 0.8, 1.0)
    return np.array(STAND) * (1 - share) + run * share


def skeleton(angles: np.ndarray, lift_m: float = 0.0, left_handed: bool = False) -> np.ndarray:
    """The joints (17, 3) of a body of BODY_HEIGHT_M in local coordinates, the lower foot at `lift_m`.

    In plain numbers: at three coordinates a joint, numpy would cost more than it saves.
    """
    turned = [radians(angle) for angle in angles.tolist()]
    cl, sl, ct, st = cos(turned[0]), sin(turned[0]), cos(turned[1]), sin(turned[1])
    ahead, left = (ct * cl, st, -ct * sl), (-st * cl, ct, st * sl)  # of the upper body; the spine is (sl, 0, cl)
    joints = [[0.0, 0.0, 0.0]] * JOINTS
    joints[NECK] = [0.53 * sl, 0.0, 0.53 * cl]
    joints[HEAD] = [0.72 * sl + 0.03 * ahead[0], 0.03 * ahead[1], 0.72 * cl + 0.03 * ahead[2]]
    for side, shoulder, hip, arm, leg in ((1, L_SHOULDER, L_HIP, 2, 8), (-1, R_SHOULDER, R_HIP, 5, 11)):
        raised, out, elbow = turned[arm : arm + 3]
        at = [0.5 * sl + side * 0.19 * left[0], side * 0.19 * left[1], 0.5 * cl + side * 0.19 * left[2]]
        joints[shoulder] = at
        for bent, spread, joint in ((raised, 1.0, shoulder + 1), (raised + elbow, 0.7, shoulder + 2)):
            forth, down, aside = sin(bent) * cos(out), cos(bent) * cos(out), side * sin(out) * spread
            at = [
                at[0] + 0.29 * (forth * ahead[0] - down * sl + aside * left[0]),
                at[1] + 0.29 * (forth * ahead[1] + aside * left[1]),
                at[2] + 0.29 * (forth * ahead[2] - down * cl + aside * left[2]),
            ]
            joints[joint] = at
        raised, out, knee = turned[leg : leg + 3]
        at = [0.0, side * 0.1, -0.03]
        joints[hip] = at
        for bent, spread, length, joint in ((raised, 1.0, 0.45, hip + 1), (raised - knee, 0.6, 0.43, hip + 2)):
            forth, down, aside = sin(bent) * cos(out), cos(bent) * cos(out), side * sin(out) * spread
            at = [at[0] + length * forth, at[1] + length * aside, at[2] - length * down]
            joints[joint] = at
        foot = (raised - knee) * 0.6
        joints[hip + 3] = [at[0] + 0.2 * cos(foot), at[1] + side * 0.04, at[2] + 0.2 * (sin(foot) - 0.15)]
    rise = lift_m + 0.05 - min(joints[joint][2] for joint in (L_ANKLE, L_TOE, R_ANKLE, R_TOE))
    mirror = -1.0 if left_handed else 1.0
    return np.array([[x, y * mirror, z + rise] for x, y, z in joints])


def place(joints: np.ndarray, x_m: float, y_m: float, heading: float, size: float) -> np.ndarray:
    """Local joints to world metres: facing `heading` (radians from x towards y), `size` times as tall."""
    cosine, sine = np.cos(heading), np.sin(heading)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1.0]])
    return size * joints @ turn + np.array([x_m, y_m, 0.0])


def hit_point(move: Move, left_handed: bool = False) -> np.ndarray:
    """Where the ball is when a move hits it or lets it go, local metres (3,)."""
    angles, lift_m = move_pose(move, move.contact)
    return skeleton(angles, lift_m, left_handed)[move.hit_joint]
