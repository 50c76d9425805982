"""Settings of stage 5, and the arguments of stage 5 on a single clip. Imports nothing heavy."""

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
