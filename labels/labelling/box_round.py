"""Stage 2 for boxes: every video of a work folder through the round's detectors, one shard a video.

The detectors are those the user named; by default a pretrained one in round 0, and the round before's student later.
Finished shards are left alone.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from labels.engine.placement import Placement, placement_of
from labels.engine.runner import Account, Loaded, Outcome, Results, Step, Task, run
from labels.labelling.box_labelling import decode_stride, joined, label_video, parts_of
from labels.labelling.sample import Sample, bill_lines, note_cost, read_bill, sample_line, samples_for
from labels.labelling.settings import ARGUMENTS, LabellingSettings
from labels.models.detectors.detector import Clock, Detector
from labels.models.detectors.ensemble import (
    Ensemble,
    load_backbone,
    load_ensemble,
    origins_of,
    score_scales,
    sources_of,
)
from labels.models.settings import DEFAULT_DETECTOR, STUDENT, DetectorOptions, Views
from labels.records import next_command
from labels.records.class_lists import class_names_from
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import (
    RunRecord,
    digest_of_cleaned,
    digest_of_files,
    digest_of_videos,
    out_of_date,
    require_run_record,
    start_run,
    write_run_record,
)
from labels.records.safe_writing import digest_of, write_parquet
from labels.records.tables import check_boxes
from labels.records.video_labels import Stretches, VideoFacts, VideoLabels, write_video_labels
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.videos.decoding.frames import DecodeError, Frame, decode_ahead, decode_frames
from labels.videos.frame_store import FrameStore

if TYPE_CHECKING:
    from labels.models.deep_features import BoxFeatures

FORMAT = 5  # of the shards; raise it when the same detector on the same video gives other shards


def shard_key(
    video: Any,
    detector: Detector | Ensemble,
    settings: LabellingSettings,
    backbone: "BoxFeatures | None" = None,
    stretches: Stretches | None = None,
    asked: Stretches | None = None,
) -> str:
    """Changes when the shard of a video (a row of the videos table) would."""
    facts = [FORMAT, video.sha256, video.frame_count, detector.digest, detector.class_names]
    if stretches is not None or asked is not None:
        facts += [stretches, asked]
    return digest_of(
        [*facts, settings.stride, settings.image_share, settings.most_boxes, described_by(detector, backbone)]
    )


def described_by(detector: Detector | Ensemble, backbone: "BoxFeatures | None") -> str:
    """Who sees what is in the boxes, beside colours and edges: what two networks see cannot be compared."""
    return detector.digest if detector.describes else backbone.name if backbone is not None else ""


class Labeller(NamedTuple):
    """Without a backbone boxes have what the detector sees in them, if it says so. `student`: the name of whoever of
    its detectors is no teacher.
    """

    detector: Detector | Ensemble
    backbone: "BoxFeatures | None" = None
    student: str = ""

    def costs(self, clocks: Mapping[str, Clock]) -> tuple[Clock, Clock]:
        """What teachers and what the student was given and took, of the clock of each source."""
        names = {source: each.name for source, each in sources_of(self.detector).items()}
        teachers = [clock for source, clock in clocks.items() if names[source] != self.student]
        students = [clock for source, clock in clocks.items() if names[source] == self.student]
        return sum(teachers, Clock()), sum(students, Clock())


def load_labeller(
    names: tuple[str, ...],
    class_names: tuple[str, ...] | None,
    device: str,
    options: DetectorOptions,
    views: Views,
    stride: int,
    backbone: str | None,
    asked: tuple[str, ...] = (),
    student: str = "",
) -> Labeller:
    """As `load_ensemble` and `load_backbone`, which it raises as."""
    try:
        detector = load_ensemble((*names, *asked), class_names, device, options, views, stride, asked)
    except InputError as error:
        for name in asked:  # an error names the option that the detector was named with
            if str(error).startswith(f"--detector {name}:"):
                raise InputError(str(error).replace("--detector", "--ask", 1)) from None
        raise
    return Labeller(detector, load_backbone(backbone, detector, device), student)


@dataclass(frozen=True)
class BoxLabelling(Task):
    """Videos through a detector, the next one decoded ahead of it.

    `sample`: the stretches to label; None: all of every video. `asked`: those in which teachers look beside a student.
    """

    name, unit, skips = "boxes", "frame", (DecodeError,)
    counted = (
        *("boxes", "labelled_frames", "degenerate_boxes", "surplus_boxes", "repeated_boxes"),
        *("teacher_frames", "student_frames"),
    )

    work: WorkFolder
    folder: RoundFolder
    settings: LabellingSettings
    labeller: Loaded[Labeller]
    sample: Sample | None = None
    asked: Sample | None = None

    @cached_property
    def videos(self) -> dict[str, Any]:
        return self.work.usable_rows()

    @cached_property
    def stride(self) -> int:
        return decode_stride(self.labeller.value.detector, self.settings.stride)

    def key(self, item: str) -> str:
        detector, backbone, _ = self.labeller.value
        return shard_key(self.videos[item], detector, self.settings, backbone, *self.stretches(item))

    def stretches(self, item: str) -> tuple[Stretches | None, Stretches | None]:
        """Where a video is labelled, and where teachers are asked."""
        sample, asked = (None if each is None else each.get(item, ()) for each in (self.sample, self.asked))
        return sample, asked

    def files(self, item: str) -> tuple[Path, ...]:
        return self.folder.camera(item), self.folder.boxes("labelled", item)

    def size(self, item: str) -> int:
        sample = self.stretches(item)[0]
        end = self.videos[item].frame_count if sample is None else max((end for _, end in sample), default=0)
        return math.ceil(end / self.stride)

    def kind_of(self, error: Exception) -> str:
        return getattr(error, "kind", "")

    def make_all(self, keys: Mapping[str, str], step: Step) -> Results:
        for item in (item for item in keys if not self.size(item)):  # nothing of it is to be decoded
            yield item, self.attempt(item, lambda: self._label(item, keys[item], iter(())))  # noqa: B023
        paths = [(item, self.work.videos / self.videos[item].file, self.stride) for item in keys if self.size(item)]
        with closing(decode_ahead(paths, self.settings.streams)) as ahead:  # type: ignore[type-var]
            for item, frames in ahead:
                counted = self._counted(item, frames, step)
                yield item, self.attempt(item, lambda: self._label(item, keys[item], counted))  # noqa: B023

    def make(self, item: str, key: str, step: Step) -> Account:
        frames = decode_frames(self.work.videos / self.videos[item].file, self.stride)
        return self._label(item, key, self._counted(item, frames, step))

    def _counted(self, item: str, frames: Iterator[Frame], step: Step) -> Iterator[Frame]:
        """The frames as they are; DecodeError at the end when there are not as many as stage 1 counted."""
        count, expected = 0, math.ceil(self.videos[item].frame_count / self.stride)
        for frame in frames:
            count += 1
            step(1)
            yield frame
        if count != expected:
            raise DecodeError(f"{count} frames decoded where stage 1 counted {expected}; run stage 1 again")

    def _label(self, item: str, key: str, frames: Iterator[Frame]) -> Account:
        video, store = self.videos[item], FrameStore(self.work.frames)
        detector, backbone, _ = self.labeller.value
        (stretches, asked), number = self.stretches(item), self.folder.number
        store.renew(item, video.sha256)
        parts = [
            label_video(item, part, detector, number, self.settings, store, backbone, asked)
            for part in parts_of(frames, stretches)
        ]
        labelled = joined(parts, item, number)
        teacher, student = self.labeller.value.costs(labelled.clocks)
        counts = {
            "key": key,
            "labelled_frames": labelled.labelled_frames,
            "boxes": len(labelled.boxes),
            "degenerate_boxes": labelled.degenerate_boxes,
            "surplus_boxes": labelled.surplus_boxes,
            "repeated_boxes": labelled.repeated_boxes,
            "teacher_frames": teacher.frames,
            "student_frames": student.frames,
        }
        size, described = (int(video.width), int(video.height)), described_by(detector, backbone)
        count, stride = int(video.frame_count), self.settings.stride
        more = counts | {"sha256": str(video.sha256)}  # says of which file the labels are
        facts = VideoFacts(
            *(item, count, stride, float(video.fps), *size, described, labelled.repeated_frames, stretches, asked), more
        )
        boxes: pd.DataFrame = check_boxes(labelled.boxes, f"labels of {item}")
        write_parquet(self.folder.camera(item), labelled.camera, facts.as_metadata())
        if labelled.masks is not None:
            account = {"key": key, "boxes": len(boxes), "masks": len(labelled.masks), "segmenter": detector.name}
            write_parquet(self.folder.masks(item), labelled.masks, account)
        write_video_labels(self.folder.boxes("labelled", item), VideoLabels(boxes, facts))  # last: it is done
        if teacher.frames or student.frames:
            note_cost(self.work, number, teacher, student)
        return counts


def label_round(
    work: WorkFolder,
    folder: RoundFolder,
    labeller: Loaded[Labeller],
    settings: LabellingSettings,
    where: Placement | None = None,
    sample: Sample | None = None,
    asked: Sample | None = None,
) -> Outcome:
    """Label every usable video of the work folder that this detector has not labelled yet, or a sample of it.

    A video that cannot be decoded is skipped with the reason, and has no shard.
    """
    task = BoxLabelling(work, folder, settings, labeller, sample, asked)
    start_run(folder, "labelled")
    return run(task, list(task.videos), where)


def outcome_lines(outcome: Outcome) -> list[str]:
    """What to tell the user, a line each."""
    lines, totals = outcome.lines("labelled"), outcome.totals
    if outcome.removed:
        lines.append(f"{outcome.removed} shards removed, because their videos are no longer there")
    if totals["degenerate_boxes"]:
        lines.append(f"{totals['degenerate_boxes']} boxes left out, because nothing of them lies inside the frame")
    if totals["surplus_boxes"]:
        lines.append(
            f"{totals['surplus_boxes']} boxes left out, because {LabellingSettings.most_boxes} boxes of a class in a "
            "frame, the best, are all that is taken of a labeller"
        )
    if totals["repeated_boxes"]:
        lines.append(f"{totals['repeated_boxes']} boxes left out, because the labeller gave the very same one before")
    return [*lines, f"{totals['boxes']} boxes in {totals['labelled_frames']} frames"]


def finish_round(
    folder: RoundFolder,
    detector: Detector | Ensemble,
    settings: LabellingSettings,
    outcome: Outcome,
    arguments: dict[str, Any],
    inputs: dict[str, str],
) -> None:
    """Write run.json, which marks the round as labelled. The same round gives the same file."""
    labeller = {
        "name": detector.name,
        "digest": detector.digest,
        "class_names": list(detector.class_names),
        "sources": score_scales(detector),
        "origins": origins_of(detector),
    }
    counts = outcome.as_counts()
    facts = {"labeller": labeller, "stride": settings.stride}
    output = digest_of_files(shard_paths(folder))
    write_run_record(folder, RunRecord("labelled", folder.number, arguments, inputs, counts, facts, output=output))


def shard_paths(folder: RoundFolder) -> list[Path]:
    """All shards of the round, boxes and camera."""
    labelled = folder.stage("labelled")
    return sorted([*labelled.glob("boxes/[!.]*.parquet"), *labelled.glob("camera/[!.]*.parquet")])


def label_boxes_of(args: argparse.Namespace) -> Summary:
    """Label the boxes of one round, as the script's arguments say."""
    work, where = WorkFolder(args.work), placement_of(args)
    work.usable_videos()
    teachers = next_command.with_teachers(work, args.round) if args.detector is None and not args.ask else {}
    for name in ARGUMENTS:  # the views and classes that the user chose still hold
        if teachers.get(name) and not getattr(args, name):
            setattr(args, name, teachers[name])
    names, inputs = choose_detectors(work, args.round, args.detector)
    class_names = class_names_from(args.classes) if args.classes is not None else None
    with work.writing(where.name):
        options = DetectorOptions(batch_size=args.batch_size, class_list=args.class_list, prompts=args.prompts)
        views = Views(tuple(args.input_size), args.tiles, args.mirrored)
        sample, asked = samples_for(work, args)
        if asked is not None:
            inputs |= digest_of_cleaned(work, args.round - 1)
        load = partial(
            load_labeller, names, class_names, args.device, options, views, args.stride, args.backbone,
            tuple(args.ask), str(work.round(args.round - 1).detector) if args.round else "",
        )  # fmt: skip
        on_cpu = names == ("motion",) and args.backbone is None and not args.ask
        device = "cpu" if on_cpu else args.device
        labeller: Loaded[Labeller] = Loaded(load=load, device=device)
        settings, folder = LabellingSettings(stride=args.stride), work.round(args.round)
        detector = labeller.value.detector
        inputs |= {"videos": digest_of_videos(work), "labeller": detector.digest}
        outcome = label_round(work, folder, labeller, settings, where, sample, asked)
        lines = outcome_lines(outcome)
        for each, who in ((sample, "the teacher"), (asked, " + ".join(args.ask))):
            lines += [sample_line(each, work.usable_videos(), args.stride, who)] if each is not None else []
        if not where.is_share:
            arguments = {name: getattr(args, name) for name in ARGUMENTS}
            finish_round(folder, detector, settings, outcome, arguments, inputs)
            lines += [*bill_lines(read_bill(work)), *out_of_date(work)]
        if teachers:
            lines.insert(0, f"the student of round {args.round - 1} is weak: labelled by {', '.join(args.detector)}")
    return outcome.summary("label", lines, where)


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
    record = require_run_record(before, "trained", next_command.train(work, before.number))
    return names, {f"round {before.number} trained": record.output}
