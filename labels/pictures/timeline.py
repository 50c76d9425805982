"""The strip under an overlay video: when something was kept, ignored, dropped, and where the gaps are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.pictures.lettering import draw_text, draw_text_right, fit_text
from labels.pictures.palette import MUTED, PANEL, RAISED, STYLES, TRUTH_COLOUR, WHITE, Colour, style_names
from labels.records.tables import is_empty_frame

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
