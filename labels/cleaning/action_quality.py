"""How good recognised actions are where a human said what happens: how often right, how much of the time covered."""

from typing import Any

import pandas as pd

from labels.records.action_matching import action_is_right, covered_frames, is_judged


class ActionQuality:
    """Adds up videos: `kept` are actions of decision keep, `labelled` all that were recognised."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], list[int]] = {}  # right, labels, covered frames, true frames
        self._videos: dict[str, int] = {}

    def add(self, split: str, actions: pd.DataFrame, truth: pd.DataFrame) -> None:
        """Take a video whose human labels (ACTIONS) were not used. Tracks are compared where both have them."""
        part = "test" if split == "test" else "training"
        self._videos[part] = self._videos.get(part, 0) + 1
        found = actions[actions["origin"] != "human"]
        named = truth[truth["class_name"] != ""]
        total = int((named["end_frame"] - named["start_frame"]).sum())
        for kind, rows in (("labelled", found), ("kept", found[found["decision"] == "keep"])):
            judged = rows[is_judged(rows, truth)]
            right = int(action_is_right(judged, truth).sum())
            sums = self._sums.setdefault((part, kind), [0, 0, 0, 0])
            for at, value in enumerate((right, len(judged), covered_frames(rows, truth), total)):
                sums[at] += value

    def as_counts(self) -> dict[str, Any]:
        """part -> kind -> right (share of the labels judged), coverage (of the true actions' time)."""
        result: dict[str, Any] = {}
        for (part, kind), (right, labels, covered, total) in sorted(self._sums.items()):
            result.setdefault(part, {"videos": self._videos[part]})[kind] = {
                "right": round(right / labels, 4) if labels else None,
                "coverage": round(covered / total, 4) if total else None,
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
