"""The tables of rounds: as plain text, which a run of all rounds ends with, and the report's, row by row, as values."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labels.cleaning.agreement import MEASURES
from labels.cleaning.audits import read_audits
from labels.cleaning.rules import REASON_HELP, rule_name
from labels.models.settings import STUDENT
from labels.pictures.palette import KEPT
from labels.pictures.report.comparison import RoundComparison, signed
from labels.pictures.report.rounds import CleanedRound
from labels.pictures.report.survey import RULES, RoundSurvey
from labels.pictures.report.training import read_folds
from labels.records.matching import MatchCounts
from labels.records.old_names import new_name
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, ACTIONS_TRAINED, WorkFolder


def text_table(heading: Sequence[object], rows: Sequence[Sequence[object]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of equal columns two spaces apart: columns named in `left` start left, the others (numbers) end right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in [heading, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heading))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


NOTHING = "–"


def labeller_of(survey: RoundSurvey) -> str:
    return labeller_name(survey.round, *("labelled", ACTIONS_LABELLED))


def labeller_name(here: CleanedRound, *stages: str) -> str:
    """Who labelled a round, in words: its boxes, or what the first of these stages that is there did."""
    record = next((found for stage in stages or ("labelled",) if (found := here.records[stage]) is not None), None)
    labeller = (record.facts.get("labeller") if record else None) or {}
    name = str(labeller.get("name") or "unknown")
    inputs, student = record.inputs if record else {}, f"student of round {here.number - 1}"
    detectors = record.arguments.get("detector") if record else None
    if (
        isinstance(detectors, list) and STUDENT in detectors
    ):  # several are one name, which tells neither files nor students
        return " + ".join(student if each == STUDENT else _file_name(each) for each in detectors)
    trained = name.endswith(".pt") and any(key.endswith(("trained", ACTIONS_TRAINED)) for key in inputs)
    return student if trained and here.number else _file_name(name)


def _file_name(name: str) -> str:
    return Path(name).name if name.endswith((".pt", ".onnx")) else name


def kept_of(survey: RoundSurvey) -> int:
    """Labels kept: boxes, and of a round that has none actions."""
    actions = survey.round.records[ACTIONS_CLEANED]
    return survey.kept if survey.round.has_boxes or actions is None else int(actions.counts["keep"])


def number_text(value: float, digits: int = 3) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def quality_cells(counts: MatchCounts, judged: int) -> list[str]:
    """Precision, recall and F1, or dashes where nothing was judged."""
    if not judged:
        return [NOTHING] * 3
    return [number_text(value) for value in (counts.precision, counts.recall, counts.f1)]


def rounds_table(surveys: list[RoundSurvey]) -> list[str]:
    """Lines: a row for each round with boxes: precision, recall, F1 against truth on training and held-out clips."""
    surveys = [survey for survey in surveys if survey.round.has_boxes]
    if not surveys:
        return []
    rows = [["round", "labeller", "kept", *["precision", "recall", "F1"] * 2, "mean IoU"]]
    for survey in surveys:
        cells = [str(survey.number), labeller_of(survey), f"{survey.kept:,}"]
        for held_out in (False, True):
            cells += quality_cells(survey.counts(held_out), survey.judged_videos(held_out))
        rows.append([*cells, number_text(survey.counts().mean_iou)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = text_table(rows[0], rows[1:], left=[1])
    before = sum(widths[:3]) + 3 * 2
    block = sum(widths[3:6]) + 2 * 2
    heading = " " * before + "training clips".center(block, "-") + "  " + "held-out clips".center(block, "-")
    notes = [_note(survey) for survey in surveys if not len(survey.matched)]
    return [heading, *lines, *notes[:1], *different_clips_notes(surveys)]


def _note(survey: RoundSurvey) -> str:
    return f"no truth for the clips of round {survey.number}: precision, recall and F1 are not known"


def action_rows(surveys: list[RoundSurvey]) -> list[dict[str, Any]]:
    """What became of the actions of each round, and how many of the kept ones are right where truth says so."""
    rows = []
    for survey in surveys:
        if not len(survey.actions):
            continue
        counts = survey.actions.groupby("style")["labels"].sum()
        sides = []
        for held_out in (False, True):
            judged = survey.true_actions[survey.true_actions["held_out"] == held_out]
            right, total = int(judged["right"].sum()), int(judged["right"].sum() + judged["wrong"].sum())
            sides.append(f"{right / total:.3f} ({right:,} of {total:,})" if total else "–")
        rows.append(
            {
                "round": survey.number,
                "labeller": labeller_name(survey.round, ACTIONS_LABELLED),
                "kept": int(counts.reindex(KEPT, fill_value=0).sum()),
                "human": int(counts.get("human", 0)),
                "ignored": int(counts.get("ignored", 0)),
                "dropped": int(counts.get("dropped", 0)),
                "sides": sides,
            }
        )
    return rows


def actions_table(surveys: list[RoundSurvey]) -> list[str]:
    """Lines: a row for each round with actions; right are those that a machine said and cleaning kept."""
    heading = ["round", "labeller", "actions kept", "by a person", "right, training clips", "right, held-out clips"]
    rows = [[row["round"], row["labeller"], row["kept"], row["human"], *row["sides"]] for row in action_rows(surveys)]
    return text_table(heading, rows, left=[1]) if rows else []


def different_clips_notes(surveys: list[RoundSurvey]) -> list[str]:
    """Where rounds were judged on different clips: which, and their F1 on those that all were judged on."""
    judged = [survey for survey in surveys if len(survey.matched)]
    lines = []
    for held_out, kind in ((False, "training"), (True, "held-out")):
        clips = [set(survey.judged_pairs(held_out)) for survey in judged]
        shared = set.intersection(*clips) if clips else set()
        if all(each == shared for each in clips):
            continue
        counts = ", ".join(
            f"round {survey.number} on {len({video_id for video_id, _ in each})}"
            for survey, each in zip(judged, clips, strict=True)
        )
        line = f"not like for like: of the {kind} clips, {counts}"
        if shared:
            scores = ", ".join(f"{survey.counts_on(shared).f1:.3f}" for survey in judged)
            videos = len({video_id for video_id, _ in shared})
            line += f"; on the {videos} that all were judged on, F1 {scores}"
        lines.append(line)
    return lines


def quality_row(survey: RoundSurvey) -> dict[str, Any]:
    """A row of the table of rounds: the same numbers as the script prints."""
    sides = []
    for held_out in (False, True):
        counts, judged = survey.counts(held_out), survey.judged_videos(held_out)
        sides.append({"clips": judged, "counts": counts, "cells": quality_cells(counts, judged)})
    return {
        "number": survey.number,
        "labeller": labeller_of(survey),
        "kept": kept_of(survey),
        "sides": sides,
        "mean_iou": number_text(survey.counts().mean_iou),
    }


def iou_rows(surveys: list[RoundSurvey]) -> list[dict[str, Any]]:
    """F1 by both matching rules, for whoever needs boxes that fit closely."""
    rows = []
    for survey in surveys:
        cells = []
        for held_out in (False, True):
            judged = survey.judged_videos(held_out)
            cells += [number_text(survey.counts(held_out, rule).f1) if judged else "–" for rule in RULES]
        rows.append({"number": survey.number, "cells": cells})
    return rows


def class_rows(survey: RoundSurvey) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class that has truth, of the last round; all clips together."""
    kept = survey.decided[survey.decided["style"].isin(KEPT)].groupby("class_name")["labels"].sum()
    judged = set(survey.matched["class_name"])
    names = sorted(set(kept.index) | judged)
    return [
        {
            "name": name,
            "kept": int(kept.get(name, 0)),
            "cells": quality_cells(survey.counts(class_name=name), int(name in judged)),
        }
        for name in names
    ]


