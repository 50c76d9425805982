"""What stands in the report, as plain values: the template only lays it out."""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from labels.pictures.palette import STYLES
from labels.pictures.quality_charts import calibration_of
from labels.pictures.report_tables import (
    agreement_rows,
    audit_rows,
    class_rows,
    iou_rows,
    quality_row,
    rule_rows,
    step_row,
)
from labels.pictures.round_comparison import RoundComparison, compare, signed
from labels.pictures.round_reading import CleanedRound
from labels.pictures.round_survey import RoundSurvey
from labels.pictures.rounds_table import NOTHING, action_rows, different_clips_notes, kept_of, labeller_of, number_text
from labels.pictures.rule_words import rule_name
from labels.pictures.settings import REPORT, ReportSettings
from labels.pictures.stage_commands import commands_of, next_stage
from labels.pictures.student_numbers import read_student
from labels.records.run_records import out_of_date
from labels.records.work_folder import ACTIONS_TRAINED, WorkFolder

TOP_RULES = 3


@dataclass(frozen=True)
class Rounds:
    """All rounds of a work folder: as found on disk, and the cleaned ones surveyed."""

    found: list[CleanedRound]
    surveys: list[RoundSurvey]


def report_contents(work: WorkFolder, rounds: Rounds, shown: int, settings: ReportSettings = REPORT) -> dict[str, Any]:
    """Every number and sentence of the report; `shown` is the round whose pictures are in it."""
    videos = work.read_videos()
    surveys = rounds.surveys
    steps = [compare(new, old, settings) for old, new in pairwise(surveys)]
    whole = compare(surveys[-1], surveys[0], settings) if len(surveys) > 2 else None
    students = [student for found in rounds.found if (student := read_student(found))]
    name = work.root.resolve().name
    return {
        "name": name,
        "shown": shown,
        "clips": clip_facts(work, videos, settings),
        "rounds": [round_facts(survey) for survey in surveys],
        "quality": [quality_row(survey) for survey in surveys],
        "rules": rule_rows(surveys),
        "by_class": class_rows(surveys[-1]),
        "unlike": different_clips_notes(surveys),
        "audits": audit_rows(work),
        "has_boxes": any(survey.round.has_boxes for survey in surveys),
        "final_has_boxes": surveys[-1].round.has_boxes,
        "agreements": agreement_rows(surveys),
        "calibrations": [found for survey in surveys if (found := calibration_of(survey))],
        "actions": action_rows(surveys),
        "has_true_actions": any(len(survey.true_actions) for survey in surveys),
        "resamples": settings.resamples,
        "has_truth": any(len(survey.matched) for survey in surveys),
        "has_held_out": any(survey.judged_videos(True) for survey in surveys),
        "by_iou": iou_rows(surveys),
        "headline": _headline(surveys, steps),
        "steps": [step_row(step) for step in steps],
        "last": steps[-1] if steps else None,
        "whole": whole,
        "students": students,
        "students_have_truth": any(not math.isnan(student.true_f1) for student in students),
        "command_text": "\n\n".join("\n".join(lines) for found in rounds.found if (lines := commands_of(found, name))),
        "unfinished": [
            command
            for before, found in zip([None, *rounds.found], rounds.found, strict=False)
            if (command := next_stage(found, before, name)) and (not found.is_cleaned or found is not rounds.found[-1])
        ],
        "out_of_date": out_of_date(work),
        "number": number_text,
        "signed": signed,
    }


def _headline(surveys: list[RoundSurvey], steps: list[RoundComparison]) -> str:
    """What the rounds came to, in a sentence."""
    last = surveys[-1]
    if not any(survey.round.has_boxes for survey in surveys) and (rows := action_rows([last])):
        training, held_out = rows[0]["sides"]
        shares = [
            f"{share} in {kind} clips"
            for share, kind in ((held_out, "held-out"), (training, "training"))
            if share != NOTHING
        ]
        right = " and ".join(shares) or "not known, for there are no true actions beside them"
        return f"Round {last.number} kept {kept_of(last):,} actions. Right, of those a machine said: {right}."
    return steps[-1].headline if steps else f"Round {last.number} is the only cleaned round."


def clip_facts(work: WorkFolder, videos: pd.DataFrame, settings: ReportSettings) -> dict[str, Any]:
    """What went in: counts, minutes, and every clip that could not be used with its reason."""
    usable, others = videos[videos["status"] == "ok"], videos[videos["status"] != "ok"]
    seconds = (usable["frame_count"] / usable["fps"].where(usable["fps"] > 0)).sum()
    with_truth = sum(work.truth_boxes(video_id).is_file() for video_id in usable["video_id"])
    with_actions = sum(work.truth_actions(video_id).is_file() for video_id in usable["video_id"])
    reasons = others["reason"].where(others["reason"] != "", others["status"]).value_counts()
    rows = others.sort_values("video_id").head(settings.failures_shown)
    return {
        "found": len(videos),
        "usable": len(usable),
        "minutes": seconds / 60,
        "frames": int(usable["frame_count"].sum()),
        "groups": int(usable["group"].where(usable["group"] != "", usable["video_id"]).nunique()),
        "held_out": int((usable["split"] == "test").sum()),
        "with_truth": with_truth,
        "with_actions": with_actions,
        "sizes": [f"{width} × {height}" for width, height in _common_sizes(usable)],
        "reasons": [(reason, int(count)) for reason, count in reasons.items()],
        "failed": [
            {"name": row.video_id or Path(row.source).name, "status": row.status, "reason": row.reason}
            for row in rows.itertuples()
        ],
        "failed_more": len(others) - len(rows),
    }


def _common_sizes(usable: pd.DataFrame) -> list[tuple[int, int]]:
    return [(int(width), int(height)) for width, height in usable[["width", "height"]].value_counts().index[:3]]


def round_facts(survey: RoundSurvey) -> dict[str, Any]:
    """What one round did."""
    dropped = survey.decided[survey.decided["style"] == "dropped"].groupby("rule")["labels"].sum()
    ignored = survey.decided[survey.decided["style"] == "ignored"].groupby("rule")["labels"].sum()
    facts = {
        "number": survey.number,
        "labeller": labeller_of(survey),
        "videos": survey.videos,
        "frames": survey.frames,
        "has_boxes": survey.round.has_boxes,
        "boxes": int(survey.decided["labels"].sum()),
        "kept": survey.kept,
        "interpolated": survey.count("interpolated"),
        "human": survey.count("human"),
        "ignored": survey.count("ignored"),
        "dropped": survey.count("dropped"),
        "drop_rules": _top(dropped),
        "ignore_rules": _top(ignored),
        "compared": bool(len(survey.changed)),
        "added": int(survey.changed["added"].sum()),
        "lost": int(survey.changed["lost"].sum()),
    }
    actions = survey.actions.groupby("style")["labels"].sum()
    facts["actions"] = {style: int(actions.get(style, 0)) for style in STYLES}
    trained = (survey.round.records[stage] for stage in ("trained", ACTIONS_TRAINED))
    return facts | {"trained": any(record is not None for record in trained)}


def _top(counts: pd.Series) -> list[tuple[str, int]]:
    ordered = counts.sort_index().sort_values(ascending=False, kind="stable")
    top = [(rule_name(str(rule)), int(count)) for rule, count in ordered.head(TOP_RULES).items()]
    rest, more = int(ordered.iloc[TOP_RULES:].sum()), len(ordered) - TOP_RULES
    return [*top, *([(f"{more} other {'rule' if more == 1 else 'rules'}", rest)] if rest else [])]
