"""Stage 4 for boxes: from cleaned labels to `detector.pt`, its metrics, and the record of how it was made.

With `--folds`, K students are each trained without some groups, and their agreement with those groups' labels is
recorded. A student agrees with labels it was trained on, right or wrong; agreement of one that never saw them says
more. It is still agreement, not accuracy: a mistake that all groups share is learnt from the others.

The detector is also measured where more is known than labels: against truth, and against human verdicts.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from labels.cleaning.agreement import FOLDS, SelfAgreement, Share, agreement_lines
from labels.models.checkpoints import (
    BALLNET,
    build_network,
    check_architecture,
    freeze_batch_norms,
    load_checkpoint,
    network_from_checkpoint,
    require_fit,
    save_checkpoint,
)
from labels.models.detectors.ballnet import BallNetSettings
from labels.models.detectors.hub_detectors import hub_settings
from labels.models.hub import HF
from labels.records import next_command
from labels.records.errors import InputError
from labels.records.matching import count_matches, in_names_of
from labels.records.run_records import RunRecord, read_run_record, require_run_record, start_run, write_run_record
from labels.records.safe_writing import digest_of, file_digest, read_object, write_json
from labels.records.tables import BOX_COLUMNS
from labels.records.work_folder import WorkFolder
from labels.training.boxes.ballnet_task import BallNetTask
from labels.training.boxes.data import LabelledFrame, RoundData, digests_of, empty_frame, gather_data, spread
from labels.training.boxes.metrics import agreement_by_class, find_slopes, find_thresholds, measure
from labels.training.boxes.task import DetectorTask, detection_tables
from labels.training.fit import fit
from labels.training.optimisation import LEAST_PARTS, seed_everything
from labels.training.settings import TrainingSettings
from labels.training.splits import TRAIN, VAL, folds_of, require_groups
from labels.training.training_folder import TrainingFolder, clear_folds, fold_folder

WEAK_F1 = 0.5  # agreement with the validation labels of a class below which a student alone should not label


@dataclass
class TrainedRound:
    """`metrics` are those of metrics.json."""

    data: RoundData
    metrics: dict[str, Any]
    done_before: bool
    folds: dict[str, Any] = field(default_factory=dict)  # agreement with out-of-fold students, where it was asked for

    def lines(self) -> list[str]:
        """What was used for what, and how good it is."""
        lines = ["this round was trained already with these settings and labels"] if self.done_before else []
        for split, counts in self.data.counts.items():
            lines.append(
                f"{split}: {counts.with_kept} frames with kept boxes, {counts.empty_used} surely empty ones; "
                f"left out: {counts.empty_unsure} frames with no box to learn from that may not be empty, "
                f"{counts.empty_left} empty ones more than needed"
            )
        if self.data.validates_on_training:
            lines.append(
                "no box was kept in clips of another source to validate on: agreement is with clips trained on, and "
                "says little; label some more clips"
            )
        judges = "training" if self.data.validates_on_training else "validation"
        for name, values in (
            (f"agreement with the {judges} labels", self.metrics["agreement_with_labels"]),
            (f"accuracy against {(self.metrics['accuracy'] or {}).get('against')}", self.metrics["accuracy"]),
        ):
            if values:
                lines.append(
                    f"{name}: F1 {values['f1']:.3f}, precision {values['precision']:.3f}, "
                    f"recall {values['recall']:.3f}, mean IoU {values['mean_iou'] or 0:.2f}, "
                    f"COCO AP {values['ap'] or 0:.3f}"
                )
        by_class = self.metrics["agreement_by_class"]
        if len(by_class) > 1:
            lines += [f"  {name}: {_shown(figures)}" for name, figures in sorted(by_class.items())]
        for name in self.metrics["weak_classes"]:
            lines.append(
                f"WEAK: this student hardly finds '{name}' ({_shown(by_class[name])}); in the next round whoever "
                "labelled this one labels again, with the student as one voice among them"
            )
        lines += [
            f"{video_id}: its truth is not used: {why}" for video_id, why in self.metrics["truth_not_used"].items()
        ]
        return [*lines, *agreement_lines(self.folds)]


def _shown(figures: Mapping[str, Any]) -> str:
    """The agreement of one class."""
    f1, precision, recall = (
        "–" if figures[name] is None else f"{figures[name]:.3f}" for name in ("f1", "precision", "recall")
    )
    return f"F1 {f1}, precision {precision}, recall {recall}, {figures['labels']} labels"


def weak_classes(by_class: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """The classes that a student does not find: more of its boxes and of the labels are without a partner than with."""
    return sorted(name for name, figures in by_class.items() if figures["f1"] is not None and figures["f1"] < WEAK_F1)


def measure_folds(
    path: Path,
    data: RoundData,
    task: DetectorTask,
    folds: int,
    build: Callable[[], tuple[nn.Module, dict[str, Any]]],
    identity: str,
) -> dict[str, Any]:
    """Train the students and compare each with the labels of its own fold. Does nothing where `path` says it is done.

    Args:
        path: where the outcome is written, as JSON; a fold that was trained before a kill is not trained again.
        build: gives a network that saw no label, on its device, and the settings that go into its checkpoint.
        identity: changes when the outcome may.

    Returns F1 over the groups, as `SelfAgreement.as_counts` says it, under `FOLDS`.
    """
    key = digest_of([identity, folds])
    done = read_object(path)
    if done.get("key") == key and isinstance(done.get("agreement"), dict):
        clear_folds(path.parent)
        return dict(done["agreement"])
    data.working.hold([*data.frames[TRAIN], *data.frames[VAL]])
    agreement = SelfAgreement()
    frames = data.frames[TRAIN]
    for fold, (own, rest) in enumerate(folds_of(frames, [data.groups[frame.video_id] for frame in frames], folds)):
        groups = {data.groups[frame.video_id] for frame in own}
        tqdm.write(f"fold {fold + 1} of {folds}: a student without {len(groups)} of the groups", sys.stderr)
        files = TrainingFolder(fold_folder(path.parent, fold))
        student = _trained(task, rest, files, build, digest_of([key, fold]))
        judges = [frame for frame in data.frames[VAL] if data.groups[frame.video_id] not in groups]
        if len({frame.video_id for frame in judges}) < LEAST_PARTS:  # as of the round's own student
            judges += rest
        read = detection_tables(task, student, spread(judges, task.settings.validation_frames))
        thresholds = find_thresholds(*read, data.class_names, task.settings.precision_floor)
        found, labels = detection_tables(task, student, own)
        for video_id, label in labels.items():
            boxes = found[video_id]
            sure = boxes[boxes["score"] >= boxes["class_name"].map(thresholds).astype(float)]
            counts = count_matches(sure, label)
            share = Share(2 * counts.right, 2 * counts.right + counts.wrong + counts.missed)  # F1 of all videos
            agreement.add(data.groups[video_id], {FOLDS: share})
    as_counts = agreement.as_counts()
    write_json(path, {"key": key, "folds": folds, "agreement": as_counts})
    clear_folds(path.parent)
    return as_counts


def _trained(
    task: DetectorTask,
    frames: Sequence[LabelledFrame],
    files: TrainingFolder,
    build: Callable[[], tuple[nn.Module, dict[str, Any]]],
    identity: str,
) -> nn.Module:
    network, network_settings = build()
    device = next(network.parameters()).device
    fit(network, task, frames, [], files, identity, network_settings)
    return network_from_checkpoint(load_checkpoint(files.best), str(files.best)).to(device)


TRUTH_FRAMES = 600  # of a video, evenly spread: more of one clip say little more


def measure_accuracy(
    work: WorkFolder,
    task: DetectorTask,
    network: nn.Module,
    frames: Sequence[LabelledFrame],
    thresholds: dict[str, float],
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The metrics on validation frames whose truth is known, else on those a human judged, else None.

    Against truth all its frames count, also those that the labels were too unsure of.

    Returns the metrics, and the reason for each video whose truth could not be used.
    """
    truths: dict[str, pd.DataFrame] = {}
    judged: list[LabelledFrame] = []
    unused: dict[str, str] = {}
    videos = work.usable_videos()
    files = dict(zip(videos["video_id"], videos["file"], strict=True))
    counts = {frame.video_id: frame.frame_count for frame in frames}
    for video_id in sorted(counts):
        truth = work.read_truth(video_id)
        if truth is None or not len(truth):
            continue
        own = truth_frames(video_id, counts[video_id], truth)
        if not own:
            unused[video_id] = f"it names no frame below {counts[video_id]}"
        elif reason := task.working.ensure(own, work.videos / files[video_id]):
            unused[video_id] = f"its frames cannot be decoded: {reason}"
        else:
            judged += own
            looked_at = truth[truth["frame_index"].isin([frame.frame_index for frame in own])]
            truths[video_id] = truth_of(looked_at, task.class_names)
    against = "truth"
    if not judged:
        against, judged = "human verdicts", [frame for frame in frames if frame.by_human]
    if not judged:
        return None, unused
    found, labels = detection_tables(task, network, judged)
    tables = truths or labels
    metrics = measure(found, tables, thresholds)
    return {"against": against, "videos": len(tables), "frames": len(judged), **metrics.as_dict()}, unused


