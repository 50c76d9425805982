"""Stage 3 for boxes: clean a round's labelled shards, and write the cleaned shards, the dataset and run.json.

Shards are cleaned several at once; each depends only on its own video and on the round before. A round is up to date
when the digests of its inputs and its settings are those in run.json. The counts account for every box that came in:
what was decided, and why.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from labels.cleaning.agreement import SelfAgreement, Share
from labels.cleaning.audits import gather_audits
from labels.cleaning.dataset import dataset_frames, image_rows, is_whole, write_dataset
from labels.cleaning.features.appearance import UsualTracks, usual_tracks
from labels.cleaning.features.scores import Scales, scales_from
from labels.cleaning.guard import find_alarms
from labels.cleaning.quality_estimate import Calibration, QualityEstimate
from labels.cleaning.settings import CleaningSettings, set_by_name
from labels.cleaning.verdict_use import is_here
from labels.cleaning.video import CleanedVideo, clean_video
from labels.engine.placement import Placement
from labels.engine.pools import cores
from labels.engine.runner import Account, Outcome, Step, Task, run
from labels.exchange.formats.coco import IMAGES
from labels.records import next_command, run_records, tables
from labels.records.class_lists import family_of, same_names
from labels.records.errors import InputError
from labels.records.run_records import RunRecord
from labels.records.safe_writing import digest_of, file_digest, read_parquet, read_parquet_metadata, write_parquet
from labels.records.verdicts import Verdict, read_verdicts
from labels.records.video_labels import VideoLabels, read_video_labels, write_video_labels
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, RoundFolder, WorkFolder
from labels.videos.decoding.frames import DecodeError
from labels.videos.frame_store import FrameStore

FORMAT = 19  # of what is written; raise it when the same settings on the same labels give something else


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
    joined: dict[str, str] = field(default_factory=dict)  # names of the labeller -> what cleaning calls that class
    audits: list[str] = field(default_factory=list)  # lines on the audits whose verdicts were read in


def round_inputs(work: WorkFolder, number: int) -> RoundInputs:
    """Everything that must be there; InputError names the command that makes what is missing."""
    videos = work.usable_videos()
    folder = work.round(number)
    labelled = run_records.require_run_record(folder, "labelled", next_command.label_boxes(work, number))
    audits = gather_audits(work)
    digests = {
        "format": str(FORMAT),
        "videos": run_records.digest_of_videos(work),
        f"round {number} labelled": labelled.output,
        "verdicts": run_records.digest_of_verdicts(work),
        "truth": run_records.digest_of_truth(work),
    }
    before, cleaned = None, None
    if number > 0:
        before = work.round(number - 1)
        command = next_command.clean(work, number - 1)
        cleaned = run_records.require_run_record(before, "cleaned", command)
        if cleaned.inputs.get("format") != str(FORMAT):
            raise InputError(f"{before.stage('cleaned')}: was cleaned by another version; run first: {command}")
        digests[f"round {number - 1} cleaned"] = cleaned.output
    labeller = labelled.facts.get("labeller", {})
    joined = joined_names(labeller, cleaned)
    return RoundInputs(
        work=work,
        folder=folder,
        before=before,
        videos=videos,
        scales={
            (source, joined.get(name, name)): scale
            for (source, name), scale in scales_from(labeller.get("sources", {})).items()
        },
        class_names=tuple(dict.fromkeys(joined.get(name, name) for name in labeller.get("class_names", ()))),
        joined=joined,
        labeller=labeller,
        digests=digests,
        verdicts=read_verdicts(work),
        audits=audits,
    )


def joined_names(labeller: Mapping[str, Any], before: RunRecord | None) -> dict[str, str]:
    """Names under which a thing is known already: to the round before, or to another of the labeller's sources."""
    known = tuple((before.facts if before is not None else {}).get("class_names", ()))
    own = [set(source.get("working_threshold", {})) for source in labeller.get("sources", {}).values()]
    joined: dict[str, str] = {}
    for names in own:
        for others in own:
            joined |= {name: family_of(name) for name in same_names(names, others)}
    everything = {joined.get(name, name) for name in labeller.get("class_names", ())}
    joined |= same_names(everything, known)
    joined = {name: joined.get(other, other) for name, other in joined.items()}
    return {name: other for name, other in joined.items() if name != other}


