"""The tables of the report, row by row, as plain values."""

from typing import Any

from labels.cleaning.agreement import MEASURES
from labels.cleaning.audits import read_audits
from labels.cleaning.rules import REASON_HELP, rule_name
from labels.pictures.palette import KEPT
from labels.pictures.report.comparison import RoundComparison, signed
from labels.pictures.report.rounds_table import kept_of, labeller_of, number_text, quality_cells
from labels.pictures.report.survey import RULES, RoundSurvey
from labels.pictures.report.training import read_folds
from labels.records.old_names import new_name
from labels.records.work_folder import WorkFolder


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
