"""What a cleaned round tells at its end, from the counts of its run record."""

from typing import Any

from labels.cleaning.agreement import agreement_lines
from labels.cleaning.collapse_guard import unanchored_lines
from labels.cleaning.quality_estimate import quality_lines
from labels.records.run_records import VERDICTS_FILE

MOST_NAMED = 5


def summary_lines(counts: dict[str, Any]) -> list[str]:
    """The accounts, the decisions by reason, and the quality against truth."""
    lines = [
        f"{counts['keep']} kept + {counts['ignore']} ignored + {counts['drop']} dropped"
        f" = {counts['labelled']} labelled + {counts['merged_in']} merged in + {counts['interpolated']} interpolated"
        f"{verdict_rows(counts)}"
        f" ({counts['fused']} fused with the round before, {counts['left_behind']} of its dropped stay there)"
    ]
    most_first = sorted(counts["reasons"].items(), key=lambda item: (item[0].split()[0], -item[1]))
    lines += [f"  {reason.split()[0]:<7} {reason.split()[1]:<13} {count:>8}" for reason, count in most_first]
    lines.append(f"dataset: {counts['images']} images")
    lines += unanchored_lines(counts["unanchored"])
    lines += agreement_lines(counts.get("agreement", {}))
    return [*lines, *verdict_lines(counts), *quality_lines(counts["quality"])]


def verdict_lines(counts: dict[str, Any]) -> list[str]:
    """A line on the verdicts that name no label of a cleaned round, from the counts of its run record."""
    unheard = counts["verdicts_without_label"]
    if not unheard:
        return []
    more = f" and {len(unheard) - MOST_NAMED} more" if len(unheard) > MOST_NAMED else ""
    named = ", ".join(unheard[:MOST_NAMED])
    return [
        f"{VERDICTS_FILE}: {len(unheard)} of {counts['verdicts']} verdicts name no label of this round: {named}{more}"
    ]


def verdict_rows(counts: dict[str, Any]) -> str:
    """What the accounts of a cleaned round add for boxes that only a human saw; empty where there are none."""
    return f" + {counts['from_verdicts']} from verdicts" if counts["from_verdicts"] else ""
