"""What training a recogniser goes by. Imports nothing heavy: the script takes its defaults from here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labels.models.recogniser_settings import CNN3D, JOINTS, PRESETS, ZOO
from labels.records.said_options import options_named, said_options


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
    mixup: float = 0.0  # parameter of the Beta distribution; 0: none
    rand_augment: int = 0  # operations of RandAugment for each window of pixels
    any_side: bool = False  # bodies are turned about the upright, as if filmed from any side; see `body_depth`
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
    pose: str = ""  # where joints come from, one of POSES; empty: brought where clips have some, else found

    @staticmethod
    def rate_for(architecture: str) -> float:
        """The learning rate that suits: large for what starts from chance, small for weights worth keeping."""
        architecture = architecture.split("+")[0]
        if architecture in ZOO:
            return 5e-4
        return 3e-3 if architecture == CNN3D or PRESETS[architecture].reads == JOINTS else 1e-3


# Argument of a run record -> option.
OPTIONS = options_named(
    "architecture", "epochs", "batch_size", "seed", "mask_channel", "mixup", "rand_augment", "any_side", "pose",
    "from_scratch", "continue",
) | {"learning_rate": "--lr", "frames": "--window-frames", "seconds": "--window-seconds"}  # fmt: skip


def said_words(arguments: Mapping[str, Any]) -> list[str]:
    """The options that a round's recogniser was trained with, from its run record."""
    usual = asdict(RecognitionSettings()) | {
        "architecture": "",  # which one is usual depends on the machine
        "learning_rate": RecognitionSettings.rate_for(arguments.get("architecture", CNN3D)),
    }
    return said_options(arguments, OPTIONS, usual)


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
class DepthSettings:
    """Of learning how far each joint is from the eye, see `body_depth`. The weights are of the parts of its loss."""

    steps: int = 1500
    most_windows: int = 20_000  # that it is learnt from
    batch_poses: int = 576  # moments
    width: int = 128
    blocks: int = 2
    learning_rate: float = 3e-3
    size: float = 0.2  # by how much bodies are made larger and smaller, in the logarithm
    bones: float = 2.0  # keep their lengths
    agreement: float = 0.5  # of what is said of a body seen from two sides
    anatomy: float = 0.5
    steadiness: float = 0.3  # from moment to moment
    proportions: float = 0.05  # stay near the usual ones


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
