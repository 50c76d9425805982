"""The life of one label over the rounds: where it was born, how labellers and rules scored it, what was decided.

The values of every rule are read from the features that cleaning stored beside its boxes. Below, what one round has
that another has not: labels added, lost and moved, and decisions that changed, label by label.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from labels.cleaning.audits import all_audit_answers
from labels.cleaning.decisions import limit_values, rule_values
from labels.cleaning.features.quality import WEIGHTS, quality_terms, weighted
from labels.cleaning.rules import RULES, rule_of
from labels.cleaning.settings import CleaningSettings
from labels.pictures.overlay.contact_sheets import SheetPlan, SheetSection, spread_sample
from labels.pictures.overlay.round_pictures import make_sheets, sheet_path
from labels.pictures.report.rounds import CleanedRound
from labels.pictures.report.rounds_table import labeller_name, text_table
from labels.pictures.report.survey import changes_between
from labels.pictures.settings import PictureSettings
from labels.records import tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.geometry import iou_matrix
from labels.records.old_names import new_name
from labels.records.safe_writing import read_parquet, write_text
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
    text = ", ".join([f"constant {WEIGHTS['constant']:+.1f}", *(one for one in named if not one.endswith("0.0"))])
    return [*lines, f"  its quality is the sum of {text}"]


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
    current, lines, rows = label_uid, [], []
    born = False
    for here in rounds:
        labelled = _shard(here.folder.boxes("labelled", video_id))
        cleaned = here.boxes(video_id)
        if not here.has_boxes:
            continue
        fused = _fused_into(labelled, cleaned, label_uid)
        if fused is not None:
            lines.append(f"in round {here.number} it became one with the older label {fused}, whose life follows")
            current = fused
            break
    lines.insert(0, f"label {label_uid} in {video_id}")
    for word in [word for uid, word in all_audit_answers(work) if uid == current]:
        lines.append(f"a person said: {word or 'taken back'} (verdicts.csv; the last word counts)")
    for here in rounds:
        if not here.has_boxes:
            continue
        labelled, cleaned = _shard(here.folder.boxes("labelled", video_id)), here.boxes(video_id)
        row = cleaned[cleaned["label_uid"] == current]
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


MOVED_BELOW_IOU = 0.7  # a label kept in both rounds whose boxes overlap less has moved
LINES_SHOWN = 20
ABSENT = "not there"
OLD_BOX = [f"old_{name}" for name in tables.BOX_COLUMNS]
CHANGES = tables.BOXES | tables.DECIDED | {"change": "str", "before": "str", "after": "str"}


def show_difference(
    work: WorkFolder,
    old: CleanedRound,
    new: CleanedRound,
    videos: pd.DataFrame,
    settings: PictureSettings,
    progress: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Write the changes from `old` to `new` as a CSV and a contact sheet; the summary holds the table by video."""
    if old.number == new.number:
        raise InputError(f"--diff {old.number} {new.number}: two different rounds, please")
    changes, counts, skipped = [], [], 0
    for video in videos.itertuples():
        if not (old.has(video.video_id) and new.has(video.video_id)):
            skipped += 1
            continue
        before, after = old.boxes(video.video_id), new.boxes(video.video_id)
        old_frames, new_frames = (each.labelled_frames(video.video_id, video.frame_count) for each in (old, new))
        found = video_changes(before, after, np.intersect1d(old_frames, new_frames))
        changes.append(found)
        counts.append(_counts(video.video_id, before, after, found))
    everything = tables.concatenate(changes, CHANGES)
    name = f"diff_{old.number:02d}_{new.number:02d}"
    csv = new.folder.pictures / f"{name}.csv"
    columns = ["label_uid", "video_id", "frame_index", "time_s", "class_name", "change", "before", "after", "reason"]
    shown = everything[[*columns, *tables.BOX_COLUMNS]].sort_values(["video_id", "frame_index", "label_uid"])
    write_text(csv, shown.to_csv(index=False, lineterminator="\n"))
    plan = _plan(name, old.number, new.number, everything, settings)
    unreadable = make_sheets(work, new, videos, [plan], settings, progress)
    lines = _table(old.number, new.number, counts)
    lines += [f"{video_id}: crops left empty, {reason}" for video_id, reason in unreadable.items()]
    lines += [
        f"moved: the same label kept in both rounds, its boxes overlapping less than {MOVED_BELOW_IOU} (IoU)",
        f"label by label: {csv}",
        f"pictures: {sheet_path(new.folder, name)}",
    ]
    reasons = {"not in both rounds": skipped} if skipped else {}
    return Summary(f"rounds {old.number} to {new.number}", "videos", len(videos), len(videos) - skipped, reasons, lines)


