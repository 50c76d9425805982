"""Decisions on actions: which are labels, which are doubtful and which are wrong. Human labels are always kept.

The quality from which a label is kept rises with how well its class is learnt, after FlexMatch (Zhang et al. 2021,
arxiv.org/abs/2110.08263, equations 6-11): a class with few confident labels has a lower bar, so that the easy classes
do not push the hard ones out. Two labels speak of the same action where they share most of their time and the player.

Outliers are found by class, by the local outlier factor (Breunig et al. 2000) over the features that labelling stored
beside the labels. What humans labelled counts as a neighbour and is never called an outlier itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.cleaning.actions.confident_learning import NO_FAULTS, Faults
from labels.cleaning.features.scores import log_odds, probability
from labels.cleaning.merging import HUMAN_NO
from labels.cleaning.settings import ActionSettings
from labels.records import tables
from labels.records.detections import from_text


def merge_rounds(
    found: pd.DataFrame, machine: pd.DataFrame, settings: ActionSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """This round's labels with what the round before said of the same actions; and what only that one said.

    An action of the same track at the same time and of the same class is the same label: it keeps its name, and its
    quality is between the two rounds'. Where the round before kept another class, the quality falls.
    """
    place, overlap = best_overlaps(found, machine)
    matched = overlap >= settings.match_overlap
    same = np.zeros(len(found), dtype=bool)
    odds = log_odds(found["score"].to_numpy(np.float64))
    before = machine.iloc[np.where(matched, place, 0)] if len(machine) else None
    if before is not None:
        same = matched & (found["class_name"].to_numpy() == before["class_name"].to_numpy())
        first = ~pd.Series(np.where(same, place, -1 - np.arange(len(place)))).duplicated().to_numpy()
        same &= first  # one label has one heir
        old_odds = log_odds(before["quality"].to_numpy(np.float64))
        other = matched & ~same & (before["decision"].to_numpy() == "keep")
        odds = np.where(same, odds + settings.old_share * (old_odds - odds), odds)
        odds = np.where(other, odds - settings.old_share * np.maximum(old_odds, 0), odds)
    merged = found.assign(quality=probability(odds).astype(np.float32))
    if before is not None:
        for column in ("label_uid", "round_born"):
            merged[column] = np.where(same, before[column].to_numpy(), found[column].to_numpy())
    heirs = set(place[same].tolist())
    return merged, machine.iloc[[at for at in range(len(machine)) if at not in heirs]]


def best_overlaps(actions: pd.DataFrame, others: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """For each action the place of the other of its video and track that it shares most time with, and the IoU."""
    place, best = np.full(len(actions), -1), np.zeros(len(actions))
    by_subject = others.groupby(["video_id", "track_id"]).indices
    start, end = others["start_frame"].to_numpy(), others["end_frame"].to_numpy()
    for at, (video_id, track_id, first, last) in enumerate(
        zip(*(actions[name] for name in ("video_id", "track_id", "start_frame", "end_frame")), strict=True)
    ):
        own = by_subject.get((video_id, track_id))
        if own is None:
            continue
        shared = np.clip(np.minimum(end[own], last) - np.maximum(start[own], first), 0, None)
        overlap = shared / (np.maximum(end[own], last) - np.minimum(start[own], first))
        place[at], best[at] = own[overlap.argmax()], overlap.max()
    return place, best


def denied_again(found: pd.DataFrame, denied: pd.DataFrame, settings: ActionSettings) -> np.ndarray:
    """Which labels (N,) say the class of a denied one, of the same track at the same time."""
    again = np.zeros(len(found), dtype=bool)
    for name, own in denied.groupby("class_name"):
        rows = np.flatnonzero(found["class_name"] == name)
        again[rows] = best_overlaps(found.iloc[rows], own)[1] >= settings.match_overlap
    return again


def nearest_human(
    found: pd.DataFrame, human: pd.DataFrame, settings: ActionSettings
) -> tuple[np.ndarray, pd.DataFrame]:
    """Which labels are of a time that a human labelled (N,), and the human labels that a sure student contradicts."""
    place, overlap = best_overlaps(found, human)
    covered = overlap > 0
    nearest = human.iloc[np.where(covered, place, 0)] if len(human) else human
    if not covered.any():
        return covered, human.iloc[:0].assign(student_class="", student_score=0.0)
    differs = covered & (found["class_name"].to_numpy() != nearest["class_name"].to_numpy())
    doubted = differs & (found["score"].to_numpy() >= settings.doubt_quality)
    doubts = nearest[doubted].assign(
        student_class=found["class_name"].to_numpy()[doubted], student_score=found["score"].to_numpy()[doubted]
    )
    return covered, doubts.drop_duplicates("label_uid").reset_index(drop=True)


def find_outliers(found: pd.DataFrame, human: pd.DataFrame, settings: ActionSettings) -> dict[int, str]:
    """Place in `found` -> why; the farthest first, at most `outlier_share` of each class's labels.

    Both are ACTIONS; without a column `appearance`, or with too few labels of a class, nothing is an outlier.
    """
    from sklearn.neighbors import LocalOutlierFactor  # takes a second to import, and boxes pass here too

    reasons: dict[int, str] = {}
    if "appearance" not in found:
        return reasons
    texts = found["appearance"].fillna("")
    shown = human["appearance"].fillna("") if "appearance" in human else pd.Series("", index=human.index)
    features, known = from_text([*texts, *shown])
    names = np.concatenate([found["class_name"].to_numpy(dtype=object), human["class_name"].to_numpy(dtype=object)])
    for name in sorted(set(names[: len(found)])):
        own = np.flatnonzero((names == name) & known)
        asked = np.flatnonzero(own < len(found))
        if len(own) < settings.least_company:
            continue
        neighbours = min(settings.neighbours, len(own) - 1)
        factor = -LocalOutlierFactor(n_neighbors=neighbours).fit(features[own]).negative_outlier_factor_
        most = int(settings.outlier_share * len(asked))
        farthest = asked[np.argsort(-factor[asked], kind="stable")][:most]
        for at in farthest[factor[farthest] > settings.outlier_factor]:
            reasons[int(own[at])] = f"outlier: {factor[at]:.2f} > {settings.outlier_factor:g}"
    return reasons


OVERRULED = "overruled: a human said what happens here"


@dataclass(frozen=True)
class DecidedActions:
    """`actions` with quality, decision and reason; `bars` by class; `doubts` are human labels to look at again."""

    actions: pd.DataFrame
    bars: dict[str, float]
    doubts: pd.DataFrame
    merged_in: int
    left_behind: int  # dropped rows of the round before that stay there
    found_again: int = 0  # labels that the round before kept and no human gave, and that this one says again
    old_kept: int = 0  # all of those


def decide_actions(
    labelled: pd.DataFrame,
    old: pd.DataFrame | None,
    class_names: Sequence[str],
    settings: ActionSettings,
    verdicts: Mapping[str, str] | None = None,
    trusted_from: Mapping[str, float] | None = None,
    faults: Faults = NO_FAULTS,
) -> DecidedActions:
    """Decide on all actions of a round.

    Args:
        labelled: ACTIONS of all videos, human and detected.
        old: the cleaned ACTIONS of the round before, of all videos.
        verdicts: label_uid -> y or n. What was denied stays so when a student says it again, in any round.
        trusted_from: class -> the probability from which the labeller was right in validation. No bar lies below it: a
            student that was never right about a class (1) does not teach it.
        faults: labels of the round before that students who never saw their groups call wrong: those of humans are
            looked at again, the others are not trained on.
    """
    verdicts = verdicts or {}
    denied = labelled[_is_denied(labelled, verdicts)]
    human = labelled[labelled["origin"] == "human"]
    found = labelled[labelled["origin"] != "human"].reset_index(drop=True)
    lost = labelled.iloc[:0]
    left_behind = old_kept = found_again = 0
    if old is not None:
        old_human = old[(old["origin"] == "human") & ~old["label_uid"].isin(human["label_uid"])]
        human = tables.concatenate([human, old_human[list(tables.ACTIONS)]], tables.ACTIONS)
        of_machine, no = old["origin"] != "human", _is_denied(old, verdicts)
        machine = old[of_machine & ~no & (old["decision"] != "drop")].reset_index(drop=True)
        found, lost = merge_rounds(found, machine, settings)
        left_behind = int((of_machine & ~no & (old["decision"] == "drop")).sum())
        remembered = old[of_machine & no & ~old["label_uid"].isin(labelled["label_uid"])]
        lost = pd.concat([lost, remembered], ignore_index=True)
        denied = pd.concat([denied, old[no]], ignore_index=True)
        kept_before = machine["label_uid"][machine["decision"] == "keep"]
        old_kept, found_again = len(kept_before), int(found["label_uid"].isin(kept_before).sum())
    found = found.assign(quality=found["quality"] if "quality" in found else found["score"])
    standing = human[~_is_denied(human, verdicts)]
    overruled, doubts = nearest_human(found, standing, settings)
    doubts = _with_faults(doubts, standing, faults)
    doubts = doubts[~doubts["label_uid"].isin(verdicts)].reset_index(drop=True)
    again = denied_again(found, denied, settings)
    free = ~overruled & ~again & ~found["label_uid"].isin(verdicts).to_numpy()
    bars = class_bars(found[free], class_names, settings)
    bars = {name: max(bar, (trusted_from or {}).get(name, 0.0)) for name, bar in bars.items()}
    decision, reason = _by_quality(found, bars, settings)
    _set_aside(found, standing, free, decision, reason, faults, settings)
    _cap_classes(found, standing, free, decision, reason, settings)
    decision[overruled], reason[overruled] = "drop", OVERRULED
    decision[again], reason[again] = "drop", HUMAN_NO
    found = found.assign(decision=decision, reason=reason)
    rows = [
        human.assign(quality=np.float32(1), decision="keep", reason=""),
        found,
        lost.assign(
            quality=np.minimum(lost["score"], settings.ignore_quality).astype(np.float32),
            decision="drop",
            reason="lost: this round does not say so any more",
        ),
    ]
    kinds = tables.ACTIONS | tables.DECIDED
    actions = tables.concatenate([part[list(kinds)] for part in rows], kinds).astype({"quality": "float32"})
    actions = _by_verdict(actions, verdicts)
    order = ["video_id", "track_id", "start_frame", "class_name", "label_uid"]
    merged_in = len(actions) - len(labelled)
    actions = actions.sort_values(order, ignore_index=True)
    return DecidedActions(actions, bars, doubts, merged_in, left_behind, found_again, old_kept)


def class_bars(found: pd.DataFrame, class_names: Sequence[str], settings: ActionSettings) -> dict[str, float]:
    """The quality from which a label of each class is kept.

    A class's learning state is how many of its labels reach `keep_quality`, over the most of any class; while most
    labels reach it in no class, over those that do not (the paper's warm-up). The bar is x / (2 - x) of the way from
    `least_quality` to `keep_quality`.
    """
    sure = found[found["quality"] >= settings.keep_quality]["class_name"].value_counts()
    states = np.array([int(sure.get(name, 0)) for name in class_names], dtype=float)
    most = max(states.max(initial=0.0), len(found) - states.sum(), 1.0)
    share = states / most
    way = share / (2 - share)
    bars = settings.least_quality + way * (settings.keep_quality - settings.least_quality)
    return {name: round(float(bar), 4) for name, bar in zip(class_names, bars, strict=True)}


def _by_quality(found: pd.DataFrame, bars: dict[str, float], settings: ActionSettings) -> tuple[np.ndarray, np.ndarray]:
    quality = found["quality"].to_numpy(np.float64)
    bar = found["class_name"].map(lambda name: bars.get(name, settings.keep_quality)).to_numpy(np.float64)
    decision = np.where(
        (quality >= bar) & (bar < 1), "keep", np.where(quality >= settings.ignore_quality, "ignore", "drop")
    )
    limit = np.where(decision == "ignore", bar, settings.ignore_quality)
    reason = [
        "" if each == "keep" else f"quality: {value:.2f} < {below:.2f}"
        for each, value, below in zip(decision, quality, limit, strict=True)
    ]
    return decision.astype(object), np.array(reason, dtype=object)


def _set_aside(
    found: pd.DataFrame,
    human: pd.DataFrame,
    free: np.ndarray,
    decision: np.ndarray,
    reason: np.ndarray,
    faults: Faults,
    settings: ActionSettings,
) -> None:
    """Ignore, of what would be kept: what views do not agree on, what out-of-fold students call wrong, and what looks
    unlike its class; in place.
    """
    wrong = faults.by_machine()
    if "agreement" in found:
        for row in np.flatnonzero(free & (decision == "keep") & (found["agreement"] < settings.least_agreement)):
            decision[row] = "ignore"
            reason[row] = f"agreement: {found['agreement'].iloc[row]:.2f} < {settings.least_agreement:g}"
    would_keep = free & (decision == "keep")
    for row in np.flatnonzero(would_keep & found["label_uid"].isin(wrong).to_numpy()):
        decision[row], reason[row] = "ignore", wrong[found["label_uid"].iloc[row]]
    kept = np.flatnonzero(free & (decision == "keep"))
    for place, why in find_outliers(found.iloc[kept].reset_index(drop=True), human, settings).items():
        decision[kept[place]], reason[kept[place]] = "ignore", why


def _with_faults(doubts: pd.DataFrame, human: pd.DataFrame, faults: Faults) -> pd.DataFrame:
    """The doubted human labels, and those that out-of-fold students call wrong too."""
    more = human.merge(faults.of_humans()[["label_uid", "student_class", "student_score"]], on="label_uid")
    parts = [part for part in (doubts, more) if len(part)]
    return pd.concat(parts).drop_duplicates("label_uid").reset_index(drop=True) if parts else doubts


def _cap_classes(
    found: pd.DataFrame,
    human: pd.DataFrame,
    free: np.ndarray,
    decision: np.ndarray,
    reason: np.ndarray,
    settings: ActionSettings,
) -> None:
    """Ignore the least sure labels of a class that grows far beyond its share of what humans said; in place."""
    share = human["class_name"].value_counts(normalize=True)
    if not len(share):
        return
    quality = found["quality"].to_numpy(np.float64)
    for name, rows in found.groupby("class_name").indices.items():
        kept = rows[(decision[rows] == "keep") & free[rows]]
        most = max(settings.least_cap, int(settings.class_cap * float(share.get(name, 0.0)) * int(free.sum())))
        for row in kept[np.argsort(-quality[kept], kind="stable")][most:]:
            decision[row], reason[row] = "ignore", f"class_cap: {len(kept)} > {most} of {name}"


def _is_denied(actions: pd.DataFrame, verdicts: Mapping[str, str]) -> np.ndarray:
    return (actions["label_uid"].map(dict(verdicts)) == "n").to_numpy()


def _by_verdict(actions: pd.DataFrame, verdicts: Mapping[str, str]) -> pd.DataFrame:
    words = actions["label_uid"].map(dict(verdicts)).to_numpy(dtype=object)
    yes, no = words == "y", words == "n"
    return actions.assign(
        decision=np.where(yes, "keep", np.where(no, "drop", actions["decision"])),
        reason=np.where(yes, "", np.where(no, HUMAN_NO, actions["reason"])),
        origin=np.where(yes, "human", actions["origin"]),
        quality=np.where(yes, 1, np.where(no, 0, actions["quality"])).astype(np.float32),
    )
