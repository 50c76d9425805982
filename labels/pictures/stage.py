"""Stage 5, option by option: the pictures of a round, an audit, a difference between rounds, the life of a label."""

from collections.abc import Callable
from dataclasses import replace

from labels.pictures.overlay.contact_sheets import SheetPlan, SheetSection, plan_sheets
from labels.pictures.overlay.round_pictures import (
    make_audit,
    make_overlays,
    make_sheets,
    named_videos,
    sheet_path,
    videos_worth_seeing,
)
from labels.pictures.report.label_life import life_of, show_difference
from labels.pictures.report.report import Rounds, write_report
from labels.pictures.report.rounds import CleanedRound, read_round, require_cleaned_boxes, require_cleaned_round
from labels.pictures.report.rounds_table import actions_table, rounds_table
from labels.pictures.report.survey import survey_rounds
from labels.pictures.settings import PictureSettings
from labels.records.command_line import Summary
from labels.records.run_records import out_of_date
from labels.records.work_folder import WorkFolder

Progress = Callable[[str], None]


def draw_round(
    work: WorkFolder, number: int | None, names: str | None, settings: PictureSettings, progress: Progress
) -> Summary:
    """Overlays and sheets of a round (None: the last cleaned one) and the report over all rounds."""
    videos = work.usable_videos()
    found = [read_round(work, each) for each in work.round_numbers()]
    here = _asked_round(work, found, number)
    before = next((each for each in reversed(found) if each.is_cleaned and each.number < here.number), None)
    surveys = survey_rounds(work, videos, found)
    survey = next(each for each in surveys if each.number == here.number)
    chosen = named_videos(names, videos) if names else videos_worth_seeing(survey, videos, settings.limit)
    overlays = make_overlays(work, here, videos, chosen, settings, progress)
    plans = plan_sheets(videos, here, before, settings)
    unreadable = make_sheets(work, here, videos, plans, settings, progress)
    write_report(work, Rounds(found, surveys), here.number, overlays, plans)
    skipped: dict[str, int] = {}
    for overlay in overlays:
        if overlay.failure:
            skipped[overlay.failure] = skipped.get(overlay.failure, 0) + 1
    lines = [f"{overlay.video_id}: no overlay, {overlay.failure}" for overlay in overlays if overlay.failure]
    lines += [f"{video_id}: crops left empty, {reason}" for video_id, reason in unreadable.items()]
    few = names is None and len(chosen) < survey.videos
    which = f" of {len(chosen)} of {survey.videos} videos (--set limit=0 draws all)" if few else ""
    lines.append(f"overlays{which}: {here.folder.pictures}")
    lines += [f"{gif.name}: {gif.stat().st_size / 1e6:.2f} MB" for each in overlays if (gif := each.gif)]
    lines += [f"report: {work.report}", *out_of_date(work), "", *rounds_table(surveys), *actions_table(surveys), ""]
    return Summary("visualise", "videos", len(overlays), len(overlays) - sum(skipped.values()), skipped, lines)


def draw_audit(
    work: WorkFolder, number: int | None, count: int, settings: PictureSettings, progress: Progress
) -> Summary:
    """A sample of a round's kept labels for a person to judge."""
    here = _asked_round(work, [read_round(work, each) for each in work.round_numbers()], number)
    here = require_cleaned_boxes(work, here.number)
    return make_audit(work, here, work.usable_videos(), count, settings, progress)


def draw_difference(work: WorkFolder, old: int, new: int, settings: PictureSettings, progress: Progress) -> Summary:
    """What round `new` added, lost and moved against round `old`."""
    rounds = [require_cleaned_boxes(work, number) for number in (old, new)]
    return show_difference(work, rounds[0], rounds[1], work.usable_videos(), settings, progress)


def explain_label(work: WorkFolder, label_uid: str, settings: PictureSettings, progress: Progress) -> Summary:
    """One label's life in words, and a picture of it in each round that holds it."""
    videos = work.usable_videos()
    found = [read_round(work, each) for each in work.round_numbers()]
    life = life_of(work, found, label_uid.strip())
    lines = [*life.lines, ""]
    if len(life.rows):
        sections = []
        for number, rows in life.rows.groupby("round"):
            rows = rows.assign(label_uid=f"{label_uid} in round {number}")  # a crop is known by this name
            sections.append(SheetSection(f"round {number}: {rows['decision'].iloc[0]}", rows, len(rows)))
        plan = SheetPlan(f"why_{label_uid}", f"Label {label_uid}", sections, "")
        here = next(each for each in found if each.number == int(life.rows["round"].max()))
        large = replace(settings, columns=3, tile_px=300)
        unreadable = make_sheets(work, here, videos, [plan], large, progress)
        lines += [f"{video_id}: crops left empty, {reason}" for video_id, reason in unreadable.items()]
        lines.append(f"picture: {sheet_path(here.folder, plan.name)}")
    return Summary("why", "labels", 1, 1, {}, lines)


def _asked_round(work: WorkFolder, found: list[CleanedRound], number: int | None) -> CleanedRound:
    cleaned = [each.number for each in found if each.is_cleaned]
    return require_cleaned_round(work, (cleaned[-1] if cleaned else 0) if number is None else number)
