"""Items and labels of the review page as it is told them: plain values, ready for JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from labels.cleaning.human_verdicts import Verdict
from labels.pictures.review_choice import ReviewItem
from labels.pictures.review_labels import ReviewRound
from labels.records.tables import BOX_COLUMNS, NO_TRACK

STRIP_EACH_SIDE = 4  # frames of the strip before and after the label's own
AROUND_S = 1.0
WORDS = {"uid": "label_uid", "video": "video_id", "class": "class_name"}
WORDS |= {name: name for name in ("decision", "reason", "rule", "style", "origin")}
NUMBERS = {"frame": "frame_index", "track": "track_id", "born": "round_born"}
SHARES = {"time": "time_s", "score": "score", "quality": "quality"}


def told_item(
    held: ReviewRound, item: ReviewItem, said: Mapping[str, Verdict], most: int, shown: int | None = None
) -> dict[str, Any]:
    """An item with at most `most` of its labels, evenly, and the label in row `shown` among them."""
    shown = item.shown if shown is None else shown
    rows = item.rows if shown in item.rows else np.append(item.rows, shown)
    if len(rows) > most:
        rows = np.unique(np.append(rows[np.linspace(0, len(rows) - 1, most - 1).astype(int)], shown))
    video = held.videos[held.columns["video_id"][shown]]
    return {
        "id": held.columns["label_uid"][item.shown], "video": video.video_id, "fps": video.fps,
        "stride": video.stride, "frame_count": video.frame_count, "width": video.width, "height": video.height,
        "step": strip_step(video.fps, video.stride), "held_out": video.held_out,
        "count": len(item.rows), "duplicates": len(item.duplicates),
        "change": round(item.change, 3), "track": int(held.columns["track_id"][shown]) != NO_TRACK,
        "shown": held.columns["label_uid"][shown], "rows": told_rows(held, rows, said),
    }  # fmt: skip


def told_rows(held: ReviewRound, rows: np.ndarray, said: Mapping[str, Verdict]) -> list[dict[str, Any]]:
    """The labels in some rows, with what was said of them."""
    uid = held.columns["label_uid"]
    return [_told_row(held.columns, int(row), said.get(uid[row])) for row in rows]


def strip_step(fps: float, stride: int) -> int:
    """Frames between two pictures of the strip: whole strides, so that the strip spans about a second each side."""
    return max(1, round(AROUND_S * fps / STRIP_EACH_SIDE / stride)) * stride


def _told_row(columns: Mapping[str, np.ndarray], row: int, verdict: Verdict | None) -> dict[str, Any]:
    told: dict[str, Any] = {key: columns[name][row] for key, name in WORDS.items()}
    told |= {key: int(columns[name][row]) for key, name in NUMBERS.items()}
    told |= {key: round(float(columns[name][row]), 3) for key, name in SHARES.items()}
    told["box"] = [round(float(columns[name][row]), 2) for name in BOX_COLUMNS]
    if verdict is not None:
        told["verdict"] = verdict.verdict
        if verdict.xyxy is not None:
            told["right_box"] = [round(value, 2) for value in verdict.xyxy]
        if verdict.class_name:
            told["right_class"] = verdict.class_name
    return told
