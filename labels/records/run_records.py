"""`run.json`: written last, it marks a stage as done and says from what its output was made."""

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest, read_json, write_json
from labels.records.work_folder import STAGES, RoundFolder, WorkFolder

VERDICTS_FILE = "verdicts.csv"  # in the work folder: what a human said of single labels
HUMAN_ACTIONS_FILE = "human_actions.csv"  # beside it: segments of a person's own, or as they should be
UNFINISHED = "unfinished"  # stands for the digest of a stage that has no record
VIDEO_FACTS = ["video_id", "sha256", "file", "group", "split", "fps", "frame_count", "width", "height"]
VERSIONED_PACKAGES = ("numpy", "pandas", "torch", "torchvision", "opencv-python-headless", "av", "scikit-learn")


@dataclass
class RunRecord:
    """What a finished stage says of itself. `inputs` maps a name to a digest; `output` is one digest."""

    stage: str
    round: int
    arguments: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # what a later stage needs: the labeller, its threshold, ...
    seed: int | None = None
    output: str = ""  # digest of everything the stage wrote that a later stage reads
    versions: dict[str, str] = field(default_factory=dict)

    def is_made_from(self, arguments: dict[str, Any], inputs: dict[str, str]) -> bool:
        """Whether running the stage again with these would give the same again."""
        return self.inputs == inputs and digest_of(self.arguments) == digest_of(arguments)


def write_run_record(folder: RoundFolder, record: RunRecord) -> None:
    record.versions = {"python": platform.python_version()}
    for package in VERSIONED_PACKAGES:
        try:
            record.versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    write_json(folder.run_record(record.stage), asdict(record))


def read_run_record(folder: RoundFolder, stage: str) -> RunRecord | None:
    """The record of a finished stage, or None when the stage is not finished, or its record is damaged.

    It is made anew by running the stage. InputError for one that is whole and of another version.
    """
    path = folder.run_record(stage)
    if not path.is_file() or is_damaged(path):
        return None
    try:
        return RunRecord(**read_json(path))
    except TypeError:
        raise InputError(f"{path}: not a run record of this version; run the stage again") from None


def is_damaged(path: Path) -> bool:
    """Whether a record is there that no version of this program wrote, such as half of one."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return True
    except OSError:
        return False
    return not isinstance(found, dict) or "stage" not in found


def require_run_record(folder: RoundFolder, stage: str, command: str) -> RunRecord:
    """The record of a stage that must be finished; otherwise an InputError that names the command to run."""
    record = read_run_record(folder, stage)
    if record is None:
        kind, _, of = stage.partition("/")  # «labelled», or «labelled/actions»
        if is_damaged(folder.run_record(stage)):
            raise InputError(f"{folder.run_record(stage)}: damaged; make it anew: {command}")
        what = f"no {kind} {of}" if of else f"not {kind} yet"
        raise InputError(
            f"{folder.stage(stage)}: round {folder.number} {'has' if of else 'is'} {what}; run first: {command}"
        )
    return record


def last_run(work: WorkFolder, number: int, stage: str) -> tuple[RoundFolder, RunRecord] | None:
    """Where a stage ran last, in this round or else in the one before, and its record; None where it ran in neither."""
    for folder in (work.round(at) for at in (number, number - 1) if at >= 0):
        if (record := read_run_record(folder, stage)) is not None:
            return folder, record
    return None


def last_arguments(work: WorkFolder, number: int, stage: str) -> dict[str, Any] | None:
    """What a stage was run with in this round, else in the one before; None where it ran in neither."""
    run = last_run(work, number, stage)
    return run[1].arguments if run is not None else None


def start_run(folder: RoundFolder, stage: str) -> None:
    """Take the mark 'done' off a stage before its output is touched."""
    folder.run_record(stage).unlink(missing_ok=True)


def digest_of_files(paths: list[Path]) -> str:
    """One digest over the names and bytes of files, in any order."""
    return digest_of(sorted((path.name, file_digest(path)) for path in paths))


def digest_of_videos(work: WorkFolder) -> str:
    """Changes when the set of usable videos, the bytes of one, or what a stage goes by of one, changes."""
    usable = work.usable_videos()
    return digest_of([usable[name].tolist() for name in VIDEO_FACTS])


def digest_of_verdicts(work: WorkFolder) -> str:
    return _digest_of_one(work.root / VERDICTS_FILE)


def digest_of_human_actions(work: WorkFolder) -> str:
    return _digest_of_one(work.root / HUMAN_ACTIONS_FILE)


def digest_of_opinions(work: WorkFolder, number: int) -> str:
    """Changes when what a round's out-of-fold students say changes."""
    return _digest_of_one(work.round(number).out_of_fold)


