"""How good recognised actions are where a human said what happens: how often right, how much covered, by time."""

from typing import Any

import pandas as pd

from labels.records.tables import NO_TRACK


class ActionQuality:
    """Adds up videos: `kept` are actions of decision keep, `labelled` all that were recognised; frames are counted."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], list[int]] = {}  # right, judged, truth
        self._videos: dict[str, int] = {}

    def add(self, split: str, actions: pd.DataFrame, truth: pd.DataFrame) -> None:
        """Take a video whose human labels (ACTIONS) were not used. Tracks are compared where both have them."""
        part = "test" if split == "test" else "training"
        self._videos[part] = self._videos.get(part, 0) + 1
        found = actions[actions["origin"] != "human"]
        for kind, rows in (("labelled", found), ("kept", found[found["decision"] == "keep"])):
            right, judged, total = _shared_frames(rows, truth)
            sums = self._sums.setdefault((part, kind), [0, 0, 0])
            for at, value in enumerate((right, judged, total)):
                sums[at] += value

    def as_counts(self) -> dict[str, Any]:
        """part -> kind -> right (share of what was said), coverage (share of the truth's time of which it was said)."""
        result: dict[str, Any] = {}
        for (part, kind), (right, judged, total) in sorted(self._sums.items()):
            result.setdefault(part, {"videos": self._videos[part]})[kind] = {
                "right": round(right / judged, 4) if judged else None,
                "coverage": round(judged / total, 4) if total else None,
            }
        return result


def action_quality_lines(quality: dict[str, Any]) -> list[str]:
    """The estimate as a small table to print."""
    if not quality:
        return ["no human label beside those used: nothing to measure the actions against"]
    lines = ["against human labels that were not used   right  coverage"]
    for part, kinds in quality.items():
        for kind in ("labelled", "kept"):
            shown = [f"{kinds[kind][name]:.3f}" if kinds[kind][name] is not None else "–" for name in kinds[kind]]
            lines.append(f"  {part:<9} {kind:<9} ({kinds['videos']} videos)      {shown[0]:>9} {shown[1]:>9}")
    return lines


def _shared_frames(rows: pd.DataFrame, truth: pd.DataFrame) -> tuple[int, int, int]:
    """Frames in which rows say what the truth says, frames in which both say something, frames of the truth."""
    right = judged = 0
    for said in rows.itertuples():
        same = truth[(truth["track_id"] == said.track_id) | (truth["track_id"] == NO_TRACK)]
        for real in same.itertuples():
            shared = max(0, min(said.end_frame, real.end_frame) - max(said.start_frame, real.start_frame))
            judged += shared
            right += shared * (said.class_name == real.class_name)
    return right, judged, int((truth["end_frame"] - truth["start_frame"]).sum())
