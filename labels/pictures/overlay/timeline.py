"""The timeline under an overlay video, and actions on the picture.

A player's action is written under the player's box; an action of the whole frame is a border around it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.rules import rule_name, rule_of
from labels.pictures.overlay.drawing import draw_outline, draw_tag, draw_text, draw_text_right, fit_text, outline_of
from labels.pictures.palette import BLACK, KEPT, MUTED, PANEL, RAISED, STYLES, TRUTH_COLOUR, WHITE, Colour, style_names
from labels.records.tables import BOX_COLUMNS, NO_TRACK, is_empty_frame

ROW_PX = 18
NAME_PX = 150
COUNT_PX = 64
MAX_CLASSES = 4


@dataclass(frozen=True)
class TimelineRow:
    """One line of the strip: `frames` (F,) bool says in which labelled frames there is something."""

    name: str
    frames: np.ndarray
    count: int
    colour: Colour


def timeline_rows(boxes: pd.DataFrame, truth: pd.DataFrame | None, frame_indices: np.ndarray) -> list[TimelineRow]:
    """A row for what was kept (for each class, where there are several), ignored, dropped, and the truth."""
    names = style_names(boxes)
    kept = boxes["decision"].to_numpy() == "keep"
    classes = boxes.loc[kept, "class_name"].value_counts().index.tolist()
    rows = []

    def add(name: str, mask: np.ndarray, colour: Colour) -> None:
        chosen = boxes.loc[mask, "frame_index"].to_numpy()
        rows.append(TimelineRow(name, np.isin(frame_indices, chosen), len(chosen), colour))

    if len(classes) > 1:
        for class_name in classes[:MAX_CLASSES]:
            add(f"kept {class_name}", kept & (boxes["class_name"] == class_name).to_numpy(), STYLES["kept"].colour)
        others = ~boxes["class_name"].isin(classes[:MAX_CLASSES]).to_numpy()
        if (kept & others).any():
            add(f"kept, {len(classes) - MAX_CLASSES} more classes", kept & others, STYLES["kept"].colour)
    else:
        add("kept", names == "kept", STYLES["kept"].colour)
        add("kept, interpolated", names == "interpolated", STYLES["interpolated"].colour)
    if (names == "human").any():
        add("kept, by a person", names == "human", STYLES["human"].colour)
    add("ignored", names == "ignored", STYLES["ignored"].colour)
    add("dropped", names == "dropped", STYLES["dropped"].colour)
    if truth is not None:
        present = truth[~is_empty_frame(truth) & truth["frame_index"].isin(frame_indices).to_numpy()]
        there = np.isin(frame_indices, present["frame_index"].to_numpy())
        rows.append(TimelineRow("truth", there, len(present), TRUTH_COLOUR))
    return rows


class Timeline:
    """The strip of one video, drawn once; only the cursor moves."""

    def __init__(self, rows: list[TimelineRow], width: int) -> None:
        self.bar_px = width - NAME_PX - COUNT_PX
        self.image = np.full((len(rows) * ROW_PX + 6, width, 3), PANEL, dtype=np.uint8)
        self.frame_count = len(rows[0].frames)
        for index, row in enumerate(rows):
            self._draw_row(row, index * ROW_PX + 3)

    def _draw_row(self, row: TimelineRow, top: int) -> None:
        draw_text(self.image, fit_text(row.name, NAME_PX - 16, 12), 10, top + 1, size=12, colour=MUTED)
        bar = self.image[top + 2 : top + ROW_PX - 3, NAME_PX : NAME_PX + self.bar_px]
        bar[:] = RAISED
        columns = self._columns(np.arange(self.frame_count))
        ends = np.maximum(self._columns(np.arange(1, self.frame_count + 1)), columns + 1)
        for start, end in zip(columns[row.frames], ends[row.frames], strict=True):
            bar[:, start:end] = row.colour
        draw_text_right(self.image, f"{row.count:,}", self.image.shape[1] - 10, top + 1, size=12, colour=MUTED)

    def _columns(self, position: np.ndarray) -> np.ndarray:
        return position * self.bar_px // max(self.frame_count, 1)

    def at(self, position: int) -> np.ndarray:
        """The strip (H, W, 3) with the cursor at the frame that stands `position`-th in it."""
        image = self.image.copy()
        middle = NAME_PX + int((position + 0.5) * self.bar_px / max(self.frame_count, 1))
        image[:, middle - 1 : middle + 2] = PANEL
        image[:, middle] = WHITE
        return image


BANNER_LINES = 5
LINE_PX = 20
SIZE = 14


class ActionDrawing:
    """Draws the decided actions of one video. `boxes` are its boxes, whose tracks say where a player is."""

    def __init__(self, actions: pd.DataFrame, boxes: pd.DataFrame) -> None:
        order = [*reversed(KEPT), "ignored", "dropped"]  # what is drawn first stands on top
        styled = actions.assign(style=style_names(actions))
        rank = styled["style"].map(order.index)
        by_rank = styled.assign(rank=rank).sort_values(["rank", "score"], ascending=[True, False], kind="stable")
        self._actions = by_rank.reset_index(drop=True)
        standing = boxes[(boxes["track_id"] != NO_TRACK) & (boxes["decision"] != "drop")]
        self._boxes = standing.drop_duplicates(["frame_index", "track_id"]).set_index(["frame_index", "track_id"])

    def draw(self, canvas: np.ndarray, frame_index: int, scale: float) -> None:
        """Draw what is done in this frame onto the enlarged frame (H, W, 3), in place."""
        banner = []
        lines: dict[int, int] = {}  # under each player
        for action in self._at(frame_index):
            style = STYLES[action.style]
            place = (frame_index, action.track_id)
            if action.track_id == NO_TRACK:
                reach = 4
                draw_outline(canvas, (reach, reach, canvas.shape[1] - reach - 1, canvas.shape[0] - reach - 1), style)
                banner.append(action)
            elif place in self._boxes.index:
                box = self._boxes.loc[place, BOX_COLUMNS].to_numpy(dtype=np.float32)
                x1, _, x2, y2 = outline_of(box, scale)
                lines[action.track_id] = lines.get(action.track_id, 0) + 1
                foot = y2 + lines[action.track_id] * LINE_PX
                below = (x1, foot, x2, foot)  # a tag stands above what it belongs to
                draw_tag(canvas, action_words(action), below, style.colour, len(canvas))
            else:
                banner.append(action)
        for line, action in enumerate(banner[:BANNER_LINES]):
            who = "" if action.track_id == NO_TRACK else f"#{action.track_id} "
            words = fit_text(f" {who}{action_words(action)} ", canvas.shape[1] - 20, SIZE)
            draw_text(
                canvas, words, 10, 10 + line * LINE_PX, size=SIZE, colour=STYLES[action.style].colour, background=BLACK
            )

    def _at(self, frame_index: int) -> Iterator[Any]:
        here = (self._actions["start_frame"] <= frame_index) & (frame_index < self._actions["end_frame"])
        return self._actions[here].itertuples()


def action_words(action: Any) -> str:
    """«run 0.87»; of one that is not kept also what became of it, and by which rule."""
    words = f"{action.class_name} {action.score:.2f}"
    if action.style in ("ignored", "dropped"):
        return f"{words}, {action.style}: {rule_name(rule_of(action.reason))}"
    return words


def action_rows(actions: pd.DataFrame, truth: pd.DataFrame | None, frame_indices: np.ndarray) -> list[TimelineRow]:
    """Rows for the timeline: each class that is kept (the rest together), what is ignored, dropped, and the truth's."""
    styles = style_names(actions)
    kept = np.isin(styles, KEPT)
    classes = actions.loc[kept, "class_name"].value_counts().index.tolist()
    parts = [(f"action: {name}", kept & (actions["class_name"] == name).to_numpy(), "kept") for name in classes]
    if len(parts) > MAX_CLASSES + 1:
        others = kept & ~actions["class_name"].isin(classes[:MAX_CLASSES]).to_numpy()
        parts = [*parts[:MAX_CLASSES], (f"{len(classes) - MAX_CLASSES} other actions", others, "kept")]
    parts += [
        (f"actions {style}", styles == style, style) for style in ("ignored", "dropped") if (styles == style).any()
    ]
    rows = [_row(name, actions[mask], frame_indices, STYLES[style].colour) for name, mask, style in parts]
    if truth is not None and len(truth):
        rows += [
            _row(f"truth: {name}", truth[truth["class_name"] == name], frame_indices, TRUTH_COLOUR)
            for name in truth["class_name"].value_counts().index[:MAX_CLASSES]
        ]
    return rows


def _row(name: str, actions: pd.DataFrame, frame_indices: np.ndarray, colour: Any) -> TimelineRow:
    inside = np.zeros(len(frame_indices), dtype=bool)
    for start, end in zip(actions["start_frame"], actions["end_frame"], strict=True):
        inside |= (frame_indices >= start) & (frame_indices < end)
    return TimelineRow(name, inside, len(actions), colour)
