"""A teacher on a sample: where it looks, where it is asked again, and what that costs.

A *stretch* is a whole short clip, or some seconds of a longer one: long enough for tracks, which cleaning goes by. Of
what lies outside the stretches nothing is known, which is something else than that nothing is there.

The *doubt* of a stretch is the number of wrong decisions a frame that its cleaned labels are expected to hold: quality
is a probability, so a box of quality q is decided on wrongly with min(q, 1 - q).

The *bill* sets what teachers, students and people did in all rounds beside what the teacher alone would have done.
"""

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.labelling.action_intervals import TEST
from labels.models.detectors.detector import Clock
from labels.models.settings import DEFAULT_DETECTOR, HUMAN, STUDENT
from labels.records import next_command
from labels.records.errors import InputError
from labels.records.matching import MatchCounts
from labels.records.run_records import RunRecord, read_run_record, require_run_record
from labels.records.safe_writing import digest_of, read_parquet_metadata
from labels.records.video_labels import Stretches, VideoFacts, in_stretches, read_video_labels
from labels.records.work_folder import RoundFolder, WorkFolder

STRETCH_S = 4.0  # of a longer clip: several flights, and time for a path to show where it leads
COSTS = ("round", "teacher_frames", "teacher_s", "student_frames", "student_s")
Sample = dict[str, Stretches]  # by video_id; a video that is not named has no stretch


def stretches_of(frame_count: int, fps: float, stride: int) -> list[tuple[int, int]]:
    """A video in even stretches of about `STRETCH_S`, each beginning at a frame that is labelled."""
    count = max(1, round(frame_count / max(fps, 1e-6) / STRETCH_S))
    edges = np.linspace(0, frame_count, count + 1).astype(np.int64) // stride * stride
    edges[-1] = frame_count
    edges = np.unique(edges)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def stretch_table(videos: pd.DataFrame, stride: int) -> pd.DataFrame:
    """Every stretch of the videos that may be trained on, ordered by class, group, video and time.

    Columns video_id, first, end, frames (labelled ones), draw (an order by chance, the same each time).
    """
    rows = []
    for video in videos[videos["split"] != TEST].sort_values(["class_name", "group", "video_id"]).itertuples():
        for first, end in stretches_of(video.frame_count, video.fps, stride):
            frames = len(range(first, end, stride))
            rows.append((video.video_id, first, end, frames, digest_of([video.video_id, first])))
    return pd.DataFrame(rows, columns=["video_id", "first", "end", "frames", "draw"])


def stratified_sample(videos: pd.DataFrame, share: float, stride: int = 1) -> Sample:
    """Stretches with about this share of the frames, spread over classes, groups, videos and times.

    The stretches, laid end to end, are cut into as many strata of the same length as there are to be chosen; of each,
    one is drawn.
    """
    table = stretch_table(videos, stride)
    if not len(table):
        raise InputError("--share: all clips are held out, so there is nothing that a student may be taught")
    total = table["frames"].sum()
    count = max(1, round(share * total / table["frames"].mean()))
    middle = table["frames"].cumsum() - table["frames"] / 2
    stratum = (middle / total * count).astype(int)
    drawn = table.assign(stratum=stratum).sort_values(["stratum", "draw"]).drop_duplicates("stratum")
    return _by_video(drawn)


def doubtful_sample(work: WorkFolder, number: int, share: float, asked: Sequence[str], stride: int = 1) -> Sample:
    """The stretches that the round before `number` is most in doubt of, with at most this share of the frames.

    Where one of those that are `asked` has looked before, it is not asked again: it would say the same.
    """
    videos, before = work.usable_videos(), work.round(number - 1)
    require_run_record(before, "cleaned", next_command.clean(work, before.number))
    table = stretch_table(videos, stride)
    most = share * table["frames"].sum()
    doubts, is_new = np.zeros(len(table)), np.ones(len(table), dtype=bool)
    earlier = [(folder, record) for folder, record in _labelled(work) if folder.number < number]
    for video_id, rows in table.groupby("video_id").indices.items():
        firsts = table["first"].to_numpy()[rows]
        path = before.boxes("cleaned", str(video_id))
        if path.is_file():
            boxes = read_video_labels(path, decided=True).boxes
            boxes = boxes[boxes["origin"] != "human"]
            stretch = np.searchsorted(firsts, boxes["frame_index"].to_numpy(), side="right") - 1
            doubts[rows] = np.bincount(stretch, np.minimum(boxes["quality"], 1 - boxes["quality"]), len(rows))
        for folder, record in earlier:
            seen = _seen_by(folder, record, str(video_id), asked)
            is_new[rows] &= ~(in_stretches(firsts, seen) if seen is not None else np.ones(len(rows), dtype=bool))
    if not is_new.any():
        raise InputError(f"--ask {' --ask '.join(asked)}: has looked at all that may be trained on already")
    table = table.assign(doubt=doubts / table["frames"])[is_new]
    table = table.sort_values(["doubt", "draw"], ascending=[False, True])
    many = int((table["frames"].cumsum() <= most).sum())
    return _by_video(table.head(max(1, many)))


