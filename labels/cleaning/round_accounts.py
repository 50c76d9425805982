"""The accounts of a cleaned round: every box that came in was decided on, and why."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import pandas as pd

from labels.cleaning.agreement import SelfAgreement
from labels.cleaning.calibration import Calibration
from labels.cleaning.quality_estimate import QualityEstimate
from labels.cleaning.round_inputs import RoundInputs
from labels.cleaning.verdict_use import is_here
from labels.cleaning.video_cleaning import CleanedVideo
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import ACTIONS_CLEANED, ACTIONS_LABELLED, WorkFolder

ROWS = (
    *("videos", "labelled", "merged_in", "interpolated", "fused", "from_verdicts", "left_behind"),
    *("keep", "ignore", "drop"),
)
SIGNS = ("believed", "kept_believed", "kept_balls", "kept_unanchored", "old_kept", "found_again")  # for the guard


class RoundAccounts:
    """Adds up the videos of a round."""

    def __init__(self, inputs: RoundInputs) -> None:
        self._work, self._verdicts = inputs.work, inputs.verdicts
        self._unheard = set(inputs.verdicts)
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._kept_by_class: Counter[str] = Counter()
        self._unanchored: list[str] = []
        self._skipped: dict[str, str] = {}
        self._quality = QualityEstimate(inputs.scales, inputs.class_names)
        self._calibration, self._agreement = Calibration(inputs.class_names), SelfAgreement()

    def add(self, video: pd.Series, labelled: pd.DataFrame, cleaned: CleanedVideo, truth: pd.DataFrame | None) -> None:
        """One video: its row of the videos table, its boxes before and after, and the truth where there is any."""
        video_id, boxes = str(video["video_id"]), cleaned.boxes
        self._unheard.difference_update(boxes["label_uid"])
        self._unheard = {uid for uid in self._unheard if not is_here(self._verdicts[uid], boxes.attrs)}
        self._counts.update(asdict(cleaned.merged) | cleaned.decisions)
        self._counts.update(interpolated=cleaned.interpolated, videos=1)
        self._counts.update({name: getattr(cleaned, name) for name in ("believed", "kept_believed", "kept_balls")})
        self._counts.update(labelled=-cleaned.from_verdicts, from_verdicts=cleaned.from_verdicts)
        self._kept_by_class.update(boxes["class_name"][boxes["decision"] == "keep"].tolist())
        if cleaned.believed and not cleaned.is_anchored:
            self._unanchored.append(video_id)
            self._counts["kept_unanchored"] += cleaned.kept_balls
        self._reasons.update(_reasons(boxes))
        self._agreement.add(str(video["group"]) or video_id, cleaned.agreement)
        if truth is not None:
            self._quality.add(str(video["split"]), labelled, boxes, truth)
            self._calibration.add(boxes, truth)

    def skip(self, video_id: str, why: str) -> None:
        """A video that could not be cleaned."""
        self._skipped[video_id] = why

    def as_counts(self, images: int) -> dict[str, Any]:
        """For run.json; `images`: how many the dataset has. AssertionError when a box is not accounted for."""
        unheard = self._unheard - _uids_of_actions(self._work) if self._unheard else self._unheard
        counts = {
            **{name: self._counts[name] for name in (*ROWS, *SIGNS)},
            "images": images,
            "kept_by_class": dict(sorted(self._kept_by_class.items())),
            "unanchored": self._unanchored,
            "reasons": dict(sorted(self._reasons.items())),
            "skipped": self._skipped,
            "verdicts": len(self._verdicts),
            "verdicts_without_label": sorted(unheard),
            "quality": self._quality.as_counts(),
            "calibration": self._calibration.as_counts(),
            "agreement": self._agreement.as_counts(),
        }
        _check_accounts(counts)
        return counts


def _uids_of_actions(work: WorkFolder) -> set[str]:
    """The names of all actions: what was said of them is no word on a box that is gone."""
    stages = (ACTIONS_LABELLED, ACTIONS_CLEANED)
    shards = [
        path
        for number in work.round_numbers()
        for stage in stages
        for path in work.round(number).stage(stage).glob("*.parquet")
    ]
    return {uid for path in shards for uid in read_parquet(path, columns=["label_uid"])["label_uid"]}


def _reasons(boxes: pd.DataFrame) -> Counter[str]:
    """«decision rule» -> how many rows; kept rows by their origin."""
    rule = boxes["reason"].str.split(":").str[0].where(boxes["decision"] != "keep", boxes["origin"])
    return Counter((boxes["decision"].astype(str) + " " + rule.astype(str)).tolist())


def _check_accounts(counts: dict[str, Any]) -> None:
    rows_in = counts["labelled"] + counts["from_verdicts"] + counts["merged_in"] + counts["interpolated"]
    rows_out = counts["keep"] + counts["ignore"] + counts["drop"]
    if rows_in != rows_out or rows_out != sum(counts["reasons"].values()):
        raise AssertionError(f"{rows_in} boxes came in, {rows_out} were decided on: {counts}")
