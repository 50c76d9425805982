"""The guard: signs that the loop reinforces its own mistakes, for boxes and for actions.

Such a loop keeps more and more labels, or other ones than before, or only some of the classes, or almost nothing of
what its labeller is confident of. Each sign compares a number with a limit and gives a line when the limit is passed;
too few labels give no sign. A round with an alarm should be looked at before it is trained on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GuardSettings:
    """Limits; labels are boxes or actions, labellers are detectors or recognisers."""

    enough_labels: int = 50  # fewer say nothing
    max_growth: float = 4.0  # kept labels a labelled frame, of actions a video, against the round before
    min_survival: float = 0.3  # share of the kept labels of the round before that this round's labeller finds again
    max_class_drift: float = 0.3  # total variation distance of the classes' shares of the kept labels
    min_confident: float = 0.05  # share of the labels the labeller is sure of that are kept
    max_without_confident_track: float = 0.8  # share of the kept boxes in videos without a confident track
    max_probe_fall: float = 0.1  # of the measure against truth, where there is truth
    same_frames: float = 0.5  # of this round's labelled frames: a round before that saw fewer was judged elsewhere


@dataclass(frozen=True)
class Signs:
    """The signs that are the same for boxes and actions, told in the words of one of them."""

    labels: str  # boxes | actions
    labeller: str  # labeller | recogniser
    settings: GuardSettings

    def share(self, sign: str, part: int, whole: int, limit: float, text: str, too: str = "low") -> list[str]:
        """A share is beyond its limit; `too` says on which side that is, `told` what it means."""
        if whole < self.settings.enough_labels:
            return []
        value = part / whole
        if value >= limit if too == "low" else value <= limit:
            return []
        return [f"{sign}: {value:.2f} {'<' if too == 'low' else '>'} {limit}: {text}"]

    def confident(self, now: Mapping[str, Any], therefore: str = "") -> list[str]:
        """Of what the labeller is sure of (`confident`), hardly anything is kept (`kept_confident`)."""
        kept, confident = now["kept_confident"], now["confident"]
        text = f"of {confident} {self.labels} that the {self.labeller} is sure of, cleaning keeps {kept}{therefore}"
        return self.share("confident", kept, confident, self.settings.min_confident, text)

    def growth(
        self, kept: int, count: int, old_kept: int, old_count: int, unit: str = "videos", found: str = ""
    ) -> list[str]:
        """Many more labels are kept in so many videos or frames than before; `found` says which are counted."""
        if old_kept < self.settings.enough_labels:
            return []
        growth, most = kept / count / (old_kept / old_count), self.settings.max_growth
        if growth <= most:
            return []
        return [
            f"growth: {growth:.1f} > {most:g}: {kept} {found}{self.labels} are kept in {count} {unit}, "
            f"{old_kept} were in {old_count}"
        ]

    def classes(self, now: Mapping[str, int], before: Mapping[str, int]) -> list[str]:
        """The shares of the classes (class name -> kept labels) are others than before."""
        if sum(before.values()) < self.settings.enough_labels:
            return []
        drift, most = class_drift(now, before), self.settings.max_class_drift
        return [f"classes: {drift:.2f} > {most}: other classes are kept than before"] if drift > most else []

    def survival(self, now: Mapping[str, Any]) -> list[str]:
        """Of what was kept before (`old_kept`), the new labeller finds little again (`found_again`)."""
        again, kept = now["found_again"], now["old_kept"]
        text = f"of {kept} {self.labels} kept before, the new {self.labeller} finds {again}"
        return self.share("survival", again, kept, self.settings.min_survival, text)

    def probes(
        self, now: Mapping[str, float], before: Mapping[str, float], describe: Callable[[str, float], str]
    ) -> list[str]:
        """A measure against truth (part of the clips -> measure) falls; `told` says it of a part."""
        falls = {part: before.get(part, value) - value for part, value in now.items()}
        most = self.settings.max_probe_fall
        return [
            f"probe: {fall:.2f} > {most}: {describe(part, now[part])}" for part, fall in falls.items() if fall > most
        ]


def class_drift(now: Mapping[str, int], before: Mapping[str, int]) -> float:
    """How far the classes' shares are from each other, 0 to 1 (total variation)."""
    totals = max(sum(now.values()), 1), max(sum(before.values()), 1)
    names = set(now) | set(before)
    return sum(abs(now.get(name, 0) / totals[0] - before.get(name, 0) / totals[1]) for name in names) / 2


