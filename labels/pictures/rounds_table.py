"""The table of rounds as plain text: what a run of all rounds ends with."""

import math
from pathlib import Path

from labels.pictures.round_survey import RoundSurvey
from labels.records.matching import MatchCounts

NOTHING = "–"


def labeller_of(survey: RoundSurvey) -> str:
    """Who labelled a round, in words."""
    record = survey.round.records["labelled"]
    labeller = (record.facts.get("labeller") if record else None) or {}
    name = str(labeller.get("name") or "unknown")
    trained = name.endswith(".pt") and any(key.endswith("trained") for key in (record.inputs if record else {}))
    if trained and survey.number:
        return f"student of round {survey.number - 1}"
    return Path(name).name if name.endswith((".pt", ".onnx")) else name


def number_text(value: float, digits: int = 3) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def quality_cells(counts: MatchCounts, judged: int) -> list[str]:
    """Precision, recall and F1, or dashes where nothing was judged."""
    if not judged:
        return [NOTHING] * 3
    return [number_text(value) for value in (counts.precision, counts.recall, counts.f1)]


def rounds_table(surveys: list[RoundSurvey]) -> list[str]:
    """Lines: a row a round, with precision, recall, F1 against truth on training and on held-out clips."""
    rows = [["round", "labeller", "kept", *["precision", "recall", "F1"] * 2, "mean IoU"]]
    for survey in surveys:
        cells = [str(survey.number), labeller_of(survey), f"{survey.kept:,}"]
        for held_out in (False, True):
            cells += quality_cells(survey.counts(held_out), survey.judged_videos(held_out))
        rows.append([*cells, number_text(survey.counts().mean_iou)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if column == 1 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    before = sum(widths[:3]) + 3 * 2
    block = sum(widths[3:6]) + 2 * 2
    heading = " " * before + "training clips".center(block, "-") + "  " + "held-out clips".center(block, "-")
    notes = [_note(survey) for survey in surveys if not len(survey.matched)]
    return [heading, *lines, *notes[:1]]


def _note(survey: RoundSurvey) -> str:
    return f"no truth for the clips of round {survey.number}: precision, recall and F1 are not known"