def finished_record(inputs: RoundInputs, settings: CleaningSettings) -> RunRecord | None:
    """The run record when running again would give what is there already."""
    record = run_records.read_run_record(inputs.folder, "cleaned")
    if record is None or not record.is_made_from(recorded_arguments(settings), inputs.digests):
        return None
    same = record.output == output_digest(inputs.folder)
    shards = (inputs.folder.stage("cleaned") / "boxes").glob("[!.]*.parquet")
    has_evidence = all(inputs.folder.evidence(path.stem).is_file() for path in shards)
    return record if same and has_evidence and is_whole(inputs.folder) else None


def recorded_arguments(settings: CleaningSettings) -> dict[str, Any]:
    """The settings as run.json keeps them; `set`: those that were said by name."""
    named = set_by_name(settings)
    return asdict(settings) | {"without": sorted(settings.without)} | ({"set": named} if named else {})


def output_digest(folder: RoundFolder) -> str:
    """Of all that cleaning wrote but the pictures."""
    shards = sorted((folder.stage("cleaned") / "boxes").glob("*.parquet"))
    annotations = folder.dataset / "annotations.json"
    return digest_of([run_records.digest_of_files([*shards, *([annotations] if annotations.is_file() else [])])])


LEAST_BYTES = 200_000  # of shards; less is done before other processes have started


@dataclass(frozen=True)
class BoxCleaning(Task):
    """The labelled shards of one round cleaned, and the frames of the dataset in the store.

    `usual`: how the tracks look that the round before kept in all videos.
    """

    name, skips = "cleaning", (InputError, DecodeError)

    inputs: RoundInputs
    settings: CleaningSettings
    usual: UsualTracks | None

    @cached_property
    def videos(self) -> dict[str, Any]:
        return self.inputs.work.usable_rows()

    @cached_property
    def store(self) -> FrameStore:
        return FrameStore(self.inputs.work.frames)

    def files(self, item: str) -> tuple[Path, ...]:
        return self.inputs.folder.boxes("cleaned", item), self.inputs.folder.evidence(item)

    def key(self, item: str) -> str:
        inputs, video = self.inputs, self.videos[item]
        own = [inputs.folder.boxes("labelled", item), inputs.folder.camera(item)]
        rounds = None  # only what is usual is made from all their videos
        if inputs.before is not None:
            own.append(inputs.before.boxes("cleaned", item))
            rounds = [digest for name, digest in inputs.digests.items() if name.startswith("round ")]
        made_from = [file_digest(path) if path.is_file() else "none" for path in own]
        facts = [inputs.folder.number, inputs.labeller.get("sources", {}), inputs.digests["verdicts"], video.sha256]
        facts.append(inputs.joined)
        return digest_of([FORMAT, recorded_arguments(self.settings), facts, made_from, rounds])

    def finished(self, item: str, key: str) -> Account | None:
        path, evidence = self.files(item)
        account = read_parquet_metadata(evidence) or {}
        if account.get("key") != key or not path.is_file() or account.get("boxes") != file_digest(path):
            return None
        frames = dataset_frames(read_video_labels(path, decided=True), self.settings)
        return account if self.store.is_complete(item, frames.tolist(), self.videos[item].sha256) else None

    def make(self, item: str, key: str, step: Step) -> Account:
        cleaned, video, (path, evidence) = self.clean(item), self.videos[item], self.files(item)
        frames = dataset_frames(cleaned.labels, self.settings)
        self.store.ensure(item, self.inputs.work.videos / str(video.file), frames.tolist(), str(video.sha256))
        write_video_labels(path, cleaned.labels)
        account = {"key": key, "boxes": file_digest(path), **account_of(cleaned)}
        write_parquet(evidence, cleaned.evidence.reset_index(), account)  # last: it marks the video as cleaned
        return account

    def worth(self, items: list[str]) -> int:
        paths = (self.inputs.folder.boxes("labelled", item) for item in items)
        return cores() if sum(path.stat().st_size for path in paths if path.is_file()) >= LEAST_BYTES else 1

    def clean(self, video_id: str) -> CleanedVideo:
        """One video. InputError when its shard is missing or unsound."""
        inputs = self.inputs
        labelled = read_labelled(inputs, video_id)
        camera_path = inputs.folder.camera(video_id)
        camera = read_parquet(camera_path) if camera_path.is_file() else None
        old = None
        if inputs.before is not None and inputs.before.boxes("cleaned", video_id).is_file():
            old = read_video_labels(inputs.before.boxes("cleaned", video_id), decided=True)
        return clean_video(
            labelled,
            inputs.folder.number,
            inputs.scales,
            self.settings,
            old,
            camera,
            verdicts=inputs.verdicts,
            usual=self.usual,
        )


