"""The pictures of one round on disk: overlay videos and contact sheets, of the videos most worth a look.

Pictures that are up to date are not made again.

An audit is a sample of labels as numbered contact sheets, and a CSV to fill in. Answers are never lost. The sample is
stratified by class and band of quality; each stratum gets a share that grows with the square root of its size (Bankier
1988). Within a stratum, labels are taken at even steps through the videos and their time. The same labels give the same
sample.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.audits import AUDIT_COLUMNS, Audit, audit_path, read_audit, read_audits
from labels.labelling.player_tracks import boxes_of_players
from labels.pictures.overlay.contact_sheets import SheetPlan, SheetSection, crop_tile, draw_sheet, write_sheet
from labels.pictures.overlay.overlay import OverlaySubject, draw_overlay
from labels.pictures.palette import KEPT, style_names
from labels.pictures.report.rounds import CleanedRound, truth_actions_of, truth_of
from labels.pictures.report.survey import RoundSurvey
from labels.pictures.settings import PictureSettings
from labels.records import next_command, tables
from labels.records.command_line import Summary
from labels.records.errors import InputError
from labels.records.run_records import digest_of_files
from labels.records.safe_writing import digest_of, read_json, read_parquet, write_json, write_text
from labels.records.tables import NO_TRACK
from labels.records.verdicts import JUDGED_COLUMNS
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


BAND_EDGES = (0.85, 0.95)  # of the quality of a kept label
LEAST_OF_STRATUM = 2
OTHER_CLASSES = "other classes"


def draw_sample(kept: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """At most `count` of the `kept` rows with `stratum`, `stratum_size` and `number` (from 1), by video and frame."""
    kept = kept.sort_values(["video_id", "frame_index", "label_uid"], ignore_index=True)
    stratum = strata_of(kept, count)
    sizes = stratum.value_counts().sort_index()
    generator = np.random.default_rng(seed)
    chosen = []
    for (name, size), share in zip(sizes.items(), shares_of(sizes.to_numpy(), count), strict=True):
        rows = np.flatnonzero(stratum == name)
        steps = (generator.random() + np.arange(share)) * (size / share) if share else np.zeros(0)
        chosen.append(kept.iloc[rows[steps.astype(int)]].assign(stratum=name, stratum_size=int(size)))
    sample = pd.concat(chosen).sort_index()
    return sample.reset_index(drop=True).assign(number=np.arange(1, len(sample) + 1))


def strata_of(kept: pd.DataFrame, count: int) -> pd.Series:
    """The name of each row's stratum. Where there are too many classes for the sample, the rare ones are one."""
    bands = len(BAND_EDGES) + 1
    most_classes = max(1, count // (2 * LEAST_OF_STRATUM * bands))
    by_size = kept["class_name"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index
    shown = set(by_size if len(by_size) <= most_classes else by_size[: most_classes - 1])
    class_name = kept["class_name"].where(kept["class_name"].isin(shown), OTHER_CLASSES)
    low, high = BAND_EDGES
    words = np.array([f"quality below {low}", f"quality {low} to {high}", f"quality from {high}"], dtype=object)
    band = words[np.digitize(kept["quality"].to_numpy(dtype=np.float64), BAND_EDGES)]
    return class_name.astype(object) + ", " + pd.Series(band, index=kept.index, dtype=object)


def shares_of(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many of each stratum are looked at, (S,) int: `count` in all, or all there are; two of each where it goes.

    The seats go one by one to the stratum that is furthest below its share by the square root of its size.
    """
    shares = np.minimum(sizes, LEAST_OF_STRATUM if LEAST_OF_STRATUM * len(sizes) <= count else 0)
    wanted = np.sqrt(sizes.astype(np.float64))
    for _ in range(min(count, int(sizes.sum())) - int(shares.sum())):
        need = np.where(shares < sizes, wanted / (shares + 1), -1.0)
        shares[int(np.argmax(need))] += 1
    return shares


MOST_LABELS = 1000
TILES_A_SHEET = 60


def make_audit(
    work: WorkFolder,
    here: CleanedRound,
    videos: pd.DataFrame,
    count: int,
    settings: PictureSettings,
    progress: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Draw `count` kept labels of a round that nobody has judged yet, or go on with a sample that is half answered."""
    if not 1 <= count <= MOST_LABELS:
        raise InputError(f"--audit: from 1 to {MOST_LABELS} labels, not {count}")
    boxes = tables.concatenate([here.boxes(video_id) for video_id in videos["video_id"]], tables.BOXES | tables.DECIDED)
    path = audit_path(here.folder)
    old = read_audit(path, here.number) if path.is_file() else None
    lines = []
    if old is not None and _goes_on(old, boxes, count):
        asked = old.rows[["label_uid", "number", "stratum"]].merge(boxes, on="label_uid", validate="1:1")
        sample = asked.assign(number=asked["number"].astype(int)).sort_values("number", ignore_index=True)
        lines.append(f"{path}: goes on, {len(old.answered)} of {len(old.rows)} answered")
    else:
        if old is not None and len(old.answered):
            lines.append(f"the audit that was answered before is kept as {_set_aside(old, here.folder)}")
        sample = draw_sample(_unjudged(work, here, boxes), count)
        write_text(path, _as_csv(sample))
    plans = _plans(here, sample, settings)
    for stale in sorted(here.folder.pictures.glob("sheet_audit*.jpg")):
        stale.unlink()
    large = replace(settings, columns=5, tile_px=200)
    unreadable = make_sheets(work, here, videos, plans, large, progress)
    lines += [f"{video_id}: crops left empty, {reason}" for video_id, reason in unreadable.items()]
    kept = int((boxes["decision"] == "keep").sum())
    lines += [
        f"{len(sample)} of {kept:,} kept labels, from {sample['stratum'].nunique()} strata of class and quality",
        *[f"look at {sheet_path(here.folder, plan.name)}" for plan in plans],
        f"fill in y or n in the column verdict of {path}; leave it empty where you cannot tell",
    ]
    command = next_command.clean(work, here.number)
    return Summary("audit", "labels", len(sample), len(sample), {}, lines, command)


def _goes_on(old: Audit, boxes: pd.DataFrame, count: int) -> bool:
    """Whether the sample on disk is what is asked for: as many labels, some unanswered, and all still there to see."""
    open_rows = old.rows[old.rows["verdict"] == ""]
    kept = boxes.loc[boxes["decision"] == "keep", "label_uid"]
    there = open_rows["label_uid"].isin(kept).all() and old.rows["label_uid"].isin(boxes["label_uid"]).all()
    return len(old.rows) == count and len(open_rows) > 0 and bool(there)


def _set_aside(old: Audit, folder: RoundFolder) -> Path:
    number = 1
    while audit_path(folder, f"audit_{number}").exists():
        number += 1
    return old.path.rename(audit_path(folder, f"audit_{number}"))


def _unjudged(work: WorkFolder, here: CleanedRound, boxes: pd.DataFrame) -> pd.DataFrame:
    """The kept labels that stand on the machine's word alone."""
    answered = [audit.answered["label_uid"] for audit in read_audits(work)]
    judged = set(pd.concat(answered)) if answered else set()
    kept = boxes[(boxes["decision"] == "keep") & (boxes["origin"] != "human") & ~boxes["label_uid"].isin(judged)]
    if not len(kept):
        raise InputError(f"{here.folder.path}: round {here.number} has no kept label that nobody has judged yet")
    return kept


def _as_csv(sample: pd.DataFrame) -> str:
    """The file to fill in; the first columns are those of verdicts.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(AUDIT_COLUMNS)
    names = dict(zip(JUDGED_COLUMNS, tables.BOX_COLUMNS, strict=True)) | {"judged_class": "class_name"}
    for row in sample.to_dict("records"):
        row |= {"verdict": "", "time_s": f"{row['time_s']:.3f}", "quality": f"{row['quality']:.3f}"}
        writer.writerow([row[names.get(name, name)] for name in AUDIT_COLUMNS])
    return text.getvalue()


def _plans(here: CleanedRound, sample: pd.DataFrame, settings: PictureSettings) -> list[SheetPlan]:
    """A sheet for every sixty labels. It shows no scores: the eye is to judge, not the machine once more."""
    plans = []
    for page, start in enumerate(range(0, len(sample), TILES_A_SHEET), start=1):
        part = sample.iloc[start : start + TILES_A_SHEET]
        title = f"Audit of round {here.number}: is what stands in the box what the words say? Labels"
        title = f"{title} {part['number'].iloc[0]} to {part['number'].iloc[-1]} of {len(sample)}"
        name = "audit" if page == 1 else f"audit_{page}"
        plans.append(SheetPlan(name, title, [SheetSection("", part, len(part))], ""))
    return plans
