"""All videos of a work folder through a detector: one shard a video, finished ones left alone.

Who labels: what the user named, or a pretrained detector in round 0 and then the round before's student.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm import tqdm

from labels.labelling.box_labelling import LabelledVideo, decode_stride, label_video
from labels.labelling.settings import LabellingSettings
from labels.models.detectors.detector import Detector
from labels.models.detectors.ensemble import Panel, score_scales
from labels.models.settings import DEFAULT_DETECTOR, STUDENT
from labels.records.errors import InputError
from labels.records.run_records import RunRecord, digest_of_files, require_run_record, start_run, write_run_record
from labels.records.safe_writing import digest_of, read_parquet_metadata, write_parquet
from labels.records.tables import check_boxes
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.videos.decoding.frames import DecodeError, Frame, decode_ahead
from labels.videos.frame_store import FrameStore

if TYPE_CHECKING:
    from labels.models.deep_features import BackboneFeatures

FORMAT = 4  # of the shards; raise it when the same detector on the same video gives other shards


@dataclass
class RoundLabels:
    """How labelling a round went. Counts are over all shards, also those that were finished before."""

    made: int = 0
    untouched: int = 0
    removed: int = 0  # shards of videos that are no longer there
    skipped: dict[str, str] = field(default_factory=dict)  # video_id -> reason
    kinds: Counter[str] = field(default_factory=Counter)  # kind of reason -> videos
    boxes: int = 0
    labelled_frames: int = 0
    degenerate_boxes: int = 0
    repeated_boxes: int = 0

    def lines(self) -> list[str]:
        """What to tell the user, a line each."""
        lines = [f"{video_id}: skipped: {reason}" for video_id, reason in sorted(self.skipped.items())]
        if self.untouched:
            lines.append(f"{self.untouched} videos were labelled already and not touched")
        if self.removed:
            lines.append(f"{self.removed} shards removed, because their videos are no longer there")
        if self.degenerate_boxes:
            lines.append(f"{self.degenerate_boxes} boxes left out, because nothing of them lies inside the frame")
        if self.repeated_boxes:
            lines.append(f"{self.repeated_boxes} boxes left out, because the labeller gave the very same one before")
        lines.append(f"{self.boxes} boxes in {self.labelled_frames} frames")
        return lines

    def count(self, metadata: dict[str, Any]) -> None:
        self.boxes += metadata["boxes"]
        self.labelled_frames += metadata["labelled_frames"]
        self.degenerate_boxes += metadata["degenerate_boxes"]
        self.repeated_boxes += metadata.get("repeated_boxes", 0)  # older shards did not count them


def shard_key(
    video: Any, detector: Detector | Panel, settings: LabellingSettings, backbone: "BackboneFeatures | None" = None
) -> str:
    """Changes when the shard of a video (a row of the videos table) would."""
    said = [FORMAT, video.sha256, video.frame_count, detector.digest, detector.class_names]
    return digest_of([*said, settings.stride, settings.image_share, described_by(detector, backbone)])


def described_by(detector: Detector | Panel, backbone: "BackboneFeatures | None") -> str:
    """Who sees what is in the boxes, beside colours and edges: what two networks see cannot be compared."""
    return detector.digest if detector.describes else backbone.name if backbone is not None else ""


def label_round(
    work: WorkFolder,
    folder: RoundFolder,
    detector: Detector | Panel,
    settings: LabellingSettings,
    backbone: "BackboneFeatures | None" = None,
) -> RoundLabels:
    """Label every usable video of the work folder that this detector has not labelled yet.

    A video that cannot be decoded is skipped with the reason, and has no shard.
    """
    videos = work.usable_videos()
    store = FrameStore(work.frames)
    start_run(folder, "labelled")
    stride = decode_stride(detector, settings.stride)
    outcome = RoundLabels(removed=remove_strangers(folder, set(videos["video_id"])))
    rows = {row.video_id: row for row in videos.itertuples()}
    pending, described = {}, described_by(detector, backbone)
    for video_id, row in rows.items():
        key = shard_key(row, detector, settings, backbone)
        metadata = finished_shard(folder, video_id, key)
        if metadata is None:
            pending[video_id] = key
        else:
            outcome.untouched += 1
            outcome.count(metadata)
    total = sum(math.ceil(rows[video_id].frame_count / stride) for video_id in pending)
    progress = tqdm(total=total, unit="frame", dynamic_ncols=True)
    requests = [(video_id, work.videos / rows[video_id].file, stride) for video_id in pending]
    ahead = decode_ahead(requests, settings.streams)
    try:
        with progress:
            for place, (video_id, frames) in enumerate(ahead, start=1):
                row = rows[video_id]
                progress.set_description(f"video {place}/{len(pending)} {video_id}"[:40])
                store.renew(video_id, row.sha256)
                counted = _counted(frames, progress, math.ceil(row.frame_count / stride))
                try:
                    labelled = label_video(video_id, counted, detector, folder.number, settings, store, backbone)
                except DecodeError as error:
                    remove_shard(folder, video_id)
                    outcome.skipped[video_id] = str(error)
                    outcome.kinds[error.kind] += 1
                    continue
                outcome.count(_write_shard(folder, row, pending[video_id], labelled, settings, described))
                outcome.made += 1
    finally:
        ahead.close()  # type: ignore[attr-defined]
    return outcome


def finish_round(
    folder: RoundFolder,
    detector: Detector | Panel,
    settings: LabellingSettings,
    outcome: RoundLabels,
    arguments: dict[str, Any],
    inputs: dict[str, str],
) -> None:
    """Write run.json, which marks the round as labelled. The same round gives the same file."""
    labeller = {
        "name": detector.name,
        "digest": detector.digest,
        "class_names": list(detector.class_names),
        "sources": score_scales(detector),
    }
    counts = {
        "videos": outcome.made + outcome.untouched + len(outcome.skipped),
        "used": outcome.made + outcome.untouched,
        "skipped": outcome.skipped,
        "boxes": outcome.boxes,
        "labelled_frames": outcome.labelled_frames,
        "degenerate_boxes": outcome.degenerate_boxes,
        "repeated_boxes": outcome.repeated_boxes,
    }
    facts = {"labeller": labeller, "stride": settings.stride}
    output = digest_of_files(shard_paths(folder))
    write_run_record(folder, RunRecord("labelled", folder.number, arguments, inputs, counts, facts, output=output))


def finished_shard(folder: RoundFolder, video_id: str, key: str) -> dict[str, Any] | None:
    """The metadata of a video's shard when it is whole and was made with this key."""
    metadata = read_parquet_metadata(folder.boxes("labelled", video_id))
    camera = read_parquet_metadata(folder.camera(video_id))
    both = metadata is not None and camera is not None and metadata.get("key") == camera.get("key") == key
    return metadata if both else None


