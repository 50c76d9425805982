"""Which videos are most worth an overlay, and why."""

import pandas as pd

from labels.pictures.palette import KEPT
from labels.pictures.round_survey import RoundSurvey
from labels.records.errors import InputError


def named_videos(names: str, videos: pd.DataFrame) -> dict[str, str]:
    """The videos a user asked for (ids with commas between): video_id -> why. InputError for an unknown one."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = set(videos["video_id"])
    for name in wanted:
        if name not in known:
            raise InputError(f"--videos {name}: no usable video of this name; they stand in videos.parquet")
    if not wanted:
        raise InputError("--videos: no video named")
    return dict.fromkeys(wanted, "asked for")


def videos_worth_seeing(survey: RoundSurvey, videos: pd.DataFrame, limit: int) -> dict[str, str]:
    """At most `limit` videos of a round (0: all): video_id -> why. The same round gives the same choice."""
    held = [video_id for video_id in videos["video_id"] if survey.round.has(video_id)]
    if not limit or len(held) <= limit:
        return dict.fromkeys(held, "all videos are drawn")
    rankings = _rankings(survey, held)
    chosen: dict[str, str] = {}
    while len(chosen) < limit:
        for why, ranked in rankings:
            best = next((video_id for video_id in ranked if video_id not in chosen), None)
            if best is not None and len(chosen) < limit:
                chosen[best] = why
        rankings = [(why, [name for name in ranked if name not in chosen]) for why, ranked in rankings]
        if not any(ranked for _, ranked in rankings):
            break
    return chosen


def _rankings(survey: RoundSurvey, held: list[str]) -> list[tuple[str, list[str]]]:
    """Orders of the videos, each with what its first ones show; a video that shows nothing of it is left out."""
    decided = survey.decided
    kept = decided[decided["style"].isin(KEPT)].groupby("video_id")["labels"].sum()
    dropped = decided[decided["style"] == "dropped"].groupby("video_id")["labels"].sum()
    rankings = []
    if len(survey.changed):
        changed = survey.changed.set_index("video_id")[["added", "lost"]].sum(axis=1)
        rankings.append(("many labels added or lost since the round before", _descending(changed)))
    matched = survey.matched[survey.matched["rule"] == "centre"].groupby("video_id")[["wrong", "missed"]].sum()
    if len(matched):
        rankings.append(("many mistakes against truth", _descending(matched.sum(axis=1))))
    rankings.append(("many boxes dropped", _descending(dropped)))
    counts = kept.reindex(held, fill_value=0)
    from_median = (counts - counts.median()).abs()
    rankings.append(("a middling video by its number of labels", from_median.sort_values(kind="stable").index.tolist()))
    rankings.append(("few labels", counts.sort_values(kind="stable").index.tolist()))
    return rankings


def _descending(values: pd.Series) -> list[str]:
    return values[values > 0].sort_index().sort_values(ascending=False, kind="stable").index.tolist()
