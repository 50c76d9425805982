"""Stage 2, label: put every video through a detector or a recogniser and keep all that is not hopeless.

Reads   videos/, videos.parquet, a detector
Writes  rounds/NN/labelled/  boxes/<video_id>.parquet    every box with its score
                             camera/<video_id>.parquet   how the camera moved, and where it cut
                             run.json                    the labeller, its working threshold, counts
                             actions/                    who does what, when: a shard a video, and a run.json
        frames/              JPEGs of the frames in which something was found

    python dataset_processor.py work --round 0                          # torchvision's Faster R-CNN finds sports balls
    python dataset_processor.py work --round 0 --detector motion        # small fast balls, without any weights
    python dataset_processor.py work --round 0 --detector ssdlite320_mobilenet_v3_large --classes "sports ball,person"
    python dataset_processor.py work --round 0 --detector yolox.onnx --input-size 640
    python dataset_processor.py work --round 1                          # the student that round 0 trained
    python dataset_processor.py work --round 0 --recogniser human       # actions: what an archive says of its clips

A detector is `motion`, the name of any torchvision detection model (its COCO weights are fetched once), a .onnx file
(YOLOX's layout or the (1, 4 + classes, N) one), or a .pt file of train.py. From round 1 on it is the student of the
round before, unless --detector says otherwise. Stop it when you like: finished videos are not done again.
"""

import argparse
import sys
from typing import Any

from labels.labelling.action_settings import add_action_arguments
from labels.labelling.settings import LabellingSettings
from labels.models.settings import DEFAULT_DETECTOR
from labels.records.command_line import Summary, positive_number, round_number, run_stage, stage_parser


def get_args(argv: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--round", type=round_number, required=True, help="the round to label")
    parser.add_argument(
        "--detector",
        metavar="NAME|FILE",
        help=f"who labels; without it {DEFAULT_DETECTOR} in round 0, then the student of the round before",
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="class names with commas between, or a class list; without it a student's own, of others 'sports ball'",
    )
    parser.add_argument(
        "--stride", type=positive_number, default=LabellingSettings.stride, metavar="N", help="label every Nth frame"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--input-size", type=positive_number, metavar="PX", help="longer side at which the detector looks"
    )
    parser.add_argument(
        "--batch-size", type=positive_number, metavar="N", help="frames that go through a network together"
    )
    parser.add_argument("--class-list", metavar="CSV", help="names of a .onnx file's classes: column class_name")
    add_action_arguments(parser)
    return parser.parse_args(argv)


def choose_detector(args: argparse.Namespace, work: Any) -> tuple[str, dict[str, str]]:
    """Name or file of the detector, and the digest of the training it comes from, by that input's name."""
    from pathlib import Path

    from labels.records.run_records import require_run_record

    if args.round == 0:
        return args.detector or DEFAULT_DETECTOR, {}
    before = work.round(args.round - 1)
    if args.detector is not None and Path(args.detector).resolve() != before.detector.resolve():
        return args.detector, {}
    record = require_run_record(before, "trained", f"python train.py {args.work} --round {before.number}")
    return str(before.detector), {f"round {before.number} trained": record.output}


def label(args: argparse.Namespace) -> Summary:
    """Label one round."""
    from labels.labelling.action_stage import label_actions_of, wants_actions
    from labels.records.class_lists import class_names_from
    from labels.records.run_records import digest_of_videos, out_of_date
    from labels.records.work_folder import WorkFolder

    work = WorkFolder(args.work)
    if wants_actions(args, work):
        return label_actions_of(args)
    found = len(work.usable_videos())
    name, inputs = choose_detector(args, work)
    class_names = class_names_from(args.classes) if args.classes is not None else None
    with work.writing():
        from labels.labelling.round_labelling import finish_round, label_round
        from labels.models.loading import load_detector
        from labels.models.settings import DetectorOptions

        options = DetectorOptions(args.input_size, args.batch_size, args.class_list)
        detector = load_detector(name, class_names, args.device, options)
        settings = LabellingSettings(stride=args.stride)
        inputs |= {"videos": digest_of_videos(work), "labeller": detector.digest}
        folder = work.round(args.round)
        outcome = label_round(work, folder, detector, settings)
        arguments = {key: getattr(args, key) for key in ("detector", "classes", "stride", "input_size", "class_list")}
        finish_round(folder, detector, settings, outcome, arguments, inputs)
        lines = [*outcome.lines(), *out_of_date(work)]
    return Summary(
        "label",
        "videos",
        found,
        outcome.made + outcome.untouched,
        {"cannot be decoded": len(outcome.skipped)} if outcome.skipped else {},
        lines,
        f"python dataset_cleaner.py {args.work} --round {args.round}",
    )


def main(argv: list[str] | None = None) -> int:
    args = get_args(argv)
    return run_stage(lambda: label(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
