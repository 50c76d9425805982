"""What a player wears or holds: it stays in its place in the player's box.

At the head or the feet it is a shoe or a head that a labeller takes for the ball. Elsewhere it may be a ball in hand.
"""

import numpy as np
import pandas as pd

from labels.cleaning.settings import CleaningSettings
from labels.records import tables
from labels.records.geometry import centre_of, size_of

MARGIN = 0.1  # of a player's box around it, within which something may belong to the player
END = 0.18  # of a player's height: the head, the feet
HEAD = 0.3  # of a player's width from its middle: beside it is a ball in the air
MAX_STRAY_SIZES = 0.75  # so near to its usual place it is in its place


def seen_players(evidence: pd.DataFrame, usable: np.ndarray) -> np.ndarray:
    """The boxes (N,) bool of players on paths that are likely."""
    return usable & (evidence["is_player"] & (evidence["path"] >= 0) & (evidence["support"] >= 0)).to_numpy()


def seen_whole(evidence: pd.DataFrame) -> np.ndarray:
    """The boxes (N,) bool that the frame's edge does not cut off."""
    return evidence["aspect"].notna().to_numpy()


def add_worn(evidence: pd.DataFrame, boxes: pd.DataFrame, usable: np.ndarray, settings: CleaningSettings) -> None:
    """Adds `worn` and `held`, of the boxes of each path: the share of the path that is in its usual place in the box of
    one and the same player, at the head or the feet, and elsewhere. NaN off paths, on those that are short, of players
    or where a human drew, and where no player is seen.

    A ball that is dribbled stays at feet, but none at a head: of a box there the share of the path around it counts
    too, for a path may go on from a head to the ball.
    """
    evidence[["worn", "held"]] = np.nan
    path, players = evidence["path"].to_numpy(), seen_players(evidence, usable)
    asked = usable & ((path >= 0) & ~evidence["is_player"] & ~evidence["vouched"]).to_numpy()
    if not players.any() or not asked.any():
        return
    seen = _rows(boxes, path, players).assign(whole=seen_whole(evidence)[players])
    things = _rows(boxes, path, asked)
    length = things["path"].value_counts()
    length = length[length >= settings.min_worn_steps]
    long = things[things["path"].isin(length.index)].rename_axis("row").reset_index()
    met = long.merge(seen, on="frame_index", suffixes=("", "_player"))
    met["u"] = (met["x"] - met["x_player"]) / met["width_player"]  # of the player's box from its middle
    met["v"] = (met["y"] - met["y_player"]) / met["height_player"]
    met = met[(met[["u", "v"]].abs() <= 0.5 + MARGIN).all(axis=1)]
    pair = ["path", "path_player"]
    usual = met.groupby(pair)[["u", "v"]].transform("median")
    stray = np.hypot((met["u"] - usual["u"]) * met["width_player"], (met["v"] - usual["v"]) * met["height_player"])
    in_place = stray <= MAX_STRAY_SIZES * np.sqrt(met["width"] * met["height"])
    at_head = (usual["v"] <= END - 0.5) & (usual["u"].abs() <= HEAD)
    at_end = (at_head | (usual["v"] >= 0.5 - END)) & met["whole"]  # the frame's edge is nobody's feet
    for name, there in (("worn", in_place & at_end), ("held", in_place & ~at_end)):
        longest = met.assign(there=there).groupby(pair)["there"].sum().groupby("path").max()  # with one player
        share = longest.reindex(length.index, fill_value=0) / length
        evidence.loc[things.index, name] = things["path"].map(share)
    around = _shares_around(things, met[in_place & at_head & met["whole"]], settings.min_worn_steps)
    evidence.loc[around.index, "worn"] = np.fmax(evidence.loc[around.index, "worn"], around)


def _shares_around(things: pd.DataFrame, at_heads: pd.DataFrame, reach: int) -> pd.Series:
    """Of each box at a head, the share of the boxes around it on its path that are at the same one; by `things` row.

    Around: up to `reach` on either side. Paths that come to fewer boxes there are left out.

    Args:
        at_heads: a line for each box and player, with its `row` among the things, its path and `path_player`.
    """
    ways = things.sort_values("frame_index").groupby("path").groups
    shares = [pd.Series(dtype=np.float64)]
    for (path, _), there in at_heads.groupby(["path", "path_player"]):
        if len(there) >= reach:
            at_head = pd.Series(ways[path].isin(there["row"]), index=ways[path])
            around = at_head.rolling(2 * reach + 1, center=True, min_periods=1).mean()
            shares.append(around[at_head])
    return pd.concat(shares).groupby(level=0).max()  # at two players' heads at once: the one it is longer at


def _rows(boxes: pd.DataFrame, path: np.ndarray, asked: np.ndarray) -> pd.DataFrame:
    """Frame, path, centre and sides of the boxes that are `asked` for."""
    rows = np.flatnonzero(asked)
    xyxy = boxes[tables.BOX_COLUMNS].to_numpy(dtype=np.float64)[rows]
    (x, y), (width, height) = centre_of(xyxy).T, size_of(xyxy).T
    named = {"path": path[rows], "x": x, "y": y, "width": width, "height": height}
    return pd.DataFrame({"frame_index": boxes["frame_index"].to_numpy()[rows], **named}, index=rows)
