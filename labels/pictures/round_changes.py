"""What one round labels that the round before did not, and the other way round."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from labels.pictures.round_reading import as_truth
from labels.records.matching import MatchCounts, count_matches, match_video


@dataclass(frozen=True)
class RoundChanges:
    """Labels of one video. `agreement` counts how the new labels fit the old ones, taken as if they were truth."""

    added: pd.DataFrame
    lost: pd.DataFrame
    agreement: MatchCounts


def changes_between(new: pd.DataFrame, old: pd.DataFrame, frame_indices: np.ndarray) -> RoundChanges:
    """Compare the kept labels of two rounds in one video by the centre rule, over the frames both looked at.

    A label of a class that the other round does not hold at all is added, or lost, too.
    """
    new, old = (table[table["frame_index"].isin(frame_indices)] for table in (new, old))
    return RoundChanges(
        added=new[match_video(new, as_truth(old, frame_indices)) != 1],
        lost=old[match_video(old, as_truth(new, frame_indices)) != 1],
        agreement=count_matches(new, as_truth(old, frame_indices)),
    )
