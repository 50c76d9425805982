"""Contact sheets: many labels at a glance, each a crop with its surroundings, its numbers and its place.

The labels shown are spread over videos, classes and time; near-duplicates count once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from labels.cleaning.rules import rule_name, rule_of
from labels.pictures.overlay.drawing import draw_outline, draw_text, draw_text_right, fit_text, outline_of
from labels.pictures.palette import BLACK, MUTED, OLD_PLACE, PANEL, RAISED, STYLES, TEXT, Colour
from labels.pictures.report.rounds import CleanedRound
from labels.pictures.report.survey import changes_between
from labels.pictures.settings import PictureSettings
from labels.records import tables
from labels.records.safe_writing import write_bytes

GAP_PX = 10
CAPTION_PX = 50
TITLE_PX = 46
HEADING_PX = 34


@dataclass(frozen=True)
class SheetSection:
    """A part of a sheet under one heading: rows of a decided boxes table, and of how many they were chosen."""

    heading: str
    boxes: pd.DataFrame
    total: int


@dataclass(frozen=True)
class SheetPlan:
    """A sheet to draw; with no rows in any section it says `when_empty`."""

    name: str
    title: str
    sections: list[SheetSection]
    when_empty: str

    @property
    def boxes(self) -> pd.DataFrame:
        filled = [section.boxes for section in self.sections if len(section.boxes)]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    @property
    def total(self) -> int:
        return sum(section.total for section in self.sections)


def draw_sheet(plan: SheetPlan, crops: dict[str, np.ndarray | None], settings: PictureSettings) -> np.ndarray:
    """Draw a sheet (H, W, 3). `crops` maps a label_uid to its tile; those of unread frames are missing."""
    width = settings.columns * (settings.tile_px + GAP_PX) + GAP_PX
    title = np.full((TITLE_PX, width, 3), PANEL, dtype=np.uint8)
    draw_text(title, fit_text(plan.title, width - 2 * GAP_PX, 17, bold=True), GAP_PX, 13, size=17, bold=True)
    parts = [title]
    for section in plan.sections:
        if not len(section.boxes):
            continue
        if section.heading:
            parts.append(_heading(section, width))
        tiles = [_tile(row, crops.get(row.label_uid), settings) for row in section.boxes.itertuples()]
        parts += [_line(tiles[at : at + settings.columns], width) for at in range(0, len(tiles), settings.columns)]
    if len(parts) == 1:
        empty = np.full((90, width, 3), PANEL, dtype=np.uint8)
        draw_text(empty, plan.when_empty, GAP_PX, 20, size=15, colour=MUTED)
        parts.append(empty)
    return np.vstack(parts)


def write_sheet(path: Path, image: np.ndarray) -> None:
    """Write a sheet as JPEG, whole or not at all."""
    fine, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 84])
    if not fine:
        raise OSError(f"{path}: the picture could not be coded as JPEG")
    write_bytes(path, coded.tobytes())


def _heading(section: SheetSection, width: int) -> np.ndarray:
    image = np.full((HEADING_PX, width, 3), PANEL, dtype=np.uint8)
    end = draw_text(image, fit_text(section.heading, width - 260, 14, bold=True), GAP_PX, 9, size=14, bold=True)
    shown = len(section.boxes)
    words = f"{section.total:,}" if shown == section.total else f"{shown} of {section.total:,}"
    draw_text(image, words, end + 12, 9, size=14, colour=MUTED)
    return image


def _line(tiles: list[np.ndarray], width: int) -> np.ndarray:
    line = np.full((tiles[0].shape[0] + GAP_PX, width, 3), PANEL, dtype=np.uint8)
    for position, tile in enumerate(tiles):
        left = GAP_PX + position * (tile.shape[1] + GAP_PX)
        line[: tile.shape[0], left : left + tile.shape[1]] = tile
    return line


def _tile(row: Any, crop: np.ndarray | None, settings: PictureSettings) -> np.ndarray:
    side = settings.tile_px
    tile = np.full((side + CAPTION_PX, side, 3), RAISED, dtype=np.uint8)
    if crop is None:
        draw_text(tile, "frame cannot be read", 8, side // 2 - 8, size=12, colour=MUTED)
    else:
        tile[:side] = crop
    lines = _numbered_caption(row) if hasattr(row, "number") else _caption(row)
    for line, (left, right, colour) in enumerate(lines):
        top = side + 2 + 15 * line
        end = draw_text_right(tile, right, side - 6, top, size=11, colour=colour)
        draw_text(tile, fit_text(left, end - 14, 11), 6, top, size=11, colour=colour)
    if hasattr(row, "number"):
        draw_text(tile, f" {row.number} ", 0, 0, size=15, bold=True, background=BLACK)
    return tile


def _caption(row: Any) -> list[tuple[str, str, Colour]]:
    """Three lines under a crop: what stands left, what stands right, the colour."""
    return [
        (f"score {row.score:.2f}", f"quality {row.quality:.2f}", TEXT),
        (_words(row), f"frame {row.frame_index}", MUTED),
        (row.video_id, "", MUTED),
    ]


def _numbered_caption(row: Any) -> list[tuple[str, str, Colour]]:
    """Under a crop that a person is to judge: what the label says, and where it is."""
    place = (f"{row.time_s:.2f} s", f"frame {row.frame_index}", MUTED)
    return [(row.class_name, "", TEXT), place, (row.video_id, "", MUTED)]


def _words(row: Any) -> str:
    """Why a box was not kept, with the values; of a kept one its class."""
    if row.reason:
        return row.reason
    return row.class_name if row.origin == "detected" else row.origin


def crop_tile(rgb: np.ndarray, row: Any, style_name: str, side_px: int) -> np.ndarray:
    """The surroundings of a box as a square tile (side_px, side_px, 3) with the box's outline."""
    x1, y1, x2, y2 = row.x1, row.y1, row.x2, row.y2
    longest = max(x2 - x1, y2 - y1)
    reach = max(56.0, 1.7 * longest + 24)
    left, top = (x1 + x2 - reach) / 2, (y1 + y2 - reach) / 2
    scale = side_px / reach
    half = (scale - 1) / 2  # warpAffine counts from the middle of the first pixel, boxes from its corner
    matrix = np.array([[scale, 0, half - left * scale], [0, scale, half - top * scale]])
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    tile = cv2.warpAffine(rgb, matrix, (side_px, side_px), flags=flags, borderValue=RAISED)
    outline = outline_of(np.array([x1 - left, y1 - top, x2 - left, y2 - top]), scale)
    if np.isfinite(getattr(row, "old_x1", np.nan)):  # where another round had it
        old = np.array([row.old_x1 - left, row.old_y1 - top, row.old_x2 - left, row.old_y2 - top])
        draw_outline(tile, outline_of(old, scale), OLD_PLACE)
    draw_outline(tile, outline, STYLES[style_name])
    return tile


