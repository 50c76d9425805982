"""Quality: the probability that a label is right, and which boxes lie on confident tracks.

Of balls it is one logistic sum of soft terms, fitted to clips with truth (`tests/bench/fit_quality.py`), its weights in
`quality_weights.json`. A box is judged together with its path (how long it lasts, how far it gets, what the labeller
says along it), beside what else is in its frame, and by what speaks against a ball: it belongs to a player, it is a
shadow, it never moves. Every term is bounded and so is its weight, so that none may overrule all the others alone; and
most have a sign that is known beforehand (a smoother path is never worse), which the fit keeps.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.features.feature import Columns, Scene, feature
from labels.cleaning.features.scores import LIMIT, log_odds, probability

WEIGHTS_FILE = Path(__file__).with_name("quality_weights.json")
WEIGHTS: dict[str, float] = json.loads(WEIGHTS_FILE.read_text())
FAR_SIZES = 20  # a path that gets so many times its own size away is as good as one that gets farther
SMALL_SHARE = 0.015  # of the frame's shorter side
LARGEST_LYING = 0.15  # of a player's height, as detectors box the balls of basketball and football
USUAL_TURNS = 0.1  # share of a path's boxes
LEAST_STILL_S = 0.4  # before it can be said that a path stays where it is
SURE = 2.0  # log-odds of a labeller who needs no motion to tell a ball
VOUCHED_ABOVE = 1.2  # log-odds over what is kept, of a path on which a human drew a box
LEAST_PART = 0.05  # log-odds; what is less is not worth a word


@dataclass(frozen=True)
class Term:
    """`limit`: the largest value, and with a minus the smallest where `sign`, that of its weight, is not negative."""

    limit: float
    sign: int


# What each of them means is in `rules.TERM_HELP`.
TERMS = {
    "score": Term(LIMIT, 1),
    "views": Term(np.log2(5), 1),
    "one_view": Term(1, -1),
    "margin": Term(LIMIT, 1),
    "on_path": Term(1, 0),
    "support": Term(LIMIT, 1),
    "lasting": Term(1.5, 1),
    "covered": Term(1, 1),
    "length": Term(np.log(60), 1),
    "strength": Term(np.log(50), 1),
    "displacement": Term(1, 1),
    "segment": Term(1, 1),
    "segment_time": Term(0.5, 1),
    "turns": Term(0.4, -1),
    "residual": Term(1, -1),
    "static": Term(1, -1),
    "still_unsure": Term(1.5, -1),
    "on_screen": Term(1, -1),
    "on_player": Term(1, -1),
    "shadow": Term(np.log(8), -1),
    "flat": Term(np.log(3), -1),
    "upright": Term(np.log(3), -1),
    "aspect": Term(np.log(3), -1),
    "size_jump": Term(np.log(3), -1),
    "small": Term(2, -1),
    "size_prior": Term(np.log(3), -1),
    "appearance": Term(3, 1),
}
READ = (
    *("log_odds", "views", "path", "support", "duration_s", "hit_share", "turn_share", "residual", "aspect"),
    *("path_displacement", "segment_displacement", "segment_s", "static_in_scene", "static_on_screen", "on_player"),
    *("shadow", "flat", "upright", "path_size_ratio", "frame_share", "size_prior", "appearance"),
    *("one_view", "margin", "strength", "path_boxes"),
)


@feature(reads=("usable", "log_odds", "path", "views"), writes=("margin", "strength", "path_boxes", "one_view"))
def among_others(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Each box beside the others of its class and frame.

    `margin`: how much surer it is than the best other one, log-odds. `strength`: the boxes of its path that are
    expected to be balls, over those of the strongest path of its frame, log. `path_boxes`: how many its path has, 1 off
    paths. `one_view` (bool): nothing in the video is seen by two views, so none can agree; where a teacher was asked in
    some stretches of it alone, these and the rest are told apart.
    """
    count, path = len(scene), columns["path"]
    margin, strength, boxes = np.zeros(count), np.zeros(count), np.ones(count)
    rows = np.flatnonzero(columns["usable"])
    table = pd.DataFrame(
        {
            "class_name": scene.class_name[rows],
            "frame_index": scene.frame_index[rows],
            "path": path[rows],
            "odds": columns["log_odds"][rows].clip(-LIMIT, LIMIT),
        }
    )
    table["expected"] = probability(table["odds"].to_numpy())
    in_frame = table.groupby(["class_name", "frame_index"])["odds"]
    is_best = in_frame.rank(method="first", ascending=False) == 1
    others = table.assign(odds=table["odds"].where(~is_best)).groupby(["class_name", "frame_index"])["odds"]
    margin[rows] = table["odds"] - others.transform("max").fillna(-LIMIT).where(is_best, in_frame.transform("max"))
    on_path = table["path"] >= 0
    along = table.groupby(["class_name", "path"])["expected"]
    table["strength"] = along.transform("sum").where(on_path, table["expected"])
    strongest = table.groupby(["class_name", "frame_index"])["strength"].transform("max")
    strength[rows] = np.log(table["strength"] / strongest)
    boxes[rows] = along.transform("size").where(on_path, 1)
    views = columns["views"]
    one_view = np.where(scene.asked, views[scene.asked].max(initial=1) < 2, views[~scene.asked].max(initial=1) < 2)
    return {"margin": margin, "strength": strength, "path_boxes": boxes, "one_view": one_view}


