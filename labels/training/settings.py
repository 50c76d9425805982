"""The settings and arguments of stage 4, for detectors and for recognisers.

Nothing heavy is imported: the script takes its defaults from here.
"""

import argparse
from dataclasses import dataclass

from labels.models.recognisers.settings import (
    BROUGHT,
    CNN3D,
    DEFAULT_ON_CPU,
    DEFAULT_ON_GPU,
    JOINTS,
    KEYPOINTRCNN,
    POSE_HELP,
    PRESETS,
    PROBE,
    ZOO,
    parts_of,
    pose_source,
)
from labels.records.command_line import SET, StageParser, above_zero, positive_number, whole_number
from labels.records.errors import InputError


@dataclass(frozen=True)
class TrainingSettings:
    """How long, how fast, on what. Sizes are working pixels: those of frames reduced to `long_side`."""

    architecture: str = "ballnet"
    epochs: int = 12
    batch_size: int = 16
    learning_rate: float = 3e-3  # from chance
    weight_decay: float = 1e-2
    warm_up: float = 0.08  # share of all steps in which the learning rate rises
    clip_norm: float = 5.0  # gradients longer than this are shortened
    average_decay: float = 0.99  # of the moving average of the weights, which is what is validated and saved
    patience: int = 6  # epochs in a row not worth keeping after which training stops
    seed: int = 0

    long_side: int = 512  # larger frames are reduced to it
    crop: int = 128  # side of the square that ballnet is trained on, a frame
    epoch_frames: int = 960  # an epoch sees at least so many; small sets are gone through more than once
    memory_bytes: int = 2 << 30  # of frames that are held in memory; the others are read again each time

    validation_frames: int = 160  # looked at after each epoch, evenly spread; the best weights are measured on all
    precision_floor: float = 0.9  # the working threshold has the best F1 among those this precise, if there are any

    @staticmethod
    def rate_for(architecture: str, from_scratch: bool = False) -> float:
        """The learning rate that suits: smaller where training starts from weights worth keeping."""
        if architecture == TrainingSettings.architecture:
            return TrainingSettings.learning_rate if from_scratch else 1e-3
        return 2e-4


@dataclass(frozen=True)
class SplitSettings:
    validation_share: float = 0.2  # of the groups, at least one


@dataclass(frozen=True)
class FrameChoice:
    """Which frames may be trained on, by their labels alone."""

    negative_share: float = 0.15  # frames without the object, for each frame with a kept box
    sure_distance: int = 6  # labelled frames on both sides of such a frame that must be as empty
    # A student that is taught what is hardly sure finds it again, surer each round. Pseudo-labels teach from a sureness
    # on (FixMatch, arxiv.org/abs/2001.07685; Unbiased Teacher, 2102.09480: 0.7), here by tests/bench/real_halves.py.
    taught_quality: float = 0.8


@dataclass(frozen=True)
class RecognitionSettings:
    """How long, how fast, on what. The names that `TrainingSettings` has too mean the same."""

    architecture: str = CNN3D
    epochs: int = 30
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 5e-2
    warm_up: float = 0.08
    clip_norm: float = 5.0
    average_decay: float = 0.99
    patience: int = 30  # epochs in a row not worth keeping after which training stops
    seed: int = 0
    epoch_frames: int = 256  # windows that an epoch sees at least
    epoch_poses: int = 1024  # the same of joints: a step costs little there, and few labels want thousands of steps

    smoothing: float = 0.1  # of labels: the share of certainty that goes to all classes alike
    mask_channel: bool = False  # the masks of the round as a fourth channel of its windows
    # How much an example more of a class is worth: 0 none at all, all classes are drawn alike; near 1 its share.
    # (1 - beta^n) / (1 - beta) of Cui et al. 2019, arxiv.org/abs/1901.05555
    beta: float = 0.99
    human_draws: float = 0.7  # share of the windows drawn that humans labelled, at least, beside pseudo-labels
    backbone_share: float = 0.1  # of the learning rate, for the first layer of weights that come trained
    norm_windows: int = 128  # by which batch norms are settled after an epoch, where they are not frozen
    precision_floor: float = (
        0.9  # the working threshold of a class is the lowest at which it is this often right (1: none is)
    )
    least_judged: int = 10  # validation labels said to be of a class that tell this; with fewer it is usual
    seconds: float = 0.0  # of a window; 0: as its architecture has it
    frames: int = 0  # of a window; the same
    pose: str = ""  # where joints come from; empty: brought where clips have some, else found

    @staticmethod
    def rate_for(architecture: str) -> float:
        """The learning rate that suits: large for what starts from chance, small for weights worth keeping."""
        architecture = parts_of(architecture)[0]
        if architecture.startswith(PROBE):
            return 1e-3
        if architecture in ZOO:
            return 5e-4
        return 3e-3 if architecture == CNN3D or PRESETS[architecture].reads == JOINTS else 1e-3