APART_FRAMES = 8  # labels of one class nearer than this in one video look alike
SHEET_NAMES = ("kept", "doubtful", "added", "lost", "ignored", "dropped")


def plan_sheets(
    videos: pd.DataFrame, here: CleanedRound, before: CleanedRound | None, settings: PictureSettings
) -> list[SheetPlan]:
    """The six sheets of a round; none where it has no boxes."""
    if not here.has_boxes:
        return []
    decided = tables.BOXES | tables.DECIDED
    all_boxes, added, lost = [], [], []
    for video in videos.itertuples():
        if not here.has(video.video_id):
            continue
        boxes = here.boxes(video.video_id)
        all_boxes.append(boxes)
        if before is not None and before.has(video.video_id):
            kept, old = boxes[boxes["decision"] == "keep"], before.boxes(video.video_id)
            now, then = (each.labelled_frames(video.video_id, video.frame_count) for each in (here, before))
            frames = np.intersect1d(now, then)
            changes = changes_between(kept, old[old["decision"] == "keep"], frames)
            added.append(changes.added)
            lost.append(changes.lost)
    boxes = tables.concatenate(all_boxes, decided)
    new, gone = tables.concatenate(added, decided), tables.concatenate(lost, decided)
    kept = boxes[boxes["decision"] == "keep"]
    what = f"Round {here.number}"
    no_round = f"{what} has no cleaned round before it to compare with."
    doubtful = doubtful_labels(kept, settings.tiles)
    since = f"since round {before.number}" if before else "since the round before"
    return [
        SheetPlan("kept", f"{what}: labels kept", _one("", kept, settings.tiles), "No label was kept."),
        SheetPlan(
            "doubtful",
            f"{what}: the most doubtful labels kept (lowest quality first)",
            [SheetSection("", doubtful, len(kept))],
            "No label was kept.",
        ),
        SheetPlan(
            "added",
            f"{what}: labels added {since}",
            _one("", new, settings.tiles),
            no_round if before is None else f"No label was added {since}.",
        ),
        SheetPlan(
            "lost",
            f"{what}: labels lost {since} (as round {before.number if before else '–'} had them)",
            _one("", gone, settings.tiles),
            no_round if before is None else f"No label was lost {since}.",
        ),
        SheetPlan(
            "ignored",
            f"{what}: boxes ignored (neither object nor background in training)",
            _by_rule(boxes[boxes["decision"] == "ignore"], settings),
            "No box was ignored.",
        ),
        SheetPlan(
            "dropped",
            f"{what}: boxes dropped, by rule",
            _by_rule(boxes[boxes["decision"] == "drop"], settings),
            "No box was dropped.",
        ),
    ]


