"""Counts over one round: decisions and reasons, the fit to truth, and the changes since the round before."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.cleaning.rules import rule_of
from labels.pictures.palette import KEPT, STYLES, style_names
from labels.pictures.report.rounds import CleanedRound, as_truth, truth_actions_of, truth_of
from labels.records import tables
from labels.records.matching import MatchCounts, action_is_right, count_matches, is_judged, match_video
from labels.records.work_folder import WorkFolder


@dataclass(frozen=True)
class RoundChanges:
    """Labels of one video. `agreement` counts how the new labels fit the old ones, taken as if they were truth."""

    added: pd.DataFrame
    lost: pd.DataFrame
    agreement: MatchCounts


def changes_between(new: pd.DataFrame, old: pd.DataFrame, frame_indices: np.ndarray) -> RoundChanges:
    """Compare the kept labels of two rounds in one video by the centre rule, over the frames both looked at.

    A label of a class that the other round does not hold at all is added, or lost, too.
    """
    new, old = (table[table["frame_index"].isin(frame_indices)] for table in (new, old))
    return RoundChanges(
        added=new[match_video(new, as_truth(old, frame_indices)) != 1],
        lost=old[match_video(old, as_truth(new, frame_indices)) != 1],
        agreement=count_matches(new, as_truth(old, frame_indices)),
    )


MATCH_COLUMNS = ["right", "wrong", "missed", "iou_sum", "boxes_matched"]
DECIDED_COLUMNS = ["video_id", "class_name", "style", "rule", "labels"]
QUALITY_BINS = 20
RULES = ("centre", "iou")


@dataclass(frozen=True)
class RoundSurvey:
    """One round in numbers.

    decided: rows video_id, class_name, style (of `STYLES`), rule, labels (a count).
    matched: rows video_id, group, held_out, class_name, rule (centre | iou) and `MATCH_COLUMNS`: labels against truth.
    changed: rows video_id, group, added, lost and `MATCH_COLUMNS`: labels against the round before, if any.
    actions: the same rows as `decided`, of actions instead of boxes.
    true_actions: rows video_id, group, held_out, right, wrong: a machine's kept actions against true ones.
    quality: style -> counts (QUALITY_BINS,) of the quality from 0 to 1.
    """

    round: CleanedRound
    decided: pd.DataFrame
    matched: pd.DataFrame
    changed: pd.DataFrame
    quality: dict[str, np.ndarray]
    actions: pd.DataFrame
    true_actions: pd.DataFrame
    videos: int  # that the labeller looked at
    frames: int  # that the labeller looked at

    @property
    def number(self) -> int:
        return self.round.number

    def count(self, *styles: str) -> int:
        return int(self.decided.loc[self.decided["style"].isin(styles), "labels"].sum())

    @property
    def all_decided(self) -> pd.DataFrame:
        """Boxes and actions."""
        filled = [table for table in (self.decided, self.actions) if len(table)]
        return pd.concat(filled, ignore_index=True) if filled else self.decided

    @property
    def kept(self) -> int:
        return self.count(*KEPT)

    def counts(self, held_out: bool | None = None, rule: str = "centre", class_name: str | None = None) -> MatchCounts:
        """Labels against truth, summed over videos: of the held-out clips, of the others, or (None) of all."""
        chosen = self.matched[self.matched["rule"] == rule]
        if held_out is not None:
            chosen = chosen[chosen["held_out"] == held_out]
        if class_name is not None:
            chosen = chosen[chosen["class_name"] == class_name]
        return sum_counts(chosen)

    def judged_pairs(self, held_out: bool) -> list[tuple[str, str]]:
        """What was judged: (video_id, class_name), each once."""
        chosen = self.matched[(self.matched["held_out"] == held_out) & (self.matched["rule"] == "centre")]
        return list(zip(chosen["video_id"], chosen["class_name"], strict=True))

    def counts_on(self, pairs: Collection[tuple[str, str]]) -> MatchCounts:
        """Labels against truth by the centre rule, over these (video_id, class_name) alone."""
        chosen = self.matched[self.matched["rule"] == "centre"]
        inside = [pair in pairs for pair in zip(chosen["video_id"], chosen["class_name"], strict=True)]
        return sum_counts(chosen[np.array(inside, dtype=bool)])

    def judged_videos(self, held_out: bool) -> int:
        return int(self.matched.loc[self.matched["held_out"] == held_out, "video_id"].nunique())


def sum_counts(rows: pd.DataFrame) -> MatchCounts:
    right, wrong, missed, iou_sum, boxes_matched = (rows[name].sum() for name in MATCH_COLUMNS)
    return MatchCounts(int(right), int(wrong), int(missed), float(iou_sum), int(boxes_matched))


def survey_round(
    work: WorkFolder, videos: pd.DataFrame, here: CleanedRound, before: CleanedRound | None
) -> RoundSurvey:
    """Go through a cleaned round, one video of the videos table after the other."""
    decided, matched, changed, actions, true_actions = [], [], [], [], []
    quality = {style: np.zeros(QUALITY_BINS, dtype=int) for style in STYLES}
    held, frames = 0, 0
    for video in videos.itertuples():
        if not here.has(video.video_id):
            continue
        boxes = here.boxes(video.video_id)
        looked_at = here.labelled_frames(video.video_id, video.frame_count)
        held, frames = held + (len(looked_at) > 0), frames + len(looked_at)
        styles = style_names(boxes)
        decided += _decided_rows(video.video_id, boxes)
        acting = here.actions(video.video_id)
        truly = truth_actions_of(work, video.video_id, acting)
        actions += _decided_rows(video.video_id, acting)
        group = video.group or video.video_id
        predicted = acting[(acting["decision"] == "keep") & (acting["origin"] != "human")]
        if truly is not None and (telling := is_judged(predicted, truly)).any():
            right = action_is_right(predicted[telling], truly)
            counted = int(right.sum()), int((~right).sum())
            true_actions.append((video.video_id, group, video.split == "test", *counted))
        for style, counts in quality.items():
            counts += np.histogram(boxes["quality"][styles == style], QUALITY_BINS, (0, 1))[0]
        kept = boxes[boxes["decision"] == "keep"].reset_index(drop=True)
        truth = truth_of(work, video.video_id) if here.has_boxes else None
        if truth is not None:
            who = (video.video_id, group, video.split == "test")
            judged = here.judged_truth(truth[truth["frame_index"].isin(looked_at)], kept)
            matched += [(*who, *row) for row in _match_rows(kept, judged)]
        if before is not None and before.has(video.video_id):
            old = before.boxes(video.video_id)
            shared = np.intersect1d(looked_at, before.labelled_frames(video.video_id, video.frame_count))
            changes = changes_between(kept, old[old["decision"] == "keep"].reset_index(drop=True), shared)
            row = (video.video_id, group, len(changes.added), len(changes.lost), *_as_tuple(changes.agreement))
            changed.append(row)
    return RoundSurvey(
        here,
        pd.DataFrame(decided, columns=DECIDED_COLUMNS),
        pd.DataFrame(matched, columns=["video_id", "group", "held_out", "class_name", "rule", *MATCH_COLUMNS]),
        pd.DataFrame(changed, columns=["video_id", "group", "added", "lost", *MATCH_COLUMNS]),
        quality,
        pd.DataFrame(actions, columns=DECIDED_COLUMNS),
        pd.DataFrame(true_actions, columns=["video_id", "group", "held_out", "right", "wrong"]),
        held,
        frames,
    )


def _decided_rows(video_id: str, labels: pd.DataFrame) -> list[tuple]:
    """A row (`DECIDED_COLUMNS`) for each class, style and rule of one video's boxes or actions."""
    rules = [rule_of(reason) for reason in labels["reason"]]
    styled = labels.assign(style=style_names(labels), rule=rules)
    return [
        (video_id, *key, int(count)) for key, count in styled.groupby(["class_name", "style", "rule"]).size().items()
    ]


