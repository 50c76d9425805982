"""Stage 2, label: put every video through a detector or a recogniser and keep all that is not hopeless.

Reads   videos/, videos.parquet, a detector
Writes  rounds/NN/labelled/  boxes/<video_id>.parquet    every box with its score
                             camera/<video_id>.parquet   how the camera moved, and where it cut
                             run.json                    the labeller, its working threshold, counts
                             actions/                    who does what, when: a shard a video, and a run.json
        frames/              JPEGs of the frames in which something was found

    python dataset_processor.py work --round 0                          # torchvision's Faster R-CNN finds sports balls
    python dataset_processor.py work --round 0 --detector motion        # small fast balls; nothing to download
    python dataset_processor.py work --round 0 --detector ssdlite320_mobilenet_v3_large --classes "sports ball,person"
    python dataset_processor.py work --round 0 --detector yolox.onnx --detector motion --input-size 416,1280 --tiles 480
    python dataset_processor.py work --round 1                          # the student that round 0 trained
    python dataset_processor.py work --round 1 --detector student --detector motion --mirrored   # with more looks
    python dataset_processor.py work --round 0 --masks facebook/sam2.1-hiera-tiny   # masks of the cleaned labels
    python dataset_processor.py work --round 0 --recogniser human       # actions: what an archive says of its clips

A detector is `motion`, the name of any torchvision detection model (its COCO weights are fetched once), a .onnx file
(YOLOX's layout or the (1, 4 + classes, N) one), a .pt file of train.py, `student`, which is the round before's, or
`human`, who leaves the round to the boxes that you drew or imported. From round 1 on it is `student` unless --detector
says otherwise. Small things are found better at several sizes and in tiles: all boxes are kept with their source, and
cleaning weighs them. Stop it when you like: finished videos are not done again.
"""

import argparse
import sys
from dataclasses import replace

from labels.labelling.settings import (
    ARGUMENTS,
    add_action_arguments,
    add_detector_arguments,
    refuse_actions,
    refuse_boxes,
)
from labels.records.command_line import Summary, add_force, round_number, run_stage, stage_parser


def get_args(argv: list[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--round", type=round_number, required=True, help="the round to label")
    add_detector_arguments(parser)
    add_action_arguments(parser)
    add_force(parser)
    masks = parser.add_argument_group("masks, instead of boxes: the cleaned labels of the round are the prompts")
    masks.add_argument("--masks", metavar="NAME|FOLDER", help="a SAM 2 of the Hugging Face hub, or a folder with one")
    masks.add_argument("--track-masks", action="store_true", help="follow each track through the video")
    return parser.parse_args(argv)


def label(args: argparse.Namespace) -> Summary:
    """Label one round."""
    from labels.cleaning.settings import cleaning_command
    from labels.labelling.action_round import label_actions_of, wants_actions
    from labels.labelling.box_round import choose_detectors
    from labels.records.class_lists import class_names_from
    from labels.records.errors import InputError
    from labels.records.replaced_clips import refuse_replaced_clips
    from labels.records.run_records import digest_of_videos, out_of_date
    from labels.records.work_folder import WorkFolder

    work = WorkFolder(args.work)
    replaced = refuse_replaced_clips(work, args.force)
    if args.masks is not None:
        if args.recogniser is not None or args.detector is not None:
            raise InputError("--masks: its prompts are the cleaned labels; leave --recogniser and --detector out")
        from labels.labelling.masks import mask_round
        from labels.models.segmenters import load_segmenter

        with work.writing():
            return mask_round(work, args.round, load_segmenter(args.masks, args.track_masks, args.device))
    if args.track_masks:
        raise InputError("--track-masks: is of --masks; name a SAM 2 with --masks, or leave it out")
    if wants_actions(args, work):
        refuse_boxes(args)
        return replace(label_actions_of(args), next_command=cleaning_command(work, args.round, actions=True))
    refuse_actions(args)
    found = len(work.usable_videos())
    names, inputs = choose_detectors(work, args.round, args.detector)
    class_names = class_names_from(args.classes) if args.classes is not None else None
    with work.writing():
        from labels.labelling.box_round import finish_round, label_round
        from labels.labelling.settings import LabellingSettings
        from labels.models.detectors.ensemble import load_backbone, load_panel
        from labels.models.settings import DetectorOptions, Looks

        options = DetectorOptions(batch_size=args.batch_size, class_list=args.class_list)
        looks = Looks(args.input_size, args.tiles, args.mirrored)
        detector = load_panel(names, class_names, args.device, options, looks, args.stride)
        settings = LabellingSettings(stride=args.stride)
        inputs |= {"videos": digest_of_videos(work), "labeller": detector.digest}
        folder = work.round(args.round)
        backbone = load_backbone(args.backbone, detector, args.device)
        outcome = label_round(work, folder, detector, settings, backbone=backbone)
        arguments = {name: getattr(args, name) for name in ARGUMENTS}
        finish_round(folder, detector, settings, outcome, arguments, inputs)
        lines = [*outcome.lines(), *replaced, *out_of_date(work)]
        cleaning = cleaning_command(work, args.round)
    return Summary(
        "label",
        "videos",
        found,
        outcome.made + outcome.untouched,
        dict(outcome.kinds),
        lines,
        cleaning,
    )


def main(argv: list[str] | None = None) -> int:
    args = get_args(argv)
    return run_stage(lambda: label(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