def _seen_by(folder: RoundFolder, record: RunRecord, video_id: str, names: Iterable[str]) -> Stretches | None:
    """Where one of `names` looked in a video in a round: stretches, or None for all of it."""
    metadata = read_parquet_metadata(folder.boxes("labelled", video_id))
    if metadata is None:
        return ()
    facts = VideoFacts.from_metadata(metadata, video_id)
    own = record.arguments.get("detector") or ([] if folder.number else [DEFAULT_DETECTOR])
    if set(names) & set([own] if isinstance(own, str) else own):
        return facts.stretches
    return (facts.asked or ()) if set(names) & set(record.arguments.get("ask") or ()) else ()


def _by_video(chosen: pd.DataFrame) -> Sample:
    """Stretches by video, in order; those that touch are one."""
    sample: dict[str, list[list[int]]] = {}
    for row in chosen.sort_values(["video_id", "first"]).itertuples():
        own = sample.setdefault(str(row.video_id), [])
        if own and own[-1][1] == row.first:
            own[-1][1] = int(row.end)
        else:
            own.append([int(row.first), int(row.end)])
    return dict(sample)


def samples_for(work: WorkFolder, args: argparse.Namespace) -> tuple[Sample | None, Sample | None]:
    """Where the round is labelled, and where the teacher that is asked looks; None: everywhere, and nobody is asked."""
    if args.ask and not args.round:
        raise InputError("--ask: round 0 has no student to be in doubt; name the teacher with --detector")
    if args.ask and args.share is None:
        raise InputError("--ask: say in how much of the frames, as --share 0.02")
    if args.share is not None and args.round and not args.ask:
        raise InputError("--share: after round 0 it goes with --ask; a student labels everything")
    no_teacher = sorted({HUMAN, STUDENT} & set(args.ask))
    if no_teacher:
        raise InputError(f"--ask {no_teacher[0]}: is no teacher; name a detector")
    if args.share is None:
        return None, None
    if args.detector == [HUMAN]:
        raise InputError(f"--share {args.share:g}: {HUMAN} is no detector; leave it out, and draw where you like")
    if args.ask:
        return None, doubtful_sample(work, args.round, args.share, args.ask, args.stride)
    _refuse_less(work, args)
    return stratified_sample(work.usable_videos(), args.share, args.stride), None


def _refuse_less(work: WorkFolder, args: argparse.Namespace) -> None:
    """InputError where this teacher has labelled more already: what was paid for is not thrown away."""
    record = read_run_record(work.round(0), "labelled")
    if record is None or any(record.arguments.get(name) != getattr(args, name) for name in ("detector", "stride")):
        return
    before = record.arguments.get("share")
    if before is None or args.share < before:
        much = "everything" if before is None else f"{before:g} of the frames"
        option = "leave --share out" if before is None else f"say --share {before:g} or more"
        raise InputError(f"--share {args.share:g}: this teacher has labelled {much} already; {option}")


def sample_line(sample: Sample, videos: pd.DataFrame, stride: int, who: str) -> str:
    """How much of the videos is looked at, in a line to print."""
    frames = sum(len(range(first, end, stride)) for own in sample.values() for first, end in own)
    total = int(np.ceil(videos["frame_count"] / stride).sum())
    stretches, own = sum(map(len, sample.values())), len(sample)
    return (
        f"{who} looks at {frames:,} of {total:,} frames ({frames / max(total, 1):.1%}), in "
        f"{stretches} {'stretch' if stretches == 1 else 'stretches'} of {own} {'video' if own == 1 else 'videos'}"
    )


def note_cost(work: WorkFolder, number: int, teacher: Clock, student: Clock) -> None:
    """Add what labelling a video cost to costs.csv. The labels do not depend on it."""
    is_new = not work.costs.exists()
    with open(work.costs, "a", newline="") as file:
        rows = csv.writer(file)
        if is_new:
            rows.writerow(COSTS)
        row = (teacher.frames, round(teacher.seconds, 4), student.frames, round(student.seconds, 4))
        rows.writerow((number, *row))


@dataclass(frozen=True)
class Bill:
    """What labelling boxes cost.

    rounds: round, teacher_frames, teacher_s, student_frames, student_s (NaN: not measured), f1 (NaN: not known yet) and
        against (truth | teacher | ""). What a frame cost is measured in all runs of a round, what was stopped too.
    verdicts: of people, on boxes and actions.
    everywhere: frames that the teacher of round 0 would have been given without a sample; 0: there was no sample.
    """

    rounds: pd.DataFrame
    verdicts: int
    everywhere: int

    @property
    def everywhere_s(self) -> float:
        """Seconds that they would have taken."""
        first = self.rounds.iloc[0]
        return float(first["teacher_s"] / first["teacher_frames"] * self.everywhere)


