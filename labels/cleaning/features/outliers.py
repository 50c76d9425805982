"""Tracks that look unlike the others of their class: over tracks rather than single boxes, and over all videos.

A track's look is the mean of its boxes' features: colours and edges, and what a network sees in them where one says.
Those that the round before kept, as this round sees them, are brought to their principal components, and a track of
this round is compared with those of other videos by the local outlier factor (Breunig et al., 2000): how much farther
off its nearest are than they are from theirs, so that balls of several colours may be usual. The factor that counts as
too much is the one that at most a stated share of the tracks before exceed, and never a small one. What surely flies as
a ball does is no outlier whatever it looks like; the others are ignored, not dropped: to look strange proves nothing.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from labels.cleaning.features.box_pairs import same_objects
from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.detections import from_text
from labels.records.errors import InputError
from labels.records.safe_writing import read_parquet
from labels.records.work_folder import RoundFolder

FOLDS = 5  # a video's tracks are compared with those of the other folds
MOST_COMPONENTS = 8
NEIGHBOURS = 10
MOST_TRACKS = 5000  # of a class, evenly over the videos: more say no more


@dataclass(frozen=True)
class _ClassLooks:
    """Fitted models of one class, by the fold they leave out, and the factor from which a track is unlike others."""

    models: dict[int, Any]
    limit: float


class UsualLooks:
    """How the tracks of each class look that the round before kept. Knows nothing where they are too few."""

    def __init__(self, kept: Iterable[pd.DataFrame], settings: CleaningSettings) -> None:
        """`kept`: the boxes of each video that the round before kept, as `kept_as_seen` gives them."""
        found = [tracks for boxes in kept if len(tracks := _looks_of_tracks(boxes))]
        tracks = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["class_name"])
        self._classes: dict[str, _ClassLooks] = {}
        for class_name, of_class in tracks.groupby("class_name"):
            looks = _fit(of_class, settings)
            if looks is not None:
                self._classes[str(class_name)] = looks

    def unlike(self, video_id: str, class_name: str, features: np.ndarray) -> np.ndarray:
        """For tracks (N, F) of a video, their outlier factor in units of the limit; NaN where nothing is known."""
        looks = self._classes.get(class_name)
        if looks is None or not len(features):
            return np.full(len(features), np.nan)
        return -looks.models[_fold(video_id)].score_samples(features) / looks.limit


def usual_looks(folder: RoundFolder, before: RoundFolder | None, settings: CleaningSettings) -> UsualLooks | None:
    """How a round sees the tracks of the one before; None without one, or where the rule is switched off."""
    if before is None or "outlier" in settings.without:
        return None
    return UsualLooks(_seen_again(folder, before, settings), settings)


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


def outlier_factors(
    usual: UsualLooks | None, evidence: pd.DataFrame, boxes: pd.DataFrame, flying: np.ndarray
) -> np.ndarray:
    """For each box (N,) how unlike the usual its track is, above 1 too much; NaN off tracks and where it surely flies.

    `flying` (N,) bool: boxes that surely move as a ball does, or that a human drew.
    """
    result = np.full(len(boxes), np.nan)
    if usual is None:
        return result
    path = evidence["path"].to_numpy()
    asked = (path >= 0) & ~np.isin(path, path[flying & (path >= 0)])
    asked &= (boxes["appearance"] != "").to_numpy()
    if not asked.any():
        return result
    rows = np.flatnonzero(asked)
    features, _ = from_text(boxes["appearance"].iloc[rows])
    paths, first, member = np.unique(path[rows], return_index=True, return_inverse=True)
    looks = _means(features, member, len(paths))
    names = boxes["class_name"].to_numpy(dtype=str)[rows[first]]
    video_id = str(boxes["video_id"].iloc[0])
    for class_name in np.unique(names):
        of_class = np.flatnonzero(names == class_name)
        factor = np.full(len(paths), np.nan)
        factor[of_class] = usual.unlike(video_id, str(class_name), looks[of_class])
        here = np.isin(member, of_class)
        result[rows[here]] = factor[member[here]]
    return result


def _looks_of_tracks(boxes: pd.DataFrame) -> pd.DataFrame:
    """A row for each track of a video: video_id, class_name, look. Of those that have boxes with features."""
    kept = boxes[boxes["appearance"] != ""].reset_index(drop=True)
    if not len(kept):
        return pd.DataFrame(columns=["video_id", "class_name", "look"])
    features, _ = from_text(kept["appearance"])
    keys, member = np.unique(kept["track_id"].to_numpy(), return_inverse=True)
    first = kept.groupby("track_id", sort=True)[["video_id", "class_name"]].first().reset_index(drop=True)
    return first.assign(look=list(_means(features, member, len(keys))))


def _fit(tracks: pd.DataFrame, settings: CleaningSettings) -> _ClassLooks | None:
    from sklearn.decomposition import PCA
    from sklearn.neighbors import LocalOutlierFactor
    from sklearn.pipeline import make_pipeline

    if len(tracks) > MOST_TRACKS:
        tracks = tracks.iloc[np.linspace(0, len(tracks) - 1, MOST_TRACKS).round().astype(int)]
    looks = np.stack(tracks["look"].to_list())
    fold = tracks["video_id"].map(_fold).to_numpy()
    if len(tracks) < settings.min_usual_tracks or len(np.unique(fold)) < FOLDS:
        return None
    models, factor = {}, np.ones(len(tracks))
    for left_out in range(FOLDS):
        others = looks[fold != left_out]
        components = min(MOST_COMPONENTS, len(others) - 1, looks.shape[1])
        neighbours = min(NEIGHBOURS, len(others) - 1)
        model = make_pipeline(PCA(components), LocalOutlierFactor(n_neighbors=neighbours, novelty=True)).fit(others)
        models[left_out] = model
        factor[fold == left_out] = -model.score_samples(looks[fold == left_out])
    limit = float(np.quantile(factor, 1 - settings.max_outlier_share, method="higher"))
    return _ClassLooks(models, max(limit, settings.min_outlier_factor))


def _means(features: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    """Mean features (count, F) of the rows that each member number holds."""
    total = np.zeros((count, features.shape[1]))
    np.add.at(total, member, features)
    return total / np.bincount(member, minlength=count)[:, None]


def _fold(video_id: str) -> int:
    return zlib.crc32(video_id.encode()) % FOLDS
