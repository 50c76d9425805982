"""Stage 4 for actions: from a round's cleaned actions to `recogniser.pt`, its metrics and its run record.

Windows are the architecture's own unless options change them. Whether rounds still improve is measured on the human
validation clips, which are the same in every round.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labels.labelling.masks import inputs_of_masks
from labels.labelling.player_tracks import PLAYER
from labels.models.checkpoints import RECOGNISER, load_checkpoint, require_fit
from labels.models.recognisers.recogniser import build_recogniser, fused_preset, is_fusion, network_from_file, preset_of
from labels.models.recognisers.settings import (
    BROUGHT,
    DEFAULT_ON_CPU,
    DEFAULT_ON_GPU,
    JOINTS,
    KEYPOINTRCNN,
    PIXELS,
    PRETRAINED,
    Preset,
    parts_of,
)
from labels.records import next_command
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import (
    RunRecord,
    digest_of_true_actions,
    digest_of_true_joints,
    inputs_of_players,
    out_of_date,
    read_run_record,
    require_run_record,
    start_run,
    write_run_record,
)
from labels.records.safe_writing import digest_of, file_digest, read_json, write_json
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, ACTIONS_TRAINED, WorkFolder
from labels.training.actions.data import ActionData, gather_actions
from labels.training.actions.fusion import fusion_parts, make_parts, train_fusion
from labels.training.actions.metrics import measure_student
from labels.training.actions.task import RecognitionTask
from labels.training.fit import fit
from labels.training.optimisation import seed_everything
from labels.training.settings import RecognitionSettings
from labels.training.splits import TEST, TRAIN, VAL, require_groups, require_no_group_twice
from labels.training.training_folder import TrainingFolder

SHORTEST_S, LONGEST_S = 0.05, 60.0  # a window is; stage 4 keeps all of them on disk


def preset_for(settings: RecognitionSettings) -> Preset:
    """The windows of an architecture, or what was said of them."""
    if is_fusion(settings.architecture):
        return fused_preset(*map(preset_for, fusion_parts(settings)))
    if settings.seconds and not SHORTEST_S <= settings.seconds <= LONGEST_S:
        raise InputError(f"--set window_seconds={settings.seconds:g}: from {SHORTEST_S:g} to {LONGEST_S:g}")
    preset = preset_of(settings.architecture)
    if preset.reads != PIXELS and settings.mask_channel:
        raise InputError(f"--set mask_channel: {settings.architecture} looks at {preset.reads}; leave it out")
    if preset.reads != JOINTS and settings.pose:
        raise InputError(f"--pose {settings.pose}: {settings.architecture} looks at no joints; leave it out")
    if preset.reads == JOINTS:
        preset = replace(preset, pose=settings.pose or preset.pose)
    frames = settings.frames or preset.frames
    if preset.reads == JOINTS and settings.seconds and not settings.frames:
        frames = max(2, round(settings.seconds * preset.rate))  # joints keep their rate
    times, length = preset.features  # of a backbone of pictures as many as frames
    is_fixed = settings.architecture.startswith("mvit") or times not in (0, preset.frames)
    if frames != preset.frames and is_fixed:
        raise InputError(f"--set window_frames: {settings.architecture} takes exactly {preset.frames}; leave it out")
    rate = frames / settings.seconds if settings.seconds else preset.rate
    features = (frames if times else 0, length)
    return replace(preset, frames=frames, rate=rate, masked=settings.mask_channel, features=features)


def with_pose(settings: RecognitionSettings, work: WorkFolder) -> RecognitionSettings:
    """The settings, and where joints come from if nobody said it: brought, where a clip has some; else found."""
    parts = parts_of(settings.architecture)
    if settings.pose or all(preset_of(part).reads != JOINTS for part in parts):
        return settings
    some = any(work.truth_joints(str(name)).is_file() for name in work.usable_videos()["video_id"])
    return replace(settings, pose=BROUGHT if some else KEYPOINTRCNN)


FORMAT = 9  # of what training gives; raise it when the same settings on the same labels give another student


@dataclass
class TrainedActions:
    """What came out, for the summary."""

    data: ActionData
    metrics: dict[str, Any]
    done_before: bool

    def lines(self) -> list[str]:
        lines = ["this round was trained already with these settings and labels"] if self.done_before else []
        for split in (TRAIN, VAL, TEST):
            count = len(self.data.windows[split])
            lines.append(f"{split}: {self.data.labels.get(split, 0)} labels, {count} windows")
        for name, labels in sorted(self.data.unknown.items()):
            lines.append(f"{labels} labels of class '{name}' are left out: no clip to train on shows it")
        lacking = self.data.not_shown(VAL)
        if lacking:
            lines.append(
                f"validation shows no label of {', '.join(lacking)}: whether these are found is not known there"
            )
        for where in ("validation", "test"):
            found = self.metrics[where]
            if found is not None:
                low, high = found["top1_interval"]
                interval = f" ({low:.2f} to {high:.2f} by groups)" if low is not None else ""
                lines.append(
                    f"{where}, {found['labels']} labels in {found['groups']} groups: "
                    f"top-1 {found['top1']:.3f}{interval}"
                    f", macro-F1 {found['macro_f1']:.3f}, balanced accuracy {found['balanced_accuracy']:.3f}, "
                    f"calibration error {found['ece']:.3f}"
                )
                for name, part in self.metrics.get("parts", {}).items():
                    own = part[where]
                    lines.append(
                        f"  {name} alone: top-1 {own['top1']:.3f}, macro-F1 {own['macro_f1']:.3f}; "
                        f"it weighs {part['weight']:.2f}"
                    )
        return lines


def train_actions(
    work: WorkFolder,
    number: int,
    settings: RecognitionSettings,
    device: str,
    from_scratch: bool,
    go_on: bool,
    draw: Callable[[Path, Path], object] | None = None,
    draw_confusion: Callable[[Path, Path], object] | None = None,
    folds: int = 0,
) -> TrainedActions:
    """Train round N's recogniser. Does nothing but report when that was done before with the same in hand.

    InputError also where there are fewer groups to train on than `folds`, which come after it.
    """
    settings = with_pose(settings, work)
    preset = preset_for(settings)
    folder = work.round(number)
    command = next_command.clean(work, number, actions=True)
    if read_run_record(folder, ACTIONS_LABELLED) is None:
        labelling = next_command.command("dataset_processor.py", work.root, number)
        command = f"{labelling} --recogniser …, then dataset_cleaner.py"
    cleaned = require_run_record(folder, ACTIONS_CLEANED, command)
    inputs = {
        "format": str(FORMAT),
        f"round {number} {ACTIONS_CLEANED}": cleaned.output,
        "true actions": digest_of_true_actions(work),
    }
    if cleaned.facts.get("per") == PLAYER:
        inputs |= inputs_of_players(work, number)
    if preset.masked:
        inputs |= inputs_of_masks(work, number)
    if preset.joints_from == BROUGHT:
        inputs["true joints"] = digest_of_true_joints(work)
    fusion = is_fusion(settings.architecture)
    if go_on:
        if fusion:
            raise InputError("--continue: a fusion starts anew; leave it out")
        if number == 0:
            raise InputError("--continue: round 0 has no round before it; leave it out")
        trained = next_command.command("train.py", work.root, number - 1, "--task", "actions")
        before = require_run_record(work.round(number - 1), ACTIONS_TRAINED, trained)
        inputs[f"round {number - 1} {ACTIONS_TRAINED}"] = before.output
    data = gather_actions(work, folder, preset, settings, device)
    require_groups({window.group for window in data.windows[TRAIN]}, folds)
    inputs["split"] = digest_of(data.splits)
    require_no_group_twice(data.windows[TRAIN], [*data.windows[VAL], *data.windows[TEST]])
    arguments = {**asdict(settings), "device": device, "from_scratch": from_scratch, "continue": go_on}
    files = TrainingFolder(folder.stage("trained"), RECOGNISER)
    done = read_run_record(folder, ACTIONS_TRAINED) if files.best.is_file() and files.confusion.is_file() else None
    if done is not None and done.is_made_from(arguments, inputs) and done.output == file_digest(files.best):
        return TrainedActions(data, done.facts["metrics"], done_before=True)
    identity = digest_of([arguments, inputs, torch.__version__])
    pretrained = not from_scratch and settings.architecture in PRETRAINED
    # Networks are made and joints looked at first: what cannot be had must not cost the student that is there.
    if fusion:
        parts = make_parts(data.class_names, settings, preset, device, from_scratch)
    else:
        network = _first_network(work, number, data.class_names, preset, settings, pretrained, go_on).to(device)
    start_run(folder, ACTIONS_TRAINED)
    folder.out_of_fold.unlink(missing_ok=True)  # it is of other labels, or of another student
    if fusion:
        epochs = train_fusion(data, settings, parts, files, identity, device, draw)
    else:
        task = RecognitionTask(data.class_names, preset, data.read, settings)
        windows = data.windows[TRAIN], data.windows[VAL]
        rate_of = task.rate_of(network) if pretrained or go_on else None
        epochs = len(fit(network, task, *windows, files, identity, asdict(preset), rate_of))
        if draw is not None and data.windows[VAL]:
            draw(files.epochs, files.curves)
    metrics = measure_student(files, data, device) | {"epochs": epochs}
    write_json(files.metrics, metrics)
    if draw_confusion is not None:
        draw_confusion(files.confusion, files.confusion.with_suffix(".png"))
    record = RunRecord(
        stage=ACTIONS_TRAINED,
        round=number,
        arguments=arguments,
        inputs=inputs,
        counts={"labels": data.labels, "skipped videos": data.skipped, "classes left out": data.unknown},
        facts={"metrics": metrics, "class_names": list(data.class_names)},
        seed=settings.seed,
        output=file_digest(files.best),
    )
    write_run_record(folder, record)
    return TrainedActions(data, metrics, done_before=False)


def _first_network(
    work: WorkFolder,
    number: int,
    class_names: tuple[str, ...],
    preset: Preset,
    settings: RecognitionSettings,
    pretrained: bool,
    go_on: bool,
) -> nn.Module:
    if go_on:
        path = work.round(number - 1).recogniser
        checkpoint = load_checkpoint(path, RECOGNISER)
        require_fit(checkpoint, settings.architecture, class_names, str(path))
        if bool(checkpoint["settings"].get("masked")) != preset.masked:
            raise InputError(f"{path}: looks at {'no ' if preset.masked else ''}masks; train as it was, or anew")
        return network_from_file(checkpoint | {"settings": asdict(preset)}, str(path))
    seed_everything(settings.seed, 2**32 - 1)
    return build_recogniser(settings.architecture, len(class_names), preset, pretrained)


PATIENCE = 2  # rounds without gain after which to stop
LEAST_GAIN = 0.005  # macro-F1 below it is noise


def validation_by_round(work: WorkFolder, number: int) -> dict[int, float]:
    """Macro-F1 on the validation clips' human labels of each trained round up to this one, where there is one."""
    found = {}
    for each in range(number + 1):
        path = work.round(each).stage("trained") / "actions" / "metrics.json"
        measured = read_json(path).get("validation") if path.is_file() else None
        if measured and measured.get("macro_f1") is not None and measured.get("human_labels"):
            found[each] = float(measured["macro_f1"])
    return found


