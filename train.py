#!/usr/bin/env python
"""Stage 4: train a detector, or a recogniser of actions, on a round's cleaned labels. It labels the next round.

    python train.py work --round 0
    python train.py work --round 0 --architecture fasterrcnn_mobilenet_v3_large_320_fpn --epochs 8 --batch-size 4
    python train.py work --round 1 --continue            # from the weights of round 0, not from the start
    python train.py work --round 0 --task actions --architecture cnn3d
    torchrun --nproc-per-node 8 train.py work --round 0  # on 8 GPUs, or CPU processes; the batch is divided among them
    python train.py work --round 0 --export onnx         # trains nothing: writes the round's student as ONNX

Reads `rounds/NN/cleaned/`, `videos/` and `split.csv` (made in round 0: which groups train, which validate). Writes into
`rounds/NN/trained/`:

    detector.pt    the best weights, their classes and working threshold; what `--detector` takes
    last.pt        where training stands; the same command goes on from it after a kill
    metrics.csv    a row an epoch: loss, and how far validation agrees with its labels, which are not truth
    metrics.json   the best weights on all validation frames; accuracy too where there is truth; curves.png, run.json
    folds.json     with --folds: how far students agree with the labels that never saw their groups
    detector.onnx  with --export onnx: what runs without this project (docs/library.md); recogniser.onnx the same
    recogniser.pt, confusion.csv and .png; actions/ with its own last.pt, metrics, curves and run.json, and of two
                   recognisers that are fused (cnn3d+pose) each one's own folder

The architecture is `ballnet`, our own small network for balls, which looks at three frames and learns in minutes on a
CPU, the name of a torchvision detector, or `hf:NAME` (RF-DETR, D-FINE, RT-DETR); these start from weights. Of actions:
`cnn3d`, our own small one, `tsn_resnet50`, `pose` and `pose_gru` on joints, a torchvision video network, which starts
from Kinetics-400, or `probe:FILE.onnx` or `probe:hf:NAME`, a small head on a frozen backbone of pictures or clips.
"""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from labels.records.command_line import Summary, add_force, round_number, run_stage, stage_parser
from labels.training.settings import TrainingSettings, add_action_arguments, add_training_arguments, refuse_actions

if TYPE_CHECKING:
    from labels.training.boxes.round import TrainedRound


def get_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = stage_parser(__doc__ or "")
    parser.add_argument("--round", type=round_number, required=True, help="whose cleaned labels to train on")
    add_training_arguments(parser)
    add_action_arguments(parser)
    parser.add_argument("--export", choices=("onnx", "safetensors"), help="train nothing; write the student")
    add_force(parser)
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> Summary:
    """Train the round's detector and draw its curves."""
    from labels.records import next_command
    from labels.records.work_folder import WorkFolder

    if args.export:
        from labels.models.exported import export_students

        return export_students(WorkFolder(args.work), args.round, args.task, args.export)
    from labels.training.actions.round import train_actions_of, wants_actions
    from labels.videos.videos_table import refuse_replaced_clips

    if wants_actions(WorkFolder(args.work), args.round, args.task):
        refuse_replaced_clips(WorkFolder(args.work), args.force)
        from labels.pictures.report.training import draw_confusion, draw_training_curves

        return train_actions_of(args, draw_training_curves, draw_confusion)
    refuse_actions(args)
    from labels.models.checkpoints import own_long_side
    from labels.models.detectors.loading import torch_device
    from labels.pictures.report.training import draw_training_curves
    from labels.records.run_records import out_of_date
    from labels.training.boxes.round import train_round

    work = WorkFolder(args.work)
    # Says, too, what is missing before the folder's lock would make it.
    replaced = refuse_replaced_clips(work, args.force, args.round, "cleaned", next_command.clean(work, args.round))
    architecture = args.architecture or TrainingSettings.architecture
    settings = replace(
        TrainingSettings(),
        architecture=architecture,
        epochs=args.epochs or TrainingSettings.epochs,
        batch_size=args.batch_size or TrainingSettings.batch_size,
        learning_rate=args.lr or TrainingSettings.rate_for(architecture, args.from_scratch),
        long_side=args.long_side or own_long_side(architecture),
        seed=args.seed,
    )
    with work.writing():
        device = torch_device(args.device)
        trained = train_round(
            work, args.round, settings, device, args.from_scratch, args.go_on, draw_training_curves, args.folds
        )
        summary = summarise(args, trained)
        summary.lines += [*replaced, *out_of_date(work)]
    return summary


def summarise(args: argparse.Namespace, trained: "TrainedRound") -> Summary:
    from labels.records import next_command
    from labels.records.work_folder import WorkFolder

    data, skipped = trained.data, trained.data.skipped
    return Summary(
        stage=f"train round {args.round}",
        unit="videos",
        found=len(data.splits),
        used=len(data.splits) - sum(skipped.values()),
        skipped=skipped,
        lines=trained.lines(),
        next_command=next_command.label_boxes(WorkFolder(args.work), args.round + 1),
    )


def main(argv: list[str] | None = None) -> int:
    args = get_args(argv)
    from labels.training.ranks import run_ranks

    return run_ranks(args.device, lambda: run_stage(lambda: train(args), args.strict))


if __name__ == "__main__":
    sys.exit(main())
