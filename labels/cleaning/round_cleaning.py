"""Stage 3 over one round: read the labelled shards, clean each, write the cleaned ones, the dataset and run.json."""

from collections.abc import Iterable
from contextlib import closing

from labels.cleaning.collapse_guard import find_alarms
from labels.cleaning.dataset_writing import dataset_frames, image_rows, write_dataset
from labels.cleaning.outliers import usual_looks
from labels.cleaning.round_accounts import RoundAccounts
from labels.cleaning.round_inputs import RoundInputs, output_digest, recorded_arguments
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.shard_cleaning import ShardCleaner
from labels.exchange.coco import IMAGES
from labels.records import run_records, tables
from labels.records.errors import InputError
from labels.records.run_records import RunRecord
from labels.records.safe_writing import write_parquet
from labels.videos.decoding import DecodeError
from labels.videos.frame_store import FrameStore


def clean_round(inputs: RoundInputs, settings: CleaningSettings, progress: Iterable[int] | None = None) -> RunRecord:
    """Clean every video of a round and write everything, run.json last. `progress` is stepped once a video."""
    work, folder = inputs.work, inputs.folder
    steps = iter(progress if progress is not None else range(len(inputs.videos)))
    run_records.start_run(folder, "cleaned")
    store = FrameStore(work.frames)
    accounts = RoundAccounts(inputs)
    images, boxes, written = [], [], set()
    cleaner = ShardCleaner(inputs, settings, usual_looks(folder, inputs.before, settings))
    with closing(cleaner.clean_all()) as answers:
        for (_, video), answer in zip(inputs.videos.iterrows(), answers, strict=True):
            next(steps, None)
            video_id = str(video["video_id"])
            try:
                if isinstance(answer, InputError):
                    raise answer
                labelled, cleaned = answer
                frames = dataset_frames(cleaned.boxes, settings)
                store.ensure(video_id, work.videos / str(video["file"]), frames.tolist(), str(video["sha256"]))
            except (InputError, DecodeError) as error:
                accounts.skip(video_id, str(error))
                continue
            write_parquet(folder.boxes("cleaned", video_id), cleaned.boxes, cleaned.boxes.attrs)
            written.add(f"{video_id}.parquet")
            accounts.add(video, labelled, cleaned, work.read_truth(video_id))
            if len(frames):
                images.append(image_rows(video, cleaned.boxes, frames))
            boxes.append(cleaned.boxes[cleaned.boxes["decision"] != "drop"])
    for stale in sorted((folder.stage("cleaned") / "boxes").glob("*.parquet")):
        if stale.name not in written:
            stale.unlink()
    all_boxes = tables.concatenate(boxes, tables.BOXES | tables.DECIDED)
    names = tuple(sorted(set(inputs.class_names) | set(all_boxes["class_name"].unique())))
    all_images = tables.concatenate(images, IMAGES)
    write_dataset(folder, all_images, all_boxes, names, store)
    counts = accounts.as_counts(len(all_images))
    before = run_records.read_run_record(inputs.before, "cleaned") if inputs.before is not None else None
    record = RunRecord(
        stage="cleaned",
        round=folder.number,
        arguments=recorded_arguments(settings),
        inputs=inputs.digests,
        counts=counts | {"alarms": find_alarms(counts, before.counts if before is not None else None)},
        facts={"labeller": inputs.labeller, "class_names": list(names)},
        output=output_digest(folder),
    )
    run_records.write_run_record(folder, record)
    return record
