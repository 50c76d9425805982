"""Stage 3 over one round: read the labelled shards, clean each, write the cleaned ones, the dataset and run.json.

What a round's cleaning is made from, and whether it was made already from just that.

The labelled shards of a round cleaned, several at once: what becomes of one depends on it and its past alone.

The accounts of a cleaned round: every box that came in was decided on, and why.
"""

import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd

from labels.cleaning.agreement import SelfAgreement
from labels.cleaning.audits import gather_audits
from labels.cleaning.dataset import dataset_frames, image_rows, is_whole, write_dataset
from labels.cleaning.features.appearance import UsualTracks, usual_tracks
from labels.cleaning.features.scores import Scales, scales_from
from labels.cleaning.guard import find_alarms
from labels.cleaning.quality_estimate import Calibration, QualityEstimate
from labels.cleaning.settings import CleaningSettings, set_by_name
from labels.cleaning.verdict_use import is_here
from labels.cleaning.video import CleanedVideo, clean_video
from labels.exchange.formats.coco import IMAGES
from labels.records import next_command, run_records, tables
from labels.records.class_lists import family_of, same_names
from labels.records.command_line import leave_to_parent
from labels.records.errors import InputError
from labels.records.run_records import RunRecord
from labels.records.safe_writing import digest_of, read_parquet, write_parquet
from labels.records.verdicts import Verdict, read_verdicts
from labels.records.video_labels import read_video_labels, write_video_labels
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, RoundFolder, WorkFolder
from labels.videos.decoding.frames import DecodeError
from labels.videos.frame_store import FrameStore

FORMAT = 18  # of what is written; raise it when the same settings on the same labels give something else


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
    own = [set(said.get("working_threshold", {})) for said in labeller.get("sources", {}).values()]
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
class ShardCleaner:
    """Cleans the shards of one round. `usual`: how the tracks look that the round before kept in all videos."""

    inputs: RoundInputs
    settings: CleaningSettings
    usual: UsualTracks | None

    def clean(self, video_id: str) -> tuple[pd.DataFrame, CleanedVideo]:
        """The labelled and the cleaned boxes of one video. InputError when its shard is missing or unsound."""
        inputs = self.inputs
        path = inputs.folder.boxes("labelled", video_id)
        if not path.is_file():
            raise InputError("was not labelled")
        labelled = read_video_labels(path)
        if inputs.joined:
            names = labelled.boxes["class_name"].replace(inputs.joined)
            labelled = replace(labelled, boxes=labelled.boxes.assign(class_name=names))
        camera_path = inputs.folder.camera(video_id)
        camera = read_parquet(camera_path) if camera_path.is_file() else None
        old = None
        if inputs.before is not None and inputs.before.boxes("cleaned", video_id).is_file():
            old = read_video_labels(inputs.before.boxes("cleaned", video_id), decided=True)
        cleaned = clean_video(
            labelled,
            inputs.folder.number,
            inputs.scales,
            self.settings,
            old,
            camera,
            verdicts=inputs.verdicts,
            usual=self.usual,
        )
        return labelled.boxes, cleaned

    def clean_all(self) -> Generator[tuple[pd.DataFrame, CleanedVideo] | InputError, None, None]:
        """For each video of the round, in order, what `clean` gives or raises."""
        video_ids = [str(video_id) for video_id in self.inputs.videos["video_id"]]
        paths = (self.inputs.folder.boxes("labelled", video_id) for video_id in video_ids)
        workers = min(os.cpu_count() or 1, len(video_ids))
        if workers < 2 or sum(path.stat().st_size for path in paths if path.is_file()) < LEAST_BYTES:
            yield from (_clean_or_tell(self, video_id) for video_id in video_ids)
            return
        # Not forked: a fork copies locks that threads of numpy or pyarrow may hold.
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (self,))
        waiting: deque[Future[tuple[pd.DataFrame, CleanedVideo] | InputError]] = deque()
        try:
            for video_id in video_ids:
                waiting.append(pool.submit(_clean_in_worker, video_id))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise InputError("a cleaning process died; is there enough memory?") from None
        except BaseException:  # they write nothing: there is nothing to wait for
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _clean_or_tell(cleaner: ShardCleaner, video_id: str) -> tuple[pd.DataFrame, CleanedVideo] | InputError:
    try:
        return cleaner.clean(video_id)
    except InputError as error:
        return error


_cleaner: ShardCleaner | None = None  # in a cleaning process


def _start_worker(cleaner: ShardCleaner) -> None:
    global _cleaner
    _cleaner = cleaner
    leave_to_parent()


def _clean_in_worker(video_id: str) -> tuple[pd.DataFrame, CleanedVideo] | InputError:
    assert _cleaner is not None
    return _clean_or_tell(_cleaner, video_id)


ROWS = (
    *("videos", "labelled", "merged_in", "interpolated", "fused", "from_verdicts", "left_behind"),
    *("keep", "ignore", "drop"),
)
SIGNS = ("believed", "kept_believed", "kept_balls", "kept_unanchored", "old_kept", "found_again")  # for the guard


