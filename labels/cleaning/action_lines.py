"""What a round whose actions are cleaned tells at its end, from its run record."""

from typing import Any

from labels.cleaning.action_quality import action_quality_lines
from labels.records.run_records import HUMAN_ACTIONS_FILE, RunRecord


def action_lines(record: RunRecord) -> list[str]:
    """The accounts, the decisions by reason, the bars, and the quality against human labels that were not used."""
    counts = record.counts
    lines = [
        f"{counts['keep']} kept + {counts['ignore']} ignored + {counts['drop']} dropped"
        f" = {counts['labelled']} labelled + {counts['merged_in']} merged in{_stretches(counts)}"
        f" ({counts['left_behind']} dropped of the round before stay there)"
    ]
    lines += [
        f"  {reason.split()[0]:<7} {reason.split()[1]:<13} {count:>8}" for reason, count in counts["reasons"].items()
    ]
    if counts["stretches_elsewhere"]:
        lines.append(f"{HUMAN_ACTIONS_FILE}: {counts['stretches_elsewhere']} lines are of videos not usable here")
    if any(reason.endswith("detected") for reason in counts["reasons"]):
        lines.append("kept from: " + ", ".join(f"{name} {bar:.2f}" for name, bar in counts["bars"].items()))
    if counts["doubts"]:
        lines.append(
            f"{counts['doubts']} human labels that a student doubts, kept all the same: cleaned/actions/review.csv; "
            "answer with visualise.py --review, or in verdicts.csv (label_uid,verdict[,class_name])"
        )
    return [*lines, *action_quality_lines(counts["quality"])]


def _stretches(counts: dict[str, Any]) -> str:
    """What the account adds for what people said themselves; empty where they did not."""
    own, replaced = counts["stretches"], counts["replaced"]
    return f" + {own} of {HUMAN_ACTIONS_FILE} - {replaced} that they replace" if own else ""
