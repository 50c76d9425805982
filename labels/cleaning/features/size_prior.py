"""How large what lies on the ground is beside the players who stand there.

A camera held upright sees a person who stands on flat ground the larger, the lower the feet are in the picture, and in
proportion (Hoiem, Efros and Hebert, Putting Objects in Perspective, IJCV 2008, section 3.2). So the players tell how
high one would be where a thing lies, and a ball has its size against that: 0.04 of a player in tennis, 0.13 in football
and basketball. What is painted on a board, or stands far behind the players, is often larger.
"""

import numpy as np
import pandas as pd

from labels.cleaning.features.on_player import seen_players, seen_whole
from labels.cleaning.settings import CleaningSettings
from labels.tracks.candidates import Candidates, Timeline, make_candidates

LEAST_PLAYERS = 20  # boxes of a shot that tell how high players are
LEAST_DEPTH = 0.1  # of a player's height: how far some stand above others in the picture
TURNS = 5  # of the fit, each without what strayed in the one before: who sits, jumps, is half hidden, or a spectator
STRAY = 2.5  # times the usual distance from the line
BEYOND = 1.5  # times as high as the highest player, or as low as the lowest, is too far off to tell


def add_ground(
    evidence: pd.DataFrame, boxes: pd.DataFrame, usable: np.ndarray, timeline: Timeline, settings: CleaningSettings
) -> None:
    """Adds `ground`, of the boxes on the path of a ball that lies still for long enough: its size over the height that
    a player has there. NaN where players do not tell, where one holds it or a human drew, and on what the round before
    kept: measured once, for a student boxes players less well than it finds balls.
    """
    evidence["ground"] = np.nan
    on_path = usable & (evidence["path"] >= 0).to_numpy()
    kept = pd.Series((boxes["old_decision"] == "keep").to_numpy(), index=evidence.index)
    kept_before = kept.groupby(evidence["path"]).transform("mean") > 0.5
    held = evidence["held"] > settings.max_worn_share
    stays = (evidence["scene_stay"] > settings.min_scene_stay) & (evidence["duration_s"] >= settings.min_still_s)
    is_ball = boxes["class_name"].str.contains("ball").to_numpy(dtype=bool) & ~evidence["is_player"].to_numpy()
    lying = on_path & is_ball & (stays & ~evidence["vouched"] & ~kept_before & ~held).to_numpy()
    standing = seen_players(evidence, usable) & seen_whole(evidence)
    if not lying.any() or standing.sum() < LEAST_PLAYERS:
        return
    log_odds = evidence["log_odds"].to_numpy()
    things = make_candidates(boxes, log_odds, np.flatnonzero(lying), timeline)
    players = make_candidates(boxes, log_odds, np.flatnonzero(standing), timeline)
    share = np.full(len(things), np.nan)
    for shot in np.unique(things.shot_index):
        here, there = things.shot_index == shot, players.shot_index == shot
        if there.sum() >= LEAST_PLAYERS:
            height = _player_height(_foot(players)[there], players.extent[there, 1], _foot(things)[here])
            share[here] = things.size[here] / height
    evidence.loc[things.row, "ground"] = share
    evidence.loc[things.row, "ground"] = evidence.loc[things.row].groupby("path")["ground"].transform("median")


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
    told = (line[0] > 0) & (expected >= low / BEYOND) & (expected <= high * BEYOND)
    return np.where(told, expected, np.nan)
