"""Joints as a network of poses gets them: from where the hips usually are, in torso lengths, at set times.

Joints are (T, J, 2) float, x and y in pixels or any unit that is the same for both, NaN where a joint was not seen.
"""

import numpy as np

from labels.models.skeletons import HIPS, JOINTS, SHOULDERS

LEAST_TORSO = 1e-3  # of the largest extent: below, the torso was not seen and the extent is the scale


def check_joints(joints: np.ndarray) -> np.ndarray:
    joints = np.asarray(joints, dtype=np.float32)
    if joints.ndim != 3 or joints.shape[1:] != (len(JOINTS), 2) or not len(joints):
        raise ValueError(f"joints must be (T, {len(JOINTS)}, 2), not {joints.shape}")
    return joints


def fill_gaps(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T, J, 2) with gaps interpolated over time, and which were seen, (T, J) bool.

    A joint that was never seen lies between the hips, or at 0 where they were not seen either.
    """
    seen = np.isfinite(joints).all(axis=2)
    filled = joints.copy()
    times = np.arange(len(joints))
    for joint in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
        known = seen[:, joint]
        for axis in range(2):
            filled[:, joint, axis] = np.interp(times, times[known], joints[known, joint, axis])
    never = ~seen.any(axis=0)
    if never.any():
        hips = [joint for joint in HIPS if not never[joint]]
        filled[:, never] = filled[:, hips].mean(axis=1, keepdims=True) if hips else 0.0
    return filled, seen


def resample(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values (T, ...) between frames, at fractional frame numbers (S,), by straight lines: (S, ...)."""
    places = np.clip(places, 0, len(values) - 1)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    share = (places - low).reshape(-1, *([1] * (values.ndim - 1))).astype(np.float32)
    return values[low] * (1 - share) + values[high] * share


def normalise(joints: np.ndarray, times: int, places: np.ndarray | None = None) -> np.ndarray:
    """Joints (T, J, 2) as (times, J, 3) float32: x and y in torso lengths, and 1 where seen.

    0 is the median place of the hips, so that what a body does as a whole, to run or to jump, stays in it.

    Args:
        places: fractional frame numbers (times,) to look at; None: evenly from the first frame to the last.
    """
    filled, seen = fill_gaps(check_joints(joints))
    hips = filled[:, HIPS].mean(axis=1)  # (T, 2)
    torso = np.linalg.norm(filled[:, SHOULDERS].mean(axis=1) - hips, axis=1)
    extent = float(np.ptp(filled, axis=(0, 1)).max())
    scale = float(np.median(torso))
    if scale < LEAST_TORSO * max(extent, 1e-9):
        scale = extent or 1.0
    centred = (filled - np.median(hips, axis=0)) / scale
    values = np.concatenate([centred, seen[:, :, None].astype(np.float32)], axis=2)
    if places is None:
        places = np.linspace(0, len(joints) - 1, times)
    return resample(values, places).astype(np.float32)