def read_labelled(inputs: RoundInputs, video_id: str) -> VideoLabels:
    """What stage 2 found in a video, under the names that cleaning knows. InputError when there is none, or unsound."""
    path = inputs.folder.boxes("labelled", video_id)
    if not path.is_file():
        raise InputError("was not labelled")
    labelled = read_video_labels(path)
    if not inputs.joined:
        return labelled
    return labelled.with_boxes(labelled.boxes.assign(class_name=labelled.boxes["class_name"].replace(inputs.joined)))


def account_of(cleaned: CleanedVideo) -> Account:
    """What a video adds to the account of its round, beside what its boxes say themselves."""
    counts = {
        "interpolated": cleaned.interpolated,
        "from_verdicts": cleaned.from_verdicts,
        "confident": cleaned.confident,
        "kept_confident": cleaned.kept_confident,
        "kept_balls": cleaned.kept_balls,
    }
    return {
        "counts": {name: int(count) for name, count in counts.items()},
        "merged": {name: int(count) for name, count in asdict(cleaned.merged).items()},
        "agreement": {name: [int(share.agreed), int(share.asked)] for name, share in cleaned.agreement.items()},
        "has_confident_track": cleaned.has_confident_track,
    }


ROWS = (
    *("videos", "labelled", "merged_in", "interpolated", "fused", "from_verdicts", "left_behind"),
    *("keep", "ignore", "drop"),
)
SIGNS = (
    "confident",
    "kept_confident",
    "kept_balls",
    "kept_without_confident_track",
    "old_kept",
    "found_again",
)  # for the guard


class RoundAccounts:
    """Adds up the videos of a round."""

    def __init__(self, inputs: RoundInputs) -> None:
        self._inputs, self._work, self._verdicts = inputs, inputs.work, inputs.verdicts
        self._unmatched = set(inputs.verdicts)
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._kept_by_class: Counter[str] = Counter()
        self._frames = 0  # that a labeller looked at
        self._no_confident_track: list[str] = []
        self._class_names = {"labels": set(inputs.class_names), "truth": set[str]()}
        self._quality = QualityEstimate(inputs.scales, inputs.class_names)
        self._calibration, self._agreement = Calibration(inputs.class_names), SelfAgreement()

    def add(self, video: pd.Series, cleaned: VideoLabels, account: Account) -> None:
        """One video: its row of the videos table, its cleaned boxes, and what `account_of` says of it."""
        video_id, boxes = str(video["video_id"]), cleaned.boxes
        self._unmatched.difference_update(boxes["label_uid"])
        self._unmatched = {uid for uid in self._unmatched if not is_here(self._verdicts[uid], cleaned.video)}
        self._counts.update(account["merged"] | dict(Counter(boxes["decision"].tolist())) | {"videos": 1})
        self._counts.update(account["counts"])
        self._frames += len(cleaned.video.labelled_frames)
        self._counts.update(labelled=-account["counts"]["from_verdicts"])
        self._class_names["labels"].update(boxes["class_name"][boxes["decision"] == "keep"])
        self._kept_by_class.update(boxes["class_name"][boxes["decision"] == "keep"].tolist())
        if account["counts"]["confident"] and not account["has_confident_track"]:
            self._no_confident_track.append(video_id)
            self._counts["kept_without_confident_track"] += account["counts"]["kept_balls"]
        self._reasons.update(_reasons(boxes))
        shares = {name: Share(*counts) for name, counts in account["agreement"].items()}
        self._agreement.add(str(video["group"]) or video_id, shares)
        if (truth := self._work.read_truth(video_id)) is not None:
            # Only frames that were labelled are judged: the others were never looked at.
            truth = truth[truth["frame_index"].isin(cleaned.video.labelled_frames)]
            self._class_names["truth"].update(set(truth["class_name"]) - {""})
            self._quality.add(str(video["split"]), read_labelled(self._inputs, video_id).boxes, boxes, truth)
            self._calibration.add(boxes, truth)

    def as_counts(self, images: int, skipped: dict[str, str]) -> dict[str, Any]:
        """For run.json; `images`: how many the dataset has. AssertionError when a box is not accounted for."""
        unmatched = self._unmatched - _uids_of_actions(self._work) if self._unmatched else self._unmatched
        counts = {
            **{name: self._counts[name] for name in (*ROWS, *SIGNS)},
            "frames": self._frames,
            "images": images,
            "kept_by_class": dict(sorted(self._kept_by_class.items())),
            "no_confident_track": self._no_confident_track,
            "reasons": dict(sorted(self._reasons.items())),
            "skipped": skipped,
            "verdicts": len(self._verdicts),
            "verdicts_without_label": sorted(unmatched),
            "class_names": {name: sorted(found) for name, found in self._class_names.items()}
            | {"joined": self._inputs.joined},
            "quality": self._quality.as_counts(),
            "calibration": self._calibration.as_counts(),
            "agreement": self._agreement.as_counts(),
        }
        _check_accounts(counts)
        return counts