def _match_rows(kept: pd.DataFrame, truth: pd.DataFrame) -> list[tuple]:
    """A row (class_name, rule, counts …) for each class the truth judges and each rule."""
    rows = []
    for class_name in sorted(set(truth["class_name"]) - {""}):
        alone = truth.copy()
        other = (truth["class_name"] != class_name).to_numpy()
        # Rows of other classes still name their frame as judged.
        alone.loc[other, tables.BOX_COLUMNS] = np.nan
        alone.loc[other, "class_name"] = ""
        labels = kept[kept["class_name"] == class_name]
        rows += [(class_name, rule, *_as_tuple(count_matches(labels, alone, rule))) for rule in RULES]
    return rows


def _as_tuple(counts: MatchCounts) -> tuple[int, int, int, float, int]:
    return counts.right, counts.wrong, counts.missed, counts.iou_sum, counts.boxes_matched


def survey_rounds(work: WorkFolder, videos: pd.DataFrame, rounds: list[CleanedRound]) -> list[RoundSurvey]:
    """Each cleaned round in order, compared with the cleaned round before it."""
    surveys: list[RoundSurvey] = []
    before: CleanedRound | None = None
    for here in rounds:
        if here.is_cleaned:
            surveys.append(survey_round(work, videos, here, before))
            before = here
    return surveys
