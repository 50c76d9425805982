"""The settings and arguments of stage 2, for boxes and for actions.

Nothing heavy is imported: the script takes its defaults from here.
"""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labels.models.recognisers.settings import POSE_HELP, pose_source
from labels.models.settings import BACKBONE_HELP, DEFAULT_DETECTOR, HUMAN, STUDENT, backbone_source
from labels.records.class_lists import list_columns
from labels.records.command_line import StageParser, above_zero, options_given, positive_number, positive_numbers
from labels.records.errors import InputError

if TYPE_CHECKING:
    from labels.records.work_folder import WorkFolder


@dataclass(frozen=True)
class LabellingSettings:
    stride: int = 1  # every how many frames are labelled
    image_share: float = 0.8  # a frame becomes a JPEG from this share of a class's working threshold
    streams: int = 2  # videos that are decoded at once, the one being labelled among them
    most_boxes: int = 50  # a frame, of one class and one source: the best; what a flood adds, nothing can be made of
    pending: int = 8  # frames that may wait for the thread that writes JPEGs, and for the camera's


SUBJECTS = ("auto", "frame", "player")
# Of labelling actions alone: how each argument is typed, and what it is where nobody says it.
ACTION_OPTIONS = {
    "map": ("--class-list", None),
    "pose": ("--pose", None),
    "per": ("--set per", SUBJECTS[0]),
    "human_share": ("--set human_share", 1.0),
}


def add_action_arguments(parser: StageParser) -> None:
    """What can be said of labelling actions alone."""
    actions = parser.add_argument_group("actions")
    actions.add_argument(
        "--recogniser",
        metavar="NAME|FILE",
        help=f"label actions, not boxes: {HUMAN} (what archives say of their clips), a torchvision video network with "
        "its Kinetics-400 weights, hf:NAME, or a recogniser.pt; a student of the round before is taken without it",
    )
    text = f"where joints come from: {POSE_HELP} (default: as the recogniser was trained)"
    actions.add_argument("--pose", type=pose_source, metavar="NAME|FILE", help=text)
    parser.add_setting("per", str, SUBJECTS[0], "windows of whole frames or of each player", SUBJECTS, "actions")
    text = "use the human labels of this share of the source videos; the others' measure what labels are worth"
    parser.add_setting("human_share", above_zero, 1.0, text, heading="actions")


def wants_actions(args: argparse.Namespace, work: "WorkFolder") -> bool:
    """Whether actions are to be labelled: it was said, or the round before trained a recogniser and no detector."""
    from labels.records.run_records import read_run_record
    from labels.records.work_folder import ACTIONS_TRAINED

    if args.recogniser is not None or args.round == 0 or args.detector is not None:
        return args.recogniser is not None
    before = work.round(args.round - 1)
    return read_run_record(before, ACTIONS_TRAINED) is not None and read_run_record(before, "trained") is None


def refuse_actions(args: argparse.Namespace) -> None:
    """InputError for options that labelling boxes would ignore."""
    given = options_given(args, ACTION_OPTIONS)
    if given:
        raise InputError(f"{', '.join(given)}: of actions alone; name a --recogniser, or leave it out")


# Of labelling boxes alone, the same.
BOX_OPTIONS: dict[str, tuple[str, object]] = {
    "classes": ("--classes", None),
    "stride": ("--stride", LabellingSettings.stride),
    "input_size": ("--input-size", ()),
    "tiles": ("--tiles", None),
    "mirrored": ("--mirrored", False),
    "class_list": ("--class-list", None),
    "prompts": ("--class-list", None),
    "backbone": ("--set backbone", None),
    "share": ("--share", None),
    "ask": ("--ask", []),
}
ARGUMENTS = ("detector", *BOX_OPTIONS)  # that a run record keeps


def add_detector_arguments(parser: StageParser) -> None:
    """Add the arguments of `labels/models/detectors/ensemble.py` and of labelling boxes."""
    parser.add_argument(
        "--detector",
        metavar="NAME|FILE",
        action="append",
        help=f"who labels, may be repeated; else {DEFAULT_DETECTOR} in round 0, then '{STUDENT}', the round before's",
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="class names with commas between, or a class list; without it a student's own, of others 'sports ball'",
    )
    parser.add_argument(
        "--stride", type=positive_number, default=LabellingSettings.stride, metavar="N", help="label every Nth frame"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--input-size",
        type=positive_numbers,
        default=(),
        metavar="PX",
        help="longer side in pixels to which frames are resized; several, separated by commas, are several views",
    )
    parser.add_argument(
        "--tiles", type=positive_number, metavar="PX", help="look in overlapping tiles of this side too"
    )
    parser.add_argument("--mirrored", action="store_true", help="look at the mirrored frame too")
    parser.add_argument(
        "--batch-size", type=positive_number, metavar="N", help="frames that go through a network together"
    )
    parser.add_argument(
        "--class-list",
        dest="class_lists",
        action="append",
        default=[],
        metavar="CSV",
        help="classes in the labeller's own words, by column: class_name (of a .onnx file, in order), class,prompt "
        "(what to ask a text-prompted hf: detector), or kinetics_class,class_name (a recogniser's classes to ours)",
    )
    parser.add_argument(
        "--share",
        type=share_of_frames,
        metavar="SHARE",
        help="round 0: label a sample of whole stretches with this share of the frames; nothing is known of the rest. "
        "With --ask: the share of the most doubtful stretches",
    )
    parser.add_argument(
        "--ask",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="from round 1 on, may be repeated: a teacher that looks beside the student where the round before is most "
        "in doubt",
    )
    text = f"by whose features boxes are compared too, of detectors that tell none of their own: {BACKBONE_HELP}"
    parser.add_setting("backbone", backbone_source, None, text)


def share_of_frames(text: str) -> float:
    """Argument type: a number above 0 and below 1."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(
            f"must be above 0 and below 1, such as 0.05, not '{text}'; leave it out to label everything"
        )
    return share


def sort_class_lists(args: argparse.Namespace) -> None:
    """Set `class_list`, `prompts` and `map` of the arguments: each file given is one of these, by its columns."""
    args.class_list = args.prompts = args.map = None
    for name in args.class_lists:
        columns = list_columns(name)
        kind = "prompts" if "prompt" in columns else "map" if "kinetics_class" in columns else "class_list"
        if getattr(args, kind) is not None:
            raise InputError(f"--class-list {name}: {getattr(args, kind)} is given too, with the same columns")
        setattr(args, kind, name)


def refuse_boxes(args: argparse.Namespace) -> None:
    """InputError for options that labelling actions would ignore."""
    given = options_given(args, BOX_OPTIONS)
    if given:
        raise InputError(f"{', '.join(given)}: of boxes alone, and actions are labelled here; leave it out")
