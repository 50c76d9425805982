"""What a round is trained and validated on: its cleaned labels, divided by `split.csv`, and the frames they are of."""

from dataclasses import dataclass

from labels.models.networks import BALLNET
from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.training.box_datasets import FrameCounts, LabelledFrame, choose_frames, read_cleaned
from labels.training.detector_tasks import spread
from labels.training.settings import FrameChoice, SplitSettings, TrainingSettings
from labels.training.splits import TEST, TRAIN, VAL, linked_groups, split_videos
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
    splits: dict[str, str]  # train, val or test for each usable video_id
    groups: dict[str, str]  # of each usable video_id; those that share a file are one
    working: WorkingFrames
    validates_on_training: bool = False  # no box was kept in clips of another group, that could validate


def gather_data(work: WorkFolder, folder: RoundFolder, settings: TrainingSettings) -> RoundData:
    """Read the cleaned labels, divide the videos, choose the frames. InputError when there is too little."""
    videos = work.usable_videos()
    present = [video for video in videos["video_id"] if folder.boxes("cleaned", video).is_file()]
    boxes = {video_id: read_cleaned(folder, video_id) for video_id in present}
    kept = {video_id: table[table["decision"] == "keep"] for video_id, table in boxes.items()}
    labelled = {video_id for video_id, table in kept.items() if len(table)}
    if not labelled:
        raise InputError(
            f"{folder.path / 'cleaned'}: no box was kept, so there is nothing to learn; look at the reasons with: "
            f"python visualise.py {work.root} --round {folder.number}"
        )
    splits = split_videos(work.split_table, videos, labelled, folder.number, SplitSettings())
    # What only validation or held-out clips show cannot be learnt, and a held-out clip must not decide anything.
    taught = [table["class_name"].unique() for video_id, table in kept.items() if splits[video_id] == TRAIN]
    class_names = tuple(sorted({name for names in taught for name in names}))
    working = WorkingFrames(
        FrameStore(work.frames), settings.long_side, settings.memory_bytes, settings.architecture == BALLNET
    )
    data = RoundData(
        class_names,
        frames={TRAIN: [], VAL: []},
        counts={TRAIN: FrameCounts(), VAL: FrameCounts()},
        video_sizes={},
        skipped={},
        splits=splits,
        groups=linked_groups(videos),
        working=working,
    )
    for row in videos.itertuples():
        video_id = str(row.video_id)
        data.video_sizes[video_id] = (int(row.width), int(row.height))
        reason = ""
        if splits[video_id] == TEST:
            reason = "held-out clips, never trained nor validated on"
        elif video_id not in boxes:
            reason = "without cleaned labels"
        else:
            frames, counted = choose_frames(boxes[video_id], class_names, FrameChoice())
            if not frames:
                reason = "without a frame that is sure enough"
            elif why := working.ensure(frames, work.videos / row.file):
                reason = f"that could not be decoded ({video_id}: {why})"
            else:
                data.frames[splits[video_id]] += frames
                data.counts[splits[video_id]] += counted
        if reason:
            data.skipped[reason] = data.skipped.get(reason, 0) + 1
    if not data.counts[TRAIN].with_kept:
        raise InputError(
            f"{folder.path / 'cleaned'}: no kept box in the clips to train on (see {work.split_table}); "
            "keep more in dataset_cleaner.py, or add clips with dataset_downloader.py"
        )
    # One group alone may hold labels, and of few clips those that validate may lose all theirs in a later round.
    data.validates_on_training = not data.counts[VAL].with_kept
    if data.validates_on_training:
        data.frames[VAL] = spread(data.frames[TRAIN], settings.validation_frames)
    return data


def digests_of(work: WorkFolder, data: RoundData) -> dict[str, str]:
    """What training depends on beside the cleaned labels and the settings, as inputs of its run record."""
    validated = sorted(video_id for video_id, split in data.splits.items() if split == VAL)
    truths = [work.truth_boxes(video_id) for video_id in validated]
    return {
        "split": digest_of(data.splits),
        "validation truth": digest_of([(path.stem, file_digest(path)) for path in truths if path.is_file()]),
    }
