"""Stage 4 for one round: from cleaned labels to `detector.pt`, its metrics, and the record of how it was made."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from labels.models.ballnet import BallNetSettings
from labels.models.checkpoints import load_checkpoint, require_fit, save_checkpoint
from labels.models.networks import BALLNET, build_network, check_architecture, network_from_checkpoint
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, read_run_record, require_run_record, start_run, write_run_record
from labels.records.safe_writing import digest_of, file_digest, write_json
from labels.records.tables import BOX_COLUMNS
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.training.ballnet_training import BallNetTask
from labels.training.box_datasets import FrameCounts, LabelledFrame, choose_frames, empty_frame, read_cleaned
from labels.training.box_metrics import find_thresholds, measure
from labels.training.detector_tasks import DetectorTask, detection_tables
from labels.training.detector_training import TrainingFolder, seed_everything, train_detector
from labels.training.settings import FrameChoice, SplitSettings, TrainingSettings
from labels.training.splits import TEST, TRAIN, VAL, split_videos
from labels.training.working_frames import WorkingFrames
from labels.videos.frame_store import FrameStore


@dataclass
class RoundData:
    """What a round is trained and validated on."""

    class_names: tuple[str, ...]
    frames: dict[str, list[LabelledFrame]]  # train, val -> frames
    counts: dict[str, FrameCounts]
    video_sizes: dict[str, tuple[int, int]]
    skipped: dict[str, int]  # reason -> videos
    video_ids: list[str]  # all usable ones
    working: WorkingFrames


@dataclass
class TrainedRound:
    """What came out, for the summary."""

    data: RoundData
    metrics: dict[str, Any]
    done_before: bool


def train_round(
    work: WorkFolder, round_number: int, settings: TrainingSettings, device: str, from_scratch: bool, go_on: bool
) -> TrainedRound:
    """Train round N's detector. Does nothing but report when that was done before with the same in hand.

    Args:
        device: cpu or cuda.
        from_scratch: without COCO weights for a torchvision architecture.
        go_on: start from the weights of the round before instead.
    """
    check_architecture(settings.architecture)
    folder = work.round(round_number)
    script = f"python dataset_cleaner.py {work.root} --round {round_number}"
    inputs = {f"round {round_number} cleaned": require_run_record(folder, "cleaned", script).output}
    if go_on:
        if round_number == 0:
            raise InputError("--continue: round 0 has no round before it; leave it out")
        before = require_run_record(
            work.round(round_number - 1), "trained", f"python train.py {work.root} --round {round_number - 1}"
        )
        inputs[f"round {round_number - 1} trained"] = before.output
    arguments = {**asdict(settings), "device": device, "from_scratch": from_scratch, "continue": go_on}
    data = gather_data(work, folder, settings)
    done = read_run_record(folder, "trained")
    if done is not None and done.is_made_from(arguments, inputs) and done.output == _digest_if_there(folder):
        return TrainedRound(data, done.facts["metrics"], done_before=True)
    start_run(folder, "trained")
    identity = digest_of([arguments, inputs, torch.__version__])
    network, network_settings = _first_network(work, round_number, data.class_names, settings, from_scratch, go_on)
    metrics = _train_on(work, folder, data, settings, network.to(device), network_settings, identity)
    counts = {split: asdict(count) for split, count in data.counts.items()} | {"skipped videos": data.skipped}
    write_run_record(
        folder,
        RunRecord(
            stage="trained",
            round=round_number,
            arguments=arguments,
            inputs=inputs,
            counts=counts,
            facts={"metrics": metrics, "class_names": list(data.class_names)},
            seed=settings.seed,
            output=file_digest(folder.detector),
        ),
    )
    return TrainedRound(data, metrics, done_before=False)


def gather_data(work: WorkFolder, folder: RoundFolder, settings: TrainingSettings) -> RoundData:
    """Read the cleaned labels, divide the videos, choose the frames. InputError when there is too little."""
    videos = work.usable_videos()
    present = [video for video in videos["video_id"] if folder.boxes("cleaned", video).is_file()]
    boxes = {video_id: read_cleaned(folder, video_id) for video_id in present}
    kept = {video_id: table[table["decision"] == "keep"] for video_id, table in boxes.items()}
    found = {name for table in kept.values() for name in table["class_name"].unique()}
    if not found:
        raise InputError(
            f"{folder.path / 'cleaned'}: no box was kept, so there is nothing to learn; look at the reasons with: "
            f"python visualise.py {work.root} --round {folder.number}"
        )
    class_names = tuple(sorted(found))
    labelled = {video_id for video_id, table in kept.items() if len(table)}
    splits = split_videos(work.split_table, videos, labelled, folder.number, SplitSettings())
    working = WorkingFrames(
        FrameStore(work.frames), settings.long_side, settings.memory_bytes, settings.architecture == BALLNET
    )
    data = RoundData(class_names, {TRAIN: [], VAL: []}, {TRAIN: FrameCounts(), VAL: FrameCounts()}, {}, {}, [], working)
    for row in videos.itertuples():
        video_id = str(row.video_id)
        data.video_ids.append(video_id)
        data.video_sizes[video_id] = (int(row.width), int(row.height))
        reason = ""
        if splits[video_id] == TEST:
            reason = "test clips, never trained nor validated on"
        elif video_id not in boxes:
            reason = "without cleaned labels"
        else:
            frames, counts = choose_frames(boxes[video_id], class_names, FrameChoice())
            if not frames:
                reason = "without a frame that is sure enough"
            elif why := working.ensure(frames, work.videos / row.file):
                reason = f"that could not be decoded ({video_id}: {why})"
            else:
                data.frames[splits[video_id]] += frames
                data.counts[splits[video_id]] += counts
        if reason:
            data.skipped[reason] = data.skipped.get(reason, 0) + 1
    for split, purpose in ((TRAIN, "train"), (VAL, "validate")):
        if not data.counts[split].with_kept:
            raise InputError(
                f"{folder.path / 'cleaned'}: no kept box in the clips to {purpose} on (see {work.split_table}); "
                "keep more in dataset_cleaner.py, or add clips with dataset_downloader.py"
            )
    return data


def _first_network(
    work: WorkFolder, number: int, class_names: tuple[str, ...], settings: TrainingSettings, scratch: bool, go_on: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """The network with the weights that training starts from, and the settings that go into its checkpoint."""
    own = asdict(BallNetSettings(long_side=settings.long_side)) if settings.architecture == BALLNET else {}
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    if go_on:
        path = work.round(number - 1).detector
        checkpoint = load_checkpoint(path)
        require_fit(checkpoint, settings.architecture, class_names, str(path))
        return network_from_checkpoint(checkpoint, str(path)), checkpoint["settings"]
    seed_everything(settings.seed, 2**32 - 1)
    return build_network(settings.architecture, class_names, own, pretrained=not scratch), own


def _train_on(
    work: WorkFolder,
    folder: RoundFolder,
    data: RoundData,
    settings: TrainingSettings,
    network: nn.Module,
    network_settings: dict[str, Any],
    identity: str,
) -> dict[str, Any]:
    """Train, then measure the best weights on all validation frames and write them with their threshold."""
    files = TrainingFolder(folder.stage("trained"))
    task: DetectorTask
    if settings.architecture == BALLNET:
        task = BallNetTask(data.class_names, data.video_sizes, data.working, settings)
        network = network.to(memory_format=torch.channels_last)
    else:
        from labels.training.torchvision_training import TorchvisionTask  # imports all of torchvision

        task = TorchvisionTask(data.class_names, data.video_sizes, data.working)
    data.working.hold([*data.frames[TRAIN], *data.frames[VAL]])
    history = train_detector(
        network, task, data.frames[TRAIN], data.frames[VAL], settings, network_settings, files, identity
    )
    checkpoint = load_checkpoint(files.best)
    best = network_from_checkpoint(checkpoint, str(files.best)).to(next(network.parameters()).device)
    weights = {name: tensor.clone() for name, tensor in best.state_dict().items()}  # detecting may rearrange them
    found, labels = detection_tables(task, best, data.frames[VAL])
    thresholds = find_thresholds(found, labels, data.class_names, settings.precision_floor)
    metrics = {
        "best_epoch": checkpoint["epoch"],
        "epochs": len(history),
        "working_threshold": thresholds,
        "validation_videos": sorted(labels),
        "agreement_with_labels": measure(found, labels, thresholds).as_dict(),
        "accuracy": _accuracy(work, task, best, data.frames[VAL], thresholds),
    }
    save_checkpoint(files.best, checkpoint | {"network": weights, "working_threshold": thresholds, "metrics": metrics})
    write_json(files.path / "metrics.json", metrics)
    return metrics


def _accuracy(
    work: WorkFolder,
    task: DetectorTask,
    network: nn.Module,
    frames: Sequence[LabelledFrame],
    thresholds: dict[str, float],
) -> dict[str, Any] | None:
    """The metrics on validation frames where more is known than labels: truth, else what a human said; else None.

    Against truth all its frames count, also those that the labels were too unsure of.
    """
    truths = {video_id: work.read_truth(video_id) for video_id in sorted({frame.video_id for frame in frames})}
    known = {video_id: truth for video_id, truth in truths.items() if truth is not None and len(truth)}
    if known:
        against, judged = "truth", truth_frames(frames, known)
        files = dict(zip(*(work.usable_videos()[name] for name in ("video_id", "file")), strict=True))
        for video_id in known:
            own = [frame for frame in judged if frame.video_id == video_id]
            task.working.ensure(own, work.videos / files[video_id])
    else:
        against, judged = "human verdicts", [frame for frame in frames if frame.by_human]
    if not judged:
        return None
    found, labels = detection_tables(task, network, judged)
    tables = {video_id: truth_of(known[video_id], task.class_names) for video_id in known} or labels
    metrics = measure(found, tables, thresholds)
    return {"against": against, "videos": len(tables), "frames": len(judged), **metrics.as_dict()}


def truth_frames(frames: Sequence[LabelledFrame], truths: dict[str, pd.DataFrame]) -> list[LabelledFrame]:
    """A frame, without labels, for each that the truth of a video names."""
    counts = {frame.video_id: frame.frame_count for frame in frames}
    return [
        empty_frame(video_id, int(frame_index), counts[video_id])
        for video_id, truth in truths.items()
        for frame_index in np.unique(truth["frame_index"])
        if frame_index < counts[video_id]
    ]


def truth_of(truth: pd.DataFrame, class_names: tuple[str, ...]) -> pd.DataFrame:
    """The truth of some classes; a frame that holds none of them is one without an object."""
    rows = truth[truth["class_name"].isin(class_names)]
    bare = truth[~truth["frame_index"].isin(rows["frame_index"])].drop_duplicates("frame_index")
    bare = bare.assign(class_name="", visibility=np.float32(0), **dict.fromkeys(BOX_COLUMNS, np.float32("nan")))
    return pd.concat([rows, bare], ignore_index=True) if len(bare) else rows.reset_index(drop=True)


def _digest_if_there(folder: RoundFolder) -> str:
    return file_digest(folder.detector) if folder.detector.is_file() else ""
