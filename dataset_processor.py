"""Stage 2, label: put every video through a detector or a recogniser and keep every box above a low score.

Reads   videos/, videos.parquet, a detector
Writes  rounds/NN/labelled/  boxes/<video_id>.parquet    every box with its score
                             camera/<video_id>.parquet   how the camera moved, and where it cut
                             run.json                    the labeller, its working threshold, counts
                             actions/                    who does what, when: a shard a video, and a run.json
        frames/              JPEGs of the frames in which something was found
        costs.csv            what labelling took

    python dataset_processor.py work --round 0                          # torchvision's Faster R-CNN finds sports balls
    python dataset_processor.py work --round 0 --detector motion        # small fast balls; nothing to download
    python dataset_processor.py work --round 0 --detector ssdlite320_mobilenet_v3_large --classes "sports ball,person"
    python dataset_processor.py work --round 0 --detector yolox.onnx --detector motion --input-size 416,1280 --tiles 480
    python dataset_processor.py work --round 1                          # the student that round 0 trained
    python dataset_processor.py work --round 1 --detector student --detector motion --mirrored   # more views
    python dataset_processor.py work --round 0 --masks facebook/sam2.1-hiera-tiny   # masks of the cleaned labels
    python dataset_processor.py work --round 0 --recogniser human       # actions: what an archive says of its clips
    python dataset_processor.py work --round 0 --shard 2/8              # one of eight shares, beside the others
    python dataset_processor.py work --round 0 --detector hf:NAME --share 0.05   # a strong teacher on a sample
    python dataset_processor.py work --round 2 --ask hf:NAME --share 0.02        # and again where labels are in doubt

A detector is `motion`, the name of any torchvision detection model (its COCO weights are fetched once), `hf:NAME` or
`hf:FOLDER` of the Hugging Face hub, a .onnx file of any common export (labels/models/detectors/onnx_layouts.py lists
them), a .pt file of train.py, `student`, which is the round before's, or `human`, who leaves the round to the boxes
that you drew or imported. From round 1 on it is `student` unless --detector says otherwise. Small things are found
better at several sizes and in tiles: all boxes are kept with their source, and cleaning fuses them. Stop it when you
like: finished videos are not done again.
"""

import argparse
import sys
from dataclasses import replace

from labels.engine.placement import add_placement_arguments, placement_of
from labels.labelling.settings import (
    add_action_arguments,
    add_detector_arguments,
    refuse_actions,
    refuse_boxes,
    sort_class_lists,
    wants_actions,
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
    parser.add_setting("track_masks", bool, False, "follow each track through the video", heading="masks")
    add_placement_arguments(parser, "in this process")
    return parser.parse_args(argv)


def label(args: argparse.Namespace) -> Summary:
    """Label one round."""
    from labels.records import next_command
    from labels.records.work_folder import WorkFolder
    from labels.videos.videos_table import refuse_replaced_clips

    work = WorkFolder(args.work)
    sort_class_lists(args)
    replaced = refuse_replaced_clips(work, args.force)
    if args.masks is not None or args.track_masks:
        from labels.labelling.masks import label_masks_of

        return label_masks_of(args)
    actions = wants_actions(args, work)
    if actions:
        refuse_boxes(args)
        from labels.labelling.action_round import label_actions_of

        summary = label_actions_of(args)
    else:
        refuse_actions(args)
        from labels.labelling.box_round import label_boxes_of

        summary = label_boxes_of(args)
    summary = replace(summary, lines=[*summary.lines, *replaced])
    is_share = placement_of(args).is_share
    return summary if is_share else replace(summary, next_command=next_command.clean(work, args.round, actions=actions))


def main(argv: list[str] | None = None) -> int:
    args = get_args(argv)
    return run_stage(lambda: label(args), args.strict)


if __name__ == "__main__":
    sys.exit(main())
