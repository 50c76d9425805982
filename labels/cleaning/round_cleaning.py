"""Stage 3 over one round: read the labelled shards, clean each, write the cleaned ones, the dataset and run.json."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from labels.cleaning.audits import gather_audits
from labels.cleaning.calibration import Calibration
from labels.cleaning.collapse_guard import find_alarms
from labels.cleaning.dataset_writing import dataset_frames, image_rows, is_whole, write_dataset
from labels.cleaning.human_verdicts import Verdict, read_verdicts
from labels.cleaning.outliers import UsualLooks, usual_looks
from labels.cleaning.quality_estimate import QualityEstimate
from labels.cleaning.scores import Scales, scales_from
from labels.cleaning.self_agreement import SelfAgreement
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.verdict_use import is_here
from labels.cleaning.video_cleaning import CleanedVideo, clean_video
from labels.exchange.coco import IMAGES
from labels.records import run_records, tables
from labels.records.errors import InputError
from labels.records.run_records import RunRecord
from labels.records.safe_writing import digest_of, read_parquet, write_parquet
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.videos.decoding import DecodeError
from labels.videos.frame_store import FrameStore

FORMAT = 11  # of what is written; raise it when the same settings on the same labels give something else
NEEDED_METADATA = ("frame_count", "stride", "fps", "width", "height")


@dataclass
class RoundInputs:
    """What a round's cleaning is made from, and the digests that say whether it changed."""

    work: WorkFolder
    folder: RoundFolder
    before: RoundFolder | None
    videos: pd.DataFrame
    scales: Scales
    class_names: tuple[str, ...]
    labeller: dict[str, Any]
    digests: dict[str, str]
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    audits: list[str] = field(default_factory=list)  # lines on the audits whose verdicts were read in


def round_inputs(work: WorkFolder, number: int) -> RoundInputs:
    """Everything that must be there; InputError names the command that makes what is missing."""
    videos = work.usable_videos()
    folder = work.round(number)
    labelled = run_records.require_run_record(
        folder, "labelled", f"python dataset_processor.py {work.root} --round {number}"
    )
    audits = gather_audits(work)
    digests = {
        "format": str(FORMAT),
        "videos": run_records.digest_of_videos(work),
        f"round {number} labelled": labelled.output,
        "verdicts": run_records.digest_of_verdicts(work),
        "truth": run_records.digest_of_truth(work),
    }
    before = None
    if number > 0:
        before = work.round(number - 1)
        cleaned = run_records.require_run_record(
            before, "cleaned", f"python dataset_cleaner.py {work.root} --round {number - 1}"
        )
        if cleaned.inputs.get("format") != str(FORMAT):
            raise InputError(
                f"{before.stage('cleaned')}: was cleaned by another version; run first: "
                f"python dataset_cleaner.py {work.root} --round {number - 1}"
            )
        digests[f"round {number - 1} cleaned"] = cleaned.output
    labeller = labelled.facts.get("labeller", {})
    return RoundInputs(
        work=work,
        folder=folder,
        before=before,
        videos=videos,
        scales=scales_from(labeller.get("sources", {})),
        class_names=tuple(labeller.get("class_names", ())),
        labeller=labeller,
        digests=digests,
        verdicts=read_verdicts(work),
        audits=audits,
    )


def finished_record(inputs: RoundInputs, settings: CleaningSettings) -> RunRecord | None:
    """The run record when running again would give what is there already."""
    record = run_records.read_run_record(inputs.folder, "cleaned")
    if record is None or not record.is_made_from(_arguments(settings), inputs.digests):
        return None
    same = record.output == _output_digest(inputs.folder)
    return record if same and is_whole(inputs.folder) else None


