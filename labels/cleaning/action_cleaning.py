"""Stage 3 over the actions of one round: read the labelled shards, decide, write the cleaned ones and the dataset."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.action_decisions import DecidedActions, decide_actions
from labels.cleaning.action_guard import find_action_alarms
from labels.cleaning.action_quality import ActionQuality
from labels.cleaning.action_settings import ActionSettings
from labels.cleaning.confident_learning import NO_FAULTS, find_faults, read_believed, sure_enough
from labels.cleaning.human_stretches import heard, read_stretches
from labels.cleaning.verdict_file import read_verdicts
from labels.records import run_records, tables
from labels.records.errors import InputError
from labels.records.run_records import RunRecord
from labels.records.safe_writing import read_parquet, write_parquet, write_text
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, RoundFolder, WorkFolder

FORMAT = 6  # of what is written; raise it when the same settings on the same labels give something else
DATASET_COLUMNS = ("label", "video_id", "file", "time_start", "time_end", "split", "track_id", "score", "origin")


def clean_actions(work: WorkFolder, number: int, settings: ActionSettings) -> RunRecord:
    """Clean the actions of a round and write everything, run.json last. InputError names what must run first."""
    folder = work.round(number)
    command = f"python dataset_processor.py {work.root} --round {number} --recogniser …"
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
        opinions = read_believed(work.round(number - 1).out_of_fold)
        faults = find_faults(opinions, settings.prune_share)
        sure = sure_enough(opinions, settings.trusted_precision, settings.least_trusted)
    finished = run_records.read_run_record(folder, ACTIONS_CLEANED)
    same = finished is not None and finished.is_made_from(asdict(settings), inputs)
    if finished is not None and same and finished.output == _output(folder):
        return finished
    verdicts, stretches = read_verdicts(work), read_stretches(work)
    run_records.start_run(folder, ACTIONS_CLEANED)
    labelled = _read_all(work, folder, "labelled", decided=False)
    found = len(labelled)
    labelled = heard(labelled, stretches.actions, verdicts)
    replaced = found - len(labelled)
    labelled = tables.concatenate([labelled, stretches.actions], tables.ACTIONS)
    old = heard(old, stretches.actions, verdicts) if old is not None else None
    names = sorted({*labelled["class_name"], *(labelled_record.facts.get("labeller", {}).get("class_names", []))})
    words = {uid: said.verdict for uid, said in verdicts.items()}
    trusted = labelled_record.facts.get("labeller", {}).get("working_threshold", {}) | sure
    decided = decide_actions(labelled, old, names, settings, words, trusted, faults)
    quality = _write(work, folder, decided)
    actions = decided.actions
    counts = {
        "labelled": found,
        "replaced": replaced,
        "stretches": len(stretches.actions),
        "stretches_elsewhere": stretches.elsewhere,
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
    came_in = found - replaced + len(stretches.actions) + decided.merged_in
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
    believed = found[found["score"].to_numpy(np.float64) >= np.array(bar, dtype=np.float64)]
    return {
        "kept_by_class": {str(name): int(count) for name, count in sorted(kept["class_name"].value_counts().items())},
        "kept_found": int((kept["origin"] != "human").sum()),
        "believed": len(believed),
        "kept_believed": int((believed["decision"] == "keep").sum()),
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
