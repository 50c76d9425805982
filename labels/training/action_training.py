"""Stage 4 for the actions of one round: from cleaned actions to `recogniser.pt`, its metrics and its record."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labels.cleaning.threshold_arguments import cleaning_command
from labels.labelling.player_tracks import PLAYER
from labels.labelling.round_mask_channel import inputs_of_masks
from labels.models.checkpoints import RECOGNISER, load_checkpoint, require_fit
from labels.models.recogniser import build_recogniser, is_fusion, network_from_file
from labels.models.recogniser_settings import BROUGHT, JOINTS, PRETRAINED, Preset
from labels.records.errors import InputError
from labels.records.run_records import (
    RunRecord,
    digest_of_true_actions,
    digest_of_true_joints,
    inputs_of_players,
    read_run_record,
    require_run_record,
    start_run,
    write_run_record,
)
from labels.records.safe_writing import digest_of, file_digest, write_json
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, ACTIONS_TRAINED, WorkFolder
from labels.training.action_data import ActionData, gather_actions
from labels.training.action_measuring import measure_student
from labels.training.action_windows import preset_for, with_pose
from labels.training.body_depth import require_body
from labels.training.fusion_training import make_parts, train_fusion
from labels.training.optimisation import seed_everything
from labels.training.recogniser_training import require_no_group_twice, train_recogniser
from labels.training.recognition_settings import RecognitionSettings
from labels.training.recognition_tasks import RecognitionTask
from labels.training.splits import TEST, TRAIN, VAL, require_groups
from labels.training.training_folder import TrainingFolder

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
    command = cleaning_command(work, number, actions=True)
    if read_run_record(folder, ACTIONS_LABELLED) is None:
        command = f"python dataset_processor.py {work.root} --round {number} --recogniser …, then dataset_cleaner.py"
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
        trained = f"python train.py {work.root} --round {number - 1} --task actions"
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
    if settings.any_side:
        shown = (data.read(window) for window in data.windows[TRAIN])
        require_body(value[JOINTS] if fusion else value for value in shown)
    start_run(folder, ACTIONS_TRAINED)
    folder.out_of_fold.unlink(missing_ok=True)  # it is of other labels, or of another student
    if fusion:
        epochs = train_fusion(data, settings, parts, files, identity, device, draw)
    else:
        task = RecognitionTask(data.class_names, preset, data.read, settings)
        windows = data.windows[TRAIN], data.windows[VAL]
        epochs = len(train_recogniser(network, task, *windows, settings, files, identity, pretrained or go_on))
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