def round_to_stay_with(work: WorkFolder, number: int) -> tuple[int, str] | None:
    """The best round so far and why to go no further; None while one of the last PATIENCE rounds gained."""
    values = validation_by_round(work, number)
    best = max(values, key=lambda each: (values[each], -each), default=None)
    first = min(
        (each for each in values if best is not None and values[each] >= values[best] - LEAST_GAIN), default=None
    )
    if first is None or number not in values or len([each for each in values if each > first]) < PATIENCE:
        return None
    listed = ", ".join(f"round {each} {value:.3f}" for each, value in sorted(values.items()))
    return (
        first,
        f"no gain in {PATIENCE} rounds (validation macro-F1: {listed}): stop here, with round {first}'s student",
    )


Draw = Callable[[Path, Path], object]  # a picture from the first file into the second


def wants_actions(work: WorkFolder, number: int, task: str | None) -> bool:
    """Whether a recogniser is to be trained: it was said, or the round has only actions."""
    if task is not None:
        return task == "actions"
    folder = work.round(number)
    return read_run_record(folder, ACTIONS_CLEANED) is not None and read_run_record(folder, "cleaned") is None


def train_actions_of(args: argparse.Namespace, draw_curves: Draw, draw_confusion: Draw) -> Summary:
    """Train the recogniser of one round and draw its curves and its confusion."""
    from labels.models.detectors.loading import torch_device

    work = WorkFolder(args.work)
    work.usable_videos()
    device = torch_device(args.device)
    if args.long_side is not None:
        raise InputError("--set long_side: recognisers have a size of their own; leave it out")
    architecture = args.architecture or (DEFAULT_ON_GPU if device == "cuda" else DEFAULT_ON_CPU)
    settings = replace(RecognitionSettings(), architecture=architecture, seed=args.seed)
    settings = replace(
        settings,
        mask_channel=args.mask_channel,
        epochs=args.epochs or settings.epochs,
        batch_size=args.batch_size or settings.batch_size,
        frames=args.window_frames,
        seconds=args.window_seconds,
        pose=args.pose or "",
    )
    if args.folds and is_fusion(architecture):
        raise InputError(f"--folds {args.folds}: of a single network, not of {architecture}")
    with work.writing():
        from labels.models.recognisers.recogniser import preset_of

        for part in parts_of(architecture):
            preset_of(part)
        settings = replace(settings, learning_rate=args.lr or RecognitionSettings.rate_for(architecture))
        trained = train_actions(
            work, args.round, settings, device, args.from_scratch, args.go_on, draw_curves, draw_confusion, args.folds
        )
        summary = summarise(args, trained)
        if args.folds:
            summary.lines.append(_ask_folds(work, args, settings, trained, device))
        stay = round_to_stay_with(work, args.round)
        if stay is not None:
            summary.lines.append(stay[1])
            summary.next_command = next_command.look(work, stay[0])
        summary.lines += out_of_date(work)
    return summary