def read_bill(work: WorkFolder) -> Bill | None:
    """The bill over all rounds that are labelled; None where none says who labelled it."""
    found = [(folder, record) for folder, record in _labelled(work) if "teacher_frames" in record.counts]
    if not found:
        return None
    each_s, spent = _seconds_a_frame(work)
    rows, verdicts = [], 0
    for folder, record in found:
        teacher, student = (int(record.counts[f"{who}_frames"]) for who in ("teacher", "student"))
        rates = each_s.get(folder.number, (np.nan, np.nan))
        teacher = max(teacher, spent.get(folder.number, 0))  # what was labelled and is replaced was paid for too
        cleaned = read_run_record(folder, "cleaned")
        counts = cleaned.counts if cleaned is not None else {}
        verdicts = counts.get("verdicts", verdicts)
        seconds = (frames * rate if frames else 0.0 for frames, rate in zip((teacher, student), rates, strict=True))
        rows.append((folder.number, teacher, next(seconds), student, next(seconds), *_worth(counts)))
    columns = ["round", "teacher_frames", "teacher_s", "student_frames", "student_s", "f1", "against"]
    first, record = found[0]
    everywhere = 0
    if first.number == 0 and record.arguments.get("share") and record.counts["labelled_frames"]:
        videos, stride = work.usable_videos(), int(record.facts["stride"])
        frames = int(np.ceil(videos["frame_count"] / stride).sum())
        everywhere = round(record.counts["teacher_frames"] / record.counts["labelled_frames"] * frames)
    return Bill(pd.DataFrame(rows, columns=columns), int(verdicts), everywhere)


def _labelled(work: WorkFolder) -> list[tuple[RoundFolder, RunRecord]]:
    found = [(work.round(number), read_run_record(work.round(number), "labelled")) for number in work.round_numbers()]
    return [(folder, record) for folder, record in found if record is not None]


def _seconds_a_frame(work: WorkFolder) -> tuple[dict[int, tuple[float, float]], dict[int, int]]:
    """Of teacher and student, and the teacher's frames, by round; without lines that two machines wrote at once."""
    if not work.costs.is_file():
        return {}, {}
    costs = pd.read_csv(work.costs, names=COSTS, header=0, on_bad_lines="skip").apply(pd.to_numeric, errors="coerce")
    total = costs.dropna().groupby("round").sum()
    with np.errstate(invalid="ignore"):
        rates = [total[f"{who}_s"] / total[f"{who}_frames"] for who in ("teacher", "student")]
    frames = {int(number): int(count) for number, count in total["teacher_frames"].items()}
    return {int(number): (float(rates[0][number]), float(rates[1][number])) for number in total.index}, frames


def _worth(counts: Mapping[str, object]) -> tuple[float, str]:
    """F1 of a round's kept labels against truth; without truth how many labels of the round before it found again."""
    quality, agreement = counts.get("quality") or {}, counts.get("agreement") or {}
    assert isinstance(quality, Mapping) and isinstance(agreement, Mapping)
    if quality:
        parts = [each["kept"]["centre"] for each in quality.values()]
        right, wrong, missed = (sum(part[name] for part in parts) for name in ("right", "wrong", "missed"))
        return MatchCounts(right, wrong, missed).f1, "truth"
    if "survival" in agreement:
        return float(agreement["survival"]["value"]), "round before"
    return np.nan, ""


def bill_table(bill: Bill) -> list[list[str]]:
    """The bill as rows of text, the heading first."""
    rows = [["", "frames", "seconds", "labels"]]
    for row in bill.rounds.itertuples():
        for who in ("teacher", "student"):
            frames, seconds = getattr(row, f"{who}_frames"), getattr(row, f"{who}_s")
            if frames or (who == "teacher") == (row.round == 0):
                rows.append([f"round {row.round}, {who}", f"{frames:,}", _shown(seconds), _worth_shown(row)])
    rows.append(["people", "", "", f"{bill.verdicts:,} verdicts"])
    if bill.everywhere:
        spent = bill.rounds["teacher_frames"].sum() / bill.everywhere
        rows.append(["the teacher so far", f"{spent:.1%} of everywhere", "", ""])
        first = next(bill.rounds.itertuples())
        worth = f"{_worth_shown(first)} on its sample" if first.against else ""
        rows.append(["the teacher everywhere", f"{bill.everywhere:,}", _shown(bill.everywhere_s), worth])
    return rows


def _shown(seconds: float) -> str:
    return "–" if np.isnan(seconds) else f"{seconds:,.1f}"


def _worth_shown(row: object) -> str:
    f1, against = getattr(row, "f1", np.nan), getattr(row, "against", "")
    return {"truth": f"F1 {f1:.3f}", "round before": f"{f1:.3f} of the round before found again"}.get(against, "")


def bill_lines(bill: Bill | None) -> list[str]:
    """The bill to print, where a teacher was spared anything."""
    if bill is None or not bill.everywhere:
        return []
    return [
        "the bill",
        *(
            f"  {name:<24}{frames:>22} {seconds:>10}  {worth}".rstrip()
            for name, frames, seconds, worth in bill_table(bill)
        ),
    ]
