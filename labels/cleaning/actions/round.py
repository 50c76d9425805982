"""Stage 3 for actions: read a round's labelled shards, decide, write the cleaned ones, the dataset and run.json.

The summary compares predicted actions with human ones where there are any: the share that is right, and the share of
the time that is covered.
"""

import argparse
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.actions.confident_learning import NO_FAULTS, find_faults, read_out_of_fold, trusted_confidence
from labels.cleaning.actions.decisions import DecidedActions, decide_actions
from labels.cleaning.actions.human_segments import read_segments, with_verdicts_applied
from labels.cleaning.guard import find_action_alarms
from labels.cleaning.settings import ActionSettings
from labels.engine.placement import refuse_placement
from labels.records import next_command, run_records, tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.matching import action_is_right, covered_frames, is_judged
from labels.records.run_records import HUMAN_ACTIONS_FILE, RunRecord, out_of_date, read_run_record
from labels.records.safe_writing import read_parquet, write_parquet, write_text
from labels.records.verdicts import read_verdicts
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, RoundFolder, WorkFolder


class ActionQuality:
    """Adds up videos: `kept` are actions of decision keep, `labelled` all that were recognised."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], list[int]] = {}  # right, labels, covered frames, true frames
        self._videos: dict[str, int] = {}

    def add(self, split: str, actions: pd.DataFrame, truth: pd.DataFrame) -> None:
        """Take a video whose human labels (ACTIONS) were not used. Tracks are compared where both have them."""
        part = "test" if split == "test" else "training"
        self._videos[part] = self._videos.get(part, 0) + 1
        found = actions[actions["origin"] != "human"]
        named = truth[truth["class_name"] != ""]
        total = int((named["end_frame"] - named["start_frame"]).sum())
        for kind, rows in (("labelled", found), ("kept", found[found["decision"] == "keep"])):
            judged = rows[is_judged(rows, truth)]
            right = int(action_is_right(judged, truth).sum())
            sums = self._sums.setdefault((part, kind), [0, 0, 0, 0])
            for at, value in enumerate((right, len(judged), covered_frames(rows, truth), total)):
                sums[at] += value

    def as_counts(self) -> dict[str, Any]:
        """part -> kind -> right (share of the labels judged), coverage (of the true actions' time)."""
        result: dict[str, Any] = {}
        for (part, kind), (right, labels, covered, total) in sorted(self._sums.items()):
            result.setdefault(part, {"videos": self._videos[part]})[kind] = {
                "right": round(right / labels, 4) if labels else None,
                "coverage": round(covered / total, 4) if total else None,
            }
        return result


def action_quality_lines(quality: dict[str, Any]) -> list[str]:
    """The estimate as a small table to print."""
    if not quality:
        return ["no human label beside those used: nothing to measure the actions against"]
    lines = ["against human labels that were not used   right  coverage"]
    for part, kinds in quality.items():
        for kind in ("labelled", "kept"):
            shown = [f"{kinds[kind][name]:.3f}" if kinds[kind][name] is not None else "–" for name in kinds[kind]]
            lines.append(f"  {part:<9} {kind:<9} ({kinds['videos']} videos)      {shown[0]:>9} {shown[1]:>9}")
    return lines


FORMAT = 7  # of what is written; raise it when the same settings on the same labels give something else
DATASET_COLUMNS = ("label", "video_id", "file", "time_start", "time_end", "split", "track_id", "score", "origin")


def clean_actions(work: WorkFolder, number: int, settings: ActionSettings) -> RunRecord:
    """Clean the actions of a round and write everything, run.json last. InputError names what must run first."""
    folder = work.round(number)
    command = f"{next_command.command('dataset_processor.py', work.root, number)} --recogniser …"
    labelled_record = run_records.require_run_record(folder, ACTIONS_LABELLED, command)
    inputs = {
        "format": str(FORMAT),
        "videos": run_records.digest_of_videos(work),
        f"round {number} {ACTIONS_LABELLED}": labelled_record.output,
        "verdicts": run_records.digest_of_verdicts(work),
        "human actions": run_records.digest_of_human_actions(work),
        "true actions": run_records.digest_of_true_actions(work),
    }
    old: pd.DataFrame | None = None
    faults = NO_FAULTS
    sure: dict[str, float] = {}
    before = run_records.read_run_record(work.round(number - 1), ACTIONS_CLEANED) if number else None
    if before is not None:
        inputs[f"round {number - 1} {ACTIONS_CLEANED}"] = before.output
        old = _read_all(work, work.round(number - 1), "cleaned", decided=True)
        inputs[f"round {number - 1} out of fold"] = run_records.digest_of_opinions(work, number - 1)
        opinions = read_out_of_fold(work.round(number - 1).out_of_fold)
        faults = find_faults(opinions, settings.prune_share)
        sure = trusted_confidence(opinions, settings.trusted_precision, settings.least_trusted)
    finished = run_records.read_run_record(folder, ACTIONS_CLEANED)
    same = finished is not None and finished.is_made_from(asdict(settings), inputs)
    if finished is not None and same and finished.output == _output(folder):
        return finished
    verdicts, segments = read_verdicts(work), read_segments(work)
    run_records.start_run(folder, ACTIONS_CLEANED)
    labelled = _read_all(work, folder, "labelled", decided=False)
    found = len(labelled)
    labelled = with_verdicts_applied(labelled, segments.actions, verdicts)
    replaced = found - len(labelled)
    labelled = tables.concatenate([labelled, segments.actions], tables.ACTIONS)
    old = with_verdicts_applied(old, segments.actions, verdicts) if old is not None else None
    names = sorted({*labelled["class_name"], *(labelled_record.facts.get("labeller", {}).get("class_names", []))})
    words = {uid: verdict.verdict for uid, verdict in verdicts.items()}
    trusted = labelled_record.facts.get("labeller", {}).get("working_threshold", {}) | sure
    decided = decide_actions(labelled, old, names, settings, words, trusted, faults)
    quality = _write(work, folder, decided)
    actions = decided.actions
    counts = {
        "labelled": found,
        "replaced": replaced,
        "segments": len(segments.actions),
        "segments_elsewhere": segments.elsewhere,
        "merged_in": decided.merged_in,
        "left_behind": decided.left_behind,
        **{each: int((actions["decision"] == each).sum()) for each in tables.DECISIONS},
        "reasons": _reasons(actions),
        "bars": decided.bars,
        "doubts": len(decided.doubts),
        "skipped": labelled_record.counts.get("skipped", {}),
        "quality": quality.as_counts(),
        **_guarded(decided, trusted, settings),
        "videos": len(work.usable_videos()),
    }
    counts["alarms"] = find_action_alarms(counts, before.counts if before is not None else None)
    came_in = found - replaced + len(segments.actions) + decided.merged_in
    if came_in != sum(counts[each] for each in tables.DECISIONS):
        raise AssertionError(f"actions that came in are not those that were decided on: {counts}")
    facts = {"class_names": names, "per": labelled_record.facts.get("per")}
    record = RunRecord(ACTIONS_CLEANED, number, asdict(settings), inputs, counts, facts, output=_output(folder))
    run_records.write_run_record(folder, record)
    return record


def _guarded(decided: DecidedActions, trusted: dict[str, float], settings: ActionSettings) -> dict[str, Any]:
    """The counts that the guard goes by."""
    actions = decided.actions
    kept = actions[actions["decision"] == "keep"]
    not_asked = actions["reason"].str.split(":").str[0].isin(["lost", "human", "overruled"])  # or a human said it
    found = actions[(actions["origin"] != "human") & ~not_asked]
    bar = [max(settings.keep_quality, trusted.get(str(name), 0.0)) for name in found["class_name"]]
    confident = found[found["score"].to_numpy(np.float64) >= np.array(bar, dtype=np.float64)]
    return {
        "kept_by_class": {str(name): int(count) for name, count in sorted(kept["class_name"].value_counts().items())},
        "kept_found": int((kept["origin"] != "human").sum()),
        "confident": len(confident),
        "kept_confident": int((confident["decision"] == "keep").sum()),
        "old_kept": decided.old_kept,
        "found_again": decided.found_again,
    }


def _read_all(work: WorkFolder, folder: RoundFolder, stage: str, decided: bool) -> pd.DataFrame:
    """The actions of all usable videos, in the order of their ids."""
    kinds = tables.ACTIONS | (tables.DECIDED if decided else {})
    parts = []
    for video_id in work.usable_videos()["video_id"]:
        path = folder.actions(stage, video_id)
        if path.is_file():
            try:
                parts.append(tables.check_actions(read_parquet(path), str(path), decided))
            except ValueError as error:
                raise InputError(str(error)) from None
    return tables.concatenate(parts, kinds)


def _write(work: WorkFolder, folder: RoundFolder, decided: DecidedActions) -> ActionQuality:
    """The shards, review.csv and dataset/actions.csv; returns how good what was kept is."""
    quality = ActionQuality()
    rows = []
    shards = folder.stage(ACTIONS_CLEANED)
    by_video = dict(tuple(decided.actions.groupby("video_id")))
    written = set()
    for video in work.usable_videos().itertuples():
        video_id = str(video.video_id)
        own = by_video.get(video_id, decided.actions.iloc[:0]).reset_index(drop=True)
        path = folder.actions("cleaned", video_id)
        tables.check_actions(own, str(path), decided=True)
        write_parquet(path, own, {"video_id": video_id, "fps": float(video.fps), "frame_count": int(video.frame_count)})
        written.add(path.name)
        truth = work.truth_actions(video_id)
        if truth.is_file() and not (own["origin"] == "human").any():
            quality.add(str(video.split), own, read_parquet(truth))
        for action in own[own["decision"] == "keep"].itertuples():
            times = (f"{action.start_s:.3f}", f"{action.end_s:.3f}")
            what = (str(video.split), action.track_id, f"{action.quality:.4f}", action.origin)
            rows.append((action.class_name, video_id, video.file, *times, *what))
    for stale in shards.glob("*.parquet"):
        if stale.name not in written:
            stale.unlink()
    write_text(folder.dataset / "actions.csv", _as_csv(DATASET_COLUMNS, rows))
    doubts = decided.doubts
    columns = ("label_uid", "video_id", "track_id", "start_s", "end_s", "class_name", "student_class", "student_score")
    doubted = [tuple(row) for row in doubts[list(columns)].itertuples(index=False)]
    write_text(shards / "review.csv", _as_csv(columns, doubted))
    return quality


def _as_csv(columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _reasons(actions: pd.DataFrame) -> dict[str, int]:
    """«decision rule» -> how many; kept ones by their origin."""
    counts = Counter(
        f"{row.decision} {row.origin if row.decision == 'keep' else row.reason.split(':')[0]}"
        for row in actions.itertuples()
    )
    return dict(sorted(counts.items()))


def _output(folder: RoundFolder) -> str:
    shards: list[Path] = sorted(folder.stage(ACTIONS_CLEANED).glob("[!.]*.parquet"))
    return run_records.digest_of_files(shards)


def action_lines(record: RunRecord) -> list[str]:
    """The accounts, the decisions by reason, the bars, and the quality against human labels that were not used."""
    counts = record.counts
    lines = [
        f"{counts['keep']} kept + {counts['ignore']} ignored + {counts['drop']} dropped"
        f" = {counts['labelled']} labelled + {counts['merged_in']} merged in{_segment_counts(counts)}"
        f" ({counts['left_behind']} dropped of the round before stay there)"
    ]
    lines += [
        f"  {reason.split()[0]:<7} {reason.split()[1]:<13} {count:>8}" for reason, count in counts["reasons"].items()
    ]
    if counts["segments_elsewhere"]:
        lines.append(f"{HUMAN_ACTIONS_FILE}: {counts['segments_elsewhere']} lines are of videos not usable here")
    if any(reason.endswith("detected") for reason in counts["reasons"]):
        lines.append("kept from: " + ", ".join(f"{name} {bar:.2f}" for name, bar in counts["bars"].items()))
    if counts["doubts"]:
        lines.append(
            f"{counts['doubts']} human labels that a student doubts, kept all the same: cleaned/actions/review.csv; "
            "answer with visualise.py --review, or in verdicts.csv (label_uid,verdict[,class_name])"
        )
    return [*lines, *action_quality_lines(counts["quality"])]


def _segment_counts(counts: dict[str, Any]) -> str:
    """What the account adds for what people said themselves; empty where they did not."""
    own, replaced = counts["segments"], counts["replaced"]
    return f" + {own} of {HUMAN_ACTIONS_FILE} - {replaced} that they replace" if own else ""


def wants_actions(work: WorkFolder, number: int, task: str | None) -> bool:
    """Whether actions are to be cleaned: it was said, or the round has nothing else."""
    if task is not None:
        return task == "actions"
    folder = work.round(number)
    return read_run_record(folder, ACTIONS_LABELLED) is not None and read_run_record(folder, "labelled") is None


def settings_of(args: argparse.Namespace) -> ActionSettings:
    """--keep and --ignore where they were said; boxes and actions have other defaults."""
    settings = ActionSettings()
    keep = settings.keep_quality if args.keep_quality is None else args.keep_quality
    ignore = settings.ignore_quality if args.ignore_quality is None else args.ignore_quality
    if not 0 <= ignore <= keep <= 1:
        raise InputError(f"--ignore {ignore:g} and --keep {keep:g}: qualities, 0 <= ignore <= keep <= 1")
    return ActionSettings(keep_quality=keep, least_quality=min(settings.least_quality, keep), ignore_quality=ignore)


def clean_actions_of(args: argparse.Namespace, box_options_given: list[str]) -> Summary:
    """Clean the actions of one round. InputError for options that only boxes know."""
    if box_options_given:
        raise InputError(f"{', '.join(box_options_given)}: of boxes alone, and actions are cleaned here; leave it out")
    refuse_placement(args, "the actions of a round are decided on together, in seconds")
    work = WorkFolder(args.work)
    settings = settings_of(args)
    found = len(work.usable_videos())
    with work.writing():
        record = clean_actions(work, args.round, settings)
        lines = [*action_lines(record), *out_of_date(work)]
        lines += [f"alarm, but --force: {alarm}" for alarm in record.counts["alarms"] if args.force]
    skipped = len(record.counts["skipped"])
    return Summary(
        f"clean actions of round {args.round}",
        "videos",
        found,
        found - skipped,
        {"were not labelled": skipped} if skipped else {},
        lines,
        alarms=[] if args.force else record.counts["alarms"],
    )