def truth_frames(video_id: str, frame_count: int, truth: pd.DataFrame, most: int = TRUTH_FRAMES) -> list[LabelledFrame]:
    """Frames, without labels, that the truth of a video names: at most so many, evenly spread."""
    named = np.unique(truth["frame_index"])
    named = named[(named >= 0) & (named < frame_count)]
    return spread([empty_frame(video_id, int(frame_index), frame_count) for frame_index in named], most)


def truth_of(truth: pd.DataFrame, class_names: tuple[str, ...]) -> pd.DataFrame:
    """The truth of some classes; a frame that holds none of them is one without an object."""
    truth = in_names_of(truth, class_names)
    rows = truth[truth["class_name"].isin(class_names)]
    bare = truth[~truth["frame_index"].isin(rows["frame_index"])].drop_duplicates("frame_index")
    bare = bare.assign(class_name="", visibility=np.float32(0), **dict.fromkeys(BOX_COLUMNS, np.float32("nan")))
    return pd.concat([rows, bare], ignore_index=True) if len(bare) else rows.reset_index(drop=True)


FORMAT = 4  # of what training gives; raise it when the same settings on the same labels give another student


def train_round(
    work: WorkFolder,
    round_number: int,
    settings: TrainingSettings,
    device: str,
    from_scratch: bool,
    go_on: bool,
    draw: Callable[[Path, Path], object] | None = None,
    folds: int = 0,
) -> TrainedRound:
    """Train round N's detector. Does nothing but report when that was done before with the same in hand.

    Args:
        device: cpu or cuda.
        from_scratch: from chance, without the weights that come with an architecture.
        go_on: start from the weights of the round before instead.
        draw: makes curves.png from metrics.csv.
        folds: so many more students, each without a part of the groups, say how far they agree with its labels.
    """
    check_architecture(settings.architecture)
    folder = work.round(round_number)
    script = next_command.clean(work, round_number)
    inputs = {
        "format": str(FORMAT),
        f"round {round_number} cleaned": require_run_record(folder, "cleaned", script).output,
    }
    if go_on:
        if round_number == 0:
            raise InputError("--continue: round 0 has no round before it; leave it out")
        before = require_run_record(work.round(round_number - 1), "trained", next_command.train(work, round_number - 1))
        inputs[f"round {round_number - 1} trained"] = before.output
    if settings.architecture.startswith(HF) and not go_on:
        inputs["weights"] = hub_settings(settings.architecture)["origin"]["digest"]
    arguments = {**asdict(settings), "device": device, "from_scratch": from_scratch, "continue": go_on}
    data = gather_data(work, folder, settings)
    require_groups({data.groups[frame.video_id] for frame in data.frames[TRAIN]}, folds)
    inputs |= digests_of(work, data)
    files = TrainingFolder(folder.stage("trained"))
    named = [files.best, files.epochs, files.metrics, *([files.curves] if draw else [])]
    done = read_run_record(folder, "trained") if all(path.is_file() for path in named) else None
    identity = digest_of([arguments, inputs, torch.__version__])

    def build(goes_on: bool = False) -> tuple[nn.Module, dict[str, Any]]:
        network, own = _first_network(work, round_number, data.class_names, settings, from_scratch, goes_on)
        layout = torch.channels_last if settings.architecture == BALLNET else torch.preserve_format
        return network.to(device).to(memory_format=layout), own

    def ask_folds() -> dict[str, Any]:  # with --continue too they start anew: the student before saw all groups
        if not folds:
            return {}
        return measure_folds(folder.folds, data, _task_of(data, settings), folds, build, identity)

    if done is not None and done.is_made_from(arguments, inputs) and done.output == file_digest(files.best):
        return TrainedRound(data, done.facts["metrics"], done_before=True, folds=ask_folds())
    network, network_settings = build(go_on)
    start_run(folder, "trained")  # only now: weights that cannot be had must not cost the student that is there
    folder.folds.unlink(missing_ok=True)  # of other labels
    clear_folds(files.beside)
    metrics = _train_on(work, files, data, settings, network, network_settings, identity)
    if draw:
        draw(files.epochs, files.curves)
    counts = {split: asdict(count) for split, count in data.counts.items()} | {"skipped videos": data.skipped}
    write_run_record(
        folder,
        RunRecord(
            stage="trained",
            round=round_number,
            arguments=arguments,
            inputs=inputs,
            counts=counts,
            facts={"metrics": metrics, "class_names": list(data.class_names), **origin_of(network_settings)},
            seed=settings.seed,
            output=file_digest(folder.detector),
        ),
    )
    return TrainedRound(data, metrics, done_before=False, folds=ask_folds())


