"""Every recogniser by its name, and the windows it was made for. Imports nothing heavy: scripts take names from here.

Rates, numbers of frames and sizes of torchvision's networks are those their Kinetics-400 figures were measured with
(see `_docs` of their weights); means and deviations come from the weights themselves.
"""

import argparse
from dataclasses import dataclass

from labels.videos.settings import WindowShape

PIXELS, JOINTS, FEATURES = "pixels", "joints", "features"
PROBE = "probe:"  # before the name of a frozen backbone, see `frozen`
BROUGHT, KEYPOINTRCNN, RTMLIB = "brought", "keypointrcnn", "rtmlib"
POSES = (BROUGHT, KEYPOINTRCNN, RTMLIB)  # where joints come from, beside files and the hub
POSE_HELP = f"{BROUGHT}, {KEYPOINTRCNN}, {RTMLIB}, a .onnx file (MoveNet, RTMPose), or hf:NAME or hf:FOLDER (ViTPose)"
CNN3D, TSN, POSE, POSE_GRU = "cnn3d", "tsn_resnet50", "pose", "pose_gru"


def pose_source(text: str) -> str:
    """What a user may say after --pose."""
    if text in POSES or text.endswith(".onnx") or text.startswith("hf:"):
        return text
    raise argparse.ArgumentTypeError(f"'{text}' finds no joints; there is {POSE_HELP}")


@dataclass(frozen=True)
class Preset(WindowShape):
    """The windows a recogniser looks at. `side` is the shorter side frames are reduced to, `crop` the square of it."""

    crop: int = 0
    reads: str = PIXELS
    masked: bool = False  # pixels have a fourth channel: the mask of who acts
    pose: str = ""  # of what reads joints, where these come from: see `pose_source`
    backbone: str = ""  # of what reads features: whose, see `frozen`
    backbone_digest: str = ""
    features: tuple[int, int] = (0, 0)  # moments of a window, and numbers of each
    beside: "Preset | None" = None  # of a fusion: the windows of joints that go with each of these of pixels

    @property
    def joints_from(self) -> str:
        """As of `pose_source`; empty where no joints are looked at."""
        return self.beside.pose if self.beside is not None else self.pose


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
    POSE: Preset(24, 25.0, 0, reads=JOINTS, pose=BROUGHT),
    POSE_GRU: Preset(24, 25.0, 0, reads=JOINTS, pose=BROUGHT),
}


def parts_of(architecture: str) -> list[str]:
    """The networks that a name stands for: two of a fusion, `cnn3d+pose`."""
    return [architecture] if architecture.startswith(PROBE) else architecture.split("+")


PRETRAINED = frozenset({*ZOO, TSN})  # those that weights can be fetched for
DEFAULT_ON_GPU, DEFAULT_ON_CPU = "mvit_v2_s", CNN3D  # the student that is trained where none is named
