"""Which labels a person is asked about: a sample from every class and every band of quality, spread over the videos.

Strata are class by band of quality, so that what is doubtful is looked at more closely than its number alone would have
it; each gets a share that grows with the square root of its size (Bankier 1988). Within a stratum the labels are taken
at even steps through the videos and their time. The same labels give the same sample.
"""

import numpy as np
import pandas as pd

BAND_EDGES = (0.85, 0.95)  # of the quality of a kept label
LEAST_OF_STRATUM = 2
OTHER_CLASSES = "other classes"


def draw_sample(kept: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """At most `count` of the `kept` rows with `stratum`, `stratum_size` and `number` (from 1), by video and frame."""
    kept = kept.sort_values(["video_id", "frame_index", "label_uid"], ignore_index=True)
    stratum = strata_of(kept, count)
    sizes = stratum.value_counts().sort_index()
    generator = np.random.default_rng(seed)
    chosen = []
    for (name, size), share in zip(sizes.items(), shares_of(sizes.to_numpy(), count), strict=True):
        rows = np.flatnonzero(stratum == name)
        steps = (generator.random() + np.arange(share)) * (size / share) if share else np.zeros(0)
        chosen.append(kept.iloc[rows[steps.astype(int)]].assign(stratum=name, stratum_size=int(size)))
    sample = pd.concat(chosen).sort_index()
    return sample.reset_index(drop=True).assign(number=np.arange(1, len(sample) + 1))


def strata_of(kept: pd.DataFrame, count: int) -> pd.Series:
    """The name of each row's stratum. Where there are too many classes for the sample, the rare ones are one."""
    bands = len(BAND_EDGES) + 1
    most_classes = max(1, count // (2 * LEAST_OF_STRATUM * bands))
    by_size = kept["class_name"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index
    shown = set(by_size if len(by_size) <= most_classes else by_size[: most_classes - 1])
    class_name = kept["class_name"].where(kept["class_name"].isin(shown), OTHER_CLASSES)
    low, high = BAND_EDGES
    words = np.array([f"quality below {low}", f"quality {low} to {high}", f"quality from {high}"], dtype=object)
    band = words[np.digitize(kept["quality"].to_numpy(dtype=np.float64), BAND_EDGES)]
    return class_name.astype(object) + ", " + pd.Series(band, index=kept.index, dtype=object)


def shares_of(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many of each stratum are looked at, (S,) int: `count` in all, or all there are; two of each where it goes.

    The seats go one by one to the stratum that is furthest below its share by the square root of its size.
    """
    shares = np.minimum(sizes, LEAST_OF_STRATUM if LEAST_OF_STRATUM * len(sizes) <= count else 0)
    wanted = np.sqrt(sizes.astype(np.float64))
    for _ in range(min(count, int(sizes.sum())) - int(shares.sum())):
        need = np.where(shares < sizes, wanted / (shares + 1), -1.0)
        shares[int(np.argmax(need))] += 1
    return shares
