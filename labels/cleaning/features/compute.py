"""All features of one video, each after those whose columns it reads."""

from typing import TYPE_CHECKING

import pandas as pd

from labels.cleaning.features.appearance import outlier, similarity, with_similarity
from labels.cleaning.features.feature import Columns, Feature, following_from, in_order, needed_for
from labels.cleaning.features.paths import paths, rank
from labels.cleaning.features.players import on_player, size_prior
from labels.cleaning.features.quality import among_others, confident_boxes, confident_tracks, quality
from labels.cleaning.features.shadow import shadow
from labels.cleaning.features.single_boxes import overlap, recalibration, shape, static, usable, views, well_shaped

if TYPE_CHECKING:
    from labels.cleaning.features.feature import Scene

FEATURES = in_order(
    [
        *(shape, well_shaped, overlap, static, usable, views, recalibration),
        *(paths, on_player, size_prior, shadow, among_others, quality, confident_tracks, similarity),
        *(confident_boxes, rank, outlier),
    ]
)
FIRST_PASS = needed_for("similarity", FEATURES)
SECOND_PASS = tuple(one for one in following_from("log_odds", FIRST_PASS) if one is not similarity)
AFTER = tuple(one for one in FEATURES if one not in FIRST_PASS)
NOT_OF_BOXES = ("xyxy", "gaps")  # columns that are no single value of each box


def compute_features(scene: "Scene") -> Columns:
    """Every column of `FEATURES`.

    Paths are sought twice: what lies on confident tracks in the first pass shows what this video's ball looks like, and
    the second pass goes by scores that know how similar each box is to it.
    """
    columns = _computed(FIRST_PASS, {}, scene)
    if (columns["similarity"] != 0).any():
        columns = _computed(SECOND_PASS, columns | with_similarity(columns, scene), scene)
    return _computed(AFTER, columns, scene)


def _computed(features: tuple[Feature, ...], columns: Columns, scene: "Scene") -> Columns:
    for one in features:
        columns = columns | one(columns, scene)
    return columns


def feature_table(columns: Columns, scene: "Scene") -> pd.DataFrame:
    """The columns as a table, a row for each box, by `label_uid`."""
    values = {name: column for name, column in columns.items() if name not in NOT_OF_BOXES}
    return pd.DataFrame(values, index=pd.Index(scene.boxes["label_uid"]))