def video_changes(old: pd.DataFrame, new: pd.DataFrame, frames: np.ndarray) -> pd.DataFrame:
    """What changed in the frames of one video that both rounds looked at.

    Boxes rows with `change` (added | lost | moved | decision), `before` and `after`.

    Added and lost are kept labels without a kept counterpart in the other round, by the rule of the report; a label
    that bears the same name in both is moved instead. What is left and is decided otherwise is a decision: ignored to
    dropped, say. Rows are the new round's, of lost ones the old round's with the reason of the new one.
    """
    old, new = (table[table["frame_index"].isin(frames)].reset_index(drop=True) for table in (old, new))
    old_kept, new_kept = old[old["decision"] == "keep"], new[new["decision"] == "keep"]
    moved = _moved(old_kept, new_kept)
    matched = changes_between(new_kept, old_kept, frames)
    added = matched.added[~matched.added["label_uid"].isin(moved["label_uid"])]
    lost = matched.lost[~matched.lost["label_uid"].isin(moved["label_uid"])]
    decision_of = [table.set_index("label_uid")["decision"] for table in (old, new)]
    changed = pd.concat([added["label_uid"], lost["label_uid"], moved["label_uid"]])
    before = decision_of[0].reindex(new["label_uid"]).to_numpy(dtype=object)
    differs = ~pd.isna(before) & (before != new["decision"].to_numpy(dtype=object))
    others = new[differs & ~new["label_uid"].isin(changed).to_numpy()]
    reason_now = new.set_index("label_uid")["reason"]
    lost = lost.assign(reason=reason_now.reindex(lost["label_uid"]).fillna("").to_numpy())
    parts = {"added": added, "lost": lost, "moved": moved, "decision": others}
    named = []
    for change, rows in parts.items():
        was, now = (
            decisions.reindex(rows["label_uid"]).fillna(ABSENT).to_numpy(dtype=object) for decisions in decision_of
        )
        named.append(rows.assign(change=change, before=was, after=now))
    return tables.concatenate(named, CHANGES)


def _moved(old_kept: pd.DataFrame, new_kept: pd.DataFrame) -> pd.DataFrame:
    """Labels kept in both rounds under one name whose box is elsewhere now, with `OLD_BOX` columns."""
    was = old_kept[["label_uid", *tables.BOX_COLUMNS]].rename(
        columns=dict(zip(tables.BOX_COLUMNS, OLD_BOX, strict=True))
    )
    both = new_kept.merge(was, on="label_uid")
    pairs = zip(both[tables.BOX_COLUMNS].to_numpy(), both[OLD_BOX].to_numpy(), strict=True)
    overlap = np.array([iou_matrix(now[None], before[None])[0, 0] for now, before in pairs])
    return both[overlap < MOVED_BELOW_IOU]


def _counts(video_id: str, old: pd.DataFrame, new: pd.DataFrame, changes: pd.DataFrame) -> list:
    kept = [int((table["decision"] == "keep").sum()) for table in (old, new)]
    found = changes["change"].value_counts()
    by_name = (changes["change"] != "moved") & (changes["before"] != ABSENT) & (changes["after"] != ABSENT)
    changed = int((by_name & (changes["before"] != changes["after"])).sum())
    return [video_id, *kept, *(int(found.get(change, 0)) for change in ("added", "lost", "moved")), changed]


def _table(old: int, new: int, counts: list[list]) -> list[str]:
    """The videos with the most changes first, and the sum of all."""
    heading = ["video", f"kept {old}", f"kept {new}", "added", "lost", "moved", "decided otherwise"]
    ordered = sorted(counts, key=lambda row: (-sum(row[3:]), row[0]))
    total = ["all videos", *(sum(row[column] for row in counts) for column in range(1, len(heading)))]
    lines = text_table(heading, [*ordered[:LINES_SHOWN], total])
    rest = len(ordered) - LINES_SHOWN
    return [*lines[:-1], *([f"and {rest} videos with fewer changes"] if rest > 0 else []), lines[-1]]


def _plan(name: str, old: int, new: int, changes: pd.DataFrame, settings: PictureSettings) -> SheetPlan:
    was_there = changes["before"] != ABSENT
    is_there = changes["after"] != ABSENT
    added, lost = changes["change"] == "added", changes["change"] == "lost"
    changes = changes.assign(decision=changes["after"].where(lost & is_there, changes["decision"]))
    parts = {
        "added: seen for the first time": added & ~was_there,
        f"added: ignored or dropped in round {old}": added & was_there,
        f"lost: ignored or dropped in round {new}, with its reason there": lost & is_there,
        f"lost: not there any more in round {new}": lost & ~is_there,
        f"moved: thin white as in round {old}": changes["change"] == "moved",
        "decided otherwise, and kept in neither": changes["change"] == "decision",
    }
    sections = [
        SheetSection(heading, spread_sample(changes[rows], 2 * settings.columns), int(rows.sum()))
        for heading, rows in parts.items()
        if rows.any()
    ]
    return SheetPlan(name, f"From round {old} to round {new}", sections, "Nothing changed.")
