"""Features of the paths through a video, and which path is the strongest in each frame."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from labels.cleaning.features.feature import Columns, Scene, feature
from labels.tracks.trajectories import find_trajectories

OF_BOXES = {  # column -> what `Trajectories` calls it
    "residual": "residual",
    "support": "support",
    "displacement": "displacement",
    "segment_displacement": "segment_displacement",
    "segment_s": "segment_s",
}
OF_PATHS = {
    "duration_s": "duration_s",
    "hit_share": "hit_share",
    "turn_share": "turn_share",
    "path_displacement": "displacement",
}


@feature(
    reads=("usable", "static_in_scene", "is_player", "human", "xyxy", "log_odds"),
    writes=("path", "path_size_ratio", "vouched", *OF_BOXES, *OF_PATHS, "gaps"),
)
def paths(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """The path of each box, -1 for none, and what `labels.tracks` says of it; NaN on none.

    `support` is the mean log-odds around a box. `displacement` is how far the path gets around the box,
    `segment_displacement` the same of its segment (between bounces, hits and long gaps), `path_displacement` that of
    the path; all in sizes, as `residual` is. Size ratios are at least 1. `vouched` (bool): a human drew a box of the
    path. `gaps` is a table of the boxes between, see `labels.tracks.trajectories`.
    """
    settings, log_odds = scene.settings, columns["log_odds"]
    count = len(scene)
    found = {name: np.full(count, np.nan) for name in ("path_size_ratio", *OF_BOXES, *OF_PATHS)}
    path = np.full(count, -1)
    gaps, first = [], 0
    boxes = scene.boxes_at(columns["xyxy"])
    linked = columns["usable"] & scene.has("paths")
    static = (columns["static_in_scene"] > settings.min_static_share) & ~columns["is_player"]
    for class_name in sorted(boxes["class_name"].unique()):
        of_class = scene.of_class(class_name)
        for part in (~static, static):  # what lies still has paths of its own
            if not (linked & part & of_class).any():
                continue
            tracks = find_trajectories(
                boxes,
                log_odds,
                linked & part,
                scene.timeline,
                class_name,
                scene.path_settings,
                scene.player_settings,
            )
            on = np.flatnonzero(tracks.path >= 0)
            path[on] = tracks.path[on] + first
            for name, source in OF_BOXES.items():
                found[name][on] = getattr(tracks, source)[on]
            found["path_size_ratio"][on] = np.maximum(tracks.size_ratio, 1 / tracks.size_ratio)[on]
            for name, source in OF_PATHS.items() if len(on) else ():
                found[name][on] = tracks.features[source].to_numpy()[tracks.path[on]]
            if part is static:  # what lies is one thing all along: it is judged as a whole
                found["support"][on] = pd.Series(found["support"][on]).groupby(path[on]).transform("mean")
            if len(tracks.gaps):
                gaps.append(tracks.gaps.assign(path=tracks.gaps["path"] + first, class_name=class_name))
            first += len(tracks.features)
    # What a human's box lies on the path of is what the human says, all along the path.
    drawn = np.unique(path[columns["human"]])
    vouched = np.isin(path, drawn[drawn >= 0])
    found["support"][vouched] = found["support"][vouched].clip(min=settings.vouched_log_odds)
    gap_table = pd.concat(gaps, ignore_index=True) if gaps else pd.DataFrame()
    return {**found, "path": path, "vouched": vouched, "gaps": gap_table}


@feature(
    reads=("usable", "quality", "path"),
    writes=("rank",),
)
def rank(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """1 for the box on the strongest of the paths that span its frame, 2 for the next, and so on; NaN for what is not
    likely enough to be kept, which takes no place among those in play.

    A path is as strong as the number of its boxes that are expected to be right, so that a frame's ball is not chosen
    by that frame alone; a gap in the strongest path is not an opening for another.
    """
    result = np.full(len(scene), np.nan)
    asked = columns["usable"] & (columns["quality"] >= scene.settings.keep_quality)
    for class_name in scene.boxes["class_name"][asked].unique():
        rows = np.flatnonzero(asked & scene.of_class(class_name))
        frame = scene.frame_index[rows]
        quality, path = columns["quality"][rows], columns["path"][rows]
        alone = path < 0
        path = np.where(alone, path.max(initial=0) + 1 + np.arange(len(rows)), path)  # each a path of its own
        numbers, member = np.unique(path, return_inverse=True)
        strength = np.zeros(len(numbers))
        np.add.at(strength, member, quality)
        first, last = np.full(len(numbers), frame.max(initial=0) + 1), np.full(len(numbers), -1)
        np.minimum.at(first, member, frame)
        np.maximum.at(last, member, frame)
        order = np.lexsort((first, -strength))  # the strongest first
        low, high = int(frame.min(initial=0)), int(frame.max(initial=0))
        spanned = np.zeros(high - low + 2, dtype=np.int64)
        rank_of = [np.empty(0, dtype=np.int64)] * len(numbers)
        for number in order:
            span = slice(first[number] - low, last[number] - low + 1)
            rank_of[number] = spanned[span] + 1
            spanned[span] += 1
        ranks = [rank_of[number][at - first[number]] for number, at in zip(member, frame, strict=True)]
        result[rows] = np.array(ranks, dtype=np.float64)
    return {"rank": result}
