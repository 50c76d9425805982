"""`report.html`: one file that tells the story of the rounds, with every picture in it and no request to anywhere."""

import base64
from pathlib import Path
from typing import Any

import cv2
import jinja2
from markupsafe import Markup

from labels.pictures import charts, class_charts, quality_charts
from labels.pictures.chart_style import as_svg
from labels.pictures.contact_sheets import SheetPlan
from labels.pictures.picture_making import Overlay, sheet_path
from labels.pictures.report_contents import Rounds, report_contents
from labels.pictures.settings import REPORT, ReportSettings
from labels.pictures.student_numbers import confusion_of, confusion_path, student_figure
from labels.records.safe_writing import write_text
from labels.records.work_folder import ACTIONS_TRAINED, WorkFolder
from labels.videos.decoding import DecodeError, decode_frames, probe_video

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
        "classes": class_charts.class_balance_chart(rounds.surveys),
        "qualities": quality_charts.quality_by_round_chart(rounds.surveys),
        "truth": charts.truth_chart(rounds.surveys, settings),
        "agreement": charts.agreement_chart(rounds.surveys, settings),
        "calibration": quality_charts.calibration_chart(rounds.surveys),
        "quality": quality_charts.quality_chart(survey) if len(survey.decided) else None,
    }
    drawn: dict[str, Any] = {name: Markup(as_svg(figure)) if figure else None for name, figure in figures.items()}
    drawn["training"] = [
        Markup(as_svg(figure)) for found in rounds.found if (figure := student_figure(found)) is not None
    ]
    drawn["confusions"] = [
        {
            "round": found.number,
            "of": confusion_of(found),
            "chart": Markup(as_svg(class_charts.confusion_chart(confusion))),
        }
        for found in rounds.found
        if (found.records["trained"] or found.records[ACTIONS_TRAINED])
        and (confusion := class_charts.read_confusion(confusion_path(found))) is not None
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