def shard_paths(folder: RoundFolder) -> list[Path]:
    """All shards of the round, boxes and camera."""
    labelled = folder.stage("labelled")
    return sorted([*labelled.glob("boxes/[!.]*.parquet"), *labelled.glob("camera/[!.]*.parquet")])


def remove_shard(folder: RoundFolder, video_id: str) -> None:
    folder.boxes("labelled", video_id).unlink(missing_ok=True)
    folder.camera(video_id).unlink(missing_ok=True)


def remove_strangers(folder: RoundFolder, video_ids: set[str]) -> int:
    """Take away the shards of videos that are no longer in the work folder; how many videos that were."""
    for half_written in folder.stage("labelled").glob("*/.*.aside.parquet"):  # of a run that was killed
        half_written.unlink()
    strangers = {path.stem for path in shard_paths(folder)} - video_ids
    for video_id in strangers:
        remove_shard(folder, video_id)
    return len(strangers)


def _counted(frames: Iterator[Frame], progress: "tqdm[Any]", expected: int) -> Iterator[Frame]:
    """The frames as they are; DecodeError at the end when there are not as many as stage 1 counted."""
    count = 0
    for frame in frames:
        count += 1
        progress.update()
        yield frame
    if count != expected:
        raise DecodeError(f"{count} frames decoded where stage 1 counted {expected}; run stage 1 again")


def _write_shard(
    folder: RoundFolder, video: Any, key: str, labelled: LabelledVideo, settings: LabellingSettings, described: str
) -> dict[str, Any]:
    metadata = {
        "video_id": video.video_id,
        "key": key,
        "stride": settings.stride,
        "frame_count": int(video.frame_count),
        "width": int(video.width),
        "height": int(video.height),
        "fps": float(video.fps),
        "labelled_frames": labelled.labelled_frames,
        "boxes": len(labelled.boxes),
        "degenerate_boxes": labelled.degenerate_boxes,
        "repeated_boxes": labelled.repeated_boxes,
        "repeated_frames": list(labelled.repeated_frames),  # whose boxes are those of the frame before
        "sha256": str(video.sha256),
        "described_by": described,
    }
    boxes: pd.DataFrame = check_boxes(labelled.boxes, f"labels of {video.video_id}")
    write_parquet(folder.camera(video.video_id), labelled.camera, metadata)
    write_parquet(folder.boxes("labelled", video.video_id), boxes, metadata)  # last: it marks the video as done
    return metadata


def choose_detectors(
    work: WorkFolder, number: int, named: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names or files of the detectors, and the digest of the training one comes from, by that input's name.

    Raises InputError, with the command to run, when the student that is asked for was not trained.
    """
    if number == 0:
        if STUDENT in (named or []):
            raise InputError(f"--detector {STUDENT}: round 0 has no round before it; name another")
        return tuple(named or [DEFAULT_DETECTOR]), {}
    before = work.round(number - 1)
    student, file = str(before.detector), before.detector.resolve()
    names = tuple(student if name == STUDENT or Path(name).resolve() == file else name for name in named or [STUDENT])
    if student not in names:
        return names, {}
    record = require_run_record(before, "trained", f"python train.py {work.root} --round {before.number}")
    return names, {f"round {before.number} trained": record.output}
