"""`run.json`: written last, it marks a stage as done and says from what its output was made."""

import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from labels.records.errors import InputError
from labels.records.safe_writing import digest_of, file_digest, read_json, write_json
from labels.records.work_folder import STAGES, RoundFolder, WorkFolder

VERSIONED_PACKAGES = ("numpy", "pandas", "torch", "torchvision", "opencv-python-headless", "av", "scikit-learn")


@dataclass
class RunRecord:
    """What a finished stage says of itself. `inputs` and `outputs` map a name to a digest."""

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
    """The record of a finished stage, or None when the stage is not finished."""
    path = folder.run_record(stage)
    if not path.is_file():
        return None
    try:
        return RunRecord(**read_json(path))
    except TypeError:
        raise InputError(f"{path}: not a run record of this version; run the stage again") from None


def require_run_record(folder: RoundFolder, stage: str, command: str) -> RunRecord:
    """The record of a stage that must be finished; otherwise an InputError that names the command to run."""
    record = read_run_record(folder, stage)
    if record is None:
        raise InputError(f"{folder.stage(stage)}: round {folder.number} is not {stage} yet; run first: {command}")
    return record


def start_run(folder: RoundFolder, stage: str) -> None:
    """Take the mark 'done' off a stage before its output is touched."""
    folder.run_record(stage).unlink(missing_ok=True)


def digest_of_files(paths: list[Path]) -> str:
    """One digest over the names and bytes of files, in any order."""
    return digest_of(sorted((path.name, file_digest(path)) for path in paths))


def digest_of_videos(work: WorkFolder) -> str:
    """Changes when the set of usable videos, or the bytes of one, changes."""
    usable = work.usable_videos()
    return digest_of([usable["video_id"].tolist(), usable["sha256"].tolist()])


def out_of_date(work: WorkFolder) -> list[str]:
    """A line for each finished stage of any round whose input has changed since it ran, in the order to run them."""
    lines = []
    made: dict[str, str] = {"videos": digest_of_videos(work)}
    for number in work.round_numbers():
        folder = work.round(number)
        for stage in STAGES:
            record = read_run_record(folder, stage)
            if record is None:
                continue
            changed = [name for name, digest in record.inputs.items() if made.get(name, digest) != digest]
            if changed:
                lines.append(f"round {number} {stage}: out of date, because {' and '.join(changed)} changed")
                # Whatever was made from it is out of date too, though its own input has not changed yet.
                made[f"round {number} {stage}"] = "out of date"
            else:
                made[f"round {number} {stage}"] = record.output
    return lines