def _uids_of_actions(work: WorkFolder) -> set[str]:
    """The names of all actions: what was said of them is no word on a box that is gone."""
    stages = (ACTIONS_LABELLED, ACTIONS_CLEANED)
    shards = [
        path
        for number in work.round_numbers()
        for stage in stages
        for path in work.round(number).stage(stage).glob("*.parquet")
    ]
    return {uid for path in shards for uid in read_parquet(path, columns=["label_uid"])["label_uid"]}


def _reasons(boxes: pd.DataFrame) -> Counter[str]:
    """«decision rule» -> how many rows; kept rows by their origin."""
    rule = boxes["reason"].str.split(":").str[0].where(boxes["decision"] != "keep", boxes["origin"])
    return Counter((boxes["decision"].astype(str) + " " + rule.astype(str)).tolist())


def _check_accounts(counts: dict[str, Any]) -> None:
    rows_in = counts["labelled"] + counts["from_verdicts"] + counts["merged_in"] + counts["interpolated"]
    rows_out = counts["keep"] + counts["ignore"] + counts["drop"]
    if rows_in != rows_out or rows_out != sum(counts["reasons"].values()):
        raise AssertionError(f"{rows_in} boxes came in, {rows_out} were decided on: {counts}")


def clean_videos(inputs: RoundInputs, settings: CleaningSettings, where: Placement | None = None) -> Outcome:
    """Clean every video of a round that is not cleaned yet from just this; the stage is then to be finished."""
    run_records.start_run(inputs.folder, "cleaned")
    usual = usual_tracks(inputs.folder, inputs.before, settings)
    return run(BoxCleaning(inputs, settings, usual), inputs.videos["video_id"].tolist(), where)


def finish_round(inputs: RoundInputs, settings: CleaningSettings, outcome: Outcome) -> RunRecord:
    """What is of all videos: the dataset, the account of every box, and run.json last."""
    folder, store, accounts = inputs.folder, FrameStore(inputs.work.frames), RoundAccounts(inputs)
    images, boxes = [], []
    for _, video in inputs.videos[inputs.videos["video_id"].isin(outcome.used)].iterrows():
        video_id = str(video["video_id"])
        cleaned = read_video_labels(folder.boxes("cleaned", video_id), decided=True)
        accounts.add(video, cleaned, read_parquet_metadata(folder.evidence(video_id)) or {})
        frames = dataset_frames(cleaned, settings)
        if len(frames):
            images.append(image_rows(video, cleaned, frames))
        boxes.append(cleaned.boxes[cleaned.boxes["decision"] != "drop"])
    all_boxes = tables.concatenate(boxes, tables.BOXES | tables.DECIDED)
    names = tuple(sorted(set(inputs.class_names) | set(all_boxes["class_name"].unique())))
    all_images = tables.concatenate(images, IMAGES)
    write_dataset(folder, all_images, all_boxes, names, store)
    counts = accounts.as_counts(len(all_images), outcome.skipped)
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