def origin_of(network_settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where a network of the hub is from, its commit and its licence, as a fact for run.json."""
    return {"origin": network_settings["origin"]} if "origin" in network_settings else {}


def _task_of(data: RoundData, settings: TrainingSettings) -> DetectorTask:
    if settings.architecture == BALLNET:
        return BallNetTask(data.class_names, data.video_sizes, data.working, settings)
    from labels.training.boxes.torchvision_task import TorchvisionTask  # imports all of torchvision

    return TorchvisionTask(data.class_names, data.video_sizes, data.working, settings)


def _first_network(
    work: WorkFolder, number: int, class_names: tuple[str, ...], settings: TrainingSettings, scratch: bool, go_on: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """The network with the weights that training starts from, and the settings that go into its checkpoint."""
    seen = {"long_side": settings.long_side}  # by training, and later by labelling
    own: dict[str, Any] = seen
    if settings.architecture == BALLNET:
        own = asdict(BallNetSettings(long_side=settings.long_side))
    elif settings.architecture.startswith(HF) and not go_on:
        own = hub_settings(settings.architecture, settings.long_side)
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    if go_on:
        path = work.round(number - 1).detector
        checkpoint = load_checkpoint(path)
        require_fit(checkpoint, settings.architecture, class_names, str(path))
        own = checkpoint["settings"] | seen
        network = network_from_checkpoint(checkpoint | {"settings": own}, str(path))
        counted = any(name.startswith("backbone.") and name.endswith("_tracked") for name in checkpoint["network"])
        if hasattr(network, "backbone") and not counted:  # they were frozen when it was trained
            freeze_batch_norms(network.get_submodule("backbone"))
        return network, own
    seed_everything(settings.seed, 2**32 - 1)
    return build_network(settings.architecture, class_names, own, pretrained=not scratch), own


def _train_on(
    work: WorkFolder,
    files: TrainingFolder,
    data: RoundData,
    settings: TrainingSettings,
    network: nn.Module,
    network_settings: dict[str, Any],
    identity: str,
) -> dict[str, Any]:
    """Train, then measure the best weights on all validation frames and write them with their threshold."""
    task = _task_of(data, settings)
    data.working.hold([*data.frames[TRAIN], *data.frames[VAL]])
    history = fit(network, task, data.frames[TRAIN], data.frames[VAL], files, identity, network_settings)
    checkpoint = load_checkpoint(files.best)
    best = network_from_checkpoint(checkpoint, str(files.best)).to(next(network.parameters()).device)
    weights = {name: tensor.clone() for name, tensor in best.state_dict().items()}  # detecting may rearrange them
    found, labels = detection_tables(task, best, data.frames[VAL])
    pair = found, labels
    if len(labels) < LEAST_PARTS:  # one or two clips do not tell how the scores in all the others are to be read
        shown = detection_tables(task, best, spread(data.frames[TRAIN], settings.validation_frames))
        pair = found | shown[0], labels | shown[1]
    thresholds = find_thresholds(*pair, data.class_names, settings.precision_floor)
    slopes = find_slopes(*pair, thresholds)
    accuracy, unused = measure_accuracy(work, task, best, data.frames[VAL], thresholds)
    by_class = agreement_by_class(found, labels, thresholds)
    metrics = {
        "best_epoch": checkpoint["epoch"],
        "epochs": len(history),
        "working_threshold": thresholds,
        "score_slope": slopes,
        "validation_videos": sorted(labels),
        "agreement_with_labels": measure(found, labels, thresholds).as_dict(),
        "agreement_by_class": by_class,
        "weak_classes": weak_classes(by_class),
        "accuracy": accuracy,
        "truth_not_used": unused,
    }
    measured = {"network": weights, "working_threshold": thresholds, "score_slope": slopes, "metrics": metrics}
    # What is replaced is taken out first: a key that was read from the file would be written in other bytes.
    kept = {name: value for name, value in checkpoint.items() if name not in measured}
    save_checkpoint(files.best, kept | measured)
    write_json(files.metrics, metrics)
    return metrics
