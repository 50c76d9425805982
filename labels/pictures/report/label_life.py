"""The life of one label over the rounds: where it was born, how labellers and rules scored it, what was decided.

The values of every rule are read from the features that cleaning stored beside its boxes.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from labels.cleaning.audits import all_audit_answers
from labels.cleaning.decisions import limit_values, rule_values
from labels.cleaning.features.quality import WEIGHTS, quality_terms, weighted
from labels.cleaning.rules import RULES, rule_of
from labels.cleaning.settings import CleaningSettings
from labels.pictures.report.rounds import CleanedRound
from labels.pictures.report.rounds_table import labeller_name, text_table
from labels.records import tables
from labels.records.errors import InputError
from labels.records.geometry import iou_matrix
from labels.records.old_names import new_name
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import WorkFolder


def rule_lines(here: CleanedRound, row: pd.Series) -> list[str]:
    """Every rule's value for the label beside its limits."""
    path = here.folder.evidence(str(row["video_id"]))
    if not path.is_file():
        return ["  what the rules saw was not kept; clean the round again"]
    evidence = read_parquet(path)
    evidence = evidence[evidence["label_uid"] == row["label_uid"]]
    if not len(evidence):
        return ["  the rules were not asked: it was filled in after them"]
    rows = rule_rows(evidence, _settings_of(here), row["reason"])
    lines = [f"    {line}" for line in text_table(["rule", "value", "drops", "ignores", ""], rows, [0, 4])]
    if bool(evidence["is_player"].iloc[0]):
        return lines
    parts = weighted(quality_terms(evidence), _settings_of(here).without).iloc[0]
    named = [f"{name} {part:+.1f}" for name, part in parts.sort_values(key=np.abs, ascending=False).items()]
    told = ", ".join([f"constant {WEIGHTS['constant']:+.1f}", *(one for one in named if not one.endswith("0.0"))])
    return [*lines, f"  its quality is the sum of {told}"]


def rule_rows(features: pd.DataFrame, settings: CleaningSettings, reason: str) -> list[list[str]]:
    """Of one box's features: name, value and limits of each rule, in the order asked, and which one decided."""
    rows: list[list[str]] = []
    columns = {name: features[name].to_numpy() for name in features}
    for rule in RULES:
        value = float(rule_values(rule, columns, settings)[0])
        sign = ">" if rule.too == "high" else "<"
        limits = [
            f"{sign} {limit_values(limit, columns, settings, 1)[0]:.3g}" if limit is not None else "–"
            for limit in (rule.drop, rule.ignore)
        ]
        decided = rule_of(reason) == rule.name and any(reason.split(", ")[0].endswith(f" {limit}") for limit in limits)
        text = "switched off" if rule.name in settings.without else "–" if np.isnan(value) else f"{value:.3g}"
        rows.append([rule.name, text, *limits, "← decided" if decided else ""])
    return rows


def _settings_of(here: CleanedRound) -> CleaningSettings:
    record = here.records["cleaned"]
    known = {field.name for field in fields(CleaningSettings)}
    given = {name: value for name, value in (record.arguments if record else {}).items() if name in known}
    return CleaningSettings(**given | {"without": tuple(new_name(name) for name in given.get("without", ()))})


@dataclass(frozen=True)
class LabelLife:
    """What is told of a label; `rows` are its boxes rows, one for each round that holds it, with `round`."""

    lines: list[str]
    rows: pd.DataFrame


def life_of(work: WorkFolder, rounds: list[CleanedRound], label_uid: str) -> LabelLife:
    """Everything that is known of a label of a box. InputError when no round knows the name."""
    video_id = _video_of(work, label_uid)
    told, lines, rows = label_uid, [], []
    born = False
    for here in rounds:
        labelled = _shard(here.folder.boxes("labelled", video_id))
        cleaned = here.boxes(video_id)
        if not here.has_boxes:
            continue
        fused = _fused_into(labelled, cleaned, label_uid)
        if fused is not None:
            lines.append(f"in round {here.number} it became one with the older label {fused}, whose life follows")
            told = fused
            break
    lines.insert(0, f"label {label_uid} in {video_id}")
    for word in [word for uid, word in all_audit_answers(work) if uid == told]:
        lines.append(f"a person said: {word or 'taken back'} (verdicts.csv; the last word counts)")
    for here in rounds:
        if not here.has_boxes:
            continue
        labelled, cleaned = _shard(here.folder.boxes("labelled", video_id)), here.boxes(video_id)
        row = cleaned[cleaned["label_uid"] == told]
        if len(row):
            lines += ["", *_round_lines(here, labelled, cleaned, row.iloc[0], born)]
            rows.append(row.assign(round=here.number))
            born = True
        elif born:
            lines += ["", f"round {here.number}: not there; it was dropped before, and not found again"]
    return LabelLife(lines, pd.concat(rows, ignore_index=True) if rows else pd.DataFrame())


