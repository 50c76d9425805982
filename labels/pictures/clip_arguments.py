"""The arguments of stage 5 on one clip. Imports nothing heavy."""

import argparse
from pathlib import Path

from labels.models.recogniser_settings import BROUGHT, KEYPOINTRCNN, POSES


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
        choices=[name for name in POSES if name != BROUGHT],
        help=f"who finds the joints of a recogniser of poses (default: as it was trained, or {KEYPOINTRCNN})",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the overlay goes (default: this folder)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(strict=False)
    return parser.parse_args(argv)
