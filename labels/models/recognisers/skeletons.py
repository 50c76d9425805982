"""The skeleton that recognisers of poses see: 13 joints, which every pose estimator and data set gives.

COCO's 17 keypoints are these with eyes and ears beside the nose, which say little of what a body does.
"""

import re

import numpy as np

from labels.videos.pose_tables import JOINTS

# For each joint the one it hangs on, towards the hips; a hip hangs on itself.
PARENTS = (1, 7, 8, 1, 2, 3, 4, 7, 8, 7, 8, 9, 10)
LINKS = (
    (0, 1),
    (0, 2),
    (1, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
    (1, 7),
    (2, 8),
    (7, 8),
    (7, 9),
    (8, 10),
    (9, 11),
    (10, 12),
)
SHOULDERS, HIPS = (1, 2), (7, 8)
COCO_KEYPOINTS = (0, *range(5, 17))  # which of COCO's 17 the joints are


OTHER_SIDE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
SIDE = re.compile(r"(?<![A-Za-z])(?:left|right|Left|Right)(?![a-z])|(?<=[a-z])(?:Left|Right)(?![a-z])")


def mirrored_name(name: str) -> str:
    """A joint's or a class's name in a mirror: the words left and right change places, nothing else does."""
    return SIDE.sub(lambda found: OTHER_SIDE[found[0]], name)


MIRROR = tuple(JOINTS.index(mirrored_name(name)) for name in JOINTS)  # the joint that each one is in a mirror


def mirrored_classes(class_names: tuple[str, ...]) -> tuple[int, ...] | None:
    """For each class the id it has in a mirror; None where a class has no mirror image among them: never mirror."""
    mirrored = [mirrored_name(name) for name in class_names]
    if not set(mirrored) <= set(class_names):
        return None
    return tuple(class_names.index(name) for name in mirrored)


def hops() -> np.ndarray:
    """How many links lie between each two joints, (J, J)."""
    count = len(JOINTS)
    steps = np.full((count, count), count)
    np.fill_diagonal(steps, 0)
    for first, second in LINKS:
        steps[first, second] = steps[second, first] = 1
    for middle in range(count):
        steps = np.minimum(steps, steps[:, middle, None] + steps[None, middle])
    return steps