def quality_terms(columns: Mapping[str, Any]) -> pd.DataFrame:
    """The terms (N, T) of boxes from the columns `READ` of them; what cannot be said of a box is 0."""
    column = {name: np.asarray(columns[name], dtype=np.float64) for name in READ}
    displacement = _displaced(column["path_displacement"])
    with np.errstate(invalid="ignore"):
        still = (1 - displacement) * (column["duration_s"] >= LEAST_STILL_S)
    values = {
        "score": column["log_odds"],
        "views": np.log2(column["views"].clip(min=1)),
        "one_view": column["one_view"],
        "margin": column["margin"],
        "on_path": (column["path"] >= 0).astype(float),
        "support": column["support"],
        "lasting": column["duration_s"],
        "covered": column["hit_share"],
        "length": np.log(column["path_boxes"]),
        "strength": column["strength"],
        "displacement": displacement,
        "segment": _displaced(column["segment_displacement"]),
        "segment_time": column["segment_s"],
        "turns": column["turn_share"] - USUAL_TURNS,
        "residual": column["residual"],
        "static": column["static_in_scene"],
        "still_unsure": still * (1 - column["support"] / SURE).clip(min=0),
        "on_screen": column["static_on_screen"],
        "on_player": column["on_player"],
        "shadow": np.log(column["shadow"].clip(min=1)),
        "flat": np.log(column["flat"].clip(min=1)),
        "upright": np.log(column["upright"].clip(min=1)),
        "aspect": np.log(column["aspect"].clip(min=1)),
        "size_jump": np.log(column["path_size_ratio"].clip(min=1)),
        "small": np.log(SMALL_SHARE / column["frame_share"].clip(min=1e-6)),
        "size_prior": np.log(column["size_prior"].clip(min=LARGEST_LYING) / LARGEST_LYING),
        "appearance": column["appearance"],
    }
    terms = pd.DataFrame(values)[list(TERMS)].fillna(0.0)
    for name, term in TERMS.items():
        terms[name] = terms[name].clip(-term.limit if term.sign >= 0 else 0.0, term.limit)
    return terms


def weighted(terms: pd.DataFrame, without: tuple[str, ...] = ()) -> pd.DataFrame:
    """What each term (N, T) comes to, log-odds; those in `without` say nothing."""
    return terms * pd.Series({name: 0.0 if name in without else WEIGHTS.get(name, 0.0) for name in TERMS})


@feature(
    reads=(*READ, "human", "is_player", "vouched"),
    writes=("quality", "against"),
)
def quality(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """The probability (N,) that a label is right, and `against` (N,) str: the term that costs it the most.

    Of players it is what the labeller says along the track. Of balls, where frames are so far apart that no path can be
    followed, the labeller's word alone.
    """
    settings = scene.settings
    keep = float(log_odds(np.array([settings.keep_quality]))[0])
    parts = weighted(quality_terms(columns), settings.without)
    ball = parts.to_numpy().sum(axis=1) + WEIGHTS["constant"]
    on_path, is_player, odds = columns["path"] >= 0, columns["is_player"], columns["log_odds"]
    if scene.timeline.step_s >= settings.sparse_step_s:
        ball = np.where(on_path, ball, odds - settings.isolated_log_odds_sparse + keep)
    ball = np.where(columns["vouched"], np.maximum(ball, keep + VOUCHED_ABOVE), ball)
    along = 1.2 * columns["support"] + 0.3 * odds + columns["duration_s"].clip(max=0.5)
    player = np.where(on_path, along, odds - settings.isolated_player_log_odds + keep)
    return {
        "quality": np.where(columns["human"], 1.0, probability(np.where(is_player, player, ball))),
        "against": np.where(is_player, "", _strongest_against(parts)).astype(object),
    }


def _strongest_against(parts: pd.DataFrame) -> np.ndarray:
    """For each row the name and value of its lowest part, (N,) str; empty where nothing speaks against it."""
    values, names = parts.to_numpy(), list(parts)
    worst = values.argmin(axis=1) if len(values) else np.zeros(0, dtype=int)
    least = values[np.arange(len(values)), worst]
    texts = (f"{names[at]} {part:+.1f}" if part <= -LEAST_PART else "" for at, part in zip(worst, least, strict=True))
    return np.array([*texts, None], dtype=object)[:-1]


@feature(
    reads=("human", "is_player", "quality", "segment_displacement", "path_displacement", "on_player"),
    writes=("on_confident_track",),
)
def confident_tracks(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Boxes (N,) bool that are surely right: a human's, and those of likely balls that get far, some of the way without
    a bounce or a gap.
    """
    settings = scene.settings
    flies = (columns["segment_displacement"] >= settings.confident_segment_sizes) & (
        columns["path_displacement"] >= settings.confident_displacement_sizes
    )
    sure = flies & (columns["quality"] >= settings.confident_quality) & ~columns["is_player"]
    sure &= ~(columns["on_player"] > settings.max_on_player_share)  # a shoe goes as far as its player
    return {"on_confident_track": sure | columns["human"]}


@feature(reads=("human", "usable", "on_confident_track"), writes=("confident_boxes",))
def confident_boxes(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """How many boxes of the video lie on confident tracks, the same for all rows; NaN where a human drew some, or
    where frames are too far apart to see a flight.
    """
    unknown = columns["human"].any() or scene.timeline.step_s >= scene.settings.sparse_step_s
    count = np.nan if unknown else float((columns["usable"] & columns["on_confident_track"]).sum())
    return {"confident_boxes": np.full(len(scene), count)}


def _displaced(displacement: np.ndarray) -> np.ndarray:
    """0 for what stays, 1 for what gets `FAR_SIZES` times its own size away."""
    return np.log1p(displacement.clip(max=FAR_SIZES)) / np.log1p(FAR_SIZES)
