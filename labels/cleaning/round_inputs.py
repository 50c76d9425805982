"""What a round's cleaning is made from, and whether it was made already from just that."""

from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from labels.cleaning.audits import gather_audits
from labels.cleaning.dataset_writing import is_whole
from labels.cleaning.human_verdicts import Verdict
from labels.cleaning.scores import Scales, scales_from
from labels.cleaning.settings import CleaningSettings
from labels.cleaning.threshold_arguments import cleaning_command
from labels.cleaning.verdict_file import read_verdicts
from labels.records import run_records
from labels.records.errors import InputError
from labels.records.run_records import RunRecord
from labels.records.safe_writing import digest_of
from labels.records.work_folder import RoundFolder, WorkFolder

FORMAT = 17  # of what is written; raise it when the same settings on the same labels give something else


@dataclass
class RoundInputs:
    """What a round's cleaning is made from, and the digests that say whether it changed."""

    work: WorkFolder
    folder: RoundFolder
    before: RoundFolder | None
    videos: pd.DataFrame
    scales: Scales
    class_names: tuple[str, ...]
    labeller: dict[str, Any]
    digests: dict[str, str]
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    audits: list[str] = field(default_factory=list)  # lines on the audits whose verdicts were read in


def round_inputs(work: WorkFolder, number: int) -> RoundInputs:
    """Everything that must be there; InputError names the command that makes what is missing."""
    videos = work.usable_videos()
    folder = work.round(number)
    labelled = run_records.require_run_record(
        folder, "labelled", f"python dataset_processor.py {work.root} --round {number}"
    )
    audits = gather_audits(work)
    digests = {
        "format": str(FORMAT),
        "videos": run_records.digest_of_videos(work),
        f"round {number} labelled": labelled.output,
        "verdicts": run_records.digest_of_verdicts(work),
        "truth": run_records.digest_of_truth(work),
    }
    before = None
    if number > 0:
        before = work.round(number - 1)
        command = cleaning_command(work, number - 1)
        cleaned = run_records.require_run_record(before, "cleaned", command)
        if cleaned.inputs.get("format") != str(FORMAT):
            raise InputError(f"{before.stage('cleaned')}: was cleaned by another version; run first: {command}")
        digests[f"round {number - 1} cleaned"] = cleaned.output
    labeller = labelled.facts.get("labeller", {})
    return RoundInputs(
        work=work,
        folder=folder,
        before=before,
        videos=videos,
        scales=scales_from(labeller.get("sources", {})),
        class_names=tuple(labeller.get("class_names", ())),
        labeller=labeller,
        digests=digests,
        verdicts=read_verdicts(work),
        audits=audits,
    )


def finished_record(inputs: RoundInputs, settings: CleaningSettings) -> RunRecord | None:
    """The run record when running again would give what is there already."""
    record = run_records.read_run_record(inputs.folder, "cleaned")
    if record is None or not record.is_made_from(recorded_arguments(settings), inputs.digests):
        return None
    same = record.output == output_digest(inputs.folder)
    return record if same and is_whole(inputs.folder) else None


def recorded_arguments(settings: CleaningSettings) -> dict[str, Any]:
    """The settings as run.json keeps them."""
    return asdict(settings) | {"without": sorted(settings.without)}


def output_digest(folder: RoundFolder) -> str:
    """Of all that cleaning wrote but the pictures."""
    shards = sorted((folder.stage("cleaned") / "boxes").glob("*.parquet"))
    annotations = folder.dataset / "annotations.json"
    return digest_of([run_records.digest_of_files([*shards, *([annotations] if annotations.is_file() else [])])])