def _one(heading: str, boxes: pd.DataFrame, count: int) -> list[SheetSection]:
    return [SheetSection(heading, spread_sample(boxes, count), len(boxes))]


def _by_rule(boxes: pd.DataFrame, settings: PictureSettings) -> list[SheetSection]:
    """A section for each rule, most boxes first; at least one line of tiles each."""
    rules = pd.Series([rule_of(reason) for reason in boxes["reason"]], index=boxes.index, dtype="str")
    order = rules.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    lines = max(1, settings.tiles // settings.columns // max(1, len(order)))
    return [
        SheetSection(rule_name(rule), spread_sample(boxes[rules == rule], lines * settings.columns), int(count))
        for rule, count in order.items()
    ]


def spread_sample(boxes: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, the same number of each class as far as it goes, evenly over videos and time."""
    if len(boxes) <= count:
        return boxes.sort_values(["class_name", "video_id", "frame_index", "label_uid"], ignore_index=True)
    groups = sorted(boxes.groupby("class_name"), key=lambda pair: (len(pair[1]), pair[0]))
    chosen, left = [], count
    for position, (_, group) in enumerate(groups):
        share = min(len(group), left // (len(groups) - position))
        ordered = group.sort_values(["video_id", "frame_index", "label_uid"])
        chosen.append(ordered.iloc[np.linspace(0, len(group) - 1, share).round().astype(int)])
        left -= share
    return pd.concat(chosen, ignore_index=True)


def doubtful_labels(kept: pd.DataFrame, count: int) -> pd.DataFrame:
    """The `count` kept rows of the lowest quality, of neighbours in time only the worst."""
    chosen: list[int] = []
    taken: dict[tuple[str, str], list[int]] = {}
    ordered = kept.sort_values(["quality", "video_id", "frame_index", "label_uid"]).reset_index(drop=True)
    for row in ordered.itertuples():
        frames = taken.setdefault((row.video_id, row.class_name), [])
        if all(abs(row.frame_index - frame) >= APART_FRAMES for frame in frames):
            frames.append(row.frame_index)
            chosen.append(row.Index)
        if len(chosen) == count:
            break
    return ordered.iloc[chosen].reset_index(drop=True)
