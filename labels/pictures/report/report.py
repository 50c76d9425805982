"""`report.html`: one file that tells the story of the rounds, with every picture in it and no request to anywhere.

What stands in it is collected here as plain values; the template only lays it out.
"""

import base64
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import jinja2
import pandas as pd
from markupsafe import Markup

from labels.cleaning.rules import rule_name
from labels.labelling.sample import bill_table, read_bill
from labels.pictures.overlay.contact_sheets import SheetPlan
from labels.pictures.overlay.round_pictures import Overlay, sheet_path
from labels.pictures.palette import STYLES
from labels.pictures.report import charts
from labels.pictures.report.charts import as_svg, calibration_of
from labels.pictures.report.comparison import RoundComparison, compare, signed
from labels.pictures.report.rounds import CleanedRound
from labels.pictures.report.rounds_table import (
    NOTHING,
    action_rows,
    agreement_rows,
    audit_rows,
    class_rows,
    different_clips_notes,
    iou_rows,
    kept_of,
    labeller_of,
    number_text,
    quality_row,
    rule_rows,
    step_row,
)
from labels.pictures.report.survey import RoundSurvey
from labels.pictures.report.training import confusion_of, confusion_path, read_student, student_figure
from labels.pictures.settings import REPORT, ReportSettings
from labels.records import next_command
from labels.records.run_records import out_of_date
from labels.records.safe_writing import write_text
from labels.records.work_folder import ACTIONS_TRAINED, WorkFolder
from labels.videos.decoding.frames import DecodeError, decode_frames, probe_video

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
        "bill": bill_table(bill) if (bill := read_bill(work)) is not None else [],
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
        "command_text": "\n\n".join(
            "\n".join(lines)
            for found in rounds.found
            if (lines := next_command.commands_of(found.records, name, found.number))
        ),
        "unfinished": [
            command
            for before, found in zip([None, *rounds.found], rounds.found, strict=False)
            if (
                command := next_command.first_unfinished(
                    found.records, before.records if before else {}, name, found.number
                )
            )
            and (not found.is_cleaned or found is not rounds.found[-1])
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


TEMPLATE = "report.html.jinja"


def write_report(
    work: WorkFolder,
    rounds: Rounds,
    shown: int,
    overlays: list[Overlay],
    plans: list[SheetPlan],
    settings: ReportSettings = REPORT,
) -> None:
    """Write the report of a work folder with the pictures of round `shown`."""
    contents = report_contents(work, rounds, shown, settings)
    contents["charts"] = _charts(rounds, shown, settings)
    contents["overlays"] = _overlays(work, overlays, settings)
    contents["sheets"] = [
        {
            "title": plan.title,
            "shown": len(plan.boxes),
            "total": plan.total,
            "image": data_uri(sheet_path(work.round(shown), plan.name)),
        }
        for plan in plans
    ]
    write_text(work.report, render(contents))


def render(contents: dict[str, Any]) -> str:
    """The page; everything that is no `Markup` is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        lstrip_blocks=True,
    )
    environment.filters["lower_first"] = lambda text: text[:1].lower() + text[1:]
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment.get_template(TEMPLATE).render(contents)


def data_uri(path: Path) -> str:
    """A picture or video as a `data:` address."""
    kind = {".jpg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4"}[path.suffix]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


CONTROLS_SHARE = 0.075  # of a video's width: how high a browser's controls are, which would cover the timeline


def poster_of(path: Path) -> dict[str, str]:
    """A frame from the middle of a video, for whoever does not press play, and the shape it is shown in with controls.

    Both are "" when it has no frame.
    """
    rgb = None
    try:
        middle = probe_video(path).frame_count // 2
        frames = decode_frames(path)
        try:
            rgb = next((frame.rgb for frame in frames if frame.frame_index == middle), None)
        finally:
            frames.close()
    except DecodeError:
        pass  # the video itself is in the page all the same
    if rgb is None:
        return {"poster": "", "shape": ""}
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    height, width = rgb.shape[:2]
    return {
        "poster": f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}",
        "shape": f"{width} / {height + round(width * CONTROLS_SHARE)}",
    }


def _charts(rounds: Rounds, shown: int, settings: ReportSettings) -> dict[str, Any]:
    survey = next(survey for survey in rounds.surveys if survey.number == shown)
    figures = {
        "decisions": charts.decisions_chart(rounds.surveys),
        "reasons": charts.reasons_chart(rounds.surveys, settings),
        "classes": charts.class_balance_chart(rounds.surveys),
        "qualities": charts.quality_by_round_chart(rounds.surveys),
        "truth": charts.truth_chart(rounds.surveys, settings),
        "agreement": charts.agreement_chart(rounds.surveys, settings),
        "calibration": charts.calibration_chart(rounds.surveys),
        "quality": charts.quality_chart(survey) if len(survey.decided) else None,
    }
    drawn: dict[str, Any] = {name: Markup(as_svg(figure)) if figure else None for name, figure in figures.items()}
    drawn["training"] = [
        Markup(as_svg(figure)) for found in rounds.found if (figure := student_figure(found)) is not None
    ]
    drawn["confusions"] = [
        {
            "round": found.number,
            "of": confusion_of(found),
            "chart": Markup(as_svg(charts.confusion_chart(confusion))),
        }
        for found in rounds.found
        if (found.records["trained"] or found.records[ACTIONS_TRAINED])
        and (confusion := charts.read_confusion(confusion_path(found))) is not None
    ]
    return drawn


def _overlays(work: WorkFolder, overlays: list[Overlay], settings: ReportSettings) -> list[dict[str, Any]]:
    """Each overlay with its video embedded while there is room, the most telling first, otherwise as a link beside."""
    room = settings.embedded_bytes
    embedded: set[str] = set()
    for overlay in overlays:
        size = 0 if overlay.failure else overlay.path.stat().st_size
        if not overlay.failure and len(embedded) < settings.embedded_videos and size <= room:
            embedded.add(overlay.video_id)
            room -= size
    return [
        {
            "video_id": overlay.video_id,
            "why": overlay.why,
            "failure": overlay.failure,
            "link": overlay.path.relative_to(work.root).as_posix(),
            "video": data_uri(overlay.path) if overlay.video_id in embedded else "",
            **(poster_of(overlay.path) if overlay.video_id in embedded else {"poster": "", "shape": ""}),
            "gif": overlay.gif.relative_to(work.root).as_posix() if overlay.gif else "",
        }
        for overlay in overlays
    ]
