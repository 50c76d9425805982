r"""Recognisers on small real sets: moments of martial arts, each left out once; sports, half the clips to train on.

    python tests/bench/small_sets.py --path REAL --set moments --architecture cnn3d --seed 0
    python tests/bench/small_sets.py --path REAL --set sports --architecture cnn3d --seed 0
    python tests/bench/small_sets.py --path REAL --set sports --leave-out one --epochs 30 --epoch-windows 256 \
        --architecture probe:REAL/backbone/mobilenetv2_bottleneck.onnx

From random weights, which is what can be had without a network, or above a frozen backbone in a file. Prints accuracy
and macro-F1 with intervals from drawing clips again (each clip is a group of its own). `--frames` and `--crop` make it
cheaper.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loop_runs import stage

from labels.labelling.action_windows import WindowStore
from labels.models.checkpoints import RECOGNISER, load_checkpoint
from labels.models.recognisers.recogniser import build_recogniser, network_from_file, preset_of
from labels.models.recognisers.settings import FEATURES
from labels.records.work_folder import WorkFolder
from labels.training.actions import metrics as action_metrics
from labels.training.actions.data import LabelledWindow, by_label
from labels.training.actions.task import RecognitionTask
from labels.training.optimisation import seed_everything
from labels.training.settings import RecognitionSettings
from labels.training.training_folder import TrainingFolder

SETS = {"moments": ("moments", "moments"), "sports": ("kinetics-folder", "actions/sports")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--set", choices=sorted(SETS), required=True)
    parser.add_argument("--architecture", default="cnn3d")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=0)
    parser.add_argument("--crop", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epoch-windows", type=int, default=384)
    parser.add_argument("--leave-out", choices=["one", "half"], help="default: one of moments, half of sports")
    args = parser.parse_args()
    preset = preset_of(args.architecture)
    crop = args.crop or preset.crop
    preset = replace(preset, frames=args.frames or preset.frames, crop=crop, side=crop + crop // 8)
    if preset.reads == FEATURES:
        preset = replace(preset, features=(preset.frames, preset.features[1]))
    leave_out = args.leave_out or ("one" if args.set == "moments" else "half")
    settings = RecognitionSettings(
        args.architecture,
        args.epochs,
        args.batch_size,
        RecognitionSettings.rate_for(args.architecture),
        epoch_frames=args.epoch_windows,
        seed=args.seed,
        beta=0.0,  # or the class of what is left out is the rarer one, and chance is below a half
    )
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) / "work"
        kind, folder = SETS[args.set]
        stage("dataset_downloader.py", work, "--from", kind, "--path", str(args.path / folder))
        videos = WorkFolder(work).usable_videos()
        store = WindowStore(WorkFolder(work), preset)
        classes = tuple(sorted(videos["class_name"].unique()))
        clips = {}
        for video in videos.itertuples():
            held = store.ensure(video, None)
            class_id = classes.index(video.class_name)
            clips[video.video_id] = [
                LabelledWindow(video.video_id, video.video_id, video.video_id, place, class_id)
                for place in range(len(held))
            ]
        names = sorted(clips)
        if leave_out == "one":
            folds = [[name] for name in names]
        else:  # half of each class, drawn by the seed
            random = np.random.default_rng(args.seed)
            own = [
                random.permutation([name for name in names if clips[name][0].class_id == at])
                for at in range(len(classes))
            ]
            folds = [[str(name) for each in own for name in each[len(each) // 2 :]]]
        truth, said, fit = [], [], []
        for fold in folds:
            training = [window for name in names if name not in fold for window in clips[name]]
            judged = [window for name in fold for window in clips[name]]
            task = RecognitionTask(classes, preset, lambda window: store.read(window.video_id, window.place), settings)
            seed_everything(args.seed, 2**32 - 1)
            network = build_recogniser(args.architecture, len(classes), preset, False)
            with tempfile.TemporaryDirectory() as trained, contextlib.redirect_stderr(io.StringIO()):
                files = TrainingFolder(Path(trained), "recogniser")
                fit(network, task, training, [], files, "bench", asdict(preset))
                student = network_from_file(load_checkpoint(files.best, RECOGNISER), "bench")
            labels, probabilities = by_label(judged, task.probabilities(student, judged))
            truth += [label.class_id for label in labels]
            said += probabilities.argmax(axis=1).tolist()
            labels, probabilities = by_label(training, task.probabilities(student, training))
            fit.append(np.mean(probabilities.argmax(axis=1) == [label.class_id for label in labels]))
            print(
                f"{len(truth)} judged, {np.mean(np.array(truth) == said):.3f} right so far; "
                f"{np.mean(fit):.3f} of the training clips",
                file=sys.stderr,
                flush=True,
            )
        real, answers = np.array(truth), np.array(said)
        groups = [str(at) for at in range(len(real))]
        confusion = action_metrics.confusion_matrix(real, answers, len(classes))
        low, high = action_metrics.group_bootstrap(groups, real, answers, action_metrics.accuracy)
        print(
            f"{args.set} {args.architecture} seed {args.seed}: accuracy {np.mean(real == answers):.3f} "
            f"({low:.2f} to {high:.2f}), macro-F1 {action_metrics.macro_f1(confusion):.3f}, {len(real)} clips judged, "
            f"{np.mean(fit):.3f} of the training clips right, "
            f"confusion {confusion.tolist()} of {classes}"
        )


if __name__ == "__main__":
    main()
