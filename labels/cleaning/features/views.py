"""Several looks at one frame, by detectors or scales, become one box each (weighted boxes fusion, Solovyev 2021).

The best of the boxes that mean the same thing stands for all, at their mean place, weighted by how likely each is. The
others stay in the table, dropped as overlapping it.
"""

import numpy as np
import pandas as pd

from labels.cleaning.features.box_pairs import frame_keys, pair_iou, pairs_between
from labels.cleaning.features.scores import probability
from labels.cleaning.settings import CleaningSettings
from labels.records import tables


def fuse_looks(
    boxes: pd.DataFrame, standing: np.ndarray, covered: np.ndarray, settings: CleaningSettings
) -> tuple[pd.DataFrame, np.ndarray]:
    """`boxes` with the place of the `standing` (N,) rows fused with those they cover, and how many looks (N,) saw each.

    Rows of one source are never fused: a source that says a thing twice has not looked twice.
    """
    looks = np.ones(len(boxes), dtype=np.int64)
    if boxes["source"].nunique() < 2 or "looks" in settings.without:
        return boxes, looks
    leads, others = np.flatnonzero(standing), np.flatnonzero(covered)
    (key,) = frame_keys(boxes)
    source = np.unique(boxes["source"].to_numpy(dtype=str), return_inverse=True)[1]
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)
    weight = probability(boxes["log_odds"].to_numpy(dtype=np.float64))
    total, place = weight.copy(), xyxy * weight[:, None]
    agreed = [np.zeros((0, 2), dtype=np.int64)]
    for one, two in pairs_between(key[leads], key[others]):
        lead, other = leads[one], others[two]
        same = (source[lead] != source[other]) & (pair_iou(xyxy[lead], xyxy[other]) >= settings.same_look_iou)
        lead, other = lead[same], other[same]
        np.add.at(total, lead, weight[other])
        np.add.at(place, lead, xyxy[other] * weight[other, None])
        agreed.append(np.column_stack([lead, source[other]]))
    np.add.at(looks, np.unique(np.concatenate(agreed), axis=0)[:, 0], 1)
    moved = np.flatnonzero(looks > 1)
    human = (boxes["origin"] == "human").to_numpy()
    moved = moved[~human[moved]]
    fused = boxes.copy()
    mean = (place[moved] / total[moved, None]).astype(np.float32)
    for column, name in enumerate(tables.BOX_COLUMNS):
        values = fused[name].to_numpy(copy=True)
        values[moved] = mean[:, column]
        fused[name] = values
    return fused, looks
