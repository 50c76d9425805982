"""What a person sees of downloading: the table by class and outcome, the share that was dead, the bar's counts."""

from collections import Counter

from labels.videos.download.outcomes import BLOCKED, CLOSED, DEAD, OK, OUTCOMES
from labels.videos.download.planning import PlanCounts

MOST_CLASSES = 30
ClassRows = list[tuple[str, str, int, int, float]]  # as DownloadPlan.by_class gives them


def list_line(counts: PlanCounts) -> str:
    """Every entry of the list, accounted for in one line."""
    left_out = "".join(f" + {count:,} {why}" for why, count in sorted(counts.left_out.items()))
    wanted = counts.entries - sum(counts.left_out.values())
    return f"list: {counts.entries:,} entries = {wanted:,} wanted{left_out}"


def split_line(counts: PlanCounts) -> list[str]:
    if not counts.moved_to_held_out:
        return []
    return [
        f"{counts.moved_to_held_out:,} entries name a video that the list also has in a more held-out split; "
        "it stays in that one alone"
    ]


def planned_lines(rows: ClassRows) -> list[str]:
    """What a dry run prints: by class, what would be fetched, from how many videos, and how long it is."""
    table: dict[str, list[float]] = {}
    for name, outcome, clips, videos, seconds in rows:
        line = table.setdefault(name, [0, 0, 0, 0, 0])
        if outcome == "waiting":
            line[0] += clips
            line[1] += videos
            line[2] += seconds
        else:
            line[3 if outcome == OK else 4] += clips
    order = sorted(table, key=lambda name: (-table[name][0], name))
    shown, rest = order[:MOST_CLASSES], order[MOST_CLASSES:]
    body = [(name or "(no class)", table[name]) for name in shown]
    if rest:
        body.append((f"{len(rest)} other classes", [sum(table[name][at] for name in rest) for at in range(5)]))
    body.append(("together", [sum(line[at] for line in table.values()) for at in range(5)]))
    cells: list[tuple[str, ...]] = [("class", "to fetch", "videos", "hours", "there", "not again")]
    for name, line in body:
        hours = f"{line[2] / 3600:.1f}" if line[2] else "?"
        cells.append((name, f"{line[0]:,.0f}", f"{line[1]:,.0f}", hours, f"{line[3]:,.0f}", f"{line[4]:,.0f}"))
    return _aligned(cells)


def outcome_lines(rows: ClassRows) -> list[str]:
    """The closing table: a line a class, a column an outcome; and the share of videos asked for that is dead."""
    table: dict[str, Counter[str]] = {}
    for name, outcome, clips, _, _ in rows:
        table.setdefault(name, Counter())[outcome] += clips
    total: Counter[str] = Counter()
    for counts in table.values():
        total.update(counts)
    columns = [outcome for outcome in (*OUTCOMES, "refused", "waiting") if total[outcome]]
    order = sorted(table, key=lambda name: (-sum(table[name].values()), name))
    body = [(name or "(no class)", table[name]) for name in order[:MOST_CLASSES]]
    if len(order) > MOST_CLASSES:
        others: Counter[str] = Counter()
        for name in order[MOST_CLASSES:]:
            others.update(table[name])
        body.append((f"{len(order) - MOST_CLASSES} other classes", others))
    if len(body) != 1:
        body.append(("together", total))
    cells: list[tuple[str, ...]] = [("class", *columns)]
    cells += [(name, *(f"{counts[column]:,}" for column in columns)) for name, counts in body]
    return _aligned(cells) + dead_line(total)


def dead_line(total: Counter[str]) -> list[str]:
    """Of the clips that got an answer: how many are gone, and how many are there but closed to guests."""
    answered = sum(count for outcome, count in total.items() if outcome not in BLOCKED | {"refused", "waiting"})
    if not answered:
        return []
    dead = sum(total[outcome] for outcome in DEAD)
    closed = sum(total[outcome] for outcome in CLOSED)
    return [
        f"dead (private or removed): {dead:,} of {answered:,} clips asked for, {dead / answered:.1%}; "
        f"closed to guests from here: {closed:,}, {closed / answered:.1%}"
    ]


def bar_counts(counts: Counter[str]) -> str:
    """The outcomes so far, most frequent first, for the progress bar."""
    return " ".join(f"{outcome} {count:,}" for outcome, count in counts.most_common(6))


def _aligned(cells: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in
                  enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]  # fmt: skip
