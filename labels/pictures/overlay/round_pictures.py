"""The pictures of one round on disk: overlay videos and contact sheets, of the videos most worth a look.

Pictures that are up to date are not made again.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from labels.labelling.player_tracks import boxes_of_players
from labels.pictures.overlay.contact_sheets import SheetPlan, crop_tile, draw_sheet, write_sheet
from labels.pictures.overlay.overlay import OverlaySubject, draw_overlay
from labels.pictures.palette import KEPT, style_names
from labels.pictures.report.rounds import CleanedRound, truth_actions_of, truth_of
from labels.pictures.report.survey import RoundSurvey
from labels.pictures.settings import PictureSettings
from labels.records.errors import InputError
from labels.records.run_records import digest_of_files
from labels.records.safe_writing import digest_of, read_json, read_parquet, write_json
from labels.records.tables import NO_TRACK
from labels.records.work_folder import RoundFolder, WorkFolder
from labels.videos.decoding.frames import DecodeError
from labels.videos.frame_store import FrameStore

DRAWING_VERSION = 5  # raise it when the drawing changes, so that finished videos are drawn again
GIF_SECONDS, GIF_WIDTH = 4.0, 480
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Overlay:
    """One overlay video: `path` when it was drawn, otherwise `failure` says why not."""

    video_id: str
    why: str  # it was chosen
    path: Path
    failure: str = ""
    gif: Path | None = None


def overlay_path(folder: RoundFolder, video_id: str) -> Path:
    return folder.pictures / f"overlay_{video_id}.mp4"


def gif_path(folder: RoundFolder, video_id: str) -> Path:
    return folder.pictures / f"overlay_{video_id}.gif"


def sheet_path(folder: RoundFolder, name: str) -> Path:
    return folder.pictures / f"sheet_{name}.jpg"


def make_overlays(
    work: WorkFolder,
    here: CleanedRound,
    videos: pd.DataFrame,
    chosen: dict[str, str],
    settings: PictureSettings,
    progress: Progress = lambda _: None,
) -> list[Overlay]:
    """Draw the overlay videos of the chosen videos (video_id -> why); those of other labels are removed."""
    ledger = _read_ledger(here.folder)
    current = {video.video_id: video for video in videos.itertuples()}
    for video_id in list(ledger):
        known = video_id in current and here.has(video_id)
        if not known or ledger[video_id] != _made_from(work, here, current[video_id], settings):
            overlay_path(here.folder, video_id).unlink(missing_ok=True)
            gif_path(here.folder, video_id).unlink(missing_ok=True)
            del ledger[video_id]
    overlays = []
    for video_id, why in chosen.items():
        progress(video_id)
        path = overlay_path(here.folder, video_id)
        if not here.has(video_id):
            overlays.append(Overlay(video_id, why, path, "not labelled in this round"))
            continue
        digest = _made_from(work, here, current[video_id], settings)
        if ledger.get(video_id) != digest or not path.is_file():
            gif_path(here.folder, video_id).unlink(missing_ok=True)
            try:
                draw_overlay(_subject(work, here, current[video_id]), path, settings)
            except DecodeError as error:
                overlays.append(Overlay(video_id, why, path, f"cannot be decoded: {error}"))
                continue
            ledger[video_id] = digest
            write_json(_ledger_path(here.folder), ledger)
        overlays.append(Overlay(video_id, why, path, gif=_gif(work, here, current[video_id], settings)))
    write_json(_ledger_path(here.folder), ledger)
    return overlays


def _gif(work: WorkFolder, here: CleanedRound, video: Any, settings: PictureSettings) -> Path | None:
    """The GIF beside an overlay, drawn when it is asked for and not there; it goes when its overlay goes."""
    path = gif_path(here.folder, video.video_id)
    if settings.gif and not path.is_file():
        seconds = min(settings.seconds or GIF_SECONDS, GIF_SECONDS)
        small = replace(settings, seconds=seconds, min_width=GIF_WIDTH, max_width=GIF_WIDTH, max_height=GIF_WIDTH)
        draw_overlay(_subject(work, here, video), path, small)
    return path if path.is_file() else None


def _ledger_path(folder: RoundFolder) -> Path:
    return folder.pictures / "overlays.json"


def _read_ledger(folder: RoundFolder) -> dict[str, str]:
    """video_id -> digest of what its overlay was made from. An unreadable ledger is as good as none."""
    try:
        ledger = read_json(_ledger_path(folder))
    except InputError:
        return {}
    return ledger if isinstance(ledger, dict) else {}


def _made_from(work: WorkFolder, here: CleanedRound, video: Any, settings: PictureSettings) -> str:
    """The digest of everything an overlay shows."""
    drawn = {
        name: value for name, value in asdict(settings).items() if name not in ("limit", "gif", "tiles", "columns")
    }
    files = [
        here.folder.boxes("cleaned", video.video_id),
        here.folder.actions("cleaned", video.video_id),
        work.truth_actions(video.video_id),
        here.folder.camera(video.video_id),
        here.folder.masks(video.video_id),
        work.truth_boxes(video.video_id),
    ]
    if not files[0].is_file():  # players were found in an earlier round
        files += [work.round(number).boxes("cleaned", video.video_id) for number in range(here.number)]
    digests = [digest_of_files([path]) if path.is_file() else "" for path in files]
    return digest_of([DRAWING_VERSION, here.number, drawn, digests, video.sha256, video.fps])


def _subject(work: WorkFolder, here: CleanedRound, video: Any) -> OverlaySubject:
    boxes, truth, actions = here.boxes(video.video_id), truth_of(work, video.video_id), here.actions(video.video_id)
    if not len(boxes) and (actions["track_id"] != NO_TRACK).any():  # the players were found elsewhere
        boxes = boxes_of_players(work, here.number, video.video_id)
    camera = here.folder.camera(video.video_id)
    truly = truth_actions_of(work, video.video_id, actions)
    return OverlaySubject(
        video.video_id,
        work.videos / video.file,
        video.fps if 0 < video.fps < 1000 else 25.0,
        video.frame_count,
        boxes,
        None if truth is None else here.judged_truth(truth, boxes),
        read_parquet(camera) if camera.is_file() else None,
        f"Round {here.number}",
        actions,
        None if truly is None else truly[truly["class_name"] != ""],
        here.stride(video.video_id),
    )


def make_sheets(
    work: WorkFolder,
    here: CleanedRound,
    videos: pd.DataFrame,
    plans: list[SheetPlan],
    settings: PictureSettings,
    progress: Progress = lambda _: None,
) -> dict[str, str]:
    """Draw and write the contact sheets. Returns the videos whose frames could not be read: video_id -> reason."""
    wanted = [plan.boxes.assign(sheet=plan.name) for plan in plans if len(plan.boxes)]
    boxes = pd.concat(wanted, ignore_index=True) if wanted else pd.DataFrame(columns=["video_id"])
    known = {video.video_id: video for video in videos.itertuples()}
    crops: dict[str, dict] = {plan.name: {} for plan in plans}
    failures = {}
    store = FrameStore(work.frames)
    for video_id, of_video in boxes.groupby("video_id"):
        progress(str(video_id))
        try:
            video, frames = known[video_id], sorted(of_video["frame_index"].unique().tolist())
            store.ensure(video_id, work.videos / video.file, frames, sha256=video.sha256)
        except DecodeError as error:
            failures[str(video_id)] = f"cannot be decoded: {error}"
        for frame_index, of_frame in of_video.groupby("frame_index"):
            if not store.has(video_id, frame_index):
                continue
            rgb = store.read(video_id, frame_index)
            for row, style in zip(of_frame.itertuples(), style_names(of_frame), strict=True):
                crops[row.sheet][row.label_uid] = crop_tile(rgb, row, style, settings.tile_px)
    for plan in plans:
        write_sheet(sheet_path(here.folder, plan.name), draw_sheet(plan, crops[plan.name], settings))
    return failures


def named_videos(names: str, videos: pd.DataFrame) -> dict[str, str]:
    """The videos a user asked for (ids with commas between): video_id -> why. InputError for an unknown one."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = set(videos["video_id"])
    for name in wanted:
        if name not in known:
            raise InputError(f"--videos {name}: no usable video of this name; they stand in videos.parquet")
    if not wanted:
        raise InputError("--videos: no video named")
    return dict.fromkeys(wanted, "asked for")