def step_row(step: RoundComparison) -> dict[str, Any]:
    """A row of the table of steps from round to round."""
    by_kind = {comparison.kind: comparison for comparison in step.comparisons}
    cells = []
    for kind in ("training", "held-out"):
        comparison = by_kind.get(kind)
        if comparison is None:
            cells.append(("–", ""))
            continue
        difference = comparison.difference
        interval = f"{signed(difference.low)} to {signed(difference.high)}" if difference.is_known else "no interval"
        cells.append((signed(difference.value), interval))
    agreement = "–" if step.agreement is None else f"{step.agreement:.3f}"
    return {
        "step": f"{step.old} → {step.new}",
        "cells": cells,
        "added": step.added,
        "lost": step.lost,
        "agreement": agreement,
    }


def rule_rows(surveys: list[RoundSurvey]) -> list[dict[str, Any]]:
    """Every rule that ignored or dropped a box in any round, the most used first: its meaning, its boxes by round."""
    counts = [
        survey.decided[survey.decided["style"].isin(["ignored", "dropped"])].groupby("rule")["labels"].sum()
        for survey in surveys
    ]
    totals: dict[str, int] = {}
    for of_round in counts:
        for rule, count in of_round.items():
            totals[str(rule)] = totals.get(str(rule), 0) + int(count)
    return [
        {
            "name": rule_name(rule),
            "meaning": REASON_HELP.get(rule, ""),
            "counts": [int(of_round.get(rule, 0)) for of_round in counts],
        }
        for rule in sorted(totals, key=lambda rule: (-totals[rule], rule))
    ]


def agreement_rows(surveys: list[RoundSurvey]) -> list[dict[str, Any]]:
    """How far each round's labels agree with themselves, as the cleaner wrote it; none where nothing was compared."""
    rows = []
    for survey in surveys:
        record = survey.round.records["cleaned"]
        found = (record.counts.get("agreement", {}) if record is not None else {}) | read_folds(survey.round)
        found = {new_name(name): measure for name, measure in found.items()}
        if found:
            rows.append({"number": survey.number, "cells": [_agreement_cell(found.get(name)) for name in MEASURES]})
    return rows


def _agreement_cell(found: dict[str, Any] | None) -> tuple[str, str]:
    """The value and its interval, as text."""
    if found is None:
        return "–", ""
    interval = found["interval"]
    return f"{found['value']:.3f}", f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "no interval"


def audit_rows(work: WorkFolder) -> list[dict[str, Any]]:
    """A row for each audit that a person has begun to fill in."""
    rows = []
    for audit in read_audits(work):
        found = audit.precision
        if found is None:
            continue
        rows.append(
            {
                "round": audit.round,
                "asked": len(audit.rows),
                "answered": found.answered,
                "right": found.right,
                "wrong": found.wrong,
                "labels": found.labels,
                "labels_without": found.labels_without,
                "precision": f"{found.value:.3f}",
                "interval": f"{found.low:.3f} to {found.high:.3f}",
                "file": audit.path.relative_to(work.root).as_posix(),
            }
        )
    return rows
