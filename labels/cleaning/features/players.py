"""Features relative to players: things that stay on a player, and the size of a thing on the ground beside them.

On-player: what keeps its place at the head or the feet of a player is a shoe or a head that a labeller takes for the
ball. Elsewhere in the player's box it may be a ball in hand.

Size prior: an upright camera sees a person on flat ground the larger, the lower the feet are in the picture, and in
proportion (Hoiem, Efros and Hebert, Putting Objects in Perspective, IJCV 2008, section 3.2). So players predict a
player's height anywhere on the ground, and a ball's size is measured against it: 0.04 of a player in tennis, 0.13 in
football and basketball. What is painted on a board, or is far behind the players, is often larger.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from labels.cleaning.features.feature import Columns, Scene, feature
from labels.records.geometry import centre_of, size_of
from labels.tracks.candidates import Candidates

MARGIN = 0.1  # of a player's box around it, within which something may belong to the player
END = 0.18  # of a player's height: the head, the feet
HEAD = 0.3  # of a player's width from its middle: beside it is a ball in the air
MAX_STRAY_SIZES = 0.75  # so near to its usual place it is in its place

LEAST_PLAYERS = 20  # boxes of a shot that tell how high players are
LEAST_DEPTH = 0.1  # of a player's height: how far some stand above others in the picture
TURNS = 5  # of the fit, each without what strayed in the one before: who sits, jumps, is half hidden, or a spectator
STRAY = 2.5  # times the usual distance from the line
BEYOND = 1.5  # times as high as the highest player, or as low as the lowest, is too far off to tell


@feature(
    reads=("usable", "is_player", "path", "support", "vouched", "aspect", "xyxy"),
    writes=("on_player", "held"),
)
def on_player(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Of the boxes of each path, the share of the path that is in its usual place in the box of one and the same
    player: `on_player` at the head or the feet, `held` elsewhere. NaN off paths, on those that are short, of players
    or where a human drew, and where no player is seen.

    A ball that is dribbled stays at feet, but none at a head: of a box there the share of the path around it counts
    too, for a path may go on from a head to the ball.
    """
    result = {"on_player": np.full(len(scene), np.nan), "held": np.full(len(scene), np.nan)}
    path, players = columns["path"], seen_players(columns)
    asked = columns["usable"] & (path >= 0) & ~columns["is_player"] & ~columns["vouched"]
    if not players.any() or not asked.any():
        return result
    seen = _rows(columns, scene, players).assign(whole=seen_whole(columns)[players])
    things = _rows(columns, scene, asked)
    least = scene.settings.min_on_player_steps
    length = things["path"].value_counts()
    length = length[length >= least]
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
    for name, there in (("on_player", in_place & at_end), ("held", in_place & ~at_end)):
        longest = met.assign(there=there).groupby(pair)["there"].sum().groupby("path").max()  # with one player
        share = longest.reindex(length.index, fill_value=0) / length
        result[name][things.index] = things["path"].map(share)
    around = _shares_around(things, met[in_place & at_head & met["whole"]], least)
    result["on_player"][around.index] = np.fmax(result["on_player"][around.index], around)
    if not scene.has("on_player"):
        result["on_player"][:] = np.nan
    return result


def seen_players(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The boxes (N,) bool of players on paths that are likely."""
    return columns["usable"] & columns["is_player"] & (columns["path"] >= 0) & (columns["support"] >= 0)


def seen_whole(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The boxes (N,) bool that the frame's edge does not cut off."""
    return ~np.isnan(columns["aspect"])


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


def _rows(columns: Mapping[str, np.ndarray], scene: Scene, asked: np.ndarray) -> pd.DataFrame:
    """Frame, path, centre and sides of the boxes that are `asked` for."""
    rows = np.flatnonzero(asked)
    xyxy = columns["xyxy"].astype(np.float64)[rows]
    (x, y), (width, height) = centre_of(xyxy).T, size_of(xyxy).T
    named = {"path": columns["path"][rows], "x": x, "y": y, "width": width, "height": height}
    return pd.DataFrame({"frame_index": scene.frame_index[rows], **named}, index=rows)


@feature(
    reads=(
        *("usable", "is_player", "path", "support", "vouched", "held", "static_in_scene", "duration_s"),
        *("aspect", "log_odds", "xyxy"),
    ),
    writes=("size_prior",),
)
def size_prior(columns: Mapping[str, np.ndarray], scene: Scene) -> Columns:
    """Of the boxes on the path of a ball that lies still for long enough: size over the height that a player has there.

    NaN where players do not tell, where one holds it or a human drew, and on what the round before kept: measured once,
    for a student boxes players less well than it finds balls.
    """
    settings, boxes, path = scene.settings, scene.boxes, columns["path"]
    result = np.full(len(scene), np.nan)
    kept = pd.Series((boxes["old_decision"] == "keep").to_numpy())
    kept_before = (kept.groupby(path).transform("mean") > 0.5).to_numpy()
    held = columns["held"] > settings.max_on_player_share
    static = (columns["static_in_scene"] > settings.min_static_share) & (columns["duration_s"] >= settings.min_still_s)
    is_ball = boxes["class_name"].str.contains("ball").to_numpy(dtype=bool) & ~columns["is_player"]
    on_path = columns["usable"] & (path >= 0) & scene.has("size_prior")
    lying = on_path & is_ball & static & ~columns["vouched"] & ~kept_before & ~held
    standing = seen_players(columns) & seen_whole(columns)
    if not lying.any() or standing.sum() < LEAST_PLAYERS:
        return {"size_prior": result}
    things = scene.candidates(columns["xyxy"], columns["log_odds"], np.flatnonzero(lying))
    players = scene.candidates(columns["xyxy"], columns["log_odds"], np.flatnonzero(standing))
    share = np.full(len(things), np.nan)
    for shot in np.unique(things.shot_index):
        here, there = things.shot_index == shot, players.shot_index == shot
        if there.sum() >= LEAST_PLAYERS:
            height = _player_height(_foot(players)[there], players.extent[there, 1], _foot(things)[here])
            share[here] = things.size[here] / height
    result[things.row] = pd.Series(share).groupby(path[things.row]).transform("median")
    return {"size_prior": result}


def _foot(candidates: Candidates) -> np.ndarray:
    """The lower end of each, (N,), in steady coordinates."""
    return candidates.steady[:, 1] + candidates.extent[:, 1] / 2


def _player_height(foot: np.ndarray, height: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """How high a player is who stands at `asked` (M,), by feet and heights (N,) of those seen; NaN where none tells."""
    near = np.ones(len(foot), dtype=bool)
    line = np.zeros(2)
    for _ in range(TURNS):
        if np.ptp(np.quantile(foot[near], [0.05, 0.95])) < LEAST_DEPTH * np.median(height[near]):
            return np.full(len(asked), np.nan)
        line = np.polyfit(foot[near], height[near], 1)
        stray = np.abs(height - np.polyval(line, foot))
        near = stray <= STRAY * np.median(stray) + 1
    expected = np.polyval(line, asked)
    low, high = np.quantile(height[near], [0.05, 0.95])
    is_known = (line[0] > 0) & (expected >= low / BEYOND) & (expected <= high * BEYOND)
    return np.where(is_known, expected, np.nan)
