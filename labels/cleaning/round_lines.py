"""What a cleaned round tells at its end, from the counts of its run record."""

from typing import Any

from labels.cleaning.collapse_guard import unanchored_lines
from labels.cleaning.human_verdicts import verdict_lines, verdict_rows
from labels.cleaning.quality_estimate import quality_lines
from labels.cleaning.self_agreement import agreement_lines


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
