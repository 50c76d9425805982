"""Label quality against truth, its calibration, and the summary that a cleaned round prints.

`QualityEstimate` compares kept labels, and the labeller's own, with truth, on training and held-out clips.
`Calibration` compares a predicted quality with the share of such labels that are right: a reliability diagram in
numbers (Niculescu-Mizil and Caruana, 2005), with the expected calibration error (Guo et al., 2017): the gap between the
two, averaged over bins by their number of labels.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.agreement import agreement_lines
from labels.cleaning.features.box_pairs import overlap_with_better
from labels.cleaning.features.scores import Scales, calibrated
from labels.cleaning.guard import no_confident_track_lines
from labels.records.class_lists import same_names
from labels.records.matching import MatchCounts, count_matches, match_video
from labels.records.run_records import VERDICTS_FILE

RULES = ("centre", "iou")
ONE_IOU = 0.5
PARTS = ("training", "held-out")


class QualityEstimate:
    """Adds up videos. `kept`: labels of decision keep; `labelled`: raw boxes from the working threshold on.

    The truth that is given is that of the frames that were labelled: what is between them was never looked at.

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
        log_odds = calibrated(labelled, self._scales)
        # Where several looked, what they all saw is one box.
        raw = labelled[
            (log_odds >= 0) & (overlap_with_better(labelled, log_odds, log_odds >= 0, ONE_IOU, 1.0) <= ONE_IOU)
        ]
        for kind, table in (("labelled", raw), ("kept", cleaned[cleaned["decision"] == "keep"])):
            for rule in RULES:
                key = (part, kind, rule)
                self._counts[key] = self._counts.get(key, MatchCounts()) + count_matches(
                    table, truth, rule, self._class_names
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
    labelled, there = found["right"] + found["wrong"], found["right"] + found["missed"]
    precision = f"{found['precision']:.3f}" if labelled else "–"
    recall = f"{found['recall']:.3f}" if there else "–"
    f1 = f"{found['f1']:.3f}" if labelled or there else "–"
    return f"{precision:>9} {recall:>7} {f1:>6}"


BINS = 10


class Calibration:
    """Adds up videos: labels that are kept or ignored, and no human's, by their quality."""

    def __init__(self, class_names: Collection[str]) -> None:
        self._class_names = class_names
        self._labels, self._right, self._quality = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)

    def add(self, cleaned: pd.DataFrame, truth: pd.DataFrame) -> None:
        asked = cleaned[(cleaned["decision"] != "drop") & (cleaned["origin"] != "human")]
        asked = asked[asked["class_name"].isin(self._class_names)]
        verdict = match_video(asked.assign(score=asked["quality"]), truth)  # the surest takes the truth
        quality = asked["quality"].to_numpy(dtype=np.float64)[verdict >= 0]
        place = np.minimum((quality * BINS).astype(int), BINS - 1)
        self._labels += np.bincount(place, minlength=BINS)
        self._right += np.bincount(place, verdict[verdict >= 0], BINS)
        self._quality += np.bincount(place, quality, BINS)

    def as_counts(self) -> dict[str, Any]:
        """For run.json: `bins` with labels, right and mean quality, and `ece`; empty where nothing was judged."""
        total = self._labels.sum()
        if not total:
            return {}
        filled = np.flatnonzero(self._labels)
        share, quality = self._right[filled] / self._labels[filled], self._quality[filled] / self._labels[filled]
        return {
            "ece": round(float((self._labels[filled] / total) @ np.abs(share - quality)), 4),
            "labels": int(total),
            "bins": [
                {
                    "from": round(place / BINS, 4),
                    "to": round((place + 1) / BINS, 4),
                    "labels": int(self._labels[place]),
                    "right": int(self._right[place]),
                    "mean_quality": round(float(self._quality[place] / self._labels[place]), 4),
                }
                for place in filled
            ],
        }


MOST_NAMED = 5


def summary_lines(counts: dict[str, Any]) -> list[str]:
    """The accounts, the decisions by reason, and the quality against truth."""
    lines = [
        f"{counts['keep']} kept + {counts['ignore']} ignored + {counts['drop']} dropped"
        f" = {counts['labelled']} labelled + {counts['merged_in']} merged in + {counts['interpolated']} interpolated"
        f"{verdict_rows(counts)}"
        f" ({counts['fused']} fused with the round before, {counts['left_behind']} of its dropped stay there)"
    ]
    most_first = sorted(counts["reasons"].items(), key=lambda item: (item[0].split()[0], -item[1]))
    lines += [f"  {reason.split()[0]:<7} {reason.split()[1]:<13} {count:>8}" for reason, count in most_first]
    lines.append(f"dataset: {counts['images']} images")
    lines += no_confident_track_lines(counts["no_confident_track"])
    lines += agreement_lines(counts.get("agreement", {}))
    return [*lines, *verdict_lines(counts), *class_lines(counts), *quality_lines(counts["quality"])]


def class_lines(counts: Mapping[str, Any]) -> list[str]:
    """Which names are taken for the same class, and which classes the labels or the truth alone have."""
    names = counts.get("class_names", {})
    lines = [f"class: {name} is taken for {other}" for name, other in sorted(names.get("joined", {}).items())]
    labels, truth = set(names.get("labels", ())), set(names.get("truth", ()))
    if not truth:
        return lines
    called = same_names(truth, labels)
    lines += [f"class: {name} of the truth is taken for {other}" for name, other in sorted(called.items())]
    if alone := truth - labels - set(called):
        lines.append(f"class: no label is {' or '.join(sorted(alone))}, which the truth knows")
    if alone := labels - truth - set(called.values()):
        lines.append(f"class: the truth does not know {', '.join(sorted(alone))}; such labels are not measured")
    return lines


def verdict_lines(counts: dict[str, Any]) -> list[str]:
    """A line on the verdicts that name no label of a cleaned round, from the counts of its run record."""
    unmatched = counts["verdicts_without_label"]
    if not unmatched:
        return []
    more = f" and {len(unmatched) - MOST_NAMED} more" if len(unmatched) > MOST_NAMED else ""
    named = ", ".join(unmatched[:MOST_NAMED])
    return [
        f"{VERDICTS_FILE}: {len(unmatched)} of {counts['verdicts']} verdicts name no label of this round: {named}{more}"
    ]


def verdict_rows(counts: dict[str, Any]) -> str:
    """What the accounts of a cleaned round add for boxes that only a human saw; empty where there are none."""
    return f" + {counts['from_verdicts']} from verdicts" if counts["from_verdicts"] else ""