def clean_round(inputs: RoundInputs, settings: CleaningSettings, progress: Iterable[int] | None = None) -> RunRecord:
    """Clean every video of a round and write everything, run.json last. `progress` is stepped once a video."""
    work, folder = inputs.work, inputs.folder
    steps = iter(progress if progress is not None else range(len(inputs.videos)))
    run_records.start_run(folder, "cleaned")
    store = FrameStore(work.frames)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    kept_by_class: Counter[str] = Counter()
    unanchored: list[str] = []
    skipped: dict[str, str] = {}
    unheard = set(inputs.verdicts)
    quality = QualityEstimate(inputs.scales, inputs.class_names)
    calibration, agreement = Calibration(inputs.class_names), SelfAgreement()
    usual = usual_looks(inputs.before, settings)
    images, boxes, written = [], [], set()
    for _, video in inputs.videos.iterrows():
        next(steps, None)
        video_id = str(video["video_id"])
        try:
            labelled, cleaned = _clean_one(inputs, settings, video_id, usual)
            frames = dataset_frames(cleaned.boxes, settings)
            store.ensure(video_id, work.videos / str(video["file"]), frames.tolist(), str(video["sha256"]))
        except (InputError, DecodeError) as error:
            skipped[video_id] = str(error)
            continue
        write_parquet(folder.boxes("cleaned", video_id), cleaned.boxes, cleaned.boxes.attrs)
        written.add(f"{video_id}.parquet")
        unheard.difference_update(cleaned.boxes["label_uid"])
        unheard = {uid for uid in unheard if not is_here(inputs.verdicts[uid], cleaned.boxes.attrs)}
        counts.update(asdict(cleaned.merged) | cleaned.decisions | {"interpolated": cleaned.interpolated, "videos": 1})
        counts.update({name: getattr(cleaned, name) for name in ("believed", "kept_believed", "kept_balls")})
        kept_by_class.update(cleaned.boxes["class_name"][cleaned.boxes["decision"] == "keep"].tolist())
        if cleaned.believed and not cleaned.is_anchored:
            unanchored.append(video_id)
            counts["kept_unanchored"] += cleaned.kept_balls
        counts.update(labelled=-cleaned.from_verdicts, from_verdicts=cleaned.from_verdicts)
        reasons.update(_reasons(cleaned.boxes))
        agreement.add(str(video["group"]) or video_id, cleaned.agreement)
        truth = work.read_truth(video_id)
        if truth is not None:
            quality.add(str(video["split"]), labelled, cleaned.boxes, truth)
            calibration.add(cleaned.boxes, truth)
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
    record = RunRecord(
        stage="cleaned",
        round=folder.number,
        arguments=_arguments(settings),
        inputs=inputs.digests,
        counts={
            **{name: counts[name] for name in ("videos", "labelled", "merged_in", "interpolated", "fused")},
            "from_verdicts": counts["from_verdicts"],
            "left_behind": counts["left_behind"],
            "keep": counts["keep"],
            "ignore": counts["ignore"],
            "drop": counts["drop"],
            "images": len(all_images),
            **{
                name: counts[name]
                for name in ("believed", "kept_believed", "kept_balls", "kept_unanchored", "old_kept", "found_again")
            },
            "kept_by_class": dict(sorted(kept_by_class.items())),
            "unanchored": unanchored,
            "reasons": dict(sorted(reasons.items())),
            "skipped": skipped,
            "verdicts": len(inputs.verdicts),
            "verdicts_without_label": sorted(unheard),
            "quality": quality.as_counts(),
            "calibration": calibration.as_counts(),
            "agreement": agreement.as_counts(),
        },
        facts={"labeller": inputs.labeller, "class_names": list(names)},
        output=_output_digest(folder),
    )
    before = run_records.read_run_record(inputs.before, "cleaned") if inputs.before is not None else None
    record.counts["alarms"] = find_alarms(record.counts, before.counts if before is not None else None)
    _check_accounts(record.counts)
    run_records.write_run_record(folder, record)
    return record


def _clean_one(
    inputs: RoundInputs, settings: CleaningSettings, video_id: str, usual: UsualLooks | None
) -> tuple[pd.DataFrame, CleanedVideo]:
    """The labelled and the cleaned boxes of one video. InputError when its shard is missing or unsound."""
    folder = inputs.folder
    path = folder.boxes("labelled", video_id)
    if not path.is_file():
        raise InputError("was not labelled")
    labelled = _checked(path, decided=False)
    missing = [name for name in NEEDED_METADATA if name not in labelled.attrs]
    if missing:
        raise InputError(f"{path}: its metadata lacks {', '.join(missing)}")
    camera_path = folder.camera(video_id)
    camera = read_parquet(camera_path) if camera_path.is_file() else None
    old = None
    if inputs.before is not None and inputs.before.boxes("cleaned", video_id).is_file():
        old = _checked(inputs.before.boxes("cleaned", video_id), decided=True)
    cleaned = clean_video(
        labelled,
        folder.number,
        inputs.scales,
        settings,
        old,
        camera,
        verdicts=inputs.verdicts,
        usual=usual,
    )
    return labelled, cleaned


def _checked(path: Path, decided: bool) -> pd.DataFrame:
    boxes = read_parquet(path)
    try:
        return tables.check_boxes(boxes, str(path), decided)
    except ValueError as error:
        raise InputError(str(error)) from None


def _reasons(boxes: pd.DataFrame) -> Counter[str]:
    """«decision rule» -> how many rows; kept rows by their origin."""
    rule = boxes["reason"].str.split(":").str[0].where(boxes["decision"] != "keep", boxes["origin"])
    return Counter((boxes["decision"].astype(str) + " " + rule.astype(str)).tolist())


def _check_accounts(counts: dict[str, Any]) -> None:
    rows_in = counts["labelled"] + counts["from_verdicts"] + counts["merged_in"] + counts["interpolated"]
    rows_out = counts["keep"] + counts["ignore"] + counts["drop"]
    if rows_in != rows_out or rows_out != sum(counts["reasons"].values()):
        raise AssertionError(f"{rows_in} boxes came in, {rows_out} were decided on: {counts}")


def _arguments(settings: CleaningSettings) -> dict[str, Any]:
    return asdict(settings) | {"without": sorted(settings.without)}


def _output_digest(folder: RoundFolder) -> str:
    shards = sorted((folder.stage("cleaned") / "boxes").glob("*.parquet"))
    annotations = folder.dataset / "annotations.json"
    return digest_of([run_records.digest_of_files([*shards, *([annotations] if annotations.is_file() else [])])])
