"""Which box of a foreign file is which of ours, where names do not tell: by the place in the same frame."""

import numpy as np
import pandas as pd

from labels.records import tables
from labels.records.geometry import iou_matrix

PLACE = ["video_id", "frame_index"]


def match_boxes(
    found: pd.DataFrame, ours: pd.DataFrame, min_iou: float, same_class: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of row positions (in `found`, in `ours`), each row in one pair at most, the best overlaps first."""
    here, there = found.groupby(PLACE, sort=False).indices, ours.groupby(PLACE, sort=False).indices
    pairs: list[tuple[int, int]] = []
    boxes, own = (table[tables.BOX_COLUMNS].to_numpy(dtype=np.float64) for table in (found, ours))
    names, own_names = found["class_name"].to_numpy(dtype=object), ours["class_name"].to_numpy(dtype=object)
    for place in here.keys() & there.keys():
        rows, others = here[place], there[place]
        overlap = iou_matrix(boxes[rows], own[others])
        same = names[rows][:, None] == own_names[others][None]
        overlap = np.where(same, overlap + 1e-6, -1.0 if same_class else overlap)  # of equals, the one of its class
        for _ in range(min(overlap.shape)):
            row, other = np.unravel_index(int(overlap.argmax()), overlap.shape)
            if overlap[row, other] < min_iou:
                break
            pairs.append((int(rows[row]), int(others[other])))
            overlap[row], overlap[:, other] = -1.0, -1.0
    matched = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return matched[:, 0], matched[:, 1]
