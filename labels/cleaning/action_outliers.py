"""Labels that look unlike the others of their class to the recogniser: its features of them lie where few others do.

Local outlier factor (Breunig et al. 2000) by class, over the features that labelling stored beside the labels; what
humans labelled counts as company, and is never called an outlier itself.
"""

import numpy as np
import pandas as pd

from labels.cleaning.action_settings import ActionSettings
from labels.records.features import from_text


def find_outliers(found: pd.DataFrame, human: pd.DataFrame, settings: ActionSettings) -> dict[int, str]:
    """Place in `found` -> why; the farthest first, at most `outlier_share` of each class's labels.

    Both are ACTIONS; without a column `appearance`, or with too few labels of a class, nothing is an outlier.
    """
    from sklearn.neighbors import LocalOutlierFactor  # takes a second to import, and boxes pass here too

    reasons: dict[int, str] = {}
    if "appearance" not in found:
        return reasons
    texts = found["appearance"].fillna("")
    shown = human["appearance"].fillna("") if "appearance" in human else pd.Series("", index=human.index)
    features, known = from_text([*texts, *shown])
    names = np.concatenate([found["class_name"].to_numpy(dtype=object), human["class_name"].to_numpy(dtype=object)])
    for name in sorted(set(names[: len(found)])):
        own = np.flatnonzero((names == name) & known)
        asked = np.flatnonzero(own < len(found))
        if len(own) < settings.least_company:
            continue
        neighbours = min(settings.neighbours, len(own) - 1)
        factor = -LocalOutlierFactor(n_neighbors=neighbours).fit(features[own]).negative_outlier_factor_
        most = int(settings.outlier_share * len(asked))
        farthest = asked[np.argsort(-factor[asked], kind="stable")][:most]
        for at in farthest[factor[farthest] > settings.outlier_factor]:
            reasons[int(own[at])] = f"outlier: {factor[at]:.2f} > {settings.outlier_factor:g}"
    return reasons
