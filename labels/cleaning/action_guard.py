"""Signs that the loop of actions feeds on its own mistakes."""

from collections.abc import Mapping
from typing import Any

from labels.cleaning.guard_signs import GuardSettings, Signs


def find_action_alarms(
    now: Mapping[str, Any], before: Mapping[str, Any] | None, settings: GuardSettings | None = None
) -> list[str]:
    """A line for each sign, from the counts of this round's run record and of the round before; none is well.

    Used of both: `videos`, `kept_by_class` (human labels too), `kept_found` (those that no human gave), `quality`. Of
    this one also `believed` (labels the recogniser is sure of), `kept_believed`, `old_kept` and `found_again` (kept
    labels of the round before that no human gave, and those that were found again).
    """
    signs = Signs("actions", "recogniser", settings or GuardSettings())
    alarms = signs.believed(now)
    if before is None or "kept_by_class" not in before:
        return alarms
    return [
        *alarms,
        *signs.growth(now["kept_found"], now["videos"], before["kept_found"], before["videos"], "found "),
        *signs.classes(now["kept_by_class"], before["kept_by_class"]),
        *signs.survival(now),
        *signs.probes(
            _right(now), _right(before), lambda part, right: f"of what is kept in the {part} clips {right:.2f} is right"
        ),
    ]


def _right(counts: Mapping[str, Any]) -> dict[str, float]:
    """Share of the kept labels that are right, by part, where there is truth to say."""
    quality = counts.get("quality", {})
    return {
        part: float(found["kept"]["right"]) for part, found in quality.items() if found["kept"]["right"] is not None
    }