class RoundAccounts:
    """Adds up the videos of a round."""

    def __init__(self, inputs: RoundInputs) -> None:
        self._work, self._verdicts = inputs.work, inputs.verdicts
        self._unheard = set(inputs.verdicts)
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._kept_by_class: Counter[str] = Counter()
        self._unanchored: list[str] = []
        self._skipped: dict[str, str] = {}
        self._class_names = {"labels": set(inputs.class_names), "truth": set[str]()}
        self._joined = inputs.joined
        self._quality = QualityEstimate(inputs.scales, inputs.class_names)
        self._calibration, self._agreement = Calibration(inputs.class_names), SelfAgreement()

    def add(self, video: pd.Series, labelled: pd.DataFrame, cleaned: CleanedVideo, truth: pd.DataFrame | None) -> None:
        """One video: its row of the videos table, its boxes before and after, and the truth where there is any."""
        video_id, boxes = str(video["video_id"]), cleaned.boxes
        self._unheard.difference_update(boxes["label_uid"])
        self._unheard = {uid for uid in self._unheard if not is_here(self._verdicts[uid], cleaned.video)}
        self._counts.update(asdict(cleaned.merged) | cleaned.decisions)
        self._counts.update(interpolated=cleaned.interpolated, videos=1)
        self._counts.update(
            {"believed": cleaned.confident, "kept_believed": cleaned.kept_confident, "kept_balls": cleaned.kept_balls}
        )
        self._counts.update(labelled=-cleaned.from_verdicts, from_verdicts=cleaned.from_verdicts)
        self._class_names["labels"].update(boxes["class_name"][boxes["decision"] == "keep"])
        self._kept_by_class.update(boxes["class_name"][boxes["decision"] == "keep"].tolist())
        if cleaned.confident and not cleaned.has_confident_track:
            self._unanchored.append(video_id)
            self._counts["kept_unanchored"] += cleaned.kept_balls
        self._reasons.update(_reasons(boxes))
        self._agreement.add(str(video["group"]) or video_id, cleaned.agreement)
        if truth is not None:
            # Only frames that were labelled are judged: the truth between them was never looked at.
            truth = truth[truth["frame_index"] % cleaned.video.stride == 0]
            self._class_names["truth"].update(set(truth["class_name"]) - {""})
            self._quality.add(str(video["split"]), labelled, boxes, truth)
            self._calibration.add(boxes, truth)

    def skip(self, video_id: str, why: str) -> None:
        """A video that could not be cleaned."""
        self._skipped[video_id] = why

    def as_counts(self, images: int) -> dict[str, Any]:
        """For run.json; `images`: how many the dataset has. AssertionError when a box is not accounted for."""
        unheard = self._unheard - _uids_of_actions(self._work) if self._unheard else self._unheard
        counts = {
            **{name: self._counts[name] for name in (*ROWS, *SIGNS)},
            "images": images,
            "kept_by_class": dict(sorted(self._kept_by_class.items())),
            "unanchored": self._unanchored,
            "reasons": dict(sorted(self._reasons.items())),
            "skipped": self._skipped,
            "verdicts": len(self._verdicts),
            "verdicts_without_label": sorted(unheard),
            "class_names": {name: sorted(found) for name, found in self._class_names.items()}
            | {"joined": self._joined},
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


def clean_round(inputs: RoundInputs, settings: CleaningSettings, progress: Iterable[int] | None = None) -> RunRecord:
    """Clean every video of a round and write everything, run.json last. `progress` is stepped once a video."""
    work, folder = inputs.work, inputs.folder
    steps = iter(progress if progress is not None else range(len(inputs.videos)))
    run_records.start_run(folder, "cleaned")
    store = FrameStore(work.frames)
    accounts = RoundAccounts(inputs)
    images, boxes, written = [], [], set()
    cleaner = ShardCleaner(inputs, settings, usual_tracks(folder, inputs.before, settings))
    with closing(cleaner.clean_all()) as answers:
        for (_, video), answer in zip(inputs.videos.iterrows(), answers, strict=True):
            next(steps, None)
            video_id = str(video["video_id"])
            try:
                if isinstance(answer, InputError):
                    raise answer
                labelled, cleaned = answer
                frames = dataset_frames(cleaned.labels, settings)
                store.ensure(video_id, work.videos / str(video["file"]), frames.tolist(), str(video["sha256"]))
            except (InputError, DecodeError) as error:
                accounts.skip(video_id, str(error))
                continue
            write_video_labels(folder.boxes("cleaned", video_id), cleaned.labels)
            write_parquet(folder.evidence(video_id), cleaned.evidence.reset_index())
            written.add(f"{video_id}.parquet")
            accounts.add(video, labelled, cleaned, work.read_truth(video_id))
            if len(frames):
                images.append(image_rows(video, cleaned.labels, frames))
            boxes.append(cleaned.boxes[cleaned.boxes["decision"] != "drop"])
    for kind in ("boxes", "evidence"):
        for stale in sorted((folder.stage("cleaned") / kind).glob("*.parquet")):
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
