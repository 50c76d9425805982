"""Merging: this round's boxes and the round before's decided labels become one table that keeps each label's life.

- The same label, or the same object in the same frame: one row. It keeps the older `label_uid` and `round_born`.
- A label that the new round did not find comes in as a row of its own, with less evidence: paths decide what it is.
- What a human said stays as it was said.

Old labels that were dropped are only looked at to give a box its name back; they do not come in again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.cleaning.features.box_pairs import same_objects
from labels.cleaning.features.scores import RAW_LIMIT
from labels.cleaning.settings import CleaningSettings
from labels.records import tables

HUMAN_NO = "human: no"
LINEAGE = {
    "log_odds": "float32",  # evidence for the label alone, of all rounds that saw it
    "rounds_seen": "int64",
    "rounds_lost": "int64",  # in a row, up to now
}


@dataclass(frozen=True)
class MergeCounts:
    """Where the rows of the merged table come from. A fused row is counted as labelled, not as merged in."""

    labelled: int = 0
    merged_in: int = 0  # old rows that came in as rows of their own
    fused: int = 0  # old rows that became part of a new one
    left_behind: int = 0  # old rows that stay in the round before only: dropped there, and not found again
    old_kept: int = 0  # old rows that were kept, the interpolated left aside
    found_again: int = 0  # of those, the ones that the new round found


def with_lineage(labelled: pd.DataFrame, log_odds: np.ndarray) -> pd.DataFrame:
    """A round's boxes as the first of their line."""
    found = tables.sort_boxes(
        labelled.drop(columns=[*tables.DECIDED, *LINEAGE], errors="ignore").assign(_odds=log_odds)
    )
    return found.drop(columns="_odds").assign(
        log_odds=found["_odds"].astype("float32"),
        rounds_seen=np.int64(1),
        rounds_lost=np.int64(0),
        old_decision="",
    )


def with_verdicts(decided: pd.DataFrame, verdicts: Mapping[str, str]) -> pd.DataFrame:
    """Decided boxes as a human wants them: "y" makes a label the human's own, so that it outlives later rounds."""
    words = decided["label_uid"].map(lambda uid: verdicts.get(uid, "")).to_numpy(dtype=object)
    right, wrong = words == "y", words == "n"
    if not right.any() and not wrong.any():
        return decided
    spoken = right | wrong
    return decided.assign(
        origin=decided["origin"].where(~right, "human"),
        quality=decided["quality"].where(~spoken, np.where(right, 1.0, 0.0)).astype(np.float32),
        decision=decided["decision"].where(~spoken, np.where(right, "keep", "drop")),
        reason=decided["reason"].where(~spoken, np.where(right, "", HUMAN_NO)),
    )


