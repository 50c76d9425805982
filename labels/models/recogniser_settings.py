"""Every recogniser by its name, and the windows it was made for. Imports nothing heavy: scripts take names from here.

Rates, numbers of frames and sizes of torchvision's networks are those their Kinetics-400 figures were measured with
(see `_docs` of their weights); means and deviations come from the weights themselves.
"""

from dataclasses import dataclass

PIXELS, JOINTS = "pixels", "joints"
CNN3D, TSN, POSE, POSE_GRU = "cnn3d", "tsn_resnet50", "pose", "pose_gru"


@dataclass(frozen=True)
class Preset:
    """What a recogniser looks at. `side` is the shorter side frames are reduced to, `crop` the square of it."""

    frames: int
    rate: float  # frames a second
    side: int = 0
    crop: int = 0
    reads: str = PIXELS
    masked: bool = False  # pixels have a fourth channel: the mask of who acts


ZOO = {
    "r3d_18": Preset(16, 15.0, 128, 112),
    "mc3_18": Preset(16, 15.0, 128, 112),
    "r2plus1d_18": Preset(16, 15.0, 128, 112),
    "s3d": Preset(128, 15.0, 256, 224),
    "mvit_v1_b": Preset(16, 7.5, 256, 224),
    "mvit_v2_s": Preset(16, 7.5, 256, 224),
    "swin3d_t": Preset(32, 15.0, 256, 224),
    "swin3d_s": Preset(32, 15.0, 256, 224),
    "swin3d_b": Preset(32, 15.0, 256, 224),
}
PRESETS = ZOO | {
    CNN3D: Preset(16, 15.0, 72, 64),
    TSN: Preset(8, 4.0, 128, 112),
    POSE: Preset(24, 25.0, reads=JOINTS),
    POSE_GRU: Preset(24, 25.0, reads=JOINTS),
}
DEFAULT_ON_GPU, DEFAULT_ON_CPU = "mvit_v2_s", CNN3D  # the student that is trained where none is named
HUMAN = "human"  # no recogniser: what archives and people say, and nothing else