def digest_of_truth(work: WorkFolder) -> str:
    """Changes when the truth boxes of a usable video change."""
    return _digest_of_videos_own(work, work.truth_boxes)


def digest_of_true_actions(work: WorkFolder) -> str:
    """Changes when the true actions of a usable video change."""
    return _digest_of_videos_own(work, work.truth_actions)


def digest_of_true_joints(work: WorkFolder) -> str:
    """Changes when the joints that came with a usable video change."""
    return _digest_of_videos_own(work, work.truth_joints)


def _digest_of_one(path: Path) -> str:
    return file_digest(path) if path.is_file() else "none"


def _digest_of_videos_own(work: WorkFolder, path_of: Callable[[str], Path]) -> str:
    paths = map(path_of, work.usable_videos()["video_id"])
    return digest_of_files([path for path in paths if path.is_file()])


def digest_of_masks(work: WorkFolder, number: int) -> str:
    """Changes when the masks of a round do; UNFINISHED where it has none."""
    paths = sorted(work.round(number).masks("x").parent.glob("[!.]*.parquet"))
    return digest_of_files(paths) if paths else UNFINISHED


def digest_of_cleaned(work: WorkFolder, number: int) -> dict[str, str]:
    """A round's cleaned boxes, by the name they have as an input."""
    record = read_run_record(work.round(number), "cleaned")
    return {f"round {number} cleaned": record.output if record is not None else UNFINISHED}


def inputs_of_players(work: WorkFolder, number: int) -> dict[str, str]:
    """What the players' tracks of a round are made from: true boxes, and the last cleaned ones up to that round.

    A round without cleaned boxes is named as unfinished: once it is cleaned, its tracks are taken.
    """
    inputs = {"truth": digest_of_truth(work)}
    for each in range(number, -1, -1):
        inputs |= digest_of_cleaned(work, each)
        if inputs[f"round {each} cleaned"] != UNFINISHED:
            break
    return inputs


def out_of_date(work: WorkFolder) -> list[str]:
    """A line for each finished stage of any round whose input has changed since it ran, in the order to run them.

    What was made from a stage that is out of date, or not finished, is out of date too.
    """
    lines = []
    records = [
        (number, stage, read_run_record(work.round(number), stage))
        for number in work.round_numbers()
        for stage in STAGES
    ]
    named = {name for _, _, record in records if record is not None for name in record.inputs}
    outside = {
        "videos": digest_of_videos,
        "verdicts": digest_of_verdicts,
        "human actions": digest_of_human_actions,
        "truth": digest_of_truth,
        "true actions": digest_of_true_actions,
        "true joints": digest_of_true_joints,
    }
    made = {name: digest(work) for name, digest in outside.items() if name in named}
    for number in work.round_numbers():
        made[f"round {number} masks"] = digest_of_masks(work, number)
        made[f"round {number} out of fold"] = digest_of_opinions(work, number)
    for number, stage, record in records:
        own_name = f"round {number} {stage}"
        if record is None:
            made[own_name] = UNFINISHED
            continue
        # A stage whose whole round is gone is unfinished; a labeller is known by its own digest alone.
        now = {
            name: made.get(name, UNFINISHED if name.startswith("round ") else was)
            for name, was in record.inputs.items()
        }
        changed = [name for name, was in record.inputs.items() if now[name] != was]
        if changed:
            why = [f"{name} is unfinished" if now[name] == UNFINISHED else f"{name} changed" for name in changed]
            lines.append(f"{own_name}: out of date, because {' and '.join(why)}")
        made[own_name] = "out of date" if changed else record.output
    return lines
