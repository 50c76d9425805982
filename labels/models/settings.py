"""Settings of the detectors. Imports nothing heavy, so that a script can take its defaults from here."""

import argparse
from dataclasses import dataclass

BALL = "sports ball"
HUMAN = "human"  # the labeller that is no model: what archives and people say, and nothing else
BACKBONES = ("resnet18", "resnet34", "resnet50")  # that may say what is in boxes
BACKBONE_HELP = f"{', '.join(BACKBONES)} (ImageNet's), a .onnx file, or hf:NAME or hf:FOLDER (DINOv2, CLIP)"
DEFAULT_DETECTOR = "fasterrcnn_resnet50_fpn_v2"
STUDENT = "student"  # the labeller that the round before trained


def backbone_source(text: str) -> str:
    """What a user may say after --set backbone."""
    if text in BACKBONES or text.endswith(".onnx") or text.startswith("hf:"):
        return text
    raise argparse.ArgumentTypeError(f"'{text}' is no backbone; there is {BACKBONE_HELP}")


@dataclass(frozen=True)
class DetectorOptions:
    """What a user may say of any detector. None: the detector's own choice."""

    input_size: int | None = None  # long side in pixels that frames are brought to
    tile_side: int | None = None  # pixels of the square tiles it will see: at that size where its own is open
    batch_size: int | None = None  # frames that go through the network together
    class_list: str | None = None  # class names of a .onnx file that does not carry them: a CSV file, or its name
    prompts: str | None = None  # a CSV with what to ask a text-prompted detector for; None: the one that comes along
    score_floor: float = 0.05  # boxes below are not worth their place on disk
    describes: bool = True  # whether it says what it sees in its boxes, where it can


AS_IT_COMES = DetectorOptions()


@dataclass(frozen=True)
class Views:
    """The views of each frame that a detector is run on (test-time augmentation)."""

    input_sizes: tuple[int, ...] = ()  # long sides in pixels; none: the detector's own
    tile_side: int | None = None  # pixels of the frame: square tiles besides
    mirrored: bool = False  # and the frame mirrored, at the first size

    @property
    def are_several(self) -> bool:
        return len(self.input_sizes) > 1 or self.tile_side is not None or self.mirrored


@dataclass(frozen=True)
class TileSettings:
    overlap: float = 0.25  # of a tile's side, at least
    edge_pixels: float = 2.0  # a box that comes this near to an inner edge is cut by it
    same_iou: float = 0.5  # what two tiles see is the same thing


@dataclass(frozen=True)
class TorchvisionSettings:
    batch_size_cpu: int = 1  # batches gain nothing on a CPU
    batch_size_cuda: int = 16
    boxes_per_frame: int = 300  # of all classes together: a low ball must not be crowded out by players
    working_threshold: float = 0.5  # COCO models: from here a box is more likely right than wrong
    download_timeout_s: float = 30.0


@dataclass(frozen=True)
class OnnxSettings:
    input_size: int = 640  # long side, where the model leaves it open
    trial_size: int = 320  # of the frame by which an open model's layout is found out; a multiple of 64
    batch_size_cuda: int = 16
    overlap: float = 0.45  # IoU from which two boxes of one class are one
    boxes_before_overlap: int = 1000
    padding: int = 114  # grey around the letterboxed frame
    working_threshold: float = 0.1  # small networks are unsure of balls: YOLOX-nano is at its best from 0.05 to 0.1
    floor_share: float = 0.1  # of the working threshold: what small networks whisper, paths can make sense of
    max_file_bytes: int = 2 << 30  # of a Protobuf file


@dataclass(frozen=True)
class HubSettings:
    """How detectors of the Hugging Face hub are run. Their working threshold is their library's own."""

    floor_share: float = 0.1  # of the working threshold, as of ONNX files
    batch_size_cuda: int = 8


@dataclass(frozen=True)
class Sam3Settings:
    """How SAM 3 goes through a video."""

    chunk_frames: int = 128  # that it is shown at once; it keeps them, about 12 MB each at its own size
    shared_frames: int = 8  # of two chunks: an object may be hidden in some of them
    same_object_iou: float = 0.5  # mean over the shared frames
    working_threshold: float = 0.5  # where its configuration names none


@dataclass(frozen=True)
class HeatMapSettings:
    """How heat maps of a .onnx file become boxes."""

    box_size: float = 5.0  # pixels of the input: twice the radius that WASB draws balls with
    least_heat: float = 0.25  # where a warm spot ends
    most_boxes: int = 20  # a frame, the warmest first
    working_threshold: float = 0.5  # as TrackNet and WASB cut their maps
    batch_size_cuda: int = 16


@dataclass(frozen=True)
class MotionSettings:
    """What the motion labeller goes by. Pixels are those of its reduced copy."""

    long_side: int = 640  # of the reduced copy
    gaps: tuple[int, ...] = (1, 2, 4)  # frames before and after that the background is taken from
    long_gaps: tuple[int, ...] = (2, 5, 10)  # the same for the long run: a slow body hides behind itself
    long_run_side: int = 320  # long side of the copy for that
    min_difference: float = 10.0  # grey levels; below lies what compression and noise make
    noise_factor: float = 6.0  # the threshold in units of the frame's own mean difference
    rim_share: float = 0.35  # of a blob's strongest difference: where its edge is drawn
    levels: int = 2  # thresholds at which blobs are looked for, each twice the one before
    min_area: int = 4
    max_side_share: float = 0.35  # of the frame's height
    max_blobs: int = 40  # a frame, the clearest first
    link_reward: float = 3.0  # log-odds that three blobs on an even flight are one thing
    most_evidence: float = 12.0  # log-odds: a longer path says no more
    least_look: float = -2.0  # log-odds: how little a blob may resemble a ball, so that no single frame denies a path
    score_floor: float = 0.02
    working_threshold: float = 0.5


@dataclass(frozen=True)
class SegmenterSettings:
    """How boxes become masks."""

    min_inside: float = 0.5  # share of a mask that lies in its box; another mask is of something else
    grow: float = 0.1  # of the box's sides, on each side, for that: boxes are not exact
    boxes_at_once: int = 32  # prompts that go through the decoder together
    session_frames: int = 100  # of a tracked stretch, before it begins anew from the boxes
    idle_objects: int = 4  # tracked objects without a box, beside as many as have one, before it begins anew
    remembered_frames: int = 16  # that the tracker looks back on; older ones are let go
