"""Decisions: the rules applied to the features, giving each box its decision and the reason."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from labels.cleaning.rules import RULES, Limit, Rule
from labels.cleaning.settings import CleaningSettings


def decide(columns: Mapping[str, Any], settings: CleaningSettings) -> tuple[np.ndarray, np.ndarray]:
    """Decision (keep | ignore | drop) and reason of each row, (N,) str each: what the first rule that objects says."""
    human = columns["human"]
    decision = np.full(len(human), "keep", dtype=object)
    reason = np.full(len(human), "", dtype=object)
    for rule in _switched_on(RULES, settings):
        value = rule_values(rule, columns, settings)
        for verdict, limit in (("drop", rule.drop), ("ignore", rule.ignore)):
            if limit is None:
                continue
            bounds = limit_values(limit, columns, settings, len(human))
            bad = _is_beyond(rule, value, bounds) & (decision == "keep") & ~human
            sign = ">" if rule.too == "high" else "<"
            decision[bad] = verdict
            reason[bad] = [
                f"{rule.name}: {one:.3g} {sign} {other:.3g}" for one, other in zip(value[bad], bounds[bad], strict=True)
            ]
            if rule.name == "quality":
                reason[bad] = [
                    ", ".join(filter(None, pair)) for pair in zip(reason[bad], columns["against"][bad], strict=True)
                ]
    return decision, reason


def rejected_by(rules: Iterable[Rule], columns: Mapping[str, Any], settings: CleaningSettings) -> np.ndarray:
    """The rows (N,) bool to which at least one of the rules objects; a human's are never among them."""
    human = columns["human"]
    found = np.zeros(len(human), dtype=bool)
    for rule in _switched_on(rules, settings):
        for limit in (rule.drop, rule.ignore):
            if limit is not None:
                value = rule_values(rule, columns, settings)
                found |= _is_beyond(rule, value, limit_values(limit, columns, settings, len(human)))
    return found & ~human


def rule_values(rule: Rule, columns: Mapping[str, Any], settings: CleaningSettings) -> np.ndarray:
    """What a rule looks at, (N,) float64; NaN where it has nothing to say."""
    value = np.asarray(columns[rule.value], dtype=np.float64)
    return value if rule.asked is None else np.where(rule.asked(columns, settings), value, np.nan)


def limit_values(limit: Limit, columns: Mapping[str, Any], settings: CleaningSettings, count: int) -> np.ndarray:
    """A limit for each of `count` rows, float64."""
    if isinstance(limit, tuple):
        ball, player = (getattr(settings, name) for name in limit)
        return np.where(columns["is_player"], player, ball).astype(np.float64)
    if isinstance(limit, str):
        return np.full(count, getattr(settings, limit), dtype=np.float64)
    if callable(limit):
        return np.asarray(limit(columns, settings), dtype=np.float64)
    return np.full(count, limit, dtype=np.float64)


def _switched_on(rules: Iterable[Rule], settings: CleaningSettings) -> list[Rule]:
    return [rule for rule in rules if rule.name not in settings.without]


def _is_beyond(rule: Rule, value: np.ndarray, limit: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (value > limit) if rule.too == "high" else (value < limit)
