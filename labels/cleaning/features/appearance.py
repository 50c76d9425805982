"""Appearance: how similar a box is to this video's confident tracks, and which tracks are outliers.

Similarity: confident tracks show what this video's ball looks like, in size and colour. All other boxes are compared
with them, including those at rest, whose motion says nothing.

Outliers: the appearance of a track is the mean of its boxes' features (colours and edges, and those of a network where
there is one). The tracks that the round before kept, with this round's features, are projected on their principal
components, and each track is compared with those of other videos by the local outlier factor (Breunig et al., 2000),
which allows for several clusters, as of balls of several colours. The limit is the factor that a stated share of the
earlier tracks exceed, and never below a minimum. A confident track is never an outlier; other outliers are ignored, not
dropped, because an unusual appearance proves nothing.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.features.box_pairs import same_objects
from labels.cleaning.features.feature import Columns, Scene, feature
from labels.cleaning.features.scores import LIMIT
from labels.cleaning.features.single_boxes import HUMAN_LOG_ODDS
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.detections import from_text
from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import RoundFolder

SIMILAR_NEIGHBOURS = 5
MOST_SHOWN = 500  # boxes on confident tracks that are compared with, evenly over the video: more say no more
FOLDS = 5  # a video's tracks are compared with those of the other folds
MOST_COMPONENTS = 8
OUTLIER_NEIGHBOURS = 10
MOST_TRACKS = 5000  # of a class, evenly over the videos: more say no more


@feature(
    reads=("usable", "human", "is_player", "on_confident_track", "size", "views"),
    writes=("similarity", "reference"),
)
def similarity(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """What its appearance says of each box, log-odds (N,); 0 where too few boxes of its class are known.

    `reference` (N,) bool: the boxes that are compared with. In later rounds the round before must have kept them:
    what a student alone finds is not proof yet.
    """
    boxes, settings = scene.boxes, scene.settings
    shift = np.zeros(len(boxes))
    reference = columns["usable"] & columns["on_confident_track"]
    if scene.has_past:
        reference &= (boxes["old_decision"] == "keep").to_numpy() | columns["human"]
    # A single view's second thing like the ball has no second witness.
    if boxes["source"].nunique() < 2 or not scene.has("similarity"):
        return {"similarity": shift, "reference": reference}
    features, known = from_text(boxes["appearance"])
    for class_name in boxes["class_name"].unique():
        of_class = scene.of_class(class_name) & ~columns["is_player"]
        sure, asked = of_class & reference & known, of_class & known
        if sure.sum() < settings.min_confident_boxes:
            continue
        size = columns["size"]
        low, high = np.quantile(size[sure], [0.1, 0.9])
        octaves = np.maximum(np.log2(np.maximum(low / size[asked], size[asked] / high)), 0.0)
        shown = np.flatnonzero(sure)
        shown = shown[np.linspace(0, len(shown) - 1, min(len(shown), MOST_SHOWN)).round().astype(int)]
        own = np.isin(np.flatnonzero(asked), shown)
        shift[asked] = _appearance_log_odds(features[asked], features[shown], own, settings)
        shift[asked] -= np.minimum(settings.size_penalty * octaves, settings.max_size_penalty)
        # Views of one labeller err together: that they agree counts where it is seen to see the ball.
        shift[asked] += settings.view_gain * np.log2(columns["views"][asked])
    return {"similarity": shift, "reference": reference}


def with_similarity(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """`appearance`, `row_log_odds` and `log_odds` of all boxes once their similarity is known."""
    boxes, settings = scene.boxes, scene.settings
    agreed = columns["views"] >= settings.agreeing_views
    own = np.where(agreed, boxes["log_odds"].to_numpy(dtype=np.float64), columns["row_log_odds"])
    # The round before counted its own similarity in already.
    seen_before = np.where(boxes["rounds_seen"] > 1, 1 - settings.old_share, 1.0)
    of_this_round = np.where(boxes["rounds_lost"] > 0, 0.0, seen_before)
    odds = np.clip(own + columns["similarity"] * of_this_round, -LIMIT, LIMIT)
    return {
        "appearance": columns["similarity"],
        "row_log_odds": odds.astype(np.float32),
        "log_odds": np.where(columns["human"], HUMAN_LOG_ODDS, odds),
    }


def _appearance_log_odds(
    features: np.ndarray, reference: np.ndarray, own: np.ndarray, settings: CleaningSettings
) -> np.ndarray:
    """Log-odds (N,) by the distance to the nearest references, in units of theirs to each other; `own`: it is one."""
    neighbours = min(SIMILAR_NEIGHBOURS, len(reference) - 1)
    from sklearn.neighbors import NearestNeighbors  # takes a second to import, and most rounds have one view

    near = NearestNeighbors(n_neighbors=neighbours + 1).fit(reference)
    distances = near.kneighbors(features)[0]
    distance = np.where(own, distances[:, -1], distances[:, -2])  # a reference's nearest is itself
    usual, far = np.quantile(distance[own], [0.5, 0.9])
    stray = (distance - usual) / max(far - usual, 0.25 * usual, 1e-3)
    return np.clip(
        settings.similarity_gain * (1 - stray / settings.dissimilar_from),
        -settings.max_appearance_penalty,
        settings.similarity_gain,
    )


@dataclass(frozen=True)
class _ClassTracks:
    """Fitted models of one class, by the fold they leave out, and the factor from which a track is unlike others."""

    models: dict[int, Any]
    limit: float


class UsualTracks:
    """How the tracks of each class look that the round before kept. Knows nothing where they are too few."""

    def __init__(self, kept: Iterable[pd.DataFrame], settings: CleaningSettings) -> None:
        """`kept`: the boxes of each video that the round before kept, as `kept_as_seen` gives them."""
        found = [tracks for boxes in kept if len(tracks := _appearance_of_tracks(boxes))]
        tracks = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["class_name"])
        self._classes: dict[str, _ClassTracks] = {}
        for class_name, of_class in tracks.groupby("class_name"):
            fitted = _fit(of_class, settings)
            if fitted is not None:
                self._classes[str(class_name)] = fitted

    def outlier_factor(self, video_id: str, class_name: str, features: np.ndarray) -> np.ndarray:
        """For tracks (N, F) of a video, their outlier factor in units of the limit; NaN where nothing is known."""
        fitted = self._classes.get(class_name)
        if fitted is None or not len(features):
            return np.full(len(features), np.nan)
        return -fitted.models[_fold(video_id)].score_samples(features) / fitted.limit


def usual_tracks(folder: RoundFolder, before: RoundFolder | None, settings: CleaningSettings) -> UsualTracks | None:
    """How a round sees the tracks of the one before; None without one, or where the rule is switched off."""
    if before is None or "outlier" in settings.without:
        return None
    return UsualTracks(_seen_again(folder, before, settings), settings)


def _seen_again(folder: RoundFolder, before: RoundFolder, settings: CleaningSettings) -> Iterator[pd.DataFrame]:
    for path in sorted((before.stage("cleaned") / "boxes").glob("[!.]*.parquet")):
        try:
            labelled = tables.check_boxes(read_parquet(folder.boxes("labelled", path.stem)), path.stem)
            decided = tables.check_boxes(read_parquet(path), str(path), decided=True)
        except (InputError, ValueError):
            continue  # what is wrong with a shard is told where its own video is cleaned
        yield kept_as_seen(labelled, decided, settings)


def kept_as_seen(labelled: pd.DataFrame, decided: pd.DataFrame, settings: CleaningSettings) -> pd.DataFrame:
    """The boxes on tracks that the round before kept in a video and this round found, with what it sees in them."""
    kept = decided[(decided["decision"] == "keep") & (decided["track_id"] != tables.NO_TRACK)]
    here, there = same_objects(labelled, kept, settings.match_iou, settings.match_distance_sizes)
    texts = labelled["appearance"].to_numpy()[here] if "appearance" in labelled else ""
    return kept.iloc[there].assign(appearance=texts)


@feature(reads=("path", "on_confident_track"), writes=("outlier",))
def outlier(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """For each box (N,) the outlier factor of its track, above 1 too much; NaN off tracks and on confident ones."""
    usual, boxes, path = scene.usual, scene.boxes, columns["path"]
    result = np.full(len(boxes), np.nan)
    asked = (path >= 0) & ~np.isin(path, path[columns["on_confident_track"] & (path >= 0)])
    asked &= (boxes["appearance"] != "").to_numpy()
    if usual is None or not asked.any():
        return {"outlier": result}
    rows = np.flatnonzero(asked)
    features, _ = from_text(boxes["appearance"].iloc[rows])
    paths, first, member = np.unique(path[rows], return_index=True, return_inverse=True)
    appearance = _means(features, member, len(paths))
    names = boxes["class_name"].to_numpy(dtype=str)[rows[first]]
    video_id = str(boxes["video_id"].iloc[0])
    for class_name in np.unique(names):
        of_class = np.flatnonzero(names == class_name)
        factor = np.full(len(paths), np.nan)
        factor[of_class] = usual.outlier_factor(video_id, str(class_name), appearance[of_class])
        here = np.isin(member, of_class)
        result[rows[here]] = factor[member[here]]
    return {"outlier": result}


def _appearance_of_tracks(boxes: pd.DataFrame) -> pd.DataFrame:
    """A row for each track of a video: video_id, class_name, appearance. Of those that have boxes with features."""
    kept = boxes[boxes["appearance"] != ""].reset_index(drop=True)
    if not len(kept):
        return pd.DataFrame(columns=["video_id", "class_name", "appearance"])
    features, _ = from_text(kept["appearance"])
    keys, member = np.unique(kept["track_id"].to_numpy(), return_inverse=True)
    first = kept.groupby("track_id", sort=True)[["video_id", "class_name"]].first().reset_index(drop=True)
    return first.assign(appearance=list(_means(features, member, len(keys))))


def _fit(tracks: pd.DataFrame, settings: CleaningSettings) -> _ClassTracks | None:
    from sklearn.decomposition import PCA
    from sklearn.neighbors import LocalOutlierFactor
    from sklearn.pipeline import make_pipeline

    if len(tracks) > MOST_TRACKS:
        tracks = tracks.iloc[np.linspace(0, len(tracks) - 1, MOST_TRACKS).round().astype(int)]
    appearance = np.stack(tracks["appearance"].to_list())
    fold = tracks["video_id"].map(_fold).to_numpy()
    if len(tracks) < settings.min_reference_tracks or len(np.unique(fold)) < FOLDS:
        return None
    models, factor = {}, np.ones(len(tracks))
    for left_out in range(FOLDS):
        others = appearance[fold != left_out]
        components = min(MOST_COMPONENTS, len(others) - 1, appearance.shape[1])
        neighbours = min(OUTLIER_NEIGHBOURS, len(others) - 1)
        model = make_pipeline(PCA(components), LocalOutlierFactor(n_neighbors=neighbours, novelty=True)).fit(others)
        models[left_out] = model
        factor[fold == left_out] = -model.score_samples(appearance[fold == left_out])
    limit = float(np.quantile(factor, 1 - settings.max_outlier_share, method="higher"))
    return _ClassTracks(models, max(limit, settings.min_outlier_factor))


def _means(features: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    """Mean features (count, F) of the rows that each member number holds."""
    total = np.zeros((count, features.shape[1]))
    np.add.at(total, member, features)
    return total / np.bincount(member, minlength=count)[:, None]


def _fold(video_id: str) -> int:
    return zlib.crc32(video_id.encode()) % FOLDS
