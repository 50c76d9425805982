"""Settings of pictures, report and review page; the arguments of stage 5 on a single clip. Imports nothing heavy."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from labels.models.recognisers.settings import KEYPOINTRCNN, pose_source


@dataclass(frozen=True)
class PictureSettings:
    """How much is drawn, and how large."""

    limit: int = 6  # overlay videos; 0 draws all
    gif: bool = False  # each overlay as a GIF beside it
    seconds: float = 30.0  # of each overlay video, where the most is labelled; 0 draws all of it
    min_width: int = 960  # px of the drawn frame: smaller frames are enlarged
    max_width: int = 1280  # px; larger frames are reduced
    max_height: int = 960  # px, for upright videos
    crf: int = 27  # H.264 quality: smaller is better and larger
    tail_s: float = 0.8  # how far back a track's tail reaches
    dropped_drawn: int = 12  # dropped boxes drawn in a frame, best score first; the panel counts all
    tiles: int = 36  # of a contact sheet
    tile_px: int = 164  # side of a tile's crop
    columns: int = 6  # of a contact sheet


@dataclass(frozen=True)
class ReportSettings:
    """What goes into `report.html`."""

    embedded_videos: int = 2
    embedded_bytes: int = 9_000_000  # of the embedded videos together, before base64 adds a third
    rules_shown: int = 12  # rules in the chart of reasons; the rest is counted together
    rule_share: float = 0.004  # of all that was dropped; rules that dropped less are counted together
    failures_shown: int = 20  # rows of videos that could not be used
    resamples: int = 2000  # of the bootstrap
    confidence: float = 0.95
    seed: int = 0


PICTURES, REPORT = PictureSettings(), ReportSettings()


def clip_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="visualise.py",
        description="Stage 5 on one clip: what a recogniser says of it over time.",
        allow_abbrev=False,
    )
    parser.add_argument("--clip", type=Path, required=True, metavar="FILE", help="any video")
    parser.add_argument(
        "--recogniser", required=True, metavar="FILE|NAME", help="a recogniser.pt, or a torchvision video network"
    )
    parser.add_argument(
        "--pose",
        type=pose_source,
        metavar="NAME|FILE",
        help=f"who finds the joints of a recogniser of poses (default: as it was trained, or {KEYPOINTRCNN})",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the overlay goes (default: this folder)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(strict=False)
    return parser.parse_args(argv)


@dataclass(frozen=True)
class ReviewSettings:
    """What is worth a look, how much is shown of it, and what a clip from outside may cost."""

    port: int = 8777

    # What is worth a look
    reach: float = 0.3  # a quality this far from a threshold says that a verdict hardly changes anything
    least_change: float = 0.02  # of a label that is far from every threshold: rules and labellers can be wrong
    duplicate_iou: float = 0.5  # boxes of one class that overlap this much are one thing
    duplicate_steps: int = 3  # labelled frames between two of them

    # What is shown
    items_at_once: int = 40
    rows_shown: int = 240  # of a long track, evenly; a verdict is on all of it
    frame_px: int = 1280  # long side of a frame
    jpeg_quality: int = 88
    frames_kept: int = 4000  # of frames decoded for the page, in a temporary folder
    frames_ahead: int = 400  # decoded in one go for the items to come
    browse_rows: int = 60
    segment_fps: float = 25.0  # frames of an action that are shown of each of its seconds
    segment_least_frames: int = 12  # where it has so many
    segment_most_frames: int = 60

    # Clips from outside
    clip_bytes: int = 200 * 2**20
    clip_drained_bytes: int = 4 * 2**30  # of one that is too large, so that its sender hears why
    clip_seconds: float = 20.0  # labelled of it, from its start
    clip_frames: int = 1200  # and at most so many
    clip_pixels: int = 4096 * 2304  # of one frame
    clip_decode_s: int = 120  # processor time to decode it
    clip_memory_bytes: int = 4 * 2**30
    clip_wait_s: float = 600.0  # for all of it; then it is given up
    clip_players: int = 8  # whose actions are recognised, those seen longest; each costs as much as a whole clip
    clips_kept: int = 4  # results on the page; older ones go


REVIEW = ReviewSettings()
