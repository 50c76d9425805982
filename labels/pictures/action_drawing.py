"""What is done, on the picture: a player's action under the player's box, an action of the whole frame as a border."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from labels.pictures.box_drawing import draw_outline, draw_tag, outline_of
from labels.pictures.lettering import draw_text, fit_text
from labels.pictures.palette import BLACK, KEPT, STYLES, TRUTH_COLOUR, style_names
from labels.pictures.rule_words import rule_name, rule_of
from labels.pictures.timeline import MAX_CLASSES, TimelineRow
from labels.records.tables import BOX_COLUMNS, NO_TRACK

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
