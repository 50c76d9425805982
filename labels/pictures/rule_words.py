"""What the rules of cleaning mean, for a reader who does not know them by their names."""

import re

RULE_WORDS = {
    "overlap": "a better box of the same class lies here already",
    "aspect": "too long for its width",
    "large": "larger than such a thing can be in a picture of a game",
    "small": "too few pixels to tell it from noise",
    "lost": "later rounds did not find it again, and no path leads through it",
    "isolated": "on no path through the frames around it, and the labeller alone is not sure enough",
    "overlay": "stands still on the screen while the camera moves: a logo, a scoreboard",
    "quality": "all in all not likely enough to be right",
    "still": "never leaves its place, and the labeller is not sure enough to call it a ball that lies",
    "path_size": "its size jumps against the boxes before and after it",
    "class_size": "its size is unlike that of the likely objects of its class in the video",
    "misfit": "beside the smooth path of its neighbours",
    "flat": "all along its path wider than high, as a shadow on the ground",
    "upright": "all along its path higher than wide, as a player far away",
    "shadow": "goes along below a ball and rises and falls less: its shadow",
    "cast": "goes away from a ball above it, and comes back, in one direction, that of the light: its shadow",
    "worn": "stays in one place at a player's head or feet: a shoe, a head, or a ball that lies there",
    "crowded": "a stronger path passes this frame, and no more are in play at once",
    "gap": "interpolated across a gap that is too long, or between ends that are not kept",
    "human": "a person said so",
    "overruled": "a person said what is done there",
    "agreement": "the windows in which it is seen do not agree on what it is",
    "out_of_fold": "students that were not trained on its clip say something else",
    "outlier": "looks unlike its class: a track unlike those kept before in other videos, an action unlike the others",
    "unanchored": "next to nothing in the video flies as a ball does, so a label there must be surer",
    "class_cap": "its class would outgrow what people saw of it; the less sure ones wait",
}


def rule_of(reason: str) -> str:
    """The rule in a reason such as «isolated: 1 of 12 frames»: the words before its values."""
    return re.split(r"[:(=<>;,]|\s[-+]?\d", reason, maxsplit=1)[0].strip() or reason.strip()


def rule_name(rule: str) -> str:
    """A rule's name as a reader sees it."""
    return rule.replace("_", " ")
