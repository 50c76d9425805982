"""Which clips of a labelled archive are taken: those of the classes and splits asked for, and how many of them."""

from collections import Counter, defaultdict
from dataclasses import replace

from labels.records.errors import InputError
from labels.videos.archive_clips import ArchiveClip
from labels.videos.archives import ArchiveSettings
from labels.videos.list_filters import ClassChoice, stable_number


def choose_clips(
    clips: list[ArchiveClip], settings: ArchiveSettings, where: str
) -> tuple[list[ArchiveClip], list[str]]:
    """The clips asked for, in the order of their names, and lines on those that are left out.

    A clip that is refused and has no class stays: it may be one of those asked for. Drawing by lot for `limit` and
    `per_class` depends on the seed and the clip's name alone, so that a larger limit adds to what a smaller one took.

    Raises:
        InputError: the archive has no clip, or none of the classes asked for.
    """
    if not clips:
        raise InputError(f"{where}: no clip of such an archive in it")
    choice = ClassChoice(settings.classes)
    of_class = [clip for clip in clips if not clip.class_name or choice.first_wanted((clip.class_name,)) is not None]
    choice.require_any(where)
    lines = choice.unfulfilled()
    chosen = [clip for clip in of_class if not settings.splits or clip.refusal or clip.split in settings.splits]
    drawn = _draw([clip for clip in chosen if clip.refusal is None], settings)
    taken = sorted([*drawn, *(clip for clip in chosen if clip.refusal is not None)], key=lambda clip: clip.name)
    if len(taken) < len(clips):
        others = {
            "of other classes": len(clips) - len(of_class),
            "of other splits": len(of_class) - len(chosen),
            "not drawn": len(chosen) - len(taken),
        }
        told = ", ".join(f"{count} {why}" for why, count in others.items() if count)
        lines.append(f"{where}: {len(taken)} of {len(clips)} clips asked for; left alone: {told}")
    return taken, lines


def _draw(clips: list[ArchiveClip], settings: ArchiveSettings) -> list[ArchiveClip]:
    if settings.per_class is None and settings.limit is None:
        return clips
    by_lot = sorted(clips, key=lambda clip: (stable_number(f"{settings.seed}|{clip.name}"), clip.name))
    if settings.per_class is not None:
        seen: Counter[str] = Counter()
        by_lot = [clip for clip in by_lot if _count(seen, clip.class_name) <= settings.per_class]
    return by_lot[: settings.limit]


def _count(seen: Counter[str], name: str) -> int:
    seen[name] += 1
    return seen[name]


def with_own_sources(clips: list[ArchiveClip]) -> list[ArchiveClip]:
    """Give a clip that an archive names twice a row of its own each time, and every clip words that can be stored."""
    times: Counter[str] = Counter()
    return [
        clip
        if _count(times, clip.source) == 1
        else replace(clip, source=f"{clip.source} (named {times[clip.source]} times)")
        for clip in map(_storable, clips)
    ]


def _storable(clip: ArchiveClip) -> ArchiveClip:
    """Names on disk need not be UTF-8, and JSON may hold half a character; tables hold whole ones."""
    words = {name: value for name, value in vars(clip).items() if isinstance(value, str)}
    try:
        "".join([*words.values(), str(clip.refusal)]).encode()
    except UnicodeEncodeError:
        words = {name: _escaped(value) for name, value in words.items()}
        refusal = clip.refusal and replace(clip.refusal, detail=_escaped(clip.refusal.detail))
        return replace(clip, refusal=refusal, **words)  # type: ignore[arg-type]
    return clip


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def groups_in_two_splits(rows: list[dict[str, object]]) -> dict[str, set[str]]:
    """Groups of which clips stand in more than one official split, with these splits."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["split"]:
            splits[str(row["group"])].add(str(row["split"]))
    return {group: found for group, found in splits.items() if len(found) > 1}
