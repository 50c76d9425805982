"""The settings of stage 3, for boxes and for actions, and the options that change them.

Limits that belong to one rule alone are in `rules.py`. Nothing heavy is imported: the script takes its defaults from
here.
"""

import argparse
import math
from dataclasses import asdict, dataclass
from difflib import get_close_matches

from labels.records.errors import InputError


@dataclass(frozen=True)
class CleaningSettings:
    """Thresholds of boxes. `size` is sqrt(width x height) of a box in pixels."""

    # What counts
    keep_quality: float = 0.5  # from here a label is trained on: more likely right than wrong
    ignore_quality: float = 0.2  # from here it is neither a positive nor background
    without: tuple[str, ...] = ()  # names of rules and parts that are switched off
    max_per_frame: int = 0  # balls in play at once, as far as the user knows; 0: nobody knows

    # Shape and size
    max_overlap: float = 0.4  # IoU with a better box of its class
    max_inside: float = 0.75  # share of the smaller of two boxes that lies in the other
    max_aspect: float = 3.0  # longer over shorter side; motion blur stretches a ball
    max_player_aspect: float = 6.0
    max_frame_share: float = 0.4  # size over the frame's shorter side
    max_player_frame_share: float = 1.2
    min_size_pixels: float = 3.0
    max_path_size_ratio: float = 2.0  # of two boxes that a human drew of one thing

    # Recalibration of scores
    max_confident_per_frame: float = 1.2  # balls a frame above the working threshold, over the video; more is too many
    max_recalibration: float = 2.5  # log-odds that scores lose at most where there are more

    # Views of a frame
    same_view_iou: float = 0.5  # boxes of two views are one object
    agreeing_views: int = 3  # what so many views see is not recalibrated
    view_gain: float = 1.0  # log-odds each time the number of views that agree doubles

    # Confident tracks, and similarity to them
    confident_quality: float = 0.9  # what shows how the video's balls look must be surer than what is kept
    confident_displacement_sizes: float = 5.0  # a confident track gets so far
    confident_segment_sizes: float = 2.0  # and so far between two bounces, hits or gaps
    min_confident_boxes: int = 5  # on such tracks; fewer show nothing
    size_penalty: float = 2.0  # log-odds an octave beside their sizes
    max_size_penalty: float = 5.0
    similarity_gain: float = 1.5  # log-odds for what looks as they do among themselves
    dissimilar_from: float = 2.0  # from so far off, in units of their spread, appearance speaks against a box
    max_appearance_penalty: float = 1.0  # log-odds; a game may have balls of two colours

    # Outliers among tracks, against those that the round before kept in other videos
    min_reference_tracks: int = 20  # of a class; fewer say nothing
    max_outlier_share: float = 0.02  # of those tracks are themselves beyond the limit
    min_outlier_factor: float = 1.5  # and the limit is at least this local outlier factor

    # Paths
    min_still_s: float = 0.4  # a path that stays in its place for at least this long is still
    min_static_share: float = 0.4  # share of the frames around it in which it is in its place: it lies still
    sure_still_log_odds: float = 2.0  # a still thing that the labeller is this sure of is a ball lying still
    vouched_log_odds: float = 3.0  # the least support of a path on which a human drew a box, all along
    isolated_log_odds_sparse: float = (
        0.6  # the same where labelled frames are so far apart that no ball can be followed
    )
    isolated_player_log_odds: float = 0.7
    sparse_step_s: float = 0.3
    min_shadow_flatness: float = 1.2  # width over height, against that ball; what is rounder must be less sure
    min_shadow_steps: int = 6  # labelled frames that tell whether a path is flat, or follows another that is seen too
    min_shadow_correlation: float = 0.95  # of the two ways, left and right
    max_on_player_share: float = 0.5  # of a path that is in one place at a player's head or feet, of a part at a head
    min_on_player_steps: int = 6  # labelled frames of such a path
    sure_gap_steps: int = 2  # interpolated boxes are kept in gaps of at most this many labelled frames
    sure_gap_deviation_sizes: float = 0.2  # and where the smoothed path is known this well

    # Frames that a human drew
    drawn_gap_s: float = 2.0  # two drawn frames at most so far apart tell what is between them
    drawn_gap_sizes: float = 2.0  # where a box of the one lies so near to a box of the other

    # Rounds
    match_iou: float = 0.4  # two rounds mean the same object
    match_distance_sizes: float = 0.5  # or their centres are this near and their sizes alike
    old_share: float = 0.35  # how much a round's evidence is the older label's
    confirmed_gain: float = 0.25  # log-odds for each round that finds a label again
    lost_log_odds: float = -1.5  # what a round that did not find a label says of it, where it finds the others

    # The dataset
    max_negative_share: float = 0.25  # frames without the object, for each frame with one
    sure_negative_steps: int = 2  # labelled frames around a negative that must be as empty