def _ask_folds(
    work: WorkFolder, args: argparse.Namespace, settings: RecognitionSettings, trained: "TrainedActions", device: str
) -> str:
    """Train the out-of-fold students; returns the line that says so."""
    from labels.models.recognisers.recogniser import build_recogniser
    from labels.training.actions.out_of_fold import write_out_of_fold
    from labels.training.actions.task import RecognitionTask
    from labels.training.splits import TRAIN

    data, folder = trained.data, work.round(args.round)
    preset, windows = data.store.preset, data.windows[TRAIN]
    pretrained = not args.from_scratch and settings.architecture in PRETRAINED
    task = RecognitionTask(data.class_names, preset, data.read, settings)
    record = require_run_record(folder, ACTIONS_TRAINED, "")
    asked = write_out_of_fold(
        folder.out_of_fold,
        task,
        windows,
        args.folds,
        lambda: build_recogniser(settings.architecture, len(data.class_names), preset, pretrained).to(device),
        digest_of([record.arguments, record.inputs]),
        pretrained,
    )
    return f"{args.folds} out-of-fold students were asked about {asked} labels: trained/actions/out_of_fold.parquet"


def summarise(args: argparse.Namespace, trained: "TrainedActions") -> Summary:
    """Which videos were used, and what came out."""
    data = trained.data
    work = WorkFolder(args.work)
    return Summary(
        f"train actions of round {args.round}",
        "videos",
        len(data.splits),
        len(data.splits) - sum(data.skipped.values()),
        data.skipped,
        trained.lines(),
        next_command.label_next_actions(work, args.round + 1),
    )
