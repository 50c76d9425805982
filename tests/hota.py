"""HOTA, how well tracks follow true objects (Luiten et al., IJCV 2021), computed as TrackEval does it.

At each localisation threshold, DetA is the share of boxes that are found (Jaccard) and AssA says, over the matched
boxes, how far a found track and the true one are the same; HOTA is the root of their product, averaged over 19
thresholds.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from labels.records import tables
from labels.records.geometry import iou_matrix

THRESHOLDS = np.arange(1, 20) * 0.05
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Hota:
    hota: float
    det_a: float
    ass_a: float


def hota(truth: pd.DataFrame, found: pd.DataFrame) -> Hota:
    """Of two tables with frame_index, a box and track_id (each once in a frame)."""
    true_names, true_number = np.unique(truth["track_id"].to_numpy(), return_inverse=True)
    found_names, found_number = np.unique(found["track_id"].to_numpy(), return_inverse=True)
    frames = []
    true_at, found_at = truth.groupby("frame_index").indices, found.groupby("frame_index").indices
    true_xyxy, found_xyxy = truth[tables.BOX_COLUMNS].to_numpy(), found[tables.BOX_COLUMNS].to_numpy()
    none = np.zeros(0, dtype=int)
    for frame in sorted({*true_at, *found_at}):
        true_rows, found_rows = true_at.get(frame, none), found_at.get(frame, none)
        overlap = iou_matrix(true_xyxy[true_rows], found_xyxy[found_rows])
        frames.append((true_number[true_rows], found_number[found_rows], overlap))

    # How well two tracks fit over the whole clip decides who is matched with whom where several could be.
    together = np.zeros((len(true_names), len(found_names)))
    for true_ids, found_ids, overlap in frames:
        either = overlap.sum(axis=0)[None] + overlap.sum(axis=1)[:, None] - overlap
        together[np.ix_(true_ids, found_ids)] += overlap / np.maximum(either, TOLERANCE)
    true_boxes = np.bincount(true_number, minlength=len(true_names))
    found_boxes = np.bincount(found_number, minlength=len(found_names))
    alike = together / np.maximum(true_boxes[:, None] + found_boxes[None] - together, TOLERANCE)

    matches = np.zeros((len(THRESHOLDS), len(true_names), len(found_names)))
    for true_ids, found_ids, overlap in frames:
        rows, columns = linear_sum_assignment(-alike[np.ix_(true_ids, found_ids)] * overlap)
        for place, threshold in enumerate(THRESHOLDS):
            near = overlap[rows, columns] >= threshold - TOLERANCE
            matches[place, true_ids[rows[near]], found_ids[columns[near]]] += 1
    matched = matches.sum(axis=(1, 2))
    det_a = matched / np.maximum(len(truth) + len(found) - matched, 1)
    either = true_boxes[:, None] + found_boxes[None] - matches
    ass_a = (matches * matches / np.maximum(either, 1)).sum(axis=(1, 2)) / np.maximum(matched, 1)
    return Hota(float(np.sqrt(det_a * ass_a).mean()), float(det_a.mean()), float(ass_a.mean()))