@dataclass(frozen=True)
class ClipAugmentation:
    """Of pixels; the same for all frames of a window. Drawn for each window each time it is seen."""

    turn_degrees: float = 15.0
    shift: float = 0.1  # of the side
    scale: tuple[float, float] = (0.8, 1.25)
    brightness: float = 0.3
    contrast: float = 0.3
    colour: float = 0.2
    colourless: float = 0.1  # share of the windows
    erased: float = 0.2  # share of the windows that lose a rectangle


@dataclass(frozen=True)
class PoseAugmentation:
    turn_radians: float = 0.25
    stretch: float = 0.15
    shear: float = 0.2
    noise: float = 0.03  # torso lengths
    shortest: float = 0.7  # share of the window that is looked at
    warp: float = 0.4  # exponent of time, in the logarithm
    dropped: float = 0.3  # share of the windows that lose joints
    most_dropped: int = 3


def add_training_arguments(parser: StageParser) -> None:
    """Add what a user may say of any training; the script's own text says what the architectures are."""
    defaults = TrainingSettings()
    parser.add_argument(
        "--architecture",
        help=f"see above (default: {defaults.architecture}; of actions {DEFAULT_ON_CPU}, on a GPU {DEFAULT_ON_GPU})",
    )
    parser.add_argument("--epochs", type=positive_number, help=f"at most (default: {defaults.epochs}; of actions 30)")
    parser.add_argument("--batch-size", type=positive_number, help="crops, frames or windows a step (default: 16)")
    parser.add_argument("--lr", type=above_zero, help="the highest learning rate (default: the architecture's)")
    text = "pixels that larger frames are reduced to; else as the architecture has it"
    parser.add_setting("long_side", positive_number, None, text)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU if there is one"
    )
    parser.add_argument("--seed", type=whole_number, default=defaults.seed, help="of everything that is drawn")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--from-scratch", action="store_true", help="start from chance, not from trained weights")
    parser.add_argument(
        "--folds",
        type=positive_number,
        default=0,
        metavar="K",
        help="train K more students, each without a part of the groups, and ask them about the labels they did not "
        "see: of boxes, how far they agree; of actions, what the next round's cleaning goes by",
    )
    start.add_argument("--continue", dest="go_on", action="store_true", help="start from the round before's weights")


def add_action_arguments(parser: StageParser) -> None:
    """The options of stage 4 that are of actions alone."""
    actions = parser.add_argument_group("actions")
    actions.add_argument("--task", choices=("boxes", "actions"), help="of a round that has both: what to train")
    text = "look at the masks of the round too (made with --masks in stage 2)"
    parser.add_setting("mask_channel", bool, False, text, heading="actions")
    text = "frames of a window (of two: of pixels); 0: as the architecture has it"
    parser.add_setting("window_frames", positive_number, 0, text, heading="actions")
    parser.add_setting("window_seconds", above_zero, 0.0, "length of a window, the same", heading="actions")
    text = f"where joints come from: {POSE_HELP}; default: {BROUGHT} where clips have some, else {KEYPOINTRCNN}"
    actions.add_argument("--pose", type=pose_source, metavar="NAME|FILE", help=text)


def refuse_actions(args: argparse.Namespace) -> None:
    """InputError when something was asked for that training on boxes would ignore."""
    for name in ("mask_channel", "window_frames", "window_seconds", "pose"):
        if getattr(args, name):
            option = f"--{name}" if name == "pose" else f"{SET} {name}"
            raise InputError(f"{option}: is of actions; say --task actions, or leave it out")
