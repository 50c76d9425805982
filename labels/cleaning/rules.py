"""The rules of cleaning: each holds one column of the features against a limit, and says what a box beyond it is.

Rules are for what no evidence can outweigh: a box that a better one covers, a shape no ball has, a logo on the screen.
All the rest is weighed in the quality (`features/quality.py`); its reason names the term that costs a box the most:
«quality: 0.12 < 0.2, on_player -2.1».

Beyond `drop` a box is dropped, beyond `ignore` it is neither a label nor background. The first rule that objects, in
the order of `RULES`, is the reason: «rule: value > limit». A human's word is above all rules.

A rule is added by one entry here: its name is its switch (`--without NAME`) and its help is listed by `--help`. Only
declarations, and nothing heavy is imported: `decisions.py` applies them.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from labels.records.old_names import REMOVED_RULES, new_name

Columns = Mapping[str, Any]
# A number; the name of a setting; two names, of which the second is for players; or a function of columns and settings.
Limit = float | str | tuple[str, str] | Callable[[Columns, Any], Any]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: as in reasons and `--without`.
        help: what is wrong with a box to which it objects.
        value: the column that is held against the limits; NaN there means that the rule has nothing to say.
        too: "high" or "low", the side of a limit on which a value is bad.
        drop, ignore: the limits; a rule has at least one.
        asked: which boxes the rule is about, (N,) bool of the columns `reads`; without it, all.
        stage: "shape" rules look at a box alone and "box" rules at its surroundings; what either drops is on no path.
            The others are "path" rules.
    """

    name: str
    help: str
    value: str
    too: str
    drop: Limit | None = None
    ignore: Limit | None = None
    asked: Callable[[Columns, Any], Any] | None = None
    reads: tuple[str, ...] = ()
    stage: str = "path"


def _is_off_paths(columns: Columns, settings: Any) -> Any:
    return columns["path"] < 0


def _are_counted(columns: Columns, settings: Any) -> Any:
    return ~columns["is_player"] & (settings.max_per_frame != 0)


def _lacks_confident_tracks(columns: Columns, settings: Any) -> Any:
    """No sure labeller speaks for its path (off paths the labeller is sure, or the box is out already)."""
    unsure = columns["support"] < settings.sure_still_log_odds
    return ~columns["is_player"] & unsure & (columns["confident_boxes"] < settings.min_confident_boxes)


RULES = (
    Rule(
        "overlap", "a better box of the same class lies here already",
        "overlap", "high", drop="max_overlap", stage="box",
    ),
    Rule(
        "aspect", "too long for its width",
        "aspect", "high", drop=("max_aspect", "max_player_aspect"), reads=("is_player",), stage="shape",
    ),
    Rule(
        "large", "larger than such a thing can be in a picture of a game",
        "frame_share", "high", drop=("max_frame_share", "max_player_frame_share"), reads=("is_player",), stage="shape",
    ),
    Rule(
        "small", "too few pixels to tell it from noise",
        "size", "low", drop="min_size_pixels", stage="shape",
    ),
    Rule(
        "overlay", "stands still on the screen while the camera moves: a logo, a scoreboard",
        "static_on_screen", "high", drop=0.3, stage="box",
    ),
    Rule(
        "lost", "later rounds did not find it again, and no path leads through it",
        "rounds_lost", "high", drop=1, ignore=0, asked=_is_off_paths, reads=("path",),
    ),
    Rule(
        "quality", "all in all not likely enough to be right",
        "quality", "low", drop="ignore_quality",
    ),
    Rule(
        "quality", "all in all not likely enough to be right",
        "quality", "low", ignore="keep_quality",
    ),
    Rule(
        "max_objects", "a stronger path passes this frame, and no more are in play at once",
        "rank", "high", ignore="max_per_frame", asked=_are_counted, reads=("is_player",),
    ),
    Rule(
        "outlier", "its track looks unlike those kept before in other videos",
        "outlier", "high", ignore=1,
    ),
    Rule(
        "no_confident_track", "the video has almost no confident track, so quality must be higher there",
        "quality", "low", ignore=0.9, asked=_lacks_confident_tracks,
        reads=("is_player", "support", "confident_boxes"),
    ),
)  # fmt: skip
SHAPE_RULES = tuple(rule for rule in RULES if rule.stage == "shape")
BOX_RULES = tuple(rule for rule in RULES if rule.stage in ("shape", "box"))
RULE_HELP = {rule.name: rule.help for rule in RULES}

