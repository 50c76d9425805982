"""Signs that the loop feeds on its own mistakes: a round that should not be trained on before somebody has looked.

A loop that learns its own mistakes keeps more and more boxes, or other ones than before, or only some of the classes,
or almost nothing of what its labeller is sure of. Each sign is a number against a limit, as the rules of cleaning are.
"""

from collections.abc import Mapping
from typing import Any

from labels.cleaning.guard_signs import GuardSettings, Signs

MOST_NAMED = 5


def find_alarms(
    now: Mapping[str, Any], before: Mapping[str, Any] | None, settings: GuardSettings | None = None
) -> list[str]:
    """A line for each sign, from the counts of this round's run record and of the round before; none is well.

    Used of both: `videos`, `kept_by_class`, `quality`. Of this one also `kept_balls` and of those `kept_unanchored` (in
    videos without a sure flight), `believed` (boxes from the working threshold on), `kept_believed`, `old_kept` and
    `found_again` (kept labels of the round before, and those that were found again).
    """
    signs = Signs("boxes", "labeller", settings or GuardSettings())
    alarms = [
        *signs.believed(now, "; it sees something else than what is looked for"),
        *_unanchored(now, signs),
    ]
    if before is None:
        return alarms
    kept, old_kept = now["kept_by_class"], before["kept_by_class"]
    return [
        *alarms,
        *signs.growth(sum(kept.values()), now["videos"], sum(old_kept.values()), before["videos"]),
        *signs.classes(kept, old_kept),
        *signs.survival(now),
        *signs.probes(_f1(now), _f1(before), lambda part, f1: f"F1 on the {part} clips falls to {f1:.2f}"),
    ]


def _unanchored(now: Mapping[str, Any], signs: Signs) -> list[str]:
    """Most of what is kept is in videos where nothing moves as a ball does."""
    part, kept = now["kept_unanchored"], now["kept_balls"]
    told = f"of {kept} boxes that are kept, {part} are in videos where nothing surely flies as a ball does"
    return signs.share("unanchored", part, kept, signs.settings.max_unanchored, told, "high")


def _f1(counts: Mapping[str, Any]) -> dict[str, float]:
    """F1 of the kept labels against truth, by part."""
    return {part: float(found["kept"]["centre"]["f1"]) for part, found in counts.get("quality", {}).items()}


def unanchored_lines(video_ids: list[str]) -> list[str]:
    """A line on the videos in which boxes are believed and nothing surely moves as a ball does."""
    if not video_ids:
        return []
    named = ", ".join(video_ids[:MOST_NAMED]) + (", …" if len(video_ids) > MOST_NAMED else "")
    return [f"nothing surely flies as a ball does in {len(video_ids)} videos; look at them first: {named}"]
