"""How good the labels are where there is truth: kept labels beside the labeller's, on training and held-out clips."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.box_pairs import overlap_with_better
from labels.cleaning.scores import Scales, calibrated
from labels.records.matching import MatchCounts, count_matches

RULES = ("centre", "iou")
ONE_IOU = 0.5
PARTS = ("training", "held-out")


class QualityEstimate:
    """Adds up videos. `kept`: labels of decision keep; `labelled`: raw boxes from the working threshold on.

    Only classes that the labeller gives are judged: it is not blamed for people when it was asked for balls.
    """

    def __init__(self, scales: Scales, class_names: Collection[str]) -> None:
        self._scales = scales
        self._class_names = class_names
        self._counts: dict[tuple[str, str, str], MatchCounts] = {}
        self._videos: dict[str, int] = {}

    def add(self, split: str, labelled: pd.DataFrame, cleaned: pd.DataFrame, truth: pd.DataFrame) -> None:
        part = "held-out" if split == "test" else "training"
        self._videos[part] = self._videos.get(part, 0) + 1
        sureness = calibrated(labelled, self._scales)
        # Where several looked, what they all saw is one box.
        raw = labelled[
            (sureness >= 0) & (overlap_with_better(labelled, sureness, sureness >= 0, ONE_IOU, 1.0) <= ONE_IOU)
        ]
        # Only frames that were labelled are judged: the truth between them was never looked at.
        stride = int(cleaned.attrs.get("stride", 1))
        looked_at = truth[truth["frame_index"] % stride == 0]
        for kind, table in (("labelled", raw), ("kept", cleaned[cleaned["decision"] == "keep"])):
            for rule in RULES:
                key = (part, kind, rule)
                self._counts[key] = self._counts.get(key, MatchCounts()) + count_matches(
                    table, looked_at, rule, self._class_names
                )

    def as_counts(self) -> dict[str, Any]:
        """For run.json: part -> kind -> rule -> precision, recall, F1 and the counts they come from."""
        result: dict[str, Any] = {}
        for (part, kind, rule), counts in sorted(self._counts.items()):
            place = result.setdefault(part, {"videos": self._videos[part]}).setdefault(kind, {})
            place[rule] = {
                "precision": round(counts.precision, 4),
                "recall": round(counts.recall, 4),
                "f1": round(counts.f1, 4),
                "mean_iou": None if np.isnan(counts.mean_iou) else round(counts.mean_iou, 4),
                "right": counts.right,
                "wrong": counts.wrong,
                "missed": counts.missed,
            }
        return result


def quality_lines(quality: Mapping[str, Any]) -> list[str]:
    """The estimate as a small table to print."""
    if not quality:
        return ["no truth beside these videos: nothing to measure the labels against"]
    lines = ["against truth           rule     precision  recall     F1"]
    for part in PARTS:
        for kind in ("labelled", "kept"):
            for rule in RULES if part in quality else ():
                found = quality[part][kind][rule]
                lines.append(f"  {part:<9} {kind:<9}  {rule:<8} {_shown(found)}")
    return lines


def _shown(found: Mapping[str, Any]) -> str:
    """Precision, recall and F1; a dash where there is nothing to divide by."""
    said, there = found["right"] + found["wrong"], found["right"] + found["missed"]
    precision = f"{found['precision']:.3f}" if said else "–"
    recall = f"{found['recall']:.3f}" if there else "–"
    f1 = f"{found['f1']:.3f}" if said or there else "–"
    return f"{precision:>9} {recall:>7} {f1:>6}"
