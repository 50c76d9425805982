"""The arguments of stage 4 that are of actions. Imports nothing heavy."""

import argparse

from labels.models.recogniser_settings import BROUGHT, KEYPOINTRCNN, POSES, RTMLIB
from labels.records.command_line import above_zero, positive_number
from labels.records.errors import InputError


def add_action_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of stage 4 that are of actions alone."""
    actions = parser.add_argument_group("actions")
    actions.add_argument("--task", choices=("boxes", "actions"), help="of a round that has both: what to train")
    actions.add_argument(
        "--mask-channel", action="store_true", help="look at the masks of the round too (made with --masks in stage 2)"
    )
    actions.add_argument(
        "--window-frames", type=positive_number, default=0, metavar="N", help="frames of a window (of two: of pixels)"
    )
    actions.add_argument("--window-seconds", type=above_zero, default=0.0, metavar="S", help="length of a window")
    actions.add_argument(
        "--pose",
        choices=POSES,
        help=f"where joints come from: {BROUGHT} (with the clips), {KEYPOINTRCNN} (found by torchvision's network) or "
        f"{RTMLIB} (by its RTMPose, an extra); default: {BROUGHT} where clips have some, else {KEYPOINTRCNN}",
    )
    actions.add_argument(
        "--rand-augment", type=positive_number, default=0, metavar="N", help="operations of RandAugment"
    )
    actions.add_argument(
        "--any-side",
        action="store_true",
        help="in training turn bodies as if filmed from any side (of joints; for few labels, cameras on all sides)",
    )
    actions.add_argument("--mixup", type=above_zero, default=0.0, metavar="A", help="mix pairs of windows: Beta(A, A)")


def refuse_actions(args: argparse.Namespace) -> None:
    """InputError when something was asked for that training on boxes would ignore."""
    for name in ("mask_channel", "window_frames", "window_seconds", "pose", "rand_augment", "any_side", "mixup"):
        if getattr(args, name):
            raise InputError(f"--{name.replace('_', '-')}: is of actions; say --task actions, or leave it out")
