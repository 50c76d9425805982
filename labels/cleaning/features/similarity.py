"""How like the video's surest balls a box is. What surely flies as a ball does shows what this video's ball looks like:
its size and its colours. Everything else is judged beside it, also what lies still and tells nothing by its motion.
"""

import numpy as np
import pandas as pd

from labels.cleaning.settings import CleaningSettings
from labels.records.detections import from_text

NEIGHBOURS = 5
MOST_SHOWN = 500  # anchors that are compared with, evenly over the video: more say no more


def find_anchors(evidence: pd.DataFrame, settings: CleaningSettings) -> np.ndarray:
    """The surest boxes (N,) bool: a human's, and those that get far, some of the way without a bounce or a gap."""
    flies = (evidence["piece_extent"] >= settings.anchor_piece_sizes) & (
        evidence["extent"] >= settings.anchor_extent_sizes
    )
    sure = flies & (evidence["quality"] >= settings.keep_quality) & ~evidence["is_player"]
    sure &= ~(evidence["worn"] > settings.max_worn_share)  # a shoe goes as far as its player
    return (sure | evidence["human"]).to_numpy()


def likeness(
    evidence: pd.DataFrame, boxes: pd.DataFrame, anchors: np.ndarray, settings: CleaningSettings
) -> np.ndarray:
    """What its look says of each box, log-odds (N,); 0 where there are too few anchors of its class."""
    shift = np.zeros(len(boxes))
    if boxes["source"].nunique() < 2:  # a single look's second thing like the ball has no second witness
        return shift
    features, known = from_text(boxes["appearance"])
    for class_name in boxes["class_name"].unique():
        of_class = (boxes["class_name"] == class_name).to_numpy() & ~evidence["is_player"].to_numpy()
        sure, asked = of_class & anchors & known, of_class & known
        if sure.sum() < settings.min_anchors:
            continue
        size = evidence["size"].to_numpy()
        low, high = np.quantile(size[sure], [0.1, 0.9])
        octaves = np.maximum(np.log2(np.maximum(low / size[asked], size[asked] / high)), 0.0)
        shown = np.flatnonzero(sure)
        shown = shown[np.linspace(0, len(shown) - 1, min(len(shown), MOST_SHOWN)).round().astype(int)]
        own = np.isin(np.flatnonzero(asked), shown)
        shift[asked] = _alike(features[asked], features[shown], own, settings)
        shift[asked] -= np.minimum(settings.size_unlike * octaves, settings.max_unlike)
        # Looks of one labeller err together: that they agree counts where it is seen to see the ball.
        shift[asked] += settings.look_gain * np.log2(evidence["looks"].to_numpy()[asked])
    return shift


def _alike(features: np.ndarray, reference: np.ndarray, own: np.ndarray, settings: CleaningSettings) -> np.ndarray:
    """Log-odds (N,) by the distance to the nearest references, in units of theirs to each other; `own`: it is one."""
    neighbours = min(NEIGHBOURS, len(reference) - 1)
    from sklearn.neighbors import NearestNeighbors  # takes a second to import, and most rounds have one look

    near = NearestNeighbors(n_neighbors=neighbours + 1).fit(reference)
    distances = near.kneighbors(features)[0]
    distance = np.where(own, distances[:, -1], distances[:, -2])  # a reference's nearest is itself
    usual, far = np.quantile(distance[own], [0.5, 0.9])
    unlike = (distance - usual) / max(far - usual, 0.25 * usual, 1e-3)
    return np.clip(
        settings.alike_gain * (1 - unlike / settings.unlike_from), -settings.max_look_unlike, settings.alike_gain
    )