# The terms of the quality (`features/quality.py`), which --without silences too.
TERM_HELP = {
    "score": "the labeller's own word, log-odds",
    "views": "how many detectors or views see it, log 2",
    "one_view": "nothing in its video is seen by two detectors or views, so none can agree",
    "margin": "surer than the best other box of its frame, log-odds",
    "on_path": "a path leads through it",
    "support": "the labeller's word on the boxes around it on its path, log-odds",
    "lasting": "seconds that its path lasts",
    "covered": "share of its path's frames in which something is seen",
    "length": "boxes of its path, log",
    "strength": "its path's expected balls over those of the strongest path of its frame, log",
    "displacement": "how far its path gets around it",
    "segment": "how far it gets between two bounces, hits or gaps",
    "segment_time": "seconds that this lasts",
    "turns": "share of its path's boxes beyond a tenth where the motion starts anew",
    "residual": "distance from the smoothed path, sizes",
    "static": "share of the time around it that something like it is in its place",
    "still_unsure": "its path stays where it is, and the labeller is not sure of it",
    "on_screen": "the same on the screen while the camera moves",
    "on_player": "share of its path in one place at a player's head or feet",
    "shadow": "goes along below a ball that rises and falls more, log of how much",
    "flat": "all along its path wider than high, log",
    "upright": "all along its path higher than wide, log: a distant player",
    "aspect": "longer than wide, log",
    "size_jump": "of another size than its path around it, log",
    "small": "smaller than 1.5 % of the frame, log of how much",
    "size_prior": "larger beside the players than a ball is that lies there, log",
    "appearance": "looks like the video's surest balls, log-odds",
}

# Parts of cleaning that are no rules and can be switched off too, for a bench or a doubt.
PART_HELP = {
    "views": "several views of a frame are fused",
    "static": "what stays in its place, in the scene or on the screen, is told before paths are sought",
    "recalibration": "scores count for less where a labeller sees balls everywhere",
    "camera": "the camera's motion is taken out",
    "paths": "boxes are linked over time; without, the labeller's word alone counts",
    "similarity": "boxes are compared with those on confident tracks, by size and appearance",
    "size_prior": "what lies still is compared with the players who stand there, by size",
    "gaps": "boxes are interpolated where a path was not seen",
    "merging": "the round before is merged in",
}
SWITCH_HELP = TERM_HELP | PART_HELP | RULE_HELP  # what --without takes

# What a reason can begin with beside rules, for a reader.
REASON_HELP = SWITCH_HELP | {
    **REMOVED_RULES,
    "gap": "interpolated across a gap that is too long, or between ends that are not kept",
    "human": "a person said so",
    "overruled": "a person said what is done there",
    "agreement": "the windows in which it is seen do not agree on what it is",
    "out_of_fold": "students that were not trained on its clip say something else",
    "outlier": "looks unlike its class: a track unlike those kept before in other videos, an action unlike the others",
    "class_cap": "its class would outgrow what people saw of it; the less sure ones wait",
}


def switch_name(text: str) -> str:
    """A value of `--without`, by its present name; empty for a rule that there is no more. A line says what is old."""
    name = new_name(text)
    if name in REMOVED_RULES and name not in SWITCH_HELP:
        print(f"--without {text}: there is no such rule any more", file=sys.stderr)
        return ""
    if name not in SWITCH_HELP:
        raise argparse.ArgumentTypeError(f"{text}: no part of cleaning and no rule; one of {', '.join(SWITCH_HELP)}")
    if name != text:
        print(f"--without {text} is now called --without {name}", file=sys.stderr)
    return name


def values_read(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The columns that some rules look at, each once."""
    return tuple(dict.fromkeys(column for rule in rules for column in (rule.value, *rule.reads)))


def rule_of(reason: str) -> str:
    """The rule in a reason such as «isolated: 1 of 12 frames»: the words before its values, by its present name."""
    first = re.split(r"[:(=<>;,]|\s[-+]?\d", reason, maxsplit=1)[0].strip() or reason.strip()
    return new_name(first)


def rule_name(rule: str) -> str:
    """A rule's name as a reader sees it."""
    return rule.replace("_", " ")