def _video_of(work: WorkFolder, label_uid: str) -> str:
    """The video whose shards hold a label of this name, in any round."""
    for number in reversed(work.round_numbers()):
        for stage in ("cleaned", "labelled"):
            for path in sorted((work.round(number).stage(stage) / "boxes").glob("*.parquet")):
                if (read_parquet(path, ["label_uid"])["label_uid"] == label_uid).any():
                    return path.stem
    raise InputError(f"--why {label_uid}: no round of {work.root} has a box label of this name")


def _shard(path: Path) -> pd.DataFrame:
    return read_parquet(path) if path.is_file() else tables.empty_table(tables.BOXES)


def _fused_into(labelled: pd.DataFrame, cleaned: pd.DataFrame, label_uid: str) -> str | None:
    """The older label that a labelled box became part of; None when it is not labelled here or bears its own name."""
    found = labelled[labelled["label_uid"] == label_uid]
    if not len(found) or (cleaned["label_uid"] == label_uid).any():
        return None
    older = _nearest(found.iloc[0], cleaned[~cleaned["label_uid"].isin(labelled["label_uid"])])
    return None if older is None else str(older["label_uid"])


def _found_as(labelled: pd.DataFrame, cleaned: pd.DataFrame, row: pd.Series) -> pd.Series | None:
    """The box by which this round's labeller found a label: of its own name, or one that was fused with it."""
    named = labelled[labelled["label_uid"] == row["label_uid"]]
    if len(named):
        return named.iloc[0]
    if row["rounds_lost"] or row["origin"] == "interpolated":
        return None
    return _nearest(row, labelled[~labelled["label_uid"].isin(cleaned["label_uid"])])


def _nearest(row: pd.Series, others: pd.DataFrame) -> pd.Series | None:
    """Of the boxes of its class in its frame the one that overlaps a box most; None when none does."""
    others = others[(others["frame_index"] == row["frame_index"]) & (others["class_name"] == row["class_name"])]
    if not len(others):
        return None
    box = row[tables.BOX_COLUMNS].to_numpy(dtype=np.float32)[None]
    boxes = others[tables.BOX_COLUMNS].to_numpy(dtype=np.float32)
    overlap = iou_matrix(box, boxes)[0]
    return others.iloc[int(np.argmax(overlap))] if overlap.max() > 0 else None


def _round_lines(
    here: CleanedRound, labelled: pd.DataFrame, cleaned: pd.DataFrame, row: pd.Series, born: bool
) -> list[str]:
    box = ", ".join(f"{row[name]:.1f}" for name in tables.BOX_COLUMNS)
    head = f"round {here.number}: {row['decision']}, quality {row['quality']:.3f}"
    lines = [f"{head}; {row['reason']}" if row["reason"] else head]
    lines.append(f"  {row['class_name']}, frame {row['frame_index']} ({row['time_s']:.2f} s), box {box}")
    who, found = labeller_name(here), _found_as(labelled, cleaned, row)
    if row["origin"] == "interpolated":
        lines.append("  interpolated by the cleaning between its neighbours on a path")
    elif found is None and not born and row["origin"] == "human":
        lines.append("  born here: drawn by a person")
    elif found is None:
        lines.append(f"  {who} did not find it; it came in from the round before")
    elif not born and found["label_uid"] == row["label_uid"]:
        lines.append(f"  born here: found by {who} with score {found['score']:.3f}")
    elif found["label_uid"] == row["label_uid"]:
        lines.append(f"  found again, the very same, by {who} with score {found['score']:.3f}")
    else:
        overlap = iou_matrix(*(each[tables.BOX_COLUMNS].to_numpy(dtype=np.float32)[None] for each in (row, found)))
        lines.append(f"  found again by {who} with score {found['score']:.3f}, as {found['label_uid']}")
        lines.append(
            f"  which was fused with it: the box that stands overlaps the one found by {overlap[0, 0]:.2f} (IoU)"
        )
    if row["origin"] == "human":
        lines.append("  a human's word: above all rules")
    path = "on no path" if row["track_id"] == tables.NO_TRACK else f"on path {row['track_id']} of its video"
    seen, lost = int(row["rounds_seen"]), int(row["rounds_lost"])
    lines.append(
        f"  {path}; evidence of all rounds {row['log_odds']:.2f} (log-odds); found in {seen} "
        f"{'round' if seen == 1 else 'rounds'}, missed by the last {lost}"
    )
    return [*lines, *rule_lines(here, row)]
