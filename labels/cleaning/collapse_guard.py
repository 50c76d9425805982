"""Signs that the loop feeds on its own mistakes: a round that should not be trained on before somebody has looked.

A loop that learns its own mistakes keeps more and more boxes, or other ones than before, or only some of the classes,
or almost nothing of what its labeller is sure of. Each sign is a number against a limit, as the rules of cleaning are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_NAMED = 5


@dataclass(frozen=True)
class GuardSettings:
    enough_boxes: int = 50  # fewer say nothing
    max_growth: float = 4.0  # kept boxes a video, against the round before
    min_survival: float = 0.3  # share of the kept boxes of the round before that this round's labeller finds again
    max_class_drift: float = 0.3  # total variation distance of the classes' shares of the kept boxes
    min_believed: float = 0.05  # share of the boxes the labeller is sure of that are kept
    max_unanchored: float = 0.8  # share of the kept boxes in videos where nothing surely flies
    max_probe_fall: float = 0.1  # F1 of the kept labels where there is truth


def find_alarms(
    now: Mapping[str, Any], before: Mapping[str, Any] | None, settings: GuardSettings | None = None
) -> list[str]:
    """A line for each sign, from the counts of this round's run record and of the round before; none is well.

    Used of both: `videos`, `kept_by_class`, `quality`. Of this one also `kept_balls` and of those `kept_unanchored` (in
    videos without a sure flight), `believed` (boxes from the working threshold on), `kept_believed`, `old_kept` and
    `found_again` (kept labels of the round before, and those that were found again).
    """
    settings = settings or GuardSettings()
    alarms = []
    kept = sum(now["kept_by_class"].values())
    if now["believed"] >= settings.enough_boxes:
        share = now["kept_believed"] / now["believed"]
        if share < settings.min_believed:
            alarms.append(
                f"believed: {share:.2f} < {settings.min_believed}: of {now['believed']} boxes that the labeller is "
                f"sure of, cleaning keeps {now['kept_believed']}; it sees something else than what is looked for"
            )
    if now["kept_balls"] >= settings.enough_boxes:
        share = now["kept_unanchored"] / now["kept_balls"]
        if share > settings.max_unanchored:
            alarms.append(
                f"unanchored: {share:.2f} > {settings.max_unanchored}: of {now['kept_balls']} boxes that are kept, "
                f"{now['kept_unanchored']} are in videos where nothing surely flies as a ball does"
            )
    if before is None:
        return alarms
    old_kept = sum(before["kept_by_class"].values())
    if old_kept >= settings.enough_boxes:
        growth = kept / now["videos"] / (old_kept / before["videos"])
        if growth > settings.max_growth:
            alarms.append(
                f"growth: {growth:.1f} > {settings.max_growth:g}: {kept} boxes are kept in {now['videos']} videos, "
                f"{old_kept} were in {before['videos']}"
            )
        drift = _drift(now["kept_by_class"], before["kept_by_class"])
        if drift > settings.max_class_drift:
            alarms.append(f"classes: {drift:.2f} > {settings.max_class_drift}: other classes are kept than before")
    if now["old_kept"] >= settings.enough_boxes:
        survival = now["found_again"] / now["old_kept"]
        if survival < settings.min_survival:
            alarms.append(
                f"survival: {survival:.2f} < {settings.min_survival}: of {now['old_kept']} boxes kept before, the new "
                f"labeller finds {now['found_again']}"
            )
    for part, probe in _probes(now).items():
        fall = _probes(before).get(part, probe) - probe
        if fall > settings.max_probe_fall:
            alarms.append(f"probe: {fall:.2f} > {settings.max_probe_fall}: F1 on the {part} clips falls to {probe:.2f}")
    return alarms


def _drift(now: Mapping[str, int], before: Mapping[str, int]) -> float:
    totals = max(sum(now.values()), 1), max(sum(before.values()), 1)
    names = set(now) | set(before)
    return sum(abs(now.get(name, 0) / totals[0] - before.get(name, 0) / totals[1]) for name in names) / 2


def _probes(counts: Mapping[str, Any]) -> dict[str, float]:
    """F1 of the kept labels against truth, by part."""
    return {part: float(found["kept"]["centre"]["f1"]) for part, found in counts.get("quality", {}).items()}


def unanchored_lines(video_ids: list[str]) -> list[str]:
    """A line on the videos in which boxes are believed and nothing surely moves as a ball does."""
    if not video_ids:
        return []
    named = ", ".join(video_ids[:MOST_NAMED]) + (", …" if len(video_ids) > MOST_NAMED else "")
    return [f"nothing surely flies as a ball does in {len(video_ids)} videos; look at them first: {named}"]