def videos_worth_seeing(survey: RoundSurvey, videos: pd.DataFrame, limit: int) -> dict[str, str]:
    """At most `limit` videos of a round (0: all): video_id -> why. The same round gives the same choice."""
    held = [video_id for video_id in videos["video_id"] if survey.round.has(video_id)]
    if not limit or len(held) <= limit:
        return dict.fromkeys(held, "all videos are drawn")
    rankings = _rankings(survey, held)
    chosen: dict[str, str] = {}
    while len(chosen) < limit:
        for why, ranked in rankings:
            best = next((video_id for video_id in ranked if video_id not in chosen), None)
            if best is not None and len(chosen) < limit:
                chosen[best] = why
        rankings = [(why, [name for name in ranked if name not in chosen]) for why, ranked in rankings]
        if not any(ranked for _, ranked in rankings):
            break
    return chosen


def _rankings(survey: RoundSurvey, held: list[str]) -> list[tuple[str, list[str]]]:
    """Orders of the videos, each with what its first ones show; a video that shows nothing of it is left out."""
    decided = survey.decided
    kept = decided[decided["style"].isin(KEPT)].groupby("video_id")["labels"].sum()
    dropped = decided[decided["style"] == "dropped"].groupby("video_id")["labels"].sum()
    rankings = []
    if len(survey.changed):
        changed = survey.changed.set_index("video_id")[["added", "lost"]].sum(axis=1)
        rankings.append(("many labels added or lost since the round before", _descending(changed)))
    matched = survey.matched[survey.matched["rule"] == "centre"].groupby("video_id")[["wrong", "missed"]].sum()
    if len(matched):
        rankings.append(("many mistakes against truth", _descending(matched.sum(axis=1))))
    rankings.append(("many boxes dropped", _descending(dropped)))
    counts = kept.reindex(held, fill_value=0)
    from_median = (counts - counts.median()).abs()
    rankings.append(("a middling video by its number of labels", from_median.sort_values(kind="stable").index.tolist()))
    rankings.append(("few labels", counts.sort_values(kind="stable").index.tolist()))
    return rankings


def _descending(values: pd.Series) -> list[str]:
    return values[values > 0].sort_index().sort_values(ascending=False, kind="stable").index.tolist()