@dataclass(frozen=True)
class ActionSettings:
    keep_quality: float = 0.9  # from here a label is trained on, of the class that is learnt best
    least_quality: float = 0.85  # of the class that is learnt worst: its bar is lower, so that it can catch up
    ignore_quality: float = 0.2  # below, a label is dropped
    class_cap: float = 3.0  # kept pseudo-labels of a class, over its share of the human labels times all of them
    least_cap: int = 10  # but so many may always be kept
    match_overlap: float = 0.5  # temporal IoU from which two rounds mean the same action
    old_share: float = 0.35  # how much of the log-odds is the round before's
    doubt_quality: float = 0.8  # a student this sure that a human is wrong sends the label to review
    prune_share: float = 0.2  # of a class's labels at most that one round takes out by what out-of-fold students say
    trusted_precision: float = 0.95  # how often out-of-fold students must be right from a class's bar on
    least_trusted: int = 10  # labels of a class that tell this; with fewer, all classes together do
    least_agreement: float = 0.6  # share of an action's views that must say its class
    outlier_share: float = 0.05  # of a class's labels at most that one round calls outliers
    outlier_factor: float = 1.5  # local outlier factor from which a label is one
    neighbours: int = 20  # that it is compared with
    least_company: int = 30  # labels of a class, of which fewer tell nothing


# The thresholds people change; every other one can be said with --set.
OPTIONS = {
    "keep_quality": ("--keep", "quality from which a label is trained on"),
    "ignore_quality": ("--ignore", "quality from which it is neither trained on nor background"),
}


def add_threshold_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each of OPTIONS, and --set for the others."""
    thresholds = parser.add_argument_group("thresholds")
    for name, (option, meaning) in OPTIONS.items():
        default = getattr(CleaningSettings, name)
        others = f", of actions {getattr(ActionSettings, name):g}" if hasattr(ActionSettings, name) else ""
        text = f"{meaning} (default: {default:g}{others})"
        thresholds.add_argument(option, dest=name, type=type(default), metavar="X", help=text)
    thresholds.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any threshold of CleaningSettings (labels/cleaning/settings.py), such as max_per_frame=1; repeatable",
    )


def settings_from(args: argparse.Namespace) -> CleaningSettings:
    """InputError for a threshold that there is not, or that cannot be."""
    given = {name: value for name in OPTIONS if (value := getattr(args, name)) is not None}
    given |= dict(_threshold(word) for word in args.set)
    settings = CleaningSettings(without=tuple(name for name in args.without if name), **given)
    if not 0 <= settings.ignore_quality <= settings.keep_quality <= 1:
        raise InputError(
            f"--ignore {settings.ignore_quality:g} and --keep {settings.keep_quality:g}: qualities, "
            "0 <= ignore <= keep <= 1"
        )
    for name, (option, _) in OPTIONS.items():
        value = getattr(settings, name)
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{option}: a number from 0, not {value}")
    return settings


def _threshold(text: str) -> tuple[str, float]:
    """The name and the value in «max_aspect=4»."""
    usual = {name: value for name, value in asdict(CleaningSettings()).items() if name != "without"}
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: a threshold and its value, such as max_aspect=4")
    if name not in usual:
        near = get_close_matches(name, usual, n=3, cutoff=0.4)
        raise InputError(f"--set {text}: no such threshold{'; is it ' + ' or '.join(near) + '?' if near else ''}")
    kind = type(usual[name])
    try:
        number = kind(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (number < 0 <= usual[name]):
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"--set {text}: {what}{' from 0' if usual[name] >= 0 else ''}, not '{value}'")
    return name, number


APART = ("without", "max_per_frame")  # which a run record has by their own names


def set_by_name(settings: CleaningSettings) -> list[str]:
    """What --set has to say for these settings, in the order of the names."""
    usual = asdict(CleaningSettings())
    own = {name: value for name, value in asdict(settings).items() if name not in OPTIONS and name not in APART}
    return [f"{name}={value}" for name, value in sorted(own.items()) if value != usual[name]]


def box_options_given(args: argparse.Namespace) -> list[str]:
    """The options that were given and that only boxes know."""
    given = [option for option in ("--without", "--set") if getattr(args, option[2:])]
    own = [
        option
        for name, (option, _) in OPTIONS.items()
        if not hasattr(ActionSettings, name) and getattr(args, name) is not None
    ]
    return [*given, *own]