MOST_NAMED = 5


def find_alarms(
    now: Mapping[str, Any], before: Mapping[str, Any] | None, settings: GuardSettings | None = None
) -> list[str]:
    """A line for each sign, from the counts of this round's run record and of the round before; no line means no alarm.

    Of both rounds `frames`, `kept_by_class` and `quality` are used; of this one also `kept_balls` and, of those,
    `kept_without_confident_track` (in videos without a confident track), `confident` (boxes above the working
    threshold), `kept_confident`, `old_kept` and `found_again` (kept labels of the round before, and those found again).
    """
    signs = Signs("boxes", "labeller", settings or GuardSettings())
    alarms = [
        *signs.confident(now, "; it sees something else than what is looked for"),
        *_no_confident_track(now, signs),
    ]
    if before is None:
        return alarms
    kept, old_kept = now["kept_by_class"], before["kept_by_class"]
    unit = "frames" if "frames" in before else "videos"  # a record of an older version
    alarms += signs.growth(sum(kept.values()), now[unit], sum(old_kept.values()), before[unit], unit)
    alarms += [*signs.classes(kept, old_kept), *signs.survival(now)]
    if before[unit] < signs.settings.same_frames * now[unit]:
        return alarms
    return [*alarms, *signs.probes(_f1(now), _f1(before), lambda part, f1: f"F1 on the {part} clips falls to {f1:.2f}")]


def _no_confident_track(now: Mapping[str, Any], signs: Signs) -> list[str]:
    """Most of what is kept is in videos where nothing moves as a ball does."""
    part, kept = now["kept_without_confident_track"], now["kept_balls"]
    text = f"of {kept} kept boxes, {part} are in videos without a confident track"
    return signs.share("no_confident_track", part, kept, signs.settings.max_without_confident_track, text, "high")


def _f1(counts: Mapping[str, Any]) -> dict[str, float]:
    """F1 of the kept labels against truth, by part."""
    return {part: float(found["kept"]["centre"]["f1"]) for part, found in counts.get("quality", {}).items()}


def no_confident_track_lines(video_ids: list[str]) -> list[str]:
    """A line on the videos in which the labeller is confident of boxes and nothing surely moves as a ball does."""
    if not video_ids:
        return []
    named = ", ".join(video_ids[:MOST_NAMED]) + (", …" if len(video_ids) > MOST_NAMED else "")
    return [f"no confident track in {len(video_ids)} videos; look at them first: {named}"]


def find_action_alarms(
    now: Mapping[str, Any], before: Mapping[str, Any] | None, settings: GuardSettings | None = None
) -> list[str]:
    """A line for each sign, from the counts of this round's run record and of the round before; none is well.

    Used of both: `videos`, `kept_by_class` (human labels too), `kept_found` (those that no human gave), `quality`. Of
    this one also `confident` (labels the recogniser is sure of), `kept_confident`, `old_kept` and `found_again` (kept
    labels of the round before that no human gave, and those that were found again).
    """
    signs = Signs("actions", "recogniser", settings or GuardSettings())
    alarms = signs.confident(now)
    if before is None or "kept_by_class" not in before:
        return alarms
    return [
        *alarms,
        *signs.growth(now["kept_found"], now["videos"], before["kept_found"], before["videos"], found="found "),
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
