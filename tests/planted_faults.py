"""True boxes given as a labeller's, with faults planted among them: what the test and the bench of cleaning share.

A tenth of a clip's true balls are shifted beside the ball, swapped onto a player's head or a logo on the screen, or
left out. Scores are those that students of this project give: right boxes about 2.5 in log-odds above the working
threshold, wrong ones about 1.1, with much between them (measured on rendered and real clips, above the threshold).
Places and sides are as inexact as a detector's.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from simulated_balls import clean_table

from labels.cleaning.features.scores import ScoreScale, probability
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.matching import MIN_VISIBILITY, match_video

BALL = "sports ball"
SCALES = {("", BALL): ScoreScale(0.5)}
KINDS = ("shifted", "head", "logo", "missing")
RIGHT_LOG_ODDS, WRONG_LOG_ODDS = (2.5, 1.3), (1.1, 0.8)  # mean and standard deviation


@dataclass(frozen=True)
class Planted:
    """`kind` (N,) of each labelled row: "right" or one of KINDS; of what is missing there is the `missing` truth."""

    labelled: pd.DataFrame
    kind: np.ndarray
    missing: pd.DataFrame


def plant(truth: pd.DataFrame, meta: dict[str, object], seed: int, share: float = 0.1) -> Planted:
    """Faults among the visible balls of one clip's truth; `meta` is what a shard's metadata are."""
    rng = np.random.default_rng([seed, *str(meta["video_id"]).encode()])
    seen = truth[(truth["visibility"] >= MIN_VISIBILITY) & ~tables.is_empty_frame(truth)]
    balls, people = seen[seen["class_name"] == BALL], seen[seen["class_name"] == "person"]
    corner = np.array([0.06 * meta["width"], 0.08 * meta["height"]])
    rows, kinds, missing = [], [], []
    for place, ball in enumerate(balls.itertuples()):
        centre = np.array([ball.x1 + ball.x2, ball.y1 + ball.y2]) / 2
        sides = np.array([ball.x2 - ball.x1, ball.y2 - ball.y1])
        kind = str(rng.choice(KINDS)) if rng.random() < share else "right"
        heads = people[people["frame_index"] == ball.frame_index]
        if kind == "shifted":
            angle = rng.uniform(0, 2 * np.pi)
            centre = centre + rng.uniform(1, 4) * sides.max() * np.array([np.cos(angle), np.sin(angle)])
        elif kind == "head" and len(heads):
            head = heads.iloc[int(rng.integers(len(heads)))]
            sides = np.full(2, max((head["y2"] - head["y1"]) / 7, 3.5))
            centre = np.array([(head["x1"] + head["x2"]) / 2, head["y1"] + sides[1] / 2])
        elif kind in ("head", "logo"):
            kind, centre = "logo", corner
        elif kind == "missing":
            missing.append(place)
            continue
        mean, spread = RIGHT_LOG_ODDS if kind == "right" else WRONG_LOG_ODDS
        centre = centre + rng.normal(0, 0.06, 2) * sides
        half = sides * np.exp(rng.normal(0, 0.08, 2)) / 2
        score = float(probability(max(rng.normal(mean, spread), 0.05)))
        rows.append((ball.frame_index, *(centre - half), *(centre + half), score))
        kinds.append(kind)
    table = np.array(rows).reshape(-1, 6)
    inside = (table[:, 1:3] >= 0).all(axis=1) & (table[:, 3:5] <= [meta["width"], meta["height"]]).all(axis=1)
    inside |= np.array(kinds) == "right"
    table, kind = table[inside], np.array(kinds, dtype=object)[inside]
    frame = table[:, 0].astype(int)
    labelled = tables.make_boxes(
        str(meta["video_id"]),
        0,
        frame,
        frame / float(meta["fps"]),
        table[:, 1:5],
        np.array([BALL] * len(table), dtype=object),
        table[:, 5],
    )
    labelled.attrs = dict(meta)
    return Planted(labelled, kind, balls.iloc[missing])


def fates(planted: Planted, truth: pd.DataFrame, camera: pd.DataFrame | None, **said: float) -> pd.DataFrame:
    """What cleaning makes of each kind: rows are kinds, columns keep, ignore and drop. Of the missing: kept where a box
    was interpolated that is right, otherwise dropped.

    A planted box that hits a ball after all (another one, or the same) is no fault and not counted.
    """
    cleaned = clean_table(planted.labelled, 0, SCALES, CleaningSettings(**said), None, camera).boxes
    decision = planted.labelled["label_uid"].map(cleaned.set_index("label_uid")["decision"]).to_numpy()
    balls = truth[truth["class_name"].isin([BALL, ""])]
    verdict = [match_video(planted.labelled.iloc[[row]], balls)[0] for row in range(len(planted.labelled))]
    counted = np.where(planted.kind == "right", np.array(verdict) == 1, np.array(verdict) == 0)
    filled = cleaned[(cleaned["origin"] == "interpolated") & (cleaned["decision"] == "keep")]
    right = filled[match_video(filled, balls) == 1] if len(filled) else filled
    found = np.isin(planted.missing["frame_index"], right["frame_index"])
    kind = np.concatenate([planted.kind[counted], np.full(len(found), "missing", dtype=object)])
    decision = np.concatenate([decision[counted], np.where(found, "keep", "drop")])
    counts = pd.crosstab(pd.Series(kind, name="kind"), pd.Series(decision, name="decision"))
    return counts.reindex(index=["right", *KINDS], columns=list(tables.DECISIONS), fill_value=0)


def found_share(counts: pd.DataFrame) -> float:
    """Of the planted boxes that are wrong, those that end as ignore or drop."""
    wrong = counts.loc[["shifted", "head", "logo"]].sum()
    return float((wrong["ignore"] + wrong["drop"]) / max(wrong.sum(), 1))


def lost_share(counts: pd.DataFrame) -> float:
    """Of the right boxes, those that are dropped."""
    return float(counts.loc["right", "drop"] / max(counts.loc["right"].sum(), 1))
