"""Whether the quality that cleaning gives a label is the share of such labels that are right, where there is truth.

A reliability diagram in numbers (Niculescu-Mizil and Caruana, 2005), with the expected calibration error (Guo et al.,
2017): the distance between quality and share of right ones, averaged over the bins by their labels.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from labels.records.matching import match_video

BINS = 10


class Calibration:
    """Adds up videos: labels that are kept or ignored, and no human's, by their quality."""

    def __init__(self, class_names: Collection[str]) -> None:
        self._class_names = class_names
        self._labels, self._right, self._quality = np.zeros(BINS), np.zeros(BINS), np.zeros(BINS)

    def add(self, cleaned: pd.DataFrame, truth: pd.DataFrame) -> None:
        asked = cleaned[(cleaned["decision"] != "drop") & (cleaned["origin"] != "human")]
        asked = asked[asked["class_name"].isin(self._class_names)]
        looked_at = truth[truth["frame_index"] % int(cleaned.attrs.get("stride", 1)) == 0]
        verdict = match_video(asked.assign(score=asked["quality"]), looked_at)  # the surest takes the truth
        quality = asked["quality"].to_numpy(dtype=np.float64)[verdict >= 0]
        place = np.minimum((quality * BINS).astype(int), BINS - 1)
        self._labels += np.bincount(place, minlength=BINS)
        self._right += np.bincount(place, verdict[verdict >= 0], BINS)
        self._quality += np.bincount(place, quality, BINS)

    def as_counts(self) -> dict[str, Any]:
        """For run.json: `bins` with labels, right and mean quality, and `ece`; empty where nothing was judged."""
        total = self._labels.sum()
        if not total:
            return {}
        filled = np.flatnonzero(self._labels)
        share, quality = self._right[filled] / self._labels[filled], self._quality[filled] / self._labels[filled]
        return {
            "ece": round(float((self._labels[filled] / total) @ np.abs(share - quality)), 4),
            "labels": int(total),
            "bins": [
                {
                    "from": round(place / BINS, 4),
                    "to": round((place + 1) / BINS, 4),
                    "labels": int(self._labels[place]),
                    "right": int(self._right[place]),
                    "mean_quality": round(float(self._quality[place] / self._labels[place]), 4),
                }
                for place in filled
            ],
        }
