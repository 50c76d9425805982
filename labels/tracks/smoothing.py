"""Kalman filter and Rauch-Tung-Striebel smoother of one path: position and speed, driven by random acceleration.

With this motion model the smoothed path is a cubic smoothing spline, which follows ballistic flight without knowing
which way is down. At a turn (a bounce, a hit) the speed is forgotten and learned anew, the position is not.
"""

from dataclasses import dataclass

import numpy as np

FORGOTTEN_SPEED = 1e8  # variance, (pixels/s)²
ACCELERATION_LASTS_S = 0.1  # how long a random acceleration keeps its direction


@dataclass(frozen=True)
class SmoothPath:
    """`position` (K, 2), `speed` (K, 2, pixels/s) given all of the path; `deviation` (K,) of the position, pixels."""

    position: np.ndarray
    speed: np.ndarray
    deviation: np.ndarray


def smooth_path(
    time_s: np.ndarray, measured: np.ndarray, noise: np.ndarray, turns: np.ndarray, acceleration: np.ndarray
) -> SmoothPath:
    """Filter forwards, smooth backwards.

    Args:
        time_s: (K,) strictly ascending.
        measured: (K, 2) positions; a row of NaN is a time at which only the prediction is wanted.
        noise: (K,) standard deviation of each measurement, pixels.
        turns: (K,) bool, the speed starts anew after this time.
        acceleration: (K,) standard deviation of the acceleration, pixels/s².
    """
    count = len(time_s)
    state = np.zeros((count, 2, 2))  # (time, position or speed, x or y)
    covariance = np.zeros((count, 2, 2))  # the same for x and y
    predicted = np.zeros((count, 2, 2))
    predicted_covariance = np.zeros((count, 2, 2))
    steps = np.tile(np.eye(2), (count, 1, 1))
    known = np.isfinite(measured).all(axis=1)
    now = np.array([measured[np.flatnonzero(known)[0]], [0.0, 0.0]])
    spread = np.array([[FORGOTTEN_SPEED, 0.0], [0.0, FORGOTTEN_SPEED]])
    for place in range(count):
        if place:
            elapsed = time_s[place] - time_s[place - 1]
            step = np.array([[1.0, elapsed], [0.0, 1.0]])
            if turns[place - 1]:
                spread = spread + np.array([[0.0, 0.0], [0.0, FORGOTTEN_SPEED]])
            drive = acceleration[place] ** 2 * ACCELERATION_LASTS_S * elapsed
            drift = drive * np.array([[elapsed**2 / 3, elapsed / 2], [elapsed / 2, 1.0]])
            now, spread = step @ now, step @ spread @ step.T + drift
            steps[place] = step
        predicted[place], predicted_covariance[place] = now, spread
        if known[place]:
            gain = spread[:, 0] / (spread[0, 0] + noise[place] ** 2)
            now = now + gain[:, None] * (measured[place] - now[0])[None]
            keep = np.array([[1.0 - gain[0], 0.0], [-gain[1], 1.0]])
            spread = keep @ spread @ keep.T + noise[place] ** 2 * np.outer(gain, gain)
        state[place], covariance[place] = now, spread
    for place in range(count - 2, -1, -1):
        ahead = predicted_covariance[place + 1]
        before = covariance[place]
        if turns[place]:
            before = before + np.array([[0.0, 0.0], [0.0, FORGOTTEN_SPEED]])
        back = np.linalg.solve(ahead, steps[place + 1] @ before).T
        if turns[place]:
            # The speed after the turn says nothing of the speed before it: only the position is taken back.
            after = state[place].copy()
            after[0] += (back @ (state[place + 1] - predicted[place + 1]))[0]
            state[place] = after
            covariance[place, 0, 0] += (back @ (covariance[place + 1] - ahead) @ back.T)[0, 0]
        else:
            state[place] = state[place] + back @ (state[place + 1] - predicted[place + 1])
            covariance[place] = before + back @ (covariance[place + 1] - ahead) @ back.T
    deviation = np.sqrt(np.clip(covariance[:, 0, 0], 0, None))
    return SmoothPath(state[:, 0], state[:, 1], deviation)
