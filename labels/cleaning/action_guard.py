"""Signs that the loop of actions feeds on its own mistakes: those of boxes (`collapse_guard`), by labels of actions."""

from collections.abc import Mapping
from typing import Any

from labels.cleaning.collapse_guard import GuardSettings


def find_action_alarms(
    now: Mapping[str, Any], before: Mapping[str, Any] | None, settings: GuardSettings | None = None
) -> list[str]:
    """A line for each sign, from the counts of this round's run record and of the round before; none is well.

    Used of both: `videos`, `kept_by_class` (human labels too), `kept_found` (those that no human gave), `quality`. Of
    this one also `believed` (labels the recogniser is sure of), `kept_believed`, `old_kept` and `found_again` (kept
    labels of the round before that no human gave, and those that were found again).
    """
    settings = settings or GuardSettings()
    alarms = []
    if now["believed"] >= settings.enough_boxes:
        share = now["kept_believed"] / now["believed"]
        if share < settings.min_believed:
            alarms.append(
                f"believed: {share:.2f} < {settings.min_believed}: of {now['believed']} actions that the recogniser is "
                f"sure of, cleaning keeps {now['kept_believed']}"
            )
    if before is None or "kept_by_class" not in before:
        return alarms
    if before["kept_found"] >= settings.enough_boxes:
        growth = now["kept_found"] / now["videos"] / (before["kept_found"] / before["videos"])
        if growth > settings.max_growth:
            alarms.append(
                f"growth: {growth:.1f} > {settings.max_growth:g}: {now['kept_found']} found actions are kept in "
                f"{now['videos']} videos, {before['kept_found']} were in {before['videos']}"
            )
    if sum(before["kept_by_class"].values()) >= settings.enough_boxes:
        drift = class_drift(now["kept_by_class"], before["kept_by_class"])
        if drift > settings.max_class_drift:
            alarms.append(f"classes: {drift:.2f} > {settings.max_class_drift}: other classes are kept than before")
    if now["old_kept"] >= settings.enough_boxes:
        survival = now["found_again"] / now["old_kept"]
        if survival < settings.min_survival:
            alarms.append(
                f"survival: {survival:.2f} < {settings.min_survival}: of {now['old_kept']} actions kept before, the "
                f"new recogniser finds {now['found_again']}"
            )
    for part, right in _probes(now).items():
        fall = _probes(before).get(part, right) - right
        if fall > settings.max_probe_fall:
            alarms.append(
                f"probe: {fall:.2f} > {settings.max_probe_fall}: of what is kept in the {part} clips "
                f"{right:.2f} is right"
            )
    return alarms


def class_drift(now: Mapping[str, int], before: Mapping[str, int]) -> float:
    """How far the classes' shares are from each other, 0 to 1 (total variation)."""
    totals = max(sum(now.values()), 1), max(sum(before.values()), 1)
    names = set(now) | set(before)
    return sum(abs(now.get(name, 0) / totals[0] - before.get(name, 0) / totals[1]) for name in names) / 2


def _probes(counts: Mapping[str, Any]) -> dict[str, float]:
    """Share of the kept labels that are right, by part, where there is truth to say."""
    quality = counts.get("quality", {})
    return {
        part: float(found["kept"]["right"]) for part, found in quality.items() if found["kept"]["right"] is not None
    }
