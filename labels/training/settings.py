"""What training a detector goes by. Imports nothing heavy: the script takes its defaults from here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labels.records.said_options import options_named, said_options


@dataclass(frozen=True)
class TrainingSettings:
    """How long, how fast, on what. Sizes are working pixels: those of frames reduced to `long_side`."""

    architecture: str = "ballnet"
    epochs: int = 12
    batch_size: int = 16
    learning_rate: float = 3e-3
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
    def rate_for(architecture: str) -> float:
        """The learning rate that suits: ballnet starts from chance, the others from weights worth keeping."""
        return TrainingSettings.learning_rate if architecture == TrainingSettings.architecture else 2e-4


# Argument of a run record -> option.
OPTIONS = options_named("architecture", "epochs", "batch_size", "seed", "long_side", "from_scratch", "continue") | {
    "learning_rate": "--lr"
}


def said_words(arguments: Mapping[str, Any]) -> list[str]:
    """The options that a round's detector was trained with, from its run record."""
    rate = TrainingSettings.rate_for(arguments.get("architecture", TrainingSettings.architecture))
    return said_options(arguments, OPTIONS, asdict(TrainingSettings()) | {"learning_rate": rate})


@dataclass(frozen=True)
class SplitSettings:
    validation_share: float = 0.2  # of the groups, at least one


@dataclass(frozen=True)
class FrameChoice:
    """Which frames may be trained on, by their labels alone."""

    negative_share: float = 0.15  # frames without the object, for each frame with a kept box
    sure_distance: int = 6  # labelled frames on both sides of such a frame that must be as empty