def merge_rounds(
    new: pd.DataFrame,
    old: pd.DataFrame,
    settings: CleaningSettings,
    verdicts: Mapping[str, str] | None = None,
    asked: Collection[str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, MergeCounts]:
    """Merge `new` (see `with_lineage`) with the decided table `old` of one video.

    Returns the merged boxes, the old interpolated boxes that were kept (they are laid beside the new paths later), and
    the counts. What a human said of an old label since (`verdicts`) holds here, whatever the round before decided.
    `asked`: the classes that this round's labeller gives; it says nothing of the others by not finding them. None: all.
    """
    old = with_verdicts(tables.sort_boxes(old), verdicts or {})
    denied = (old["reason"] == HUMAN_NO).to_numpy()
    is_gap_box = (old["origin"] == "interpolated").to_numpy() & ~denied  # a denied one comes along as a label does
    stands = (old["decision"] != "drop").to_numpy() | (old["origin"] == "human").to_numpy() | denied
    gap_boxes = old[is_gap_box & (old["decision"] == "keep")]
    usable = old[~is_gap_box].reset_index(drop=True)
    usable_stands = stands[~is_gap_box]

    place_of = pd.Series(np.arange(len(usable)), index=usable["label_uid"])
    by_name = place_of.reindex(new["label_uid"]).to_numpy(dtype=np.float64)
    named_new = np.flatnonzero(np.isfinite(by_name))
    named_old = by_name[named_new].astype(np.int64)
    left_new = np.setdiff1d(np.arange(len(new)), named_new)
    left_old = np.setdiff1d(np.flatnonzero(usable_stands), named_old)
    alike_new, alike_old = same_objects(
        new.iloc[left_new], usable.iloc[left_old], settings.match_iou, settings.match_distance_sizes
    )
    fused_new = np.concatenate([named_new, left_new[alike_new]]).astype(np.int64)
    fused_old = np.concatenate([named_old, left_old[alike_old]]).astype(np.int64)
    is_asked = usable["class_name"].isin(usable["class_name"] if asked is None else list(asked)).to_numpy()
    kept = (usable["decision"] == "keep").to_numpy() & is_asked
    sure = (new["log_odds"].to_numpy() >= 0)[fused_new]
    found_share = (int(kept[fused_old[sure]].sum()) + 1) / (int(kept.sum()) + 2)  # Laplace's rule: few say little
    merged = _fuse(new, usable, fused_new, fused_old, len(named_new), found_share, settings)
    lost = np.setdiff1d(left_old, fused_old)
    came_in = _fade(usable.iloc[lost], found_share, settings)
    silent = ~is_asked[lost]
    for name in ("log_odds", "rounds_lost"):
        came_in[name] = came_in[name].where(~silent, usable.iloc[lost][name])
    counts = MergeCounts(
        labelled=len(new),
        merged_in=len(came_in),
        fused=len(fused_new),
        left_behind=len(np.setdiff1d(np.flatnonzero(~usable_stands), fused_old))
        + int((is_gap_box & (old["decision"] != "keep").to_numpy()).sum()),
        old_kept=int(kept.sum()),
        found_again=int(kept[fused_old].sum()),
    )
    if counts.merged_in + counts.fused + counts.left_behind + len(gap_boxes) != len(old):
        raise AssertionError(f"{len(old)} old rows and {len(gap_boxes)} of them in gaps, but {counts}")
    columns = list(new.columns)
    result = tables.concatenate([merged[columns], came_in[columns]], tables.BOXES)
    return tables.sort_boxes(result), gap_boxes.reset_index(drop=True), counts


def _fuse(
    new: pd.DataFrame,
    old: pd.DataFrame,
    new_row: np.ndarray,
    old_row: np.ndarray,
    named: int,
    found_share: float,
    settings: CleaningSettings,
) -> pd.DataFrame:
    """`new` with the rows at `new_row` fused with old rows; the first `named` pairs are the very same labels.

    Where the new round hardly sees a label that was kept, that says no more than not finding it would (see `_fade`).
    """
    merged = new.copy()
    if not len(new_row):
        return merged
    found, before = new.iloc[new_row], old.iloc[old_row]
    confirmed = np.arange(len(new_row)) >= named
    human = (before["origin"] == "human").to_numpy()
    kept = (before["decision"] == "keep").to_numpy()
    share = np.where(confirmed & kept, settings.old_share, 0.0)
    share[human] = 1.0
    box = found[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    old_box = before[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    odds, old_odds = found["log_odds"].to_numpy(np.float64), before["log_odds"].to_numpy(np.float64)
    own = np.where(kept, np.maximum(odds, old_odds + np.log(1 - found_share)), odds)
    gained = own + settings.old_share * (old_odds - own) + settings.confirmed_gain
    values = {
        "label_uid": before["label_uid"].to_numpy(),
        "round_born": before["round_born"].to_numpy(),
        "origin": np.where(human, "human", found["origin"].to_numpy()),
        "score": np.where(human, before["score"], found["score"]).astype(np.float32),
        "log_odds": np.clip(np.where(confirmed, gained, odds), -RAW_LIMIT, RAW_LIMIT).astype(np.float32),
        "rounds_seen": before["rounds_seen"].to_numpy() + confirmed,
        "rounds_lost": np.where(confirmed, 0, before["rounds_lost"].to_numpy()),
        "old_decision": np.where(before["reason"] == HUMAN_NO, "human no", before["decision"]),
    }
    fused_box = (box + share[:, None] * (old_box - box)).astype(np.float32)
    values |= {name: fused_box[:, column] for column, name in enumerate(tables.BOX_COLUMNS)}
    for name, value in values.items():
        column = merged[name].to_numpy(copy=True)
        column[new_row] = value
        merged[name] = pd.Series(column, index=merged.index).astype(new[name].dtype)
    return merged


def _fade(lost: pd.DataFrame, found_share: float, settings: CleaningSettings) -> pd.DataFrame:
    """Old labels that the new round did not find, with less evidence than they had.

    A miss counts for as much as the labeller sees: one that finds `found_share` of this video's kept labels misses a
    right one with the rest of the probability, so a miss takes log(1 - found_share) at most. A labeller that is blind
    here takes nothing away, and what it lost is filled from the round before.
    """
    human = (lost["origin"] == "human").to_numpy()
    odds = lost["log_odds"].to_numpy(dtype=np.float64)
    faded = settings.lost_log_odds + settings.old_share * (odds - settings.lost_log_odds)
    faded = np.maximum(faded, odds + np.log(1 - found_share))
    return lost.assign(
        log_odds=np.where(human, odds, np.minimum(odds, faded)).astype(np.float32),
        rounds_lost=lost["rounds_lost"] + 1,
        old_decision=np.where(lost["reason"] == HUMAN_NO, "human no", lost["decision"]),
        track_id=np.int64(tables.NO_TRACK),
    )
